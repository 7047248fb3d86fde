"""`python app.py` as somebody at home starts it, in a session of its own, on a folder of its own."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 60
STOP_SECONDS = 20


class Stack:
    """A running stack, what it has printed so far, and where it answers. Use it in a `with` statement.

    `settings` are environment variables beside those that keep it on its own folder and port. What the
    person at the keyboard has set in the environment is handed on, so clear it before.
    """

    def __init__(self, data_dir: Path, **settings: str):
        self.data_dir = data_dir
        self.lines: list[str] = []
        own = {
            "PDS_DATA_DIR": str(data_dir),
            "PDS_PORT": str(free_port()),
            "PDS_PARENT_PID": str(os.getpid()),  # ends with us, even if we are killed
            "PYTHONUNBUFFERED": "1",
        }
        self._environment = {**os.environ, **own, **settings}
        self._process = subprocess.Popen(
            [sys.executable, "app.py"],
            cwd=ROOT,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()

    @property
    def address(self) -> str:
        """Where the web server answers, once it does."""
        return self.wait_for(r"running at (http://\S+)")[1]

    @property
    def one_time_link(self) -> str:
        """What the first administrator signs in with."""
        return self.wait_for(r"(http://\S+/first-sign-in/\S+)")[1]

    def command(self, *words: str) -> str:
        """What `flask WORDS` prints, run beside the stack on the same folder. Raises when it fails."""
        command = [sys.executable, "-m", "flask", "--app", "app", *words]
        done = subprocess.run(
            command, cwd=ROOT, env=self._environment, capture_output=True, text=True, check=True, timeout=60
        )
        return done.stdout

    def wait_for(self, pattern: str, seconds: float = START_SECONDS) -> re.Match[str]:
        """The first printed line that matches. Raises AssertionError with the output when none comes."""
        found: list[re.Match[str]] = []

        def has_come() -> bool:
            found.extend(match for line in list(self.lines) if (match := re.search(pattern, line)))
            return bool(found) or self._process.poll() is not None

        wait_until(has_come, seconds)
        assert found, f"{pattern!r} was never printed:\n{self.tail()}"
        return found[0]

    def tail(self, count: int = 40) -> str:
        """The last lines printed."""
        return "\n".join(self.lines[-count:])

    def stop(self) -> None:
        """Stops it as Ctrl-C does, or by force when it does not listen."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(5)
        self._process.stdout.close()

    def processes(self) -> list[int]:
        """The living processes that were started with this stack's folder; Linux only, elsewhere none."""
        mark = f"PDS_DATA_DIR={self.data_dir}".encode()
        return [int(entry.name) for entry in Path("/proc").glob("[0-9]*") if _is_living(entry, mark)]

    def _read(self) -> None:
        for line in self._process.stdout:
            self.lines.append(line.rstrip())


def wait_until(is_so: Callable[[], bool], seconds: float) -> bool:
    """Whether it became so within these seconds."""
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def _is_living(entry: Path, mark: bytes) -> bool:
    try:
        is_marked = mark in (entry / "environ").read_bytes().split(b"\0")
        return is_marked and b") Z" not in (entry / "stat").read_bytes()
    except OSError:
        return False
