"""How long the product took, and not how long a busy machine let it wait for a processor."""

import time
from pathlib import Path

WAITED = Path("/proc/thread-self/schedstat")


def seconds() -> float:
    """A clock for the calling thread: it stands still while the thread could run and others do.

    It goes on while the thread works and while it waits for anything else. Where the kernel does not count
    (it does on Linux), this is the plain clock.
    """
    waited_ns = int(WAITED.read_text().split()[1]) if WAITED.exists() else 0
    return time.monotonic() - waited_ns / 1e9
