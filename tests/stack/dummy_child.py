"""A child for the supervisor's tests: `dummy_child.py MODE [FILE]`. Says `pid=N` for each process it is."""

import os
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

LONG = 60


def say(text: str) -> None:
    os.write(1, f"{text}\n".encode())


def end_politely(*_signal: object) -> None:
    say("bye")
    os._exit(0)


def fork_a_deaf_one(leave) -> None:
    """A grandchild that ignores SIGTERM and has left its parent's group or session, and said so."""
    parent_pid = os.getpid()
    heard, said = os.pipe()
    if os.fork():
        os.read(heard, 1)
        os.close(heard)
        os.close(said)
        return
    leave(parent_pid)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    say(f"pid={os.getpid()}")
    os.write(said, b".")
    time.sleep(LONG)
    os._exit(0)


def ask_for_death(parent_pid: int) -> None:
    from pdsapp.scheduling.orphans import die_with_parent

    os.setpgid(0, 0)
    die_with_parent(parent_pid)


def main(mode: str, file: Path | None) -> None:
    signal.signal(signal.SIGTERM, end_politely)
    say(f"pid={os.getpid()}")
    if mode == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if mode == "family":
        fork_a_deaf_one(lambda _: os.setpgid(0, 0))
        fork_a_deaf_one(lambda _: os.setsid())
    if mode == "horse":
        fork_a_deaf_one(ask_for_death)
    if mode == "broken":
        say("no such setting: COLOUR")
        sys.exit(3)
    if mode == "descriptors":
        held = {os.readlink(entry) for entry in Path("/proc/self/fd").iterdir() if entry.exists()}
        say(f"held={sorted(name.partition(':')[0] for name in held)}")
        say(f"hears={[n for n in range(1, 32) if callable(signal.getsignal(n))]}")
        say(f"note={os.environ['DUMMY_NOTE']}")
    if mode == "never":
        time.sleep(LONG)
    time.sleep(0.1)
    say("ready")
    if mode == "crash_once" and not file.exists():
        file.write_text("crashed")
        sys.exit(7)
    if mode == "crash":
        sys.exit(7)
    if mode in ("beat", "beat_once"):
        file.write_text(str(os.getpid()))
    until = time.monotonic() + LONG
    while time.monotonic() < until:
        if mode == "beat":
            os.utime(file)
        time.sleep(0.1)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]) if len(sys.argv) > 2 else None)
