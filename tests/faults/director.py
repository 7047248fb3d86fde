"""The director: has the faults of a plan happen, one after the other and some at a time, and proves each."""

import random
import signal
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import redis
from sqlalchemy import select

from pdsapp.config import Settings
from pdsapp.database import reading
from pdsapp.models import LostLease
from pdsapp.scheduling.scheduler import TwinScheduler

from . import orders, scene
from .orders import FREEZE, STACK, Note, Order, identity
from .plan import WORDS, Size, is_exclusive
from .processes import hit
from .stacks import Deployed, Stack, wait_for

UNREACHED_SECONDS = 150
PROOF_SECONDS = 30
UP_SECONDS = 120
POST_NOW_EVERY_SECONDS = 6
LOCK_DELETIONS = 20
# Promised: whatever is done to the queue, it is back within a minute.
QUEUE_BACK_SECONDS = 60
FROZEN_AT_MOST_SECONDS = 20


@dataclass
class Fault:
    """An order and how it went.

    `ended_after`: what a freeze lasted until it did no more harm, in seconds. `up_at`: when a stack that was
    killed was there again.
    """

    order: Order
    placed_at: float = field(default_factory=time.time)
    note: Note | None = None
    problem: str = ""
    is_over: bool = False
    ended_after: float | None = None
    thawed_at: float | None = None
    up_at: float | None = None

    @property
    def happened_at(self) -> float:
        return self.note.at if self.note else self.placed_at

    def end(self, problem: str = "") -> None:
        self.is_over, self.problem = True, problem


class Director:
    """Runs a plan on a stack. Call `turn` until `is_done`."""

    def __init__(self, stack: Stack, settings: Settings, plan: list[Order], size: Size, seed: int):
        self.stack = stack
        self.faults: list[Fault] = []
        self.is_posting = True
        self._settings = settings
        self._plan = deque(plan)
        self._size = size
        self._dice = random.Random(seed)
        self._next_at = self._post_at = 0.0

    @property
    def open_faults(self) -> list[Fault]:
        """Those that were begun and are not over."""
        return [fault for fault in self.faults if not fault.is_over]

    @property
    def is_done(self) -> bool:
        return not self._plan and not self.open_faults

    def turn(self) -> None:
        """Looks at everything once; takes up to some seconds when the whole stack is to be killed."""
        self.stack.keeper.tick()
        if self.is_posting and time.monotonic() >= self._post_at:
            self._post_at = time.monotonic() + POST_NOW_EVERY_SECONDS
            scene.post_now(self._settings, self._dice, self._size.together)
        for fault in self.open_faults:
            self._look_at(fault)
        if self._plan and time.monotonic() >= self._next_at and self._may_begin(self._plan[0]):
            self._next_at = time.monotonic() + self._dice.uniform(0.5, 1.5) * self._size.pause_seconds
            self._begin(self._plan.popleft())

    def wait_until_up(self) -> None:
        """Returns when every worker and scheduler beats. Raises AssertionError."""

        def is_up():
            workers, schedulers = len(self._beating("worker")), len(self._beating("scheduler"))
            return workers >= self._size.workers and schedulers >= self._size.schedulers

        wait_for(is_up, UP_SECONDS, f"the {self.stack.name} stack", self.stack.keeper.tick)

    def thaw(self) -> None:
        """Nobody stays frozen, whatever has gone wrong."""
        for fault in self.faults:
            if fault.note and fault.order.victim == FREEZE:
                self._thaw(fault)

    def _may_begin(self, order: Order) -> bool:
        is_alone = any(is_exclusive(fault.order) for fault in self.open_faults)
        if is_alone or (is_exclusive(order) and self.open_faults):
            return False
        return len(self.open_faults) < self._size.at_once

    def _begin(self, order: Order) -> None:
        fault = Fault(order)
        self.faults.append(fault)
        if order.victim:
            orders.place(self.stack.orders, order)
        else:
            do: Callable[[], str] = getattr(self, f"_{order.point}")
            began = time.monotonic()
            fault.end(do())
            # In the deployment nobody ends a frozen worker: the harness thaws it, which shows nothing.
            if order.point == "worker_frozen" and not isinstance(self.stack, Deployed):
                fault.ended_after = time.monotonic() - began
            self._tell(fault)

    def _look_at(self, fault: Fault) -> None:
        if fault.note is None:
            fault.note = orders.read_note(self.stack.orders, fault.order.number)
            if fault.note is None:
                if time.time() - fault.placed_at > UNREACHED_SECONDS:
                    orders.withdraw(self.stack.orders, fault.order)
                    fault.end("no attempt came by")
                    self._tell(fault)
                return
        if fault.order.victim == STACK:
            self._kill_stack(fault)
        elif fault.order.victim == FREEZE:
            getattr(self, f"_look_at_{fault.order.point}")(fault)
        elif self.stack.is_proven(fault.note, fault.order.victim):
            fault.end()
        elif time.time() - fault.note.at > PROOF_SECONDS:
            fault.end("nobody saw it die of SIGKILL")
        if fault.is_over:
            self._tell(fault)

    def _kill_stack(self, fault: Fault) -> None:
        keeper = self.stack.keeper
        pids = [kept.pid for kept in keeper.kept if kept.process is not None]
        left = keeper.kill_all()
        killed = [e.pid for kept in keeper.kept for e in kept.exits if e.code == -signal.SIGKILL]
        keeper.start()
        self.wait_until_up()
        fault.up_at = time.time()
        if left:
            fault.end(f"{len(left)} processes outlived the stack")
        else:
            fault.end("" if set(pids) <= set(killed) else "not everything died of SIGKILL")

    def _look_at_frozen_outside(self, fault: Fault) -> None:
        note, waited = fault.note, time.time() - fault.note.at
        row = lost_lease(note.token)
        if fault.thawed_at is None and row is not None:
            fault.ended_after = row.taken_back_at.timestamp() - note.at
            if identity(note.pid) != note.identity:
                fault.end("it was killed before it could come back")
            elif time.time() > row.taken_back_at.timestamp() + 2:
                self._thaw(fault)
        elif row is not None and row.returned_at is not None:
            fault.end()
        elif waited > UNREACHED_SECONDS:
            fault.end("it did not come back" if row else "its attempt was not taken back")

    def _look_at_frozen_inside(self, fault: Fault) -> None:
        note, waited = fault.note, time.time() - fault.note.at
        if isinstance(self.stack, Deployed):
            if not self.stack.has_session(note.backend):
                self._thaw(fault)
        elif identity(note.pid) != note.identity:
            fault.thawed_at = time.time()
        if fault.thawed_at is not None:
            fault.ended_after = fault.thawed_at - note.at
            # PostgreSQL counts its 20 s from the last statement, so it is told a moment later.
            late = fault.ended_after > FROZEN_AT_MOST_SECONDS + isinstance(self.stack, Deployed)
            is_seen = isinstance(self.stack, Deployed) or self.stack.log.take("frozen")
            if late:
                fault.end(f"it took {fault.ended_after:.1f} s")
            elif is_seen or waited > PROOF_SECONDS:
                fault.end("" if is_seen else "it was not the supervisor who ended it")
        elif waited > 3 * FROZEN_AT_MOST_SECONDS:
            fault.end("nobody ended it")

    def _thaw(self, fault: Fault) -> None:
        fault.thawed_at = fault.thawed_at or time.time()
        if identity(fault.note.pid) == fault.note.identity:
            hit(fault.note.pid, signal.SIGCONT)

    def _worker_frozen(self) -> str:
        pids = self._beating("worker")
        if not pids:
            return "no worker was there"
        pid = self._dice.choice(pids)
        before = identity(pid)
        hit(pid, signal.SIGSTOP)
        if isinstance(self.stack, Deployed):  # nobody watches there; it sleeps beyond its heartbeat
            time.sleep(FROZEN_AT_MOST_SECONDS)
            return "" if hit(pid, signal.SIGCONT) and identity(pid) == before else "it was killed"
        until = time.monotonic() + FROZEN_AT_MOST_SECONDS
        while identity(pid) == before:
            if time.monotonic() > until:
                hit(pid, signal.SIGCONT)
                return "nobody ended it"
            time.sleep(0.1)
        wait_for(lambda: self.stack.log.take("frozen"), 5, "the supervisor to say so")
        return ""

    def _scheduler_killed(self) -> str:
        pids = self._beating("scheduler")
        if not pids:
            return "no scheduler was there"
        # The leader two times in three.
        return self._kill(pids[0 if self._dice.random() < 2 / 3 else -1])

    def _leader_frozen(self) -> str:
        # One that was killed a moment ago has to be back: somebody else must be there to lead.
        pids = wait_for(self._leader_and_another, FROZEN_AT_MOST_SECONDS, "two schedulers")
        pid, before = pids[0], identity(pids[0])

        def another_leads():
            return any(beat.is_leader and beat.pid != pid for beat in scene.live_beats("scheduler"))

        hit(pid, signal.SIGSTOP)
        try:
            wait_for(another_leads, FROZEN_AT_MOST_SECONDS, "another scheduler to lead")
        finally:
            hit(pid, signal.SIGCONT)
        return "" if identity(pid) == before else "it was killed before it could come back"

    def _leader_and_another(self) -> list[int]:
        pids = self._beating("scheduler")
        return pids if len(pids) > 1 else []

    def _beating(self, kind: str) -> list[int]:
        ours = set(self.stack.keeper.members())
        return [beat.pid for beat in scene.live_beats(kind) if beat.pid in ours]

    def _queue_killed(self) -> str:
        pid = self.stack.keeper.queue_server()
        return self._kill(pid) if pid else "no queue server was there"

    def _kill(self, pid: int) -> str:
        before = identity(pid)
        hit(pid, signal.SIGKILL)
        wait_for(lambda: identity(pid) != before, 5, "a killed process to be gone")
        return ""

    def _queue_flushed(self) -> str:
        return self._ask_queue(lambda queue: queue.flushall())

    def _lock_deleted(self) -> str:
        def delete(queue: redis.Redis) -> int:
            deleted = 0
            for _ in range(LOCK_DELETIONS):
                deleted += queue.delete(TwinScheduler.scheduler_lock_key)
                time.sleep(0.05)
            return deleted

        return self._ask_queue(delete)

    def _ask_queue(self, do: Callable[[redis.Redis], object]) -> str:
        until = time.monotonic() + QUEUE_BACK_SECONDS
        while time.monotonic() < until:
            try:
                with self.stack.queue() as queue:
                    if do(queue):
                        return ""
            except redis.RedisError:
                self.stack.keeper.tick()
            time.sleep(0.2)
        return "the queue did not answer"

    def _queue_stopped(self) -> str:
        pid = self.stack.keeper.queue_server()
        if pid is None:
            return "no queue server was there"
        hit(pid, signal.SIGSTOP)
        try:
            is_silent = False
            with self.stack.queue() as queue:
                try:
                    queue.ping()
                except redis.RedisError:
                    is_silent = True
            time.sleep(self._size.queue_stop_seconds)
        finally:
            hit(pid, signal.SIGCONT)
        return "" if is_silent else "it answered all the same"

    def _socket_deleted(self) -> str:
        """The local stack starts its server anew by itself; in the deployment that is left to us."""
        pid = self.stack.keeper.queue_server()
        if pid is None:
            return "no queue server was there"
        Path(redis.Redis.from_url(self.stack.queue_url).connection_pool.connection_kwargs["path"]).unlink()
        try:
            with self.stack.queue() as queue:
                queue.ping()
            return "it could be reached all the same"
        except redis.ConnectionError:
            pass
        if isinstance(self.stack, Deployed):
            time.sleep(self._size.pause_seconds)
            return self._kill(pid)
        return self._ask_queue(lambda queue: queue.ping())

    def _tell(self, fault: Fault) -> None:
        order = fault.order
        done = len(self.faults) - len(self.open_faults)
        words = f"{order.number:>3} {WORDS[order.point]}{f', {order.victim}' if order.victim else ''}"
        if fault.ended_after is not None:
            words += f" ({fault.ended_after:.1f} s)"
        clock = time.strftime("%H:%M:%S")
        print(
            f"{clock} [{self.stack.name}] {done:>3} done: {words} {fault.problem}".rstrip(), file=sys.stderr
        )


def lost_lease(token: str) -> LostLease | None:
    """What is written down about a lease that was taken back."""
    with reading() as session:
        return session.scalars(select(LostLease).where(LostLease.lease_token == UUID(token))).one_or_none()
