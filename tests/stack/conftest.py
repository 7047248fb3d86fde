"""Stacks of dummy children as real processes; whatever a test leaves behind is killed by its own id."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

STACK = Path(__file__).with_name("dummy_stack.py")


def is_running(pid: int) -> bool:
    """Whether a process lives; a zombie that nobody has collected yet does not."""
    try:
        os.kill(pid, 0)
        return b") Z" not in Path(f"/proc/{pid}/stat").read_bytes()
    except ProcessLookupError:
        return False
    except FileNotFoundError:
        return not Path("/proc/self").exists()


class Stack:
    """A running dummy_stack.py, its output so far, and the processes it named.

    Whether it hears SIGHUP is not left to how the tests themselves were started.
    """

    def __init__(
        self,
        data_dir: Path,
        children: dict[str, dict],
        port: int = 0,
        by_nohup: bool = False,
        environment: Mapping[str, str] | None = None,
    ):
        self.data_dir = data_dir
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, str(STACK), str(data_dir), str(port), json.dumps(children), str(int(by_nohup))],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={**os.environ, **(environment or {})},
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    @property
    def text(self) -> str:
        """Everything written so far."""
        return "\n".join(self.lines)

    def pids(self, name: str = r"\S+") -> list[int]:
        """The processes that children of this name have said they are, oldest first."""
        return [int(pid) for pid in re.findall(rf"(?m)^{name} +\| pid=(\d+)", self.text)]

    def wait_for(self, text: str, count: int = 1, seconds: float = 10) -> None:
        """Return when `text` has been written `count` times."""
        until = time.monotonic() + seconds
        while self.text.count(text) < count:
            assert time.monotonic() < until, f"no {text!r} in:\n{self.text}"
            time.sleep(0.02)

    def wait_until_gone(self, seconds: float) -> None:
        """Return when no process that was ever named lives any more."""
        until = time.monotonic() + seconds
        while left := [pid for pid in self.pids() if is_running(pid)]:
            assert time.monotonic() < until, f"{left} still live:\n{self.text}"
            time.sleep(0.02)

    def send(self, number: signal.Signals) -> None:
        """Signal the supervisor alone."""
        self.process.send_signal(number)

    def end(self, seconds: float = 10) -> int:
        """The supervisor's exit code, once it has ended."""
        code = self.process.wait(seconds)
        self._reader.join(seconds)
        return code

    def clean_up(self) -> None:
        """Kill what a failed test has left."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for pid in self.pids():
            if is_running(pid):
                os.kill(pid, signal.SIGKILL)
        self._reader.join(5)
        self.process.stdout.close()
        self.process.stderr.close()


@pytest.fixture
def start_stack(tmp_path):
    """`start_stack({"name": {"mode": …}}, port=…)` starts a stack on this test's data directory."""
    started = []

    def start(children: dict[str, dict], **options) -> Stack:
        started.append(Stack(options.pop("data_dir", tmp_path / "data"), children, **options))
        return started[-1]

    yield start
    for stack in started:
        stack.clean_up()
