"""Where this process spends its CPU: who has used it whenever some milliseconds of it are used.

The kernel counts CPU of all threads together (ITIMER_PROF), which says when to look, and of each, which says
how much of it counts for what it is at: a thread that waits, for a lock or for its turn, counts nothing. What
is measured is hardly slowed, which a tracing profiler would do by half, and unevenly. Other threads than the
main one are seen where they let go of the interpreter: calls into a database get more than their part.
"""

import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from types import FrameType

INTERVAL_SECONDS = 0.002
Place = tuple[str, str]


@contextmanager
def sampled(place_of: Callable[[list[Place]], Hashable]) -> Iterator[Counter]:
    """Seconds of the processor, within it, by the place where they were used.

    `place_of` names the place of a stack, given as (file, function), the innermost first. Only in the main
    thread; raises ValueError elsewhere.
    """
    counts: Counter = Counter()
    main = threading.main_thread().ident
    seen: dict[int, float] = {}

    def look(_number: int, frame: FrameType | None) -> None:
        # An event loop has every signal written into a pipe that it may not read for a while.
        signal.set_wakeup_fd(signal.set_wakeup_fd(-1), warn_on_full_buffer=False)
        for thread, at in (sys._current_frames() | {main: frame}).items():
            used = time.clock_gettime(time.pthread_getcpuclockid(thread))
            if at is not None and (spent := used - seen.get(thread, 0.0)) > 0:
                counts[place_of(_stack(at))] += spent
            seen[thread] = used

    for thread in sys._current_frames():
        seen[thread] = time.clock_gettime(time.pthread_getcpuclockid(thread))
    before = signal.signal(signal.SIGPROF, look)
    signal.setitimer(signal.ITIMER_PROF, INTERVAL_SECONDS, INTERVAL_SECONDS)
    try:
        yield counts
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _stack(frame: FrameType | None) -> list[Place]:
    found = []
    while frame is not None:
        found.append((frame.f_code.co_filename, frame.f_code.co_name))
        frame = frame.f_back
    return found
