"""How long the product took, and not how long a busy machine let it wait for a processor.

The kernel counts that wait for each thread (on Linux; elsewhere these are plain clocks). What a thread does,
and what else it waits for, counts in full.
"""

import subprocess
import time
from pathlib import Path

EVERY_SECONDS = 0.005


def seconds() -> float:
    """A clock for the calling thread: it stands still while the thread could run and others do."""
    return time.monotonic() - _kept_waiting("thread-self")


def seconds_until_end(process: subprocess.Popen, limit: float) -> float:
    """How long a process took to end, by such a clock of its main thread. Raises TimeoutExpired."""
    began = time.monotonic()
    before = kept_waiting = _kept_waiting(str(process.pid))
    while process.poll() is None:
        if time.monotonic() - began > limit:
            raise subprocess.TimeoutExpired(process.args, limit)
        kept_waiting = max(kept_waiting, _kept_waiting(str(process.pid)))
        time.sleep(EVERY_SECONDS)
    return time.monotonic() - began - (kept_waiting - before)


def _kept_waiting(thread: str) -> float:
    try:
        return int(Path("/proc", thread, "schedstat").read_text().split()[1]) / 1e9
    except OSError:
        return 0.0
