"""Where this process spends its CPU: whose turn it is whenever some milliseconds of it are used.

The kernel counts CPU of all threads (ITIMER_PROF), so that waiting costs nothing and counts nothing. What is
measured is hardly slowed, which a tracing profiler would do by half, and unevenly.
"""

import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from types import FrameType

INTERVAL_SECONDS = 0.002
# The last frame of a thread that waits.
_WAITS = frozenset(
    {("selectors.py", "select"), ("threading.py", "wait"), ("queue.py", "get"), ("thread.py", "_worker")}
)

Place = tuple[str, str]


@contextmanager
def sampled(place_of: Callable[[list[Place]], Hashable]) -> Iterator[Counter]:
    """Counts, within it, how often it was the turn of each place.

    `place_of` names the place of a stack, given as (file, function), the innermost first. Where several
    threads are at work, each counts in part. Only in the main thread; raises ValueError elsewhere.
    """
    counts: Counter = Counter()
    main = threading.main_thread().ident

    def look(_number: int, frame: FrameType | None) -> None:
        # An event loop has every signal written into a pipe that it may not read for a while.
        signal.set_wakeup_fd(signal.set_wakeup_fd(-1), warn_on_full_buffer=False)
        frames = sys._current_frames() | {main: frame}
        stacks = [stack for stack in map(_stack, frames.values()) if stack and not _waits(stack[0])]
        for stack in stacks or [_stack(frame)]:
            counts[place_of(stack)] += 1 / max(len(stacks), 1)

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


def _waits(place: Place) -> bool:
    file, function = place
    return (file.rpartition("/")[2], function) in _WAITS
