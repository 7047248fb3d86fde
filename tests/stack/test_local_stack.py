"""`python app.py` as somebody at home starts it: the real children, up, down, and up again."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener

import pytest
import redis

from pdsapp.stack.valkey import redis_url

from .conftest import is_running

pytestmark = pytest.mark.stack
ROOT = Path(__file__).resolve().parents[2]
ON_LINUX = sys.platform.startswith("linux")


class LocalStack:
    """A running `python app.py` (or another way to start it) and what it has written."""

    def __init__(self, data_dir: Path, command: tuple[str, ...]):
        environment = {**os.environ, "PDS_DATA_DIR": str(data_dir), "PDS_PORT": "0", "PDS_DEMO": "0"}
        self.text = ""
        self.process = subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self.text += line

    def wait_until_up(self, seconds: float = 30) -> str:
        """The address, once it is printed."""
        return self.wait_for(r"is running at (\S+)\n", seconds)[1]

    def wait_for(self, pattern: str, seconds: float = 20) -> re.Match[str]:
        """Where this has been written, once it has been."""
        until = time.monotonic() + seconds
        while not (found := re.search(pattern, self.text)):
            assert time.monotonic() < until, self.text
            assert self.process.poll() is None, self.text
            time.sleep(0.02)
        return found

    def children(self) -> dict[int, str]:
        """The processes it has started, with what they are called."""
        command = ["ps", "-o", "pid=,args=", "--ppid", str(self.process.pid)]
        listing = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        return {int(pid): name for pid, name in re.findall(r"(\d+) (.+)", listing)}

    def clean_up(self) -> None:
        """Kill what a failed test has left: the guardian takes the rest."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._reader.join(10)
        self.process.stdout.close()


@pytest.fixture
def start(tmp_path):
    """`start()` runs `python app.py` on this test's data directory."""
    started = []

    def start(*command: str) -> LocalStack:
        started.append(LocalStack(tmp_path / "data", command or ("app.py",)))
        return started[-1]

    yield start
    for stack in started:
        stack.clean_up()


def get(address: str) -> int:
    try:
        with build_opener(ProxyHandler({})).open(address, timeout=10) as answer:
            return answer.status
    except HTTPError as error:
        return error.code


def wait_until_gone(pids, seconds: float) -> None:
    until = time.monotonic() + seconds
    while left := [pid for pid in pids if is_running(pid)]:
        assert time.monotonic() < until, left
        time.sleep(0.02)


@pytest.mark.skipif(not ON_LINUX, reason="ps --ppid is Linux's")
def test_it_comes_up_stops_within_10_s_and_comes_up_again_with_the_same_secrets(start, tmp_path):
    first = start()
    address = first.wait_until_up()
    assert get(f"{address}/healthz") == 200
    assert first.wait_for(r"sign in once with: (\S+)\n")[1].startswith(f"{address}/")
    children = first.children()
    assert len(children) == 8
    key = (tmp_path / "data" / "secret_key").read_text()
    first.process.send_signal(signal.SIGINT)
    assert first.process.wait(10) == 0
    wait_until_gone(children, 0.5)
    assert "Traceback" not in first.text

    second = start("-m", "flask", "--app", "app", "up")
    second.wait_until_up()
    assert (tmp_path / "data" / "secret_key").read_text() == key
    children = second.children()
    assert len(children) == 8
    worker = next(pid for pid, name in children.items() if "worker-1" in name)
    os.kill(worker, signal.SIGKILL)
    second.wait_for("worker-1 is back")
    children |= second.children()
    second.process.kill()
    wait_until_gone(children, 5)


@pytest.mark.skipif(not ON_LINUX, reason="ps --ppid is Linux's")
def test_a_frozen_queue_server_is_replaced_and_everything_is_ready_again_within_a_minute(start, tmp_path):
    stack = start()
    address = stack.wait_until_up()
    with redis.Redis.from_url(redis_url(tmp_path / "data")) as client:
        valkey = client.info("server")["process_id"]
    os.kill(valkey, signal.SIGSTOP)
    frozen_at = time.monotonic()
    assert get(f"{address}/readyz") == 503
    assert get(f"{address}/healthz") == 200
    assert time.monotonic() - frozen_at < 5
    stack.wait_for("valkey has given no sign of life for 10 s: it is killed", 60)
    stack.wait_for("valkey is back", 60)
    while get(f"{address}/readyz") != 200:
        assert time.monotonic() - frozen_at < 60, stack.text
        time.sleep(0.2)
    assert not is_running(valkey)
    assert "worker-1 has given no sign" not in stack.text, "nobody else was blamed for it"
    assert "web has given no sign" not in stack.text
    stack.process.send_signal(signal.SIGINT)
    assert stack.process.wait(20) == 0


def test_an_argument_starts_nothing_and_says_where_the_settings_are():
    done = subprocess.run(
        [sys.executable, "app.py", "--help"], cwd=ROOT, capture_output=True, text=True, timeout=30
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "takes no arguments. Settings: docs/operating.md" in done.stderr
