"""One supervised child process: how it is described, started, read and ended."""

import codecs
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..scheduling.orphans import die_with_parent
from . import guardian
from .forking import Forked, can_fork

# Elsewhere the guardian does it alone, and nothing has to run between fork and exec.
HAS_DEATH_SIGNAL = sys.platform.startswith("linux")
TAIL_LINES = 200
LONGEST_LINE = 16_384
LEFTOVER_SECONDS = 1.0


@dataclass(frozen=True)
class ChildSpec:
    """What a child is. Stop turns go upwards: all of one turn have ended before the next is told.

    `function` does the same as `argv` in a fork of the supervisor, where that is possible (see `forking`).
    `env` is added to the supervisor's environment. `before_start` is called before every start and may
    return descriptors that the child inherits and the supervisor closes. `is_ready` is asked about twenty
    times a second after a start (None: ready at once). `heartbeat_age` gives the age in seconds of the last
    sign of life of a process id, None while none is known; older than `quiet_seconds` (None: the
    supervisor's), and the child is killed. `hides` names lines that are not worth showing.
    """

    name: str
    argv: Sequence[str]
    function: Callable[[], int | None] | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None
    pass_fds: tuple[int, ...] = ()
    before_start: Callable[["Child"], tuple[int, ...]] | None = None
    is_ready: Callable[["Child"], bool] | None = None
    ready_seconds: float = 30
    heartbeat_age: Callable[[int], float | None] | None = None
    quiet_seconds: float | None = None
    stop_turn: int = 0
    stop_seconds: float = 1
    hides: Callable[[str], bool] | None = None


class Child:
    """A child and its present process, if it has one. All times are `time.monotonic()`."""

    def __init__(self, spec: ChildSpec, token: str, on_line: Callable[[str, str], None]):
        self.spec = spec
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self.process: subprocess.Popen | Forked | None = None
        self.session: int | None = None
        self.is_ready = False
        self.starts = 0
        self.failures = 0
        self.started_at = 0.0
        self.ready_at = 0.0
        self.restart_at: float | None = None
        self._token = token
        self._on_line = on_line
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""

    @property
    def pid(self) -> int | None:
        """The process id, also for a while after its end; None before the first start."""
        return self.process.pid if self.process else None

    @property
    def is_alive(self) -> bool:
        """Whether the process has been started and its end has not been dealt with yet (`close`)."""
        return self.session is not None

    @property
    def mark(self) -> str:
        """What the environment of this start's process and of all it forks holds under `PDS_STACK_CHILD`."""
        return f"{self._token}/{self.spec.name}.{self.starts}"

    def start(self, now: float) -> None:
        """Start the process, in a session of its own. Only for the main thread.

        The death signal is tied to the thread that forks, so a child started elsewhere would die with
        that thread. Raises OSError or subprocess.SubprocessError if the program cannot be started.
        """
        inherited = self.spec.before_start(self) if self.spec.before_start else ()
        self.starts += 1
        self.tail.clear()
        self._decoder.reset()
        self._rest = ""
        self.is_ready, self.started_at, self.restart_at = False, now, None
        try:
            self.process = self._spawn((*self.spec.pass_fds, *inherited))
        finally:
            for descriptor in inherited:
                os.close(descriptor)
        self.session = self.process.pid
        os.set_blocking(self.process.stdout.fileno(), False)

    def _spawn(self, descriptors: tuple[int, ...]) -> subprocess.Popen | Forked:
        own_pid = os.getpid()
        environment = {**self.spec.env, guardian.MARK: self.mark}
        if self.spec.function is not None and can_fork():
            return Forked(
                self.spec.name,
                self.spec.function,
                environment,
                keep=descriptors,
                prepare=lambda: die_with_parent(own_pid),
            )
        return subprocess.Popen(
            [*self.spec.argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self.spec.cwd,
            env={**os.environ, **environment},
            start_new_session=True,
            pass_fds=descriptors,
            preexec_fn=(lambda: die_with_parent(own_pid)) if HAS_DEATH_SIGNAL else None,
        )

    def read(self) -> bool:
        """Take in what the child has written; whether more may come."""
        stream = self.process.stdout if self.process else None
        if stream is None or stream.closed:
            return False
        while True:
            try:
                data = os.read(stream.fileno(), 65536)
            except BlockingIOError:
                return True
            text = self._rest + self._decoder.decode(data, final=not data)
            *lines, self._rest = text.split("\n")
            if self._rest and (not data or len(self._rest) > LONGEST_LINE):
                lines.append(self._rest)
                self._rest = ""
            for line in lines:
                self._take(line.rstrip("\r"))
            if not data:
                return False

    def _take(self, line: str) -> None:
        self.tail.append(line)
        if not (self.spec.hides and self.spec.hides(line)):
            self._on_line(self.spec.name, line)

    def ask_to_stop(self) -> None:
        """Send SIGTERM, and wake the process if it has been frozen so that it can obey."""
        if self.is_alive:
            self.process.send_signal(signal.SIGTERM)
            self.process.send_signal(signal.SIGCONT)

    def is_frozen(self) -> bool:
        """Whether the process or one it forked is stopped by a signal. Known on Linux only."""
        for pid in guardian.members({self.session}, self.mark):
            try:
                stat = Path(f"/proc/{pid}/stat").read_bytes()
            except OSError:
                continue
            if stat.rpartition(b")")[2].split()[0] == b"T":
                return True
        return False

    def kill(self) -> None:
        """Kill the process and all it has forked, also what moved to another session or group (Linux)."""
        if self.session is None:
            return
        self.process.kill()
        guardian.end(lambda: guardian.members({self.session}, self.mark), LEFTOVER_SECONDS)

    def close(self) -> None:
        """Read what is left in the pipe, close it and kill what the ended process has left behind."""
        self.kill()
        self.read()
        if self.process is not None and self.process.stdout is not None:
            self.process.stdout.close()
        # The number may belong to somebody else from now on.
        self.session = None

    def gave_up(self) -> bool:
        """Whether the last process ended by itself, with an error, before it was ever ready."""
        code = self.process.returncode if self.process else None
        return code is not None and code > 0 and self.ready_at < self.started_at

    def how_it_ended(self) -> str:
        """The end of the process in words, for the log."""
        code = self.process.returncode if self.process else None
        if code is None:
            return "has not ended"
        if code >= 0:
            return f"ended with exit code {code}"
        try:
            return f"was killed by {signal.Signals(-code).name}"
        except ValueError:
            return f"was killed by signal {-code}"

    def last_lines(self, count: int = 12) -> str:
        """The end of its output, indented, or a sentence saying that there is none."""
        lines = [line for line in self.tail if line.strip()][-count:]
        return "\n".join(f"    {line}" for line in lines) or "    (it wrote nothing)"


def says(text: str) -> Callable[[Child], bool]:
    """A readiness check: the child has written a line holding `text` since its start."""
    return lambda child: any(text in line for line in child.tail)


class Guard:
    """The supervisor's end of the guardian process; see `guardian`."""

    def __init__(self, token: str):
        self._token = token
        self._sessions: set[int] = set()
        self._process: subprocess.Popen | None = None

    def start(self) -> None:
        """Start the guardian and tell it all sessions known so far."""
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", guardian.__file__, self._token],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
            bufsize=0,
        )
        for session in self._sessions:
            self._tell(f"+{session}\n")

    def add(self, session: int) -> None:
        """Have a session killed when the supervisor ends."""
        self._sessions.add(session)
        self._tell(f"+{session}\n")

    def discard(self, session: int) -> None:
        """Forget a session that has ended: its number may be used again by somebody else."""
        self._sessions.discard(session)
        self._tell(f"-{session}\n")

    def restart_if_dead(self) -> None:
        """Start it again if somebody killed it."""
        if self._process is not None and self._process.poll() is not None:
            self._process.stdin.close()
            self.start()

    def kill(self) -> None:
        """Kill it, without waiting."""
        if self._process is not None:
            os.kill(self._process.pid, signal.SIGKILL)

    def stop(self) -> None:
        """Let it sweep once more and end; killed if it does not within two seconds."""
        if self._process is None:
            return
        self._process.stdin.close()
        try:
            self._process.wait(2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _tell(self, text: str) -> None:
        if self._process is None:
            return
        try:
            self._process.stdin.write(text.encode())
        except BrokenPipeError:
            # It died: the next turn of the supervisor starts another, which is told everything again.
            return
