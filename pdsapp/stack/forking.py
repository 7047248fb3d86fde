"""Children forked from the supervisor, which has imported the application once for all of them.

Five processes that each import everything take five times as long to start as one; a forked child runs at
once and shares the memory. Only on Linux (macOS's libraries do not bear a fork without exec), only from a
process with one thread, and only while no connection to database or queue is open in it.
"""

import contextlib
import contextvars
import ctypes
import gc
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import BinaryIO, NoReturn

PR_SET_NAME = 15


def can_fork() -> bool:
    """Whether children may be forked without exec here."""
    return sys.platform.startswith("linux") and threading.active_count() == 1


class Forked:
    """A process running a function; what the supervisor uses of `subprocess.Popen`, and no more.

    The function runs in a new session, with `environment` added to the present one, with its output in
    the pipe `stdout` and with no other descriptors than `keep`; its return value is the exit code.
    `prepare` is called first in the new process.
    """

    def __init__(
        self,
        name: str,
        function: Callable[[], int | None],
        environment: Mapping[str, str],
        keep: Collection[int],
        prepare: Callable[[], object],
    ):
        # Shared memory stays shared as long as the collector does not write into it.
        gc.freeze()
        read_end, write_end = os.pipe()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            self.pid = os.fork()
            if self.pid == 0:
                _become(name, function, environment, {*keep, write_end}, write_end, prepare)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        os.close(write_end)
        self.stdout: BinaryIO = os.fdopen(read_end, "rb", buffering=0)
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit code if the process has ended, negative for a signal."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, once the process has ended. Raises subprocess.TimeoutExpired."""
        until = None if timeout is None else time.monotonic() + timeout
        while self.poll() is None:
            if until is not None and time.monotonic() > until:
                raise subprocess.TimeoutExpired(str(self.pid), timeout)
            time.sleep(0.005)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Signal the process unless its end has been seen."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill the process unless its end has been seen."""
        self.send_signal(signal.SIGKILL)


def _become(
    name: str,
    function: Callable[[], int | None],
    environment: Mapping[str, str],
    keep: Collection[int],
    output: int,
    prepare: Callable[[], object],
) -> NoReturn:
    """Turn the forked copy of the supervisor into the child, run it, and end the process."""
    code: int | str | None = 1
    try:
        os.setsid()
        prepare()
        signal.set_wakeup_fd(-1)
        for number in signal.valid_signals():
            if callable(signal.getsignal(number)):
                signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        null = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((null, 0), (output, 1), (output, 2)):
            os.dup2(source, target)
        _cut_off_all_but(keep - {output}, null)
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(line_buffering=True)
        os.environ.update(environment)
        _set_name(name)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        # `flask up` runs within an application of its own, which must not be the children's.
        code = contextvars.Context().run(function)
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
    finally:
        if isinstance(code, str):
            print(code, file=sys.stderr)
            code = 1
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        # Nothing of the supervisor's may run: not its context managers, not its exit handlers.
        os._exit(code or 0)


def _cut_off_all_but(keep: Collection[int], null: int) -> None:
    """Let go of every inherited descriptor but the standard ones: lock, pipes, the guardian's lifeline.

    Objects of the supervisor still own the numbers and may close them at any time, so each is made to lead
    nowhere instead of being closed: closed, it would soon mean a file or connection of the child's.
    """
    for number in [int(entry) for entry in os.listdir("/proc/self/fd")]:
        if number > 2 and number not in keep:
            # What listed the directory has gone again by now.
            with contextlib.suppress(OSError):
                os.fstat(number)
                os.dup2(null, number, inheritable=False)


def _set_name(name: str) -> None:
    """Have `ps` and `top` show which child this is, as far as the room of the old command line goes."""
    title = f"twins: {name}".encode()
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_NAME, title[:15], 0, 0, 0)
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    # Fields 48 and 49 of proc(5): where the arguments lie. They are zero if we may not know.
    start, end = int(fields[45]), int(fields[46])
    if start and end - start > 1:
        room = end - start - 1
        ctypes.memmove(start, title[:room].ljust(room, b"\0"), room)
