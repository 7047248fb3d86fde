"""The processes of a run: started, kept alive, killed, and found again by a mark in their environment."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .orders import identity

MARK = "PDS_FAULTS_RUN"
RESTART_SECONDS = 0.5
LEASH = Path(__file__).with_name("leashed.py")


@dataclass(frozen=True)
class Exit:
    """How a kept process ended: `code` is negative for a signal."""

    pid: int
    code: int


class Kept:
    """A process that is started again when it ends, until it is told to stop."""

    def __init__(self, name: str, argv: Sequence[str], environment: Mapping[str, str], cwd: Path, log: Path):
        self.name = name
        self.exits: list[Exit] = []
        self.process: subprocess.Popen | None = None
        self.log = log
        self._argv = argv
        self._environment = environment
        self._cwd = cwd
        self._restart_at = 0.0

    @property
    def pid(self) -> int | None:
        return self.process.pid if self.process else None

    def start(self) -> None:
        """Starts it, in a session of its own, to die with this process. Only for the main thread."""
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(LEASH), str(os.getpid()), *self._argv],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self._cwd,
                env=dict(self._environment),
                start_new_session=True,
            )

    def tick(self) -> None:
        """Notices its end; starts it again half a second later."""
        if self.process is not None and (code := self.process.poll()) is not None:
            self.exits.append(Exit(self.process.pid, code))
            self.process = None
            self._restart_at = time.monotonic() + RESTART_SECONDS
        if self.process is None and time.monotonic() >= self._restart_at:
            self.start()

    def end(self, number: signal.Signals, seconds: float) -> None:
        """Signals it and waits for its end; killed if it takes longer."""
        if self.process is None:
            return
        self.process.send_signal(number)
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.exits.append(Exit(self.process.pid, self.process.returncode))
        self.process = None


class Keeper:
    """All kept processes of one stack."""

    def __init__(self, token: str, folder: Path, cwd: Path, environment: Mapping[str, str]):
        self.token = token
        self.kept: list[Kept] = []
        self._folder = folder
        self._cwd = cwd
        self.environment = {**environment, MARK: token}

    def add(self, name: str, argv: Sequence[str], **environment: str) -> Kept:
        """A process to be kept; it is not started yet."""
        log = self._folder / f"{name}.log"
        kept = Kept(name, argv, {**self.environment, **environment}, self._cwd, log)
        self.kept.append(kept)
        return kept

    def start(self) -> None:
        """Starts all that do not run."""
        for kept in self.kept:
            if kept.process is None:
                kept.start()

    def tick(self) -> None:
        """Keeps them alive."""
        for kept in self.kept:
            kept.tick()

    def kill_all(self, seconds: float = 15) -> list[int]:
        """`kill -9` of every kept process, then waits; what of the run lives on after that long."""
        for kept in self.kept:
            kept.end(signal.SIGKILL, 5)
        return self.wait_until_gone(seconds)

    def wait_until_gone(self, seconds: float) -> list[int]:
        """What of the run still lives after so many seconds."""
        until = time.monotonic() + seconds
        while (left := self.members()) and time.monotonic() < until:
            time.sleep(0.05)
        return left

    def sweep(self) -> None:
        """Kills what is left of the run, by number."""
        for kept in self.kept:
            kept.end(signal.SIGKILL, 5)
        for pid in self.members():
            for number in (signal.SIGKILL, signal.SIGCONT):
                hit(pid, number)

    def members(self) -> list[int]:
        """Every living process of the run, whoever started it."""
        mark = f"{MARK}={self.token}".encode()
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                is_ours = mark in (entry / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if (is_ours or self._is_queue_server(int(entry.name))) and identity(int(entry.name)):
                found.append(int(entry.name))
        return found

    def queue_server(self) -> int | None:
        """The process id of the run's queue server, None while it is away."""
        return next((pid for pid in self.members() if self._is_queue_server(pid)), None)

    def _is_queue_server(self, pid: int) -> bool:
        """It writes its title over its environment: known by the socket in the title."""
        command = command_of(pid)
        return "-server" in command.partition(" ")[0] and str(self._folder) in command


def command_of(pid: int) -> str:
    """The command line of a process, "" if it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def hit(pid: int, number: signal.Signals) -> bool:
    """Whether the process was there to be signalled."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True
