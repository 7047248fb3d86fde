"""A wait that ends with the next signal."""

import os
import select
import signal
from contextlib import suppress


def end_undisturbed() -> None:
    """Ignores what asks to stop from now on: the process ends, and Python gives signals back before it does.

    Without it a second signal makes a clean exit look like a kill.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


class Bell:
    """Waits in `select` on a pipe that every handled signal writes to. Only for the main thread."""

    def __init__(self) -> None:
        self._pipe: tuple[int, int] | None = None
        self._before = -1

    def open(self) -> None:
        """Has signals ring it from now on; they need a Python handler for that."""
        if self._pipe is None:
            self._pipe = os.pipe()
            for descriptor in self._pipe:
                os.set_blocking(descriptor, False)
            self._before = signal.set_wakeup_fd(self._pipe[1], warn_on_full_buffer=False)

    def close(self) -> None:
        """Gives the signals back; also in a child that has inherited it."""
        if self._pipe is not None:
            signal.set_wakeup_fd(self._before)
            for descriptor in self._pipe:
                os.close(descriptor)
            self._pipe = None

    def wait(self, seconds: float) -> None:
        """Returns when it rings, at once if it has rung before, or after some seconds."""
        select.select([self._pipe[0]], [], [], seconds)
        with suppress(BlockingIOError):
            os.read(self._pipe[0], 4096)
