"""Ends what is left of a local stack whose supervisor is gone, however it went.

The supervisor starts this file as a plain script (`python -I -S guardian.py TOKEN`), in its own session,
and keeps the other end of its standard input. While it lives it tells which sessions its children lead; when
it ends, even by `kill -9`, the pipe closes and everything of that stack is killed. Linux kills the direct
children by itself (PR_SET_PDEATHSIG); what they forked is found here, and on macOS, which has no such signal,
everything is.

Only the standard library is imported, and little of it, so that it is there within milliseconds.
"""

import os
import signal
import sys
import time
from collections.abc import Callable, Collection, Iterator

MARK = "PDS_STACK_CHILD"
PATIENCE_SECONDS = 4.0


def members(sessions: Collection[int], mark: str | None = None) -> list[int]:
    """Process ids of the living members of some sessions, and of those whose environment holds a mark.

    A mark is the beginning of the value of `PDS_STACK_CHILD`; it finds processes that left the session too.
    It is looked for on Linux only. Zombies and the asking process are left out.
    """
    own = os.getpid()
    has_proc = os.path.isdir("/proc/self")
    found = _members_by_proc(sessions, mark) if has_proc else _members_by_ps(sessions)
    return [pid for pid in found if pid != own]


def end(find: Callable[[], list[int]], seconds: float) -> bool:
    """Whether everything `find` returns is gone after killing it again and again for at most `seconds`."""
    until = time.monotonic() + seconds
    while pids := find():
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                continue
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


def _members_by_proc(sessions: Collection[int], mark: str | None) -> Iterator[int]:
    wanted = f"{MARK}={mark}".encode() if mark else None
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                # The command's name may hold spaces and brackets: read from the last bracket on.
                state, _parent, _group, session = file.read().rpartition(b")")[2].split()[:4]
            if state in (b"Z", b"X"):
                continue
            if int(session) in sessions:
                yield int(name)
            elif wanted:
                with open(f"/proc/{name}/environ", "rb") as file:
                    if any(entry.startswith(wanted) for entry in file.read().split(b"\0")):
                        yield int(name)
        except (OSError, ValueError):
            continue


def _members_by_ps(sessions: Collection[int]) -> Iterator[int]:
    import subprocess

    listing = subprocess.run(["ps", "-axo", "pid=,stat="], capture_output=True, text=True, check=False)
    for line in listing.stdout.splitlines():
        pid, _, state = line.strip().partition(" ")
        try:
            if not state.strip().startswith("Z") and os.getsid(int(pid)) in sessions:
                yield int(pid)
        except (OSError, ValueError):
            continue


def main(token: str) -> None:
    """Wait for the supervisor's end, then kill its stack."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sessions: set[int] = set()
    rest = b""
    while data := os.read(0, 65536):
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            (sessions.add if line[:1] == b"+" else sessions.discard)(int(line[1:]))
    end(lambda: members(sessions, f"{token}/"), PATIENCE_SECONDS)


if __name__ == "__main__":
    main(sys.argv[1])
