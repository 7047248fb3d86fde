"""The local stack's web server, as a process on a socket that its parent keeps."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing, suppress
from http.client import HTTPConnection
from pathlib import Path
from urllib.request import ProxyHandler, Request, build_opener

import pytest

from pdsapp.errors import StackError
from pdsapp.stack.preflight import address_of, bind
from pdsapp.web import UPLOADS
from tests.small_disk import fill, small_disk

pytestmark = pytest.mark.stack
SERVER = Path(__file__).with_name("dummy_web.py")


@pytest.fixture
def listener():
    with bind("127.0.0.1", 0) as listener:
        yield listener


@pytest.fixture
def heartbeat_file(tmp_path):
    return tmp_path / "heartbeat"


@pytest.fixture
def start_server(listener, heartbeat_file):
    """`start_server()`: the server as a process; several may follow each other on the same socket."""
    started = []

    def start(beats: Path = heartbeat_file) -> subprocess.Popen:
        command = [sys.executable, str(SERVER), str(listener.fileno()), str(beats)]
        process = subprocess.Popen(
            command,
            pass_fds=(listener.fileno(),),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def get(listener, path: str = "/", **headers: str) -> str:
    request = Request(address_of("127.0.0.1", listener) + path, headers=headers)
    with build_opener(ProxyHandler({})).open(request, timeout=10) as answer:
        return answer.read().decode()


def test_an_answer_that_has_begun_is_finished_after_sigterm(start_server, listener):
    server = start_server()
    answers = []
    asking = threading.Thread(target=lambda: answers.append(get(listener, "/slow")))
    asking.start()
    assert server.stdout.readline() == "slow has begun\n"
    server.send_signal(signal.SIGTERM)
    asking.join(5)
    assert answers == ["direct"]
    assert server.wait(5) == 0


def test_a_stop_is_heard_from_the_moment_it_says_that_it_answers(tmp_path):
    script = (
        "import builtins, os, signal\n"
        "from pdsapp.stack import web\n"
        "say = builtins.print\n"
        "builtins.print = lambda *words, **how: (say(*words, **how), os.kill(os.getpid(), signal.SIGTERM))\n"
        "web.run(web.bind('127.0.0.1', 0), None)\n"
    )
    environment = {"PDS_DATA_DIR": str(tmp_path), "PDS_DEMO": "0", "SECRET_KEY": "x" * 32}
    server = subprocess.run(
        [sys.executable, "-c", script], cwd=SERVER.parents[2], env={**os.environ, **environment},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert server.stdout.startswith("answering at http://127.0.0.1:"), server.stderr
    assert server.returncode == 0, server.stderr


def test_a_visitor_waits_while_a_killed_server_is_replaced(start_server, listener):
    first = start_server()
    assert get(listener) == "direct"
    first.kill()
    first.wait()
    answers = []
    asking = threading.Thread(target=lambda: answers.append(get(listener)))
    asking.start()
    start_server()
    asking.join(5)
    assert answers == ["direct"]


def test_it_gives_signs_of_life(start_server, listener, heartbeat_file):
    server = start_server()
    get(listener)
    assert heartbeat_file.read_text() == str(server.pid)
    assert time.time() - heartbeat_file.stat().st_mtime < 5


def test_a_full_disk_does_not_silence_it(start_server, listener, tmp_path):
    with small_disk(tmp_path / "small", 1) as folder:
        beats = folder / "heartbeat"
        server = start_server(beats)
        get(listener, "/")
        fill(folder)
        with pytest.raises(OSError):
            (folder / "more").write_text("x" * 8192)
        first = beats.stat().st_mtime
        deadline = time.monotonic() + 10
        while beats.stat().st_mtime == first and time.monotonic() < deadline:
            time.sleep(0.1)
        assert beats.stat().st_mtime > first
        assert beats.read_text() == str(server.pid)


def test_a_hundred_megabytes_are_read_to_their_end_and_kept_nowhere(start_server, listener):
    server, body = start_server(), (b"x" * 1_000_000 for _ in range(100))
    with connected(listener) as connection:
        connection.request("POST", "/length", body, {"Content-Length": "100000000"})
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (413, b"100000000 announced, 0 kept")
    assert peak_bytes(server.pid) < 80_000_000


def test_the_longest_upload_that_a_page_takes_is_kept(start_server, listener):
    longest = max(UPLOADS.values())
    start_server()
    with connected(listener) as connection:
        connection.request("POST", "/length", b"x" * longest)
        assert connection.getresponse().read() == f"{longest} announced, {longest} kept".encode()


def test_a_body_of_unknown_length_is_cut_off(start_server, listener):
    server, body = start_server(), (b"x" * 1_000_000 for _ in range(100))
    with connected(listener) as connection, suppress(BrokenPipeError, ConnectionResetError):
        connection.request("POST", "/length", body, encode_chunked=True)
        assert connection.getresponse().status == 413
    assert peak_bytes(server.pid) < 80_000_000


def connected(listener):
    host = address_of("127.0.0.1", listener).removeprefix("http://")
    return closing(HTTPConnection(host, timeout=60))


def peak_bytes(pid: int) -> int:
    """The most memory a process has had."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        pytest.skip("/proc tells what a process has had, and there is none")
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def test_a_visitor_cannot_pretend_to_come_through_a_proxy(start_server, listener):
    start_server()
    assert get(listener, **{"X-Forwarded-For": "10.0.0.1"}) == "direct"


@pytest.mark.parametrize("host", ["192.0.2.1", "no such host"])
def test_an_address_that_is_not_ours_is_refused(host):
    with pytest.raises(StackError, match=rf"PDS_HOST={host} is not .* address"):
        bind(host, 0)
