"""Processes that must not outlive their parent. Light: supervisors and work-horses import it first."""

import ctypes
import os
import signal
import sys
import threading
import time

PR_SET_PDEATHSIG = 1

# Loaded before any fork: between fork and exec nothing may be imported.
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform.startswith("linux") else None


def die_with_parent(parent_pid: int) -> None:
    """Have the kernel kill this process when its parent ends; call it first thing after a fork.

    The wish is lost at every fork, so each generation asks for itself. `parent_pid` is the parent's id as
    known before the fork: a parent that ended in between is noticed too. Where the kernel cannot do it
    (macOS), a thread looks twice a second.
    """
    if _ask_for_death_signal(parent_pid):
        return
    threading.Thread(target=_watch_parent, args=(parent_pid,), daemon=True, name="parent-watch").start()


def _ask_for_death_signal(parent_pid: int) -> bool:
    if _libc is not None:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:
        os.kill(os.getpid(), signal.SIGKILL)
    return _libc is not None


def _watch_parent(parent_pid: int) -> None:
    while os.getppid() == parent_pid:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGKILL)
