"""The supervisor: starts children, watches them, restarts them, ends them all.

One thread, one loop: children are always forked by the main thread, their output is read as it comes, and
nothing can die unseen. See `children` for what a child is.
"""

import contextlib
import os
import secrets
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType
from typing import TypeVar

from ..errors import StackError
from ..wall_clock import WallClock
from . import guardian
from .children import Child, ChildSpec, Guard
from .output import Output

T = TypeVar("T")

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# A second Ctrl-C means it; the same one passed on by `make` does not.
SECOND_SIGNAL_SECONDS = 0.5
LOST_SECONDS = 5


@dataclass(frozen=True)
class Pace:
    """How patient the supervisor is, in seconds.

    `quiet`: without a sign of life for so long, a child is killed. `frozen`: the same for one that is
    stopped by a signal, which no load can explain. Shorter than the wait for a database lock: whoever is
    frozen inside a transaction is gone before the others give up waiting.
    """

    quiet: float = 20
    frozen: float = 12
    first_heartbeat: float = 30
    first_wait: float = 0.5
    longest_wait: float = 30
    healthy: float = 60
    starts_before_giving_up: int = 2


class StopAsked(KeyboardInterrupt):
    """Ctrl-C, SIGTERM or SIGHUP arrived while the stack was starting or asking for a heartbeat."""


class Supervisor:
    """A context: children started inside it are gone, with all they forked, when it is left.

    On leaving, children are asked to stop turn by turn (`ChildSpec.stop_turn`), each turn within what the
    later ones leave of the sum of all turns' `stop_seconds`; what has not ended by then is killed.
    """

    def __init__(self, output: Output, *, pace: Pace = Pace(), parent_pid: int | None = None):
        self.children: list[Child] = []
        self._output = output
        self._pace = pace
        self._parent_pid = parent_pid
        self._token = secrets.token_hex(8)
        self._guard = Guard(self._token)
        self._selector = selectors.DefaultSelector()
        self._stop_asked_at: float | None = None
        self._stop_cause = ""
        self._is_interruptible = False
        self._is_stopping = False
        self._old_handlers: dict[int, object] = {}
        self._attentive_since = self._last_turn_at = time.monotonic()
        self._wall_clock = WallClock()
        self._next_heartbeat_check = 0.0
        self._complained: set[str] = set()

    def __enter__(self) -> "Supervisor":
        self._wake_read, self._wake_write = os.pipe()
        for descriptor in (self._wake_read, self._wake_write):
            os.set_blocking(descriptor, False)
        self._selector.register(self._wake_read, selectors.EVENT_READ, None)
        self._old_wakeup = signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        for number in STOP_SIGNALS:
            # Started by nohup, SIGHUP stays ignored; Ctrl-C must work even where a script ignores it.
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                self._old_handlers[number] = signal.signal(number, self._on_stop_signal)
        self._old_handlers[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)
        self._guard.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_exception: object) -> bool:
        try:
            self._stop()
        finally:
            for number, handler in self._old_handlers.items():
                # A late second Ctrl-C must not turn a clean end into a traceback.
                is_ending = number in STOP_SIGNALS and self._stop_asked_at is not None
                signal.signal(number, signal.SIG_IGN if is_ending else handler)
            signal.set_wakeup_fd(self._old_wakeup)
            self._selector.close()
            os.close(self._wake_read)
            os.close(self._wake_write)
        return kind is not None and issubclass(kind, StopAsked)

    def start(self, *specs: ChildSpec) -> None:
        """Start children side by side. Raises StackError if a program cannot be started at all."""
        for spec in specs:
            child = Child(spec, self._token, self._output.line)
            self.children.append(child)
            self._start(child)

    def wait_until_ready(self) -> None:
        """Return when all children started so far are ready.

        Raises StackError, with the end of its output, for one that ends twice or is not ready in time, and
        StopAsked when a signal asks the stack to stop.
        """
        while not all(child.is_ready for child in self.children):
            self._raise_if_stop_asked()
            self._turn()
            now = time.monotonic()
            for child in self.children:
                if child.is_alive or child.starts < self._pace.starts_before_giving_up:
                    if child.is_ready or now - child.started_at < child.spec.ready_seconds:
                        continue
                    problem = f"is not ready after {child.spec.ready_seconds:g} s"
                else:
                    problem = child.how_it_ended()
                raise StackError(
                    f"The stack cannot start: {child.spec.name} {problem}. "
                    f"Its last lines:\n{child.last_lines()}"
                )

    def watch(self) -> None:
        """Look after the children until a signal asks the stack to stop; raises StopAsked then."""
        while True:
            self._raise_if_stop_asked()
            self._turn()
            self._check_heartbeats()
            self._guard.restart_if_dead()
            if self._parent_pid is not None and os.getppid() != self._parent_pid:
                self._stop_asked_at = time.monotonic()
                self._stop_cause = "The process that started the stack is gone"

    def _start(self, child: Child) -> None:
        try:
            child.start(time.monotonic())
        except (OSError, subprocess.SubprocessError, StackError) as error:
            if child.process is None:
                raise StackError(f"{child.spec.name} cannot be started: {error}") from None
            self._restart_later(child, f"cannot be started ({error})")
            return
        self._guard.add(child.session)
        self._selector.register(child.process.stdout, selectors.EVENT_READ, child)
        if child.spec.is_ready is None:
            self._mark_ready(child)

    def _mark_ready(self, child: Child) -> None:
        child.is_ready, child.ready_at = True, time.monotonic()
        if child.failures:
            self._output.say(f"{child.spec.name} is back (process {child.pid}).")

    def _turn(self) -> None:
        """Read what children wrote, notice who ended, restart who is due; at most a quarter second."""
        is_waiting = any(child.is_alive and not child.is_ready for child in self.children)
        timeout = 0.1 if is_waiting or self._is_stopping else 0.25
        for key, _ in self._selector.select(timeout):
            if key.data is None:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._wake_read, 4096)
            elif not key.data.read():
                self._selector.unregister(key.fileobj)
        self._notice_lost_time()
        for child in self.children:
            if child.is_alive and child.process.poll() is not None:
                self._ended(child)
        if not self._is_stopping:
            for child in self.children:
                self._move_on(child, time.monotonic())

    def _move_on(self, child: Child, now: float) -> None:
        """Restart a child that is due, or see whether a started one is ready by now."""
        if child.restart_at is not None:
            if now >= child.restart_at:
                self._start(child)
        elif child.is_alive and not child.is_ready:
            if self._ask(child, lambda: child.spec.is_ready(child)):
                self._mark_ready(child)
            elif child.starts > 1 and now - child.started_at > child.spec.ready_seconds:
                self._output.say(
                    f"{child.spec.name} is not ready after {child.spec.ready_seconds:g} s: killed."
                )
                child.kill()
        elif child.failures and child.is_ready and now - child.ready_at >= self._pace.healthy:
            child.failures = 0

    def _ended(self, child: Child) -> None:
        session = child.session
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(child.process.stdout)
        child.close()
        self._guard.discard(session)
        if not self._is_stopping:
            self._restart_later(child, child.how_it_ended())

    def _restart_later(self, child: Child, what_happened: str) -> None:
        wait = min(self._pace.first_wait * 2**child.failures, self._pace.longest_wait)
        child.failures += 1
        child.is_ready = False
        child.restart_at = time.monotonic() + wait
        self._output.say(f"{child.spec.name} {what_happened}; it is started again in {wait:g} s.")

    def _check_heartbeats(self) -> None:
        now = time.monotonic()
        if now < self._next_heartbeat_check:
            return
        self._next_heartbeat_check = now + 1
        frozen, quiet = [], []
        for child in self.children:
            patience = self._pace.quiet if child.spec.quiet_seconds is None else child.spec.quiet_seconds
            silence = self._silence(child, now, min(self._pace.frozen, patience))
            if silence > self._pace.frozen and child.is_frozen():
                frozen.append((child, f"is frozen and has given no sign of life for {self._pace.frozen:g} s"))
            elif silence > patience:
                quiet.append((child, f"has given no sign of life for {patience:g} s"))
        if (frozen or quiet) and self._wall_clock.step():  # while the ages were asked: they prove nothing
            self._attentive_since = time.monotonic()
            return
        # A process frozen inside a transaction silences all others: without it they speak again.
        if frozen:
            self._attentive_since = now
        for child, problem in frozen or quiet:
            self._output.say(f"{child.spec.name} {problem}: it is killed.")
            child.kill()

    def _silence(self, child: Child, now: float, least: float) -> float:
        """For how many seconds a child has owed a sign of life; 0 while they cannot be `least` yet.

        After a small step of the wall clock back, which is no reason to be patient again, the last sign may
        lie ahead: the silence is noticed later by at most as much.
        """
        if child.spec.heartbeat_age is None or not child.is_alive or not child.is_ready:
            return 0.0
        watched = now - max(child.ready_at, self._attentive_since)
        if watched < least:
            return 0.0
        lifetime = now - child.started_at
        age = self._ask(child, lambda: child.spec.heartbeat_age(child.pid), if_broken=0.0)
        if age is not None and -LOST_SECONDS < age <= lifetime:
            return min(age, watched)
        # Nothing yet, or left by an earlier process of the same number, or by a clock set back since.
        return watched if lifetime > self._pace.first_heartbeat else 0.0

    def _ask(self, child: Child, question: Callable[[], T], if_broken: T | None = None) -> T | None:
        """The answer of a check given with the spec. A check that breaks is said once and proves nothing."""
        with self._interruptible():
            try:
                return question()
            except Exception as error:
                if child.spec.name not in self._complained:
                    self._complained.add(child.spec.name)
                    self._output.say(f"{child.spec.name} cannot be asked: {type(error).__name__}: {error}")
                return if_broken

    def _notice_lost_time(self) -> None:
        """After a suspended laptop or a stopped supervisor, every heartbeat looks old: be patient again."""
        now = time.monotonic()
        if self._wall_clock.step() or now - self._last_turn_at > LOST_SECONDS:
            self._attentive_since = now
        self._last_turn_at = now

    def _on_stop_signal(self, number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._stop_asked_at is None:
            self._stop_asked_at = now
            self._stop_cause = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
            if self._is_interruptible:
                raise StopAsked
        elif number == signal.SIGINT and now - self._stop_asked_at > SECOND_SIGNAL_SECONDS:
            # Not through the log, in whose middle this may be.
            os.write(2, b"\nCtrl-C again: everything is killed.\n")
            self._kill_everything()
            self._guard.kill()
            os._exit(130)

    @contextlib.contextmanager
    def _interruptible(self) -> Iterator[None]:
        self._is_interruptible = not self._is_stopping
        try:
            yield
        finally:
            self._is_interruptible = False

    def _raise_if_stop_asked(self) -> None:
        if self._stop_asked_at is not None:
            raise StopAsked

    def _stop(self) -> None:
        self._is_stopping = True
        if self._stop_cause:
            self._output.say(f"{self._stop_cause}: stopping.")
        turns = sorted({child.spec.stop_turn for child in self.children})
        members = {turn: [c for c in self.children if c.spec.stop_turn == turn] for turn in turns}
        budget = {turn: max(child.spec.stop_seconds for child in members[turn]) for turn in turns}
        end_at = time.monotonic() + sum(budget.values())
        for number, turn in enumerate(turns):
            for child in members[turn]:
                child.ask_to_stop()
            turn_ends_at = end_at - sum(budget[later] for later in turns[number + 1 :])
            while any(child.is_alive for child in members[turn]) and time.monotonic() < turn_ends_at:
                self._turn()
            for child in members[turn]:
                if child.is_alive:
                    self._output.say(f"{child.spec.name} does not stop: it is killed.")
                    child.kill()
                    child.process.wait()
                    self._ended(child)
        self._kill_everything()
        self._guard.stop()
        if self._stop_cause:
            self._output.say("Stopped.")

    def _kill_everything(self) -> None:
        sessions = {child.session for child in self.children if child.session is not None}
        guardian.end(lambda: guardian.members(sessions, f"{self._token}/"), 1.0)
