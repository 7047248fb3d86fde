"""The supervisor with real processes: everything starts, comes back, and nothing is ever left."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pdsapp.errors import StackError
from pdsapp.stack.lock import prepare_data_dir, running_stack
from pdsapp.stack.output import Output

from .conftest import Stack, is_running

pytestmark = pytest.mark.stack
ROOT = Path(__file__).resolve().parents[2]
ON_LINUX = sys.platform.startswith("linux")
# Long enough for a child to be expected to have beaten, and to be killed if it has not.
PACE_SETTLED_SECONDS = 4
DIFFICULT = {
    "polite": {"mode": "loop", "stop_turn": 1},
    "deaf": {"mode": "deaf", "stop_seconds": 0.5},
    "family": {"mode": "family"},
    "horse": {"mode": "horse"},
    "forked": {"mode": "horse", "is_forked": True},
}


def refusal_of(stack: Stack) -> str:
    """The one sentence a stack that cannot start leaves on stderr, after exit code 1 and no traceback."""
    assert stack.end() == 1
    message = stack.process.stderr.read()
    assert message.startswith("Discourse Twins: ")
    assert "Traceback" not in message
    stack.wait_until_gone(1)
    return message.removeprefix("Discourse Twins: ").strip()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda n: n.name)
def test_a_stop_signal_ends_all_children_and_all_they_forked(start_stack, number):
    stack = start_stack(DIFFICULT)
    stack.wait_for("up pid")
    assert len(stack.pids()) == 9
    stack.send(number)
    assert stack.end(5) == 0
    stack.wait_until_gone(0.5)
    assert "deaf does not stop: it is killed." in stack.text
    assert running_stack(stack.data_dir) is None


def test_started_by_nohup_it_works_on_when_the_terminal_is_closed(start_stack):
    stack = start_stack({"polite": {"mode": "loop"}}, by_nohup=True)
    stack.wait_for("up pid")
    stack.send(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        stack.end(1)
    assert is_running(stack.pids("polite")[0])
    stack.send(signal.SIGTERM)
    assert stack.end(5) == 0


def test_later_turns_work_on_until_the_earlier_have_ended(start_stack):
    stack = start_stack(DIFFICULT)
    stack.wait_for("up pid")
    stack.send(signal.SIGTERM)
    assert stack.end(5) == 0
    ends = [line for line in stack.lines if "bye" in line or "killed" in line]
    assert ends[-1].startswith("polite ")
    assert len(ends) == 5


def test_a_second_ctrl_c_kills_at_once(start_stack):
    stack = start_stack({"deaf": {"mode": "deaf", "stop_seconds": 30}, "family": {"mode": "family"}})
    stack.wait_for("up pid")
    stack.send(signal.SIGINT)
    time.sleep(0.8)
    stack.send(signal.SIGINT)
    assert stack.end(3) == 130
    stack.wait_until_gone(1)


def test_the_same_signal_passed_on_twice_at_once_still_stops_gracefully(start_stack):
    stack = start_stack({"polite": {"mode": "loop"}})
    stack.wait_for("up pid")
    stack.send(signal.SIGINT)
    stack.send(signal.SIGINT)
    assert stack.end(5) == 0
    assert "bye" in stack.text


def test_kill_9_of_the_supervisor_leaves_nothing(start_stack):
    stack = start_stack(DIFFICULT | {"frozen": {"mode": "loop"}})
    stack.wait_for("up pid")
    os.kill(stack.pids("frozen")[0], signal.SIGSTOP)
    stack.process.kill()
    stack.wait_until_gone(5)


@pytest.mark.skipif(not ON_LINUX, reason="the death signal is Linux's")
def test_without_the_guardian_the_kernel_ends_children_and_what_asked_for_it(start_stack):
    stack = start_stack({"polite": {"mode": "loop"}, "horse": {"mode": "horse"}})
    stack.wait_for("up pid")
    assert len(stack.pids()) == 3
    os.kill(guardian_of(stack), signal.SIGKILL)
    stack.process.kill()
    stack.wait_until_gone(5)


@pytest.mark.skipif(not ON_LINUX, reason="reads /proc")
def test_a_killed_guardian_is_replaced(start_stack):
    stack = start_stack({"family": {"mode": "family"}})
    stack.wait_for("up pid")
    first = guardian_of(stack)
    os.kill(first, signal.SIGKILL)
    until = time.monotonic() + 5
    while guardian_of(stack) in (None, first):
        assert time.monotonic() < until
        time.sleep(0.05)
    stack.process.kill()
    stack.wait_until_gone(5)


def test_where_the_kernel_cannot_a_thread_watches_the_parent():
    script = (
        "import os, time\n"
        "from pdsapp.scheduling import orphans\n"
        "orphans._libc = None\n"
        "parent = os.getpid()\n"
        "if os.fork() == 0:\n"
        "    orphans.die_with_parent(parent)\n"
        "    print(os.getpid(), flush=True)\n"
        "time.sleep(60)\n"
    )
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        child = int(parent.stdout.readline())
        assert is_running(child)
        parent.kill()
    until = time.monotonic() + 5
    while is_running(child):
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_crashed_child_is_started_again_and_the_others_never_notice(start_stack):
    stack = start_stack({"shaky": {"mode": "crash_once"}, "polite": {"mode": "loop"}})
    stack.wait_for("shaky is back")
    assert "shaky ended with exit code 7; it is started again in 0.2 s." in stack.text
    assert len(stack.pids("shaky")) == 2
    assert len(stack.pids("polite")) == 1


@pytest.mark.skipif(not ON_LINUX, reason="children are forked on Linux only")
def test_a_forked_child_keeps_nothing_of_the_supervisors(start_stack):
    stack = start_stack({"polite": {"mode": "loop"}, "copy": {"mode": "descriptors", "is_forked": True}})
    stack.wait_for("up pid")
    held = next(line for line in stack.lines if "held=" in line)
    assert held.endswith("held=['/dev/null', 'pipe']")
    assert f"copy        | hears={[signal.SIGINT.value, signal.SIGTERM.value]}" in stack.lines
    assert "copy        | note=for copy" in stack.lines


@pytest.mark.skipif(not ON_LINUX, reason="children are forked on Linux only")
def test_a_forked_child_that_crashes_comes_back_too(start_stack):
    stack = start_stack({"shaky": {"mode": "crash_once", "is_forked": True}})
    stack.wait_for("shaky is back")
    assert "shaky ended with exit code 7; it is started again in 0.2 s." in stack.text
    stack.process.kill()
    stack.wait_until_gone(5)


def test_the_wait_before_a_restart_doubles_up_to_its_limit(start_stack):
    stack = start_stack({"shaky": {"mode": "crash"}})
    stack.wait_for("started again in 0.8 s.", count=2)
    waits = [line.split(" in ")[1] for line in stack.lines if "started again" in line]
    assert waits[:4] == ["0.2 s.", "0.4 s.", "0.8 s.", "0.8 s."]


def test_what_a_killed_child_had_forked_is_gone_before_it_is_back(start_stack):
    stack = start_stack({"family": {"mode": "family"}})
    stack.wait_for("up pid")
    first = stack.pids("family")
    assert len(first) == 3
    os.kill(first[0], signal.SIGKILL)
    stack.wait_for("family is back")
    assert "family was killed by SIGKILL" in stack.text
    if ON_LINUX:
        assert not any(is_running(pid) for pid in first)
    assert not is_running(first[1])


def test_a_child_without_heartbeat_is_killed_and_started_again(start_stack):
    stack = start_stack({"silent": {"mode": "beat_once"}, "lively": {"mode": "beat"}})
    stack.wait_for("up pid")
    first = stack.pids("silent")[0]
    stack.wait_for("silent is back")
    assert "silent has given no sign of life for 1.5 s: it is killed." in stack.text
    assert not is_running(first)
    assert len(stack.pids("lively")) == 1


@pytest.mark.skipif(not ON_LINUX, reason="reads /proc")
def test_a_frozen_child_is_killed_sooner_than_a_silent_one(start_stack):
    stack = start_stack({"frozen": {"mode": "beat"}, "lively": {"mode": "beat"}})
    stack.wait_for("up pid")
    first = stack.pids("frozen")[0]
    os.kill(first, signal.SIGSTOP)
    stack.wait_for("frozen is back")
    assert "frozen is frozen and has given no sign of life for 1 s: it is killed." in stack.text
    assert not is_running(first)
    assert len(stack.pids("lively")) == 1


@pytest.mark.skipif(not ON_LINUX, reason="reads /proc")
@pytest.mark.parametrize("seconds", [2, 3600], ids=["by a little", "by an hour"])
def test_a_frozen_child_is_killed_also_when_the_clock_was_set_back(start_stack, seconds):
    stack = start_stack({"frozen": {"mode": "beat"}, "lively": {"mode": "beat"}})
    stack.wait_for("up pid")
    first = stack.pids("frozen")[0]
    os.kill(first, signal.SIGSTOP)
    ahead = time.time() + seconds
    os.utime(stack.data_dir / "frozen.file", (ahead, ahead))
    stack.wait_for("frozen is back")
    assert "frozen is frozen and has given no sign of life for 1 s: it is killed." in stack.text
    assert not is_running(first)
    assert len(stack.pids("lively")) == 1


@pytest.mark.skipif(not ON_LINUX, reason="sets the clock of other processes")
@pytest.mark.parametrize("seconds", [3600, -3600], ids=["forward", "back"])
def test_a_clock_set_while_a_child_is_asked_kills_nobody(start_stack, other_clock, seconds):
    stack = start_stack(
        {"first": {"mode": "beat"}, "second": {"mode": "beat"}}, environment=other_clock.environment
    )
    stack.wait_for("up pid")
    time.sleep(PACE_SETTLED_SECONDS)
    (stack.data_dir / "new").write_text(str(seconds))
    (stack.data_dir / "new").rename(stack.data_dir / "first.step")
    time.sleep(PACE_SETTLED_SECONDS)
    assert other_clock.file.read_text() == str(seconds), "the clock was set"
    assert "it is killed" not in stack.text
    assert len(stack.pids()) == 2


@pytest.mark.parametrize(
    ("options", "problem", "last_line"),
    [
        ({"mode": "never", "ready_seconds": 0.5}, "odd is not ready after 0.5 s.", "pid="),
        ({"mode": "broken"}, "odd ended with exit code 3.", "no such setting: COLOUR"),
    ],
    ids=["never ready", "ends at once"],
)
def test_a_child_that_cannot_start_is_named_with_its_last_lines(start_stack, options, problem, last_line):
    stack = start_stack({"deaf": {"mode": "deaf", "stop_seconds": 0.2}, "odd": options})
    message = refusal_of(stack)
    assert problem in message
    assert last_line in message.splitlines()[-1]


def test_a_second_stack_on_the_same_data_directory_is_refused(start_stack):
    first = start_stack({"polite": {"mode": "loop"}})
    first.wait_for("up pid")
    second = start_stack({"polite": {"mode": "loop"}})
    message = refusal_of(second)
    assert message.startswith(f"Another stack already uses the data directory {first.data_dir}")
    assert f"process {first.process.pid}, http://127.0.0.1:" in message
    assert second.text == ""
    assert is_running(first.pids()[0])


def test_a_taken_port_is_refused_before_anything_is_started(start_stack):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        stack = start_stack({"polite": {"mode": "loop"}}, port=port)
        message = refusal_of(stack)
    assert message.startswith(f"Port {port} on 127.0.0.1 is taken by another program.")
    assert f"PDS_PORT={port + 1} make run" in message
    assert stack.text == ""


def test_an_unusable_data_directory_is_refused(start_stack, tmp_path):
    (tmp_path / "file").write_text("not a directory")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        message = refusal_of(start_stack({"polite": {"mode": "loop"}}, data_dir=path))
        assert str(path) in message
        assert "Set PDS_DATA_DIR" in message


def test_a_data_directory_is_closed_to_others_unless_it_holds_their_files(tmp_path):
    fresh = prepare_data_dir(tmp_path / "deep" / "fresh")
    assert fresh.stat().st_mode & 0o777 == 0o700
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o755)
    shared.chmod(0o755)
    (shared / "thesis.odt").write_text("mine")
    with pytest.raises(StackError, match="holds other files and is open to other users"):
        prepare_data_dir(shared)
    assert shared.stat().st_mode & 0o777 == 0o755


def test_windows_is_refused_with_one_sentence():
    script = "import os, sys; os.name = 'nt'; from pdsapp.stack import main; sys.exit(main())"
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert "Install WSL" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_childs_line_cannot_move_the_cursor(capsys):
    Output(sys.stdout).line("web", "\x1b[31mred\x1b[0m \x1b]0;title\x07a\tb\x08c")
    assert capsys.readouterr().out == "web         | red a\tb\ufffdc\n"


def guardian_of(stack: Stack) -> int | None:
    """The process id of a stack's guardian."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = int(path.joinpath("stat").read_text().rpartition(")")[2].split()[1])
            if parent == stack.process.pid and b"guardian.py" in path.joinpath("cmdline").read_bytes():
                return int(path.name)
        except OSError:
            continue
    return None
