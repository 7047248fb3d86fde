"""The embedded queue server: private, persistent, one per directory."""

import fcntl
import os
import re
import shutil
import signal
import stat
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from pdsapp.errors import StackError
from pdsapp.stack import valkey
from pdsapp.stack.lock import prepare_data_dir
from tests.queue.world import wait_for
from tests.small_disk import fill, small_disk

from .conftest import is_running

pytestmark = pytest.mark.stack
QUEUE = {"valkey": {}}


@pytest.fixture
def connect():
    """`connect(data_dir)`: a client of the embedded server, as the product makes it."""
    clients = []

    def connect(data_dir: Path) -> redis.Redis:
        clients.append(redis.Redis.from_url(valkey.redis_url(data_dir)))
        return clients[-1]

    yield connect
    for client in clients:
        client.close()


def test_it_listens_on_a_private_socket_only_and_keeps_a_file(start_stack, connect):
    stack = start_stack(QUEUE)
    stack.wait_for("up pid")
    client = connect(stack.data_dir)
    wanted = {"port": "0", "appendonly": "yes", "appendfsync": "everysec", "save": ""}
    assert {name: client.config_get(name)[name] for name in wanted} == wanted
    path = valkey.socket_path(stack.data_dir)
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_killed_server_comes_back_with_every_acknowledged_write(start_stack, connect):
    stack = start_stack(QUEUE)
    stack.wait_for("up pid")
    client = connect(stack.data_dir)
    for number in range(1_000):
        client.rpush("wakeups", number)
    os.kill(client.info("server")["process_id"], signal.SIGKILL)
    stack.wait_for("valkey is back")
    assert client.llen("wakeups") == 1_000
    assert "valkey was killed by SIGKILL; it is started again" in stack.text


FAULTS = {
    "frozen": lambda client, path: os.kill(client.info("server")["process_id"], signal.SIGSTOP),
    "without its socket": lambda client, path: path.unlink(),
}


@pytest.mark.parametrize("harm", FAULTS.values(), ids=FAULTS.keys())
def test_a_server_that_does_not_answer_is_replaced_and_clients_find_the_new_one(start_stack, connect, harm):
    stack = start_stack({"valkey": {"quiet_seconds": 1}})
    stack.wait_for("up pid")
    client = connect(stack.data_dir)
    client.set("answer", "42")
    before = client.info("server")["process_id"]
    harm(client, valkey.socket_path(stack.data_dir))
    is_frozen = "is frozen and " if harm is FAULTS["frozen"] else ""
    stack.wait_for(f"valkey {is_frozen}has given no sign of life for 1 s: it is killed")
    stack.wait_for("valkey is back")
    assert client.get("answer") == b"42", "the connection that was open finds the new server"
    assert client.info("server")["process_id"] != before
    assert connect(stack.data_dir).get("answer") == b"42"
    assert not is_running(before)


def test_a_socket_folder_that_somebody_tidied_away_is_made_again(start_stack, connect, tmp_path):
    stack = start_stack({"valkey": {"quiet_seconds": 1}}, data_dir=tmp_path / ("x" * 120))
    stack.wait_for("up pid")
    folder = valkey.socket_path(stack.data_dir).parent
    assert folder != valkey.server_dir(stack.data_dir)
    shutil.rmtree(folder)
    stack.wait_for("valkey is back")
    assert connect(stack.data_dir).ping()
    stack.send(signal.SIGTERM)
    assert stack.end() == 0
    folder.rmdir()


def test_the_embedded_server_is_replaced_well_within_a_minute(tmp_path):
    spec = valkey.valkey_child(prepare_data_dir(tmp_path / "data"), print)
    assert spec.quiet_seconds == 10
    assert spec.heartbeat_age is not None


@pytest.fixture
def disk(tmp_path):
    with small_disk(tmp_path / "disk", 16) as path:
        yield path


def refuses_writes(client):
    try:
        client.set("written", "x" * 10_000)
    except redis.ResponseError as error:
        return "MISCONF" in str(error)
    except redis.ConnectionError:
        return False
    return False


@contextmanager
def pestered(data_dir):
    """Somebody writes all the time, whatever the answer is."""
    is_over = threading.Event()

    def write():
        with redis.Redis.from_url(valkey.redis_url(data_dir)) as client:
            while not is_over.wait(0.002):
                refuses_writes(client)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield
    finally:
        is_over.set()
        writer.join(10)


def test_a_server_on_a_full_disk_is_left_alone_and_serves_again_when_there_is_room(
    disk, start_stack, connect
):
    stack = start_stack({"valkey": {"quiet_seconds": 1, "ready_seconds": 3}}, data_dir=disk / "data")
    stack.wait_for("up pid")
    client = connect(stack.data_dir)
    client.set("answer", "42")
    filler = fill(disk)
    wait_for(lambda: refuses_writes(client))
    first = client.info("server")["process_id"]
    time.sleep(4)
    assert client.info("server")["process_id"] == first
    with pestered(stack.data_dir):  # the first writes come before the supervisor asks whether it is ready
        os.kill(first, signal.SIGKILL)
        stack.wait_for("valkey is back")
        wait_for(lambda: refuses_writes(client))
        second = client.info("server")["process_id"]
        time.sleep(4)
        assert client.get("answer") == b"42"
        filler.unlink()
        wait_for(lambda: not refuses_writes(client))
    assert client.get("written") and client.ping()
    assert client.info("server")["process_id"] == second
    assert "no sign of life" not in stack.text and "not ready" not in stack.text
    stack.send(signal.SIGTERM)
    assert stack.end() == 0


class TestPulse:
    """How long ago the server answered, as the supervisor asks once a second."""

    @pytest.fixture
    def clock(self):
        return [100.0]

    @pytest.fixture
    def answers(self, monkeypatch):
        answers = [b"+PONG\r\n"]
        monkeypatch.setattr(valkey, "ping", lambda _path: answers[0])
        return answers

    @pytest.fixture
    def pulse(self, clock):
        return valkey.Pulse(Path("nowhere"), clock=lambda: clock[0])

    def test_it_grows_from_the_last_answer(self, pulse, clock, answers):
        assert pulse.age(7) == 0
        answers[0] = b""
        clock[0] += 1
        assert pulse.age(7) == 1
        clock[0] += 1
        assert pulse.age(7) == 2
        answers[0] = b"+PONG\r\n"
        assert pulse.age(7) == 0

    @pytest.mark.parametrize("said", [b"-MISCONF Errors writing to the AOF file", b"-LOADING", b"-BUSY"])
    def test_an_error_is_an_answer_too(self, pulse, clock, answers, said):
        answers[0] = said
        for _ in range(3):
            assert pulse.age(7) == 0
            clock[0] += 4

    def test_a_supervisor_that_slept_does_not_blame_the_server(self, pulse, clock, answers):
        pulse.age(7)
        answers[0] = b""
        clock[0] += 3_600
        assert pulse.age(7) == 0
        clock[0] += 1
        assert pulse.age(7) == 1

    def test_a_new_process_begins_anew(self, pulse, clock, answers):
        pulse.age(7)
        answers[0] = b""
        clock[0] += 4
        assert pulse.age(7) == 4
        assert pulse.age(8) == 0


def test_a_stack_killed_and_started_again_at_once_has_its_data(start_stack, connect):
    first = start_stack(QUEUE)
    first.wait_for("up pid")
    client = connect(first.data_dir)
    client.set("answer", "42")
    first.process.kill()
    second = start_stack(QUEUE)
    second.wait_for("up pid")
    assert client.get("answer") == b"42"
    second.send(signal.SIGTERM)
    assert second.end() == 0
    assert not valkey.socket_path(second.data_dir).exists()


@pytest.mark.parametrize(
    "name",
    ["x" * 120, "with space, 'quote' and \"two\"", "Größe %41 #1?"],
    ids=["too long for a socket", "spaces and quotes", "not ASCII"],
)
def test_any_data_directory_will_do(start_stack, connect, tmp_path, name):
    stack = start_stack(QUEUE, data_dir=tmp_path / name)
    stack.wait_for("up pid")
    path = valkey.socket_path(stack.data_dir)
    assert len(os.fsencode(path)) <= valkey.LONGEST_SOCKET_PATH
    assert connect(stack.data_dir).ping()
    stack.send(signal.SIGTERM)
    assert stack.end() == 0
    if path.parent != valkey.server_dir(stack.data_dir):
        path.parent.rmdir()


def test_a_file_that_cannot_be_read_is_kept_aside_and_the_queue_starts_empty(start_stack, connect, tmp_path):
    files = prepare_data_dir(tmp_path / "data") / "valkey" / "appendonlydir"
    files.mkdir(parents=True)
    (files / "appendonly.aof.manifest").write_text("file appendonly.aof.1.incr.aof seq 1 type i\n")
    (files / "appendonly.aof.1.incr.aof").write_text("this is not a command\n")
    stack = start_stack(QUEUE)
    stack.wait_for("up pid")
    assert "cannot read its append-only file" in stack.text
    assert connect(stack.data_dir).dbsize() == 0
    kept = re.search(r"kept in (\S+),", stack.text)[1]
    assert (Path(kept) / "appendonly.aof.1.incr.aof").exists()


def test_a_server_that_still_holds_the_directory_is_not_joined(tmp_path, monkeypatch):
    monkeypatch.setattr(valkey, "LOCK_SECONDS", 0.1)
    data_dir = prepare_data_dir(tmp_path / "data")
    spec = valkey.valkey_child(data_dir, print)
    with (valkey.server_dir(data_dir) / "server.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(StackError, match="Another Valkey server still uses"):
            spec.before_start(None)


def test_a_runtime_directory_that_is_not_ours_is_refused(tmp_path, monkeypatch):
    data_dir = prepare_data_dir(tmp_path / ("x" * 120))
    with tempfile.TemporaryDirectory(dir="/tmp") as runtime:  # short, else the socket lies elsewhere
        monkeypatch.setenv("XDG_RUNTIME_DIR", runtime)
        (tmp_path / "elsewhere").mkdir()
        directory = valkey.socket_path(data_dir).parent
        assert directory.is_relative_to(runtime)
        directory.symlink_to(tmp_path / "elsewhere")
        with pytest.raises(StackError, match="belongs to somebody else"):
            valkey.valkey_child(data_dir, print)
