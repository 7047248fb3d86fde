"""The embedded queue server: private, persistent, one per directory."""

import fcntl
import os
import re
import signal
import stat
from pathlib import Path

import pytest
import redis

from pdsapp.errors import StackError
from pdsapp.stack import valkey
from pdsapp.stack.lock import prepare_data_dir

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
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    data_dir = prepare_data_dir(tmp_path / ("x" * 120))
    (tmp_path / "elsewhere").mkdir()
    valkey.socket_path(data_dir).parent.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StackError, match="belongs to somebody else"):
        valkey.valkey_child(data_dir, print)
