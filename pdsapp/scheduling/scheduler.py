"""The scheduler process: claims due slots in SQL, keeps the queue in step, never holds more than a moment.

Redis says when to look; SQL says what is due. Without Redis the rows alone are looked at. Any number of
schedulers may run: one leads by a short lock in Redis, and the rows keep them apart if that fails.
"""

import os
import secrets
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from uuid import UUID

import redis
import structlog
from flask import Flask
from rq_scheduler.scheduler import Scheduler
from sqlalchemy.exc import SQLAlchemyError

from .. import collector
from ..attempts import claim
from ..database import UNREADABLE, reading, transaction
from ..dt_service import DTService, load_service
from ..errors import QueueDown
from ..models import ProcessKind, utc_now
from ..services import bulk_imports, chores, database, downtimes, heartbeats, lifecycle, rollups
from ..wall_clock import WallClock
from . import expansion, notifier, projection, queue, slot_facts, slots
from .bell import end_undisturbed
from .outage import Outage
from .slots import Claimed

LONGEST_SLEEP = 0.5
SHORTEST_SLEEP = 0.02
LOCK_SECONDS = 5
RECONCILE_SECONDS = 60.0
CATCH_UP_SECONDS = 5.0
# With the longest sleep, what becomes due by itself (jitter, back-off) is woken within a second.
LANES_SECONDS = 0.5
# Bulk imports that wait, or whose worker was lost, are asked for again.
IMPORTS_SECONDS = 2.0
# A slot that is still unclaimed so long after its instant has lost its entry.
OVERDUE = timedelta(seconds=2)
# After the clock went forward every lease looks over. By then each worker that lives has renewed its own.
STEP_GRACE_SECONDS = claim.RENEW_SECONDS + 5
# Lost attempts are taken back in small transactions; so many of those in one turn.
MOST_REAPS = 20
PLANS_SECONDS = 1.0
CHORES_SECONDS = 0.2
CONNECT_SECONDS, ANSWER_SECONDS = 0.5, 2.0
LOCK_IS_NEW = 2
TAKE_LOCK = """
if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('expire', KEYS[1], ARGV[2]) end
if redis.call('set', KEYS[1], ARGV[1], 'NX', 'EX', ARGV[2]) then return 2 end
return 0
"""
RELEASE_LOCK = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0"
log = structlog.get_logger()


class StopAsked(BaseException):
    """A signal asked the process to end while it was waiting."""


class TwinScheduler(Scheduler):
    """rq-scheduler's scheduler with SQL behind it: an entry is a reminder, the row is what counts."""

    # Not rq-scheduler's own: a plain one started by mistake must not keep ours from leading.
    scheduler_lock_key = "pds:scheduler_lock"
    job_class = queue.LaneJob
    queue_class = queue.LaneQueue

    def __init__(
        self,
        connection: redis.Redis,
        service: DTService,
        *,
        clock: Callable[[], datetime] = utc_now,
        name: str | None = None,
    ):
        name = name or f"scheduler-{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        super().__init__(connection=connection, interval=LOCK_SECONDS, name=name)
        self.is_leader = False
        self._service = service
        self._clock = clock
        self._wall_clock = WallClock(lambda: clock().timestamp())
        self._reaps_from = float("-inf")
        self._token = f"{name}-{secrets.token_hex(8)}"
        self._last: dict[str, float] = {}
        self._damaged: set[UUID] = set()
        self._queue = Outage("queue")
        self._database = Outage("database")
        self._is_stopping = False
        self._is_waiting = False
        self._tender, self._is_behind = expansion.Tender(clock, database.require_head_still), False

    def run(self, burst: bool = False) -> None:
        """Works until a signal asks it to stop; with `burst`, for one turn."""
        self._install_signal_handlers()
        try:
            while not self._is_stopping:
                wait = self.turn()
                if burst:
                    break
                with self._waiting():
                    time.sleep(wait)
        except StopAsked:
            pass
        finally:
            self._leave()

    def turn(self) -> float:
        """One look at everything; gives how many seconds to sleep. Never raises for Redis, SQL or a row.

        Raises DatabaseNotReady when somebody has migrated the database: this code must not write to it.
        """
        self._notice_a_step()
        try:
            self._now_and_then("beat", heartbeats.BEAT_SECONDS - 0.5, self._beat)
            self._now_and_then("plans", PLANS_SECONDS, lambda: lifecycle.keep_to_plan(self._clock()))
            claimed = self._claim_what_is_due()
            self._tell(claimed)
            if self.is_leader or self._queue.is_on:
                self._now_and_then("catch up", CATCH_UP_SECONDS, self.catch_up)
                self._tend()
            if self.is_leader:
                self._now_and_then("lanes", LANES_SECONDS, self._wake_waiting_lanes)
                self._now_and_then("chores", 0, lambda: chores.do_for(CHORES_SECONDS))
                self._now_and_then("imports", IMPORTS_SECONDS, self._wake_imports)
                self._now_and_then("roll-ups", CATCH_UP_SECONDS, lambda: rollups.roll_up_for(self._clock()))
            self._database.over()
        except QueueDown as error:
            self._lose_queue(error)
        except SQLAlchemyError as error:
            return self._database.begin(error)
        except UNREADABLE:
            if not self._put_unreadable_back():
                raise
        return self._seconds_to_next()

    def acquire_lock(self) -> bool:
        """Takes or keeps the lead; the lock is ours for five seconds from now. Raises QueueDown."""
        with queue.errors_as_down():
            taken = self.connection.eval(TAKE_LOCK, 1, self.scheduler_lock_key, self._token, LOCK_SECONDS)
        if bool(taken) != self.is_leader:
            self.is_leader = bool(taken)
            log.info("scheduler leads" if taken else "scheduler stands by", name=self.name)
            self._last.clear()
        elif taken == LOCK_IS_NEW:  # ours had vanished: Redis may have been emptied
            self._last.pop("reconcile", None)
        return self.is_leader

    def remove_lock(self) -> None:
        """Gives up the lead if it is ours. Raises QueueDown."""
        self.is_leader = False
        with queue.errors_as_down():
            self.connection.eval(RELEASE_LOCK, 1, self.scheduler_lock_key, self._token)

    def enqueue_jobs(self) -> Claimed:
        """Claims everything that is due, by the rows."""
        claimed = self._claim(None)
        self._tell(claimed)
        return claimed

    def enqueue_job(self, job: queue.LaneJob) -> Claimed:
        """Claims what is due of the schedule this entry stands for; the job itself is never queued."""
        uuid = projection.uuid_of(job.id.encode())
        claimed = self._claim([uuid] if uuid else [])
        self._tell(claimed)
        return claimed

    def reconcile(self) -> projection.Reconciled:
        """Puts the entries in step with the rows. Raises QueueDown."""
        self._put_unreadable_back()
        self._mend()
        with reading() as session, self._waiting():
            found = projection.reconcile(self.connection, session)
        if found.added or found.moved or found.repaired or found.removed:
            log.info(
                "schedules reconciled", added=found.added, moved=found.moved, repaired=found.repaired,
                removed=found.removed,
            )  # fmt: skip
        return found

    def catch_up(self) -> None:
        """Takes back lost attempts, and claims what Redis has forgotten. Raises QueueDown."""
        self._reap()
        with reading() as session:
            is_overdue = slots.is_any_due(session, self._clock() - OVERDUE)
        if is_overdue and not self._queue.is_on:
            log.warning("slots were due without an entry")
        if is_overdue:
            self._tell(self._claim(None))
        if (is_overdue or self._damaged) and not self._queue.is_on:
            self.reconcile()

    def _notice_a_step(self) -> None:
        """Also while standing by: the step that takes the lead from another may only undo an earlier one."""
        if (step := self._wall_clock.step()) > 0:
            log.warning("clock went forward", seconds=round(step))
            self._reaps_from = time.monotonic() + STEP_GRACE_SECONDS

    def _reap(self) -> None:
        """Takes back what lost workers held, but gives those that live time to renew after a step forward."""
        now = self._clock()  # before the last look for a step, which it must not hide
        self._notice_a_step()
        if time.monotonic() < self._reaps_from:
            return
        for _ in range(MOST_REAPS):
            with transaction() as session:
                count = claim.reap(session, now)
            if count < claim.MOST_REAPED:
                return

    def _tend(self) -> None:
        tended = self._tender.tend_for(CHORES_SECONDS)
        self._is_behind = tended.is_more
        self._tell(Claimed(tended.attempts))

    def _claim_what_is_due(self) -> Claimed:
        now = self._clock()
        entries = self._due_entries(now)
        if entries is None:
            with reading() as session:
                is_due = slots.is_any_due(session, now)
            return self._claim(None) if is_due else Claimed()
        self._refuse(entries)
        return self._claim(entries.schedules) if entries.schedules else Claimed()

    def _due_entries(self, now: datetime) -> projection.DueEntries | None:
        """What Redis says is due; nothing for those who stand by, None while Redis is down."""
        if not self._queue.may_try:
            return None
        try:
            with self._waiting():
                if not self.acquire_lock():
                    self._queue.over()
                    return projection.DueEntries()
                self._now_and_then("reconcile", RECONCILE_SECONDS, self.reconcile)
                found = projection.due_entries(self.connection, now)
                self._queue.over()
                return found
        except QueueDown as error:
            self._lose_queue(error)
            return None

    def _claim(self, uuids: Sequence[UUID] | None) -> Claimed:
        with transaction() as session:
            database.require_head_still(session)
            return slots.claim_due(session, self._service, uuids, self._clock(), self.name)

    def _tell(self, claimed: Claimed) -> None:
        """Moves the entries forward, and only then wakes the lanes. Raises QueueDown."""
        if self._queue.is_on:
            return
        with self._waiting():
            if claimed.next_slots:
                projection.move(self.connection, claimed.next_slots)
            for lane, attempts in claimed.attempts.items():
                queue.wake(self.connection, lane, attempts)

    def _refuse(self, entries: projection.DueEntries) -> None:
        """Sets damaged entries aside until they are mended, and drops those of nobody; each said once."""
        if entries.foreign:
            for member in entries.foreign:
                log.warning("entry refused", entry=member[:80].decode(errors="replace"), why="no schedule's")
            with self._waiting():
                projection.drop(self.connection, entries.foreign)
        new = {uuid: why for uuid, why in entries.damaged.items() if uuid not in self._damaged}
        if not new:
            return
        with transaction() as session:
            for uuid, why in new.items():
                log.warning("entry refused", entry=projection.entry_id(uuid), why=why)
                slot_facts.mark_damaged(session, uuid, why)
        self._damaged |= new.keys()
        self._last["catch up"] = time.monotonic()

    def _mend(self) -> None:
        """Takes the word "damaged" off schedules whose entries are about to be written anew."""
        with reading() as session:
            is_any = slot_facts.is_any_damaged(session)
        if is_any:
            with transaction() as session:
                slot_facts.mend_damaged(session)
        self._damaged.clear()

    def _wake_waiting_lanes(self) -> None:
        """Wakes lanes in which attempts are due and nothing waits in the queue."""
        with reading() as session:
            lanes = slot_facts.lanes_with_work(session, self._clock())
        if lanes := [lane for lane in lanes if queue.is_lane(lane)]:
            with self._waiting():
                queue.wake_idle(self.connection, lanes)

    def _wake_imports(self) -> None:
        """Has bulk imports set up that nobody is at, and forgets old ones."""
        if ids := bulk_imports.tend(self._clock()):
            with self._waiting():
                queue.wake_imports(self.connection, ids)

    def _beat(self) -> None:
        now = self._clock()
        with transaction() as session:
            database.require_head_still(session)
            gap = downtimes.note(session, self.name, now)
            heartbeats.beat(session, ProcessKind.scheduler, self.name, now, is_leader=self.is_leader)
        if gap is not None:
            log.warning("no scheduler lived for a while", since=gap.from_at.isoformat())

    def _seconds_to_next(self) -> float:
        if self._is_behind:
            return SHORTEST_SLEEP
        if not self.is_leader or self._queue.is_on:
            return LONGEST_SLEEP
        try:
            with self._waiting():
                first = projection.first_score(self.connection)
        except QueueDown as error:
            self._lose_queue(error)
            return LONGEST_SLEEP
        if first is None or self._damaged:
            return LONGEST_SLEEP
        return min(max(first - self._clock().timestamp(), SHORTEST_SLEEP), LONGEST_SLEEP)

    def _lose_queue(self, error: QueueDown) -> None:
        self.is_leader = False
        if queue.is_wrong_type(error):
            ours = {self.scheduler_lock_key: b"string", projection.ENTRIES: b"zset"}
            with suppress(QueueDown):
                queue.drop_impossible_keys(self.connection, ours)
        self._queue.begin(error)

    def _put_unreadable_back(self) -> bool:
        """Whether a schedule's row held what no column type can read; it is out of the way now."""
        with reading() as session:
            if not slot_facts.is_any_unsound(session):
                return False
        with transaction() as session:
            return slot_facts.mend_unsound(session) > 0

    def _now_and_then(self, what: str, seconds: float, do: Callable[[], object]) -> None:
        if time.monotonic() - self._last.get(what, -seconds) >= seconds:
            do()
            self._last[what] = time.monotonic()

    def _install_signal_handlers(self) -> None:
        signal.signal(signal.SIGINT, self._stop)
        signal.signal(signal.SIGTERM, self._stop)

    def _stop(self, _number: int, _frame: object) -> None:
        self._is_stopping = True
        if self._is_waiting:
            self._is_waiting = False
            raise StopAsked

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        """Within it a signal ends the process at once: it sleeps, or waits for Redis."""
        self._is_waiting = True
        try:
            if self._is_stopping:
                raise StopAsked
            yield
        finally:
            self._is_waiting = False

    def _leave(self) -> None:
        with suppress(SQLAlchemyError), transaction() as session:
            heartbeats.farewell(session, self.name, self._clock())
        if not self._queue.is_on:
            # A signal may have left an answer unread in it.
            self.connection.connection_pool.disconnect()
            with suppress(QueueDown):
                self.remove_lock()
        log.info("scheduler stopped", name=self.name)


def run_scheduler(app: Flask) -> int:
    """Schedules until a signal asks to stop; the exit code (0).

    Raises NotConfigured, and DatabaseNotReady at the start or as soon as somebody migrates the database.
    """
    settings = app.extensions["settings"]
    with app.app_context():
        database.require_head()
        connection = queue.connection(settings, CONNECT_SECONDS, ANSWER_SECONDS)
        scheduler = TwinScheduler(connection, load_service(settings))
        # What is loaded stays: not looking through it again makes the end of the process quick.
        collector.settle()
        log.info("scheduler started", name=scheduler.name)
        notifier.start(app)
        try:
            scheduler.run()
        finally:
            end_undisturbed()
    return 0
