"""The worker process: takes wake-ups of its lanes and forks a work-horse for each.

The parent holds no connection to the database and no model client while it forks; it waits, beats, and
passes signals on. SIGTERM: the work-horse gives back what it cannot finish within PDS_STOP_SECONDS. The same
happens when somebody migrates the database: this code must not write to another schema.
"""

import os
import secrets
import signal
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from importlib import import_module

import redis
import rq
import structlog
from flask import Flask
from rq.exceptions import DequeueTimeout
from rq.registry import FailedJobRegistry, FinishedJobRegistry, StartedJobRegistry
from rq.utils import now as rq_now
from rq.worker import WorkerStatus
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, configure_mappers

from .. import collector
from ..attempts import claim
from ..attempts.workshop import warm_up
from ..config import Settings
from ..database import reading, transaction
from ..dt_service import load_service
from ..errors import DatabaseNotReady, QueueDown
from ..extensions import db
from ..models import ProcessKind, utc_now
from ..services import database, heartbeats
from ..services.disk import DiskWatch
from . import queue
from .bell import Bell, end_undisturbed
from .orphans import die_with_parent
from .outage import Outage
from .queue import LaneJob, LaneQueue

DEQUEUE_SECONDS = 0.5
BEAT_SECONDS = heartbeats.BEAT_SECONDS - 0.5
MAINTENANCE_SECONDS = 600
KILL_GRACE_SECONDS = 0.6
ANSWER_SECONDS = 3.0
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
log = structlog.get_logger()


class TwinWorker(rq.Worker):
    """RQ's forking worker on lanes, which survives a Redis that goes away and stops without losing work."""

    job_class = LaneJob
    queue_class = LaneQueue
    dequeue_timeout = DEQUEUE_SECONDS
    # RQ would raise the connection's time-out to ten seconds more than that: too long beside a frozen server.
    connection_timeout = ANSWER_SECONDS

    def __init__(
        self,
        lanes: Sequence[str],
        connection: redis.Redis,
        settings: Settings,
        *,
        clock: Callable[[], datetime] = utc_now,
        name: str | None = None,
    ):
        # After a kill -9 RQ refuses the same name for a while: each process has its own.
        name = name or f"worker-{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        super().__init__(
            [queue.lane_queue(connection, lane) for lane in lanes],
            name=name,
            connection=connection,
            worker_ttl=60,
            job_monitoring_interval=int(heartbeats.BEAT_SECONDS),
            maintenance_interval=MAINTENANCE_SECONDS,
            prepare_for_work=False,
            log_job_description=False,
        )
        self.hostname, self.pid, self.ip_address = socket.gethostname(), os.getpid(), "unknown"
        self.lanes = tuple(lanes)
        self._clock = clock
        self._stop_seconds = settings.stop_seconds
        self._stop_at: float | None = None
        self.refusal: DatabaseNotReady | None = None
        self._beat_at = self._registered_at = self._cleaned_at = float("-inf")
        self._queue = Outage("queue")
        self._database = Outage("database")
        self._disk = DiskWatch(settings)
        self._bell = Bell()

    def work(self, burst: bool = False, **_: object) -> bool:
        """Serves the lanes until a signal asks it to stop; with `burst`, until they are empty.

        True if any job was done.
        """
        self._install_signal_handlers()
        done = 0
        try:
            while not self._stop_requested:
                self._beat_if_due()
                if not (self._queue.may_try and self._disk.has_room()):
                    self._bell.wait(DEQUEUE_SECONDS)
                    continue
                try:
                    done += self._serve(0.05 if burst else DEQUEUE_SECONDS)
                    self._queue.over()
                except DequeueTimeout:
                    self._queue.over()
                    if burst:
                        break
                except (redis.RedisError, QueueDown) as error:
                    self._queue.begin(error)
            log.info("worker stops", name=self.name)
        finally:
            self._leave()
        return bool(done)

    def _serve(self, seconds: float) -> int:
        """Waits for one job and sees it done. Raises DequeueTimeout, redis.RedisError."""
        self._register_if_due()
        self._clean_if_due()
        found = self.queue_class.dequeue_any(self._ordered_queues, seconds, connection=self.connection)
        if found is None:
            return 0
        job, lane = found
        self._look_at_schema()
        if self._stop_requested:
            lane.push_job_id(job.id, at_front=True)
            return 0
        self.execute_job(job, lane)
        return 1

    def fork_work_horse(self, job: LaneJob, queue: LaneQueue) -> None:
        """Forks. Signals to stop are held back across it, so that none falls between two handlers."""
        db.engine.dispose()
        parent_pid = os.getpid()
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        child_pid = os.fork()
        if child_pid == 0:
            self._be_a_work_horse(job, queue, parent_pid)
        self._horse_pid = child_pid
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
        if self._stop_requested:
            self._tell_horse()

    def setup_work_horse_signals(self) -> None:
        """The work-horse takes no signal by itself: they stay held back until its task listens to them."""
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGCHLD):
            signal.signal(number, _nothing)
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def monitor_work_horse(self, job: LaneJob, queue: LaneQueue, execution: object) -> None:
        """Waits for the work-horse, beats meanwhile, and ends it when its time is over."""
        job.started_at = rq_now()
        began = told_at = time.monotonic()
        status = None
        while status is None:
            status = _ended(self.horse_pid)
            if status is not None:
                break
            self._bell.wait(DEQUEUE_SECONDS)
            self._beat_if_due()
            if time.monotonic() - told_at >= self.job_monitoring_interval:
                told_at = time.monotonic()
                self._while_queue_answers(lambda: self.maintain_heartbeats(job, execution))
            is_late = time.monotonic() - began > job.timeout + 60
            if is_late or (self._stop_at is not None and time.monotonic() > self._stop_at):
                log.warning("work-horse is killed", name=self.name, job=job.id)
                self.kill_horse()
        self._horse_pid = 0
        if status != 0 and self._stop_at is not None and time.monotonic() > self._stop_at:
            self._give_back()
        self.executions.pop(execution.id, None)
        if status != 0:
            words = f"The work-horse ended with {_end_words(status)}."
            log.warning("work-horse died", name=self.name, job=job.id, how=_end_words(status))
            job.ended_at = rq_now()
            self._while_queue_answers(
                lambda: self.handle_job_failure(job, queue=queue, exc_string=words, execution=execution)
            )

    def request_stop(self, signum: int, frame: object) -> None:
        """Stops taking jobs and has the work-horse finish; any further signal says no more than the first."""
        self._stop_requested = True
        if self._stop_at is None:
            self._stop_at = time.monotonic() + self._stop_seconds + KILL_GRACE_SECONDS
        self._tell_horse()

    def kill_horse(self, sig: signal.Signals = signal.SIGKILL) -> None:
        """Ends the work-horse, if there is one."""
        if self.horse_pid:
            with suppress(ProcessLookupError):
                os.kill(self.horse_pid, sig)

    def _give_back(self) -> None:
        """Returns what the killed work-horse held: being told to stop is no strike for an attempt."""
        try:
            with transaction() as session:
                count = claim.give_back_all_of(session, self.name, self._clock())
        except SQLAlchemyError as error:
            log.warning(
                "attempts not given back: their leases run out", name=self.name, why=type(error).__name__
            )
        else:
            log.info("attempts given back", name=self.name, count=count)

    def _look_at_schema(self) -> None:
        """Stops, as a signal would make it, if somebody has migrated the database."""
        with suppress(SQLAlchemyError), reading() as session:
            self._require_head_still(session)

    def _require_head_still(self, session: Session) -> None:
        try:
            database.require_head_still(session)
        except DatabaseNotReady as error:
            self.refusal = error
            self.request_stop(signal.SIGTERM, None)

    def _tell_horse(self) -> None:
        self.kill_horse(signal.SIGUSR1)

    def _be_a_work_horse(self, job: LaneJob, queue: LaneQueue, parent_pid: int) -> None:
        try:
            die_with_parent(parent_pid)
            self._bell.close()
            os.setpgrp()
            db.engine.dispose(close=False)
            self.main_work_horse(job, queue)
        finally:
            os._exit(1)

    def _install_signal_handlers(self) -> None:
        self._bell.open()
        signal.signal(signal.SIGINT, self.request_stop)
        signal.signal(signal.SIGTERM, self.request_stop)
        signal.signal(signal.SIGCHLD, _nothing)

    def _beat_if_due(self) -> None:
        if time.monotonic() - self._beat_at < BEAT_SECONDS or not self._database.may_try:
            return
        try:
            with transaction() as session:
                self._require_head_still(session)
                heartbeats.beat(
                    session, ProcessKind.worker, self.name, self._clock(), lanes=",".join(self.lanes)
                )
            self._beat_at = time.monotonic()
            self._database.over()
        except SQLAlchemyError as error:
            self._database.begin(error)

    def _register_if_due(self) -> None:
        """Tells RQ's tools that it lives; new to this Redis, it also looks for attempts left lying."""
        if time.monotonic() - self._registered_at < BEAT_SECONDS and not self._queue.is_on:
            return
        if self.connection.hexists(self.key, "birth"):
            self.heartbeat()
        else:
            self.connection.delete(self.key)
            self.register_birth()
            self.set_state(WorkerStatus.IDLE)
            queue.wake_idle(self.connection, self.lanes)
        self._registered_at = time.monotonic()

    def _clean_if_due(self) -> None:
        if time.monotonic() - self._cleaned_at < MAINTENANCE_SECONDS:
            return
        self._cleaned_at = time.monotonic()
        for lane in self.queues:
            for registry in (FinishedJobRegistry, StartedJobRegistry, FailedJobRegistry):
                try:
                    registry(queue=lane).cleanup()
                except (ValueError, TypeError, AttributeError) as error:  # what others have written there
                    log.warning(
                        "registry not cleaned", lane=lane.name, why=f"{type(error).__name__}: {error}"
                    )

    def _while_queue_answers(self, do: Callable[[], object]) -> None:
        try:
            do()
        except redis.RedisError as error:
            self._queue.begin(error)

    def _leave(self) -> None:
        with suppress(SQLAlchemyError), transaction() as session:
            heartbeats.farewell(session, self.name, self._clock())
        if not self._queue.is_on:
            with suppress(redis.RedisError):
                self.register_death()
        self._bell.close()


def _nothing(_number: int, _frame: object) -> None:
    """A signal that only has to interrupt a wait."""


def _ended(pid: int) -> int | None:
    """How the child ended, as `os.wait` tells it; None while it lives."""
    try:
        found, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return 0
    return status if found else None


def _end_words(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def run_worker(app: Flask, lanes: Sequence[str]) -> int:
    """Serves lanes until a signal asks to stop; the exit code (0).

    Raises NotConfigured, and DatabaseNotReady at the start or, after what runs has been finished or given
    back, when somebody has migrated the database.
    """
    settings = app.extensions["settings"]
    with app.app_context():
        database.require_head()
        # Loaded before the first fork, so that no work-horse loads it again; nothing of it connects.
        for name in {name.rpartition(".")[0] for name in queue.ALLOWED}:
            import_module(name)
        warm_up(settings)
        configure_mappers()
        load_service(settings)
        connection = queue.connection(settings, answer_seconds=ANSWER_SECONDS)
        worker = TwinWorker(lanes, connection, settings)
        # What is loaded stays shared with the work-horses, and the end of the process is quick.
        collector.settle()
        log.info("worker started", name=worker.name, lanes=",".join(lanes))
        worker.work()
    end_undisturbed()
    if worker.refusal is not None:
        raise worker.refusal
    return 0
