"""What RQ may run, and what other code may call. Thin: the real work is in `attempts` and `scheduling`.

A job names a lane or a schedule, never a text. Each function gives plain data.
"""

import asyncio
import os
import signal
import socket
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import Any
from uuid import UUID, uuid4

import structlog
from flask import Flask, current_app, has_app_context
from rq import get_current_job
from rq.timeouts import BaseTimeoutException
from sqlalchemy.orm import Session

from .attempts.batch import Batch
from .attempts.claim import claim, has_struck
from .attempts.create import Request, add_for_picks
from .attempts.selection import Pick, installation_seed, request_key
from .attempts.workshop import make_workshop
from .config import Settings
from .database import reading, transaction
from .domain.reasons import Trigger
from .dt_service import load_service
from .errors import PdsError, QueueDown
from .models import Attempt, DigitalTwin, utc_now
from .scheduling import projection, queue, slots
from .services import bulk_imports, disk, heartbeats, lookup

# What giving attempts back takes at most, so that a worker is gone within PDS_STOP_SECONDS.
GIVE_BACK_SECONDS = 0.4
# What one work-horse runs before another takes over: its memory goes with it.
MOST_IN_JOB = 5_000
STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
log = structlog.get_logger()


def generate_attempts(lane: str, limit: int = MOST_IN_JOB) -> dict[str, int]:
    """Runs due attempts of a lane, at most `limit`, for some time; how many ended in which state.

    As many at once as PDS_AT_ONCE says, and more as they end, while its time for claiming lasts.

    This is the wake-up: it claims what SQL says is due, whoever queued it and why. Raises ValueError for
    what cannot be a lane.
    """
    if not queue.is_lane(lane):
        raise ValueError(f"{lane!r} cannot be a lane.")
    with _application() as settings:
        batch = _batch(settings, lane, limit)
        batch.others_wait = partial(_others_wait, settings, batch.worker, lane)
        _run(batch, batch.drain())
        if sum(batch.ended.values()) >= limit:
            _quietly(lambda: queue.wake(queue.connection(settings), lane))
        return {state.value: count for state, count in batch.ended.items()}


def generate_digital_twin_post(experiment_id: str | None = None, force: bool = False) -> dict[str, Any]:
    """Asks one random twin, of the given experiment or of any, whether and what to post, here and now.

    `experiment_id` is a UUID or the five-character identifier. Gives `attempt`, `twin`, `state`, `reason`
    and `detail`; all but `state` are None when nobody is eligible. Raises NotFound, BadInput, DiskLow.
    """
    job = get_current_job()
    request = Request(Trigger.api, f"task-{job.id if job else uuid4()}"[:60], is_forced=force)
    with _application() as settings:
        disk.require_room(settings)
        batch = _batch(settings, None, 1)
        with transaction() as session:
            picks = _drawn(session, settings, experiment_id, 1, request.request_id)
            if not picks:
                return dict.fromkeys(("attempt", "twin", "reason", "detail")) | {"state": "nobody_eligible"}
            attempt_id = add_for_picks(session, picks, request, utc_now())[0].id
            leases = claim(session, batch.worker, utc_now(), 1, only={attempt_id})
        _run(batch, batch.finish(leases))
        with reading() as session:
            attempt = session.get_one(Attempt, attempt_id)
            return {
                "attempt": str(attempt.uuid),
                "twin": str(attempt.digital_twin.uuid),
                "state": attempt.state.value,
                "reason": attempt.reason.value if attempt.reason else None,
                "detail": attempt.detail,
            }


def get_random_digital_twins(count: int = 1, experiment_id: str | None = None) -> list[str]:
    """UUIDs of up to `count` distinct eligible twins, drawn by the configured service."""
    with _application() as settings, reading() as session:
        picks = _drawn(session, settings, experiment_id, count, f"draw-{uuid4()}")
        return [str(session.get_one(DigitalTwin, pick.twin_id).uuid) for pick in picks]


def claim_slot(schedule_uuid: str) -> dict[str, int]:
    """Claims what is due of one schedule; how many slots became what. It is what a queue entry names.

    The scheduler claims by itself; run by anybody else, this does the same and never fires a slot twice.
    """
    with _application() as settings:
        with transaction() as session:
            service = load_service(settings)
            claimed = slots.claim_due(session, service, [UUID(schedule_uuid)], utc_now(), _worker_name())
        _quietly(lambda: _tell(settings, claimed))
        return {kind.value: count for kind, count in claimed.slots.items()}


def set_up_twins(import_id: int) -> dict[str, str | int]:
    """Sets up the twins of one confirmed bulk import, all or none; what its row says afterwards.

    Run for one that somebody is at, or that is over, it does nothing.
    """
    with _application():
        state = bulk_imports.run(int(import_id), utc_now)
        return {"import": int(import_id), "state": state.value if state else "not taken"}


def _tell(settings: Settings, claimed: slots.Claimed) -> None:
    connection = queue.connection(settings)
    projection.move(connection, claimed.next_slots)
    for lane, attempts in claimed.attempts.items():
        queue.wake(connection, lane, attempts)


def _drawn(
    session: Session, settings: Settings, experiment_id: str | None, count: int, request_id: str
) -> list[Pick]:
    experiment = lookup.find_experiment(session, str(experiment_id)) if experiment_id else None
    key = request_key(installation_seed(session), request_id)
    return load_service(settings).get_random_digital_twins(session, experiment, count, key)


def _batch(settings: Settings, lane: str | None, limit: int) -> Batch:
    patience = max(settings.stop_seconds - GIVE_BACK_SECONDS, settings.stop_seconds / 2)
    settings = settings.model_copy(update={"stop_seconds": patience})
    shop = make_workshop(settings, load_service(settings), passes=(BaseTimeoutException,))
    return Batch(shop, _worker_name(), lane, limit, settings.at_once)


def _others_wait(settings: Settings, worker: str, lane: str) -> bool:
    """Whether something else waits for this worker than attempts of the lane that have lost no worker: other
    jobs, its other lanes, or those that run apart. True too while the queue does not answer."""
    with reading() as session:
        if has_struck(session, lane, utc_now()):
            return True
        lanes = heartbeats.lanes_of(session, worker) or [lane]
    try:
        return queue.has_others(queue.connection(settings), lane, lanes)
    except QueueDown:
        return True


def _run(batch: Batch, work: Coroutine[Any, Any, None]) -> None:
    with _stopped_by_signals(batch):
        asyncio.run(work)


@contextmanager
def _stopped_by_signals(batch: Batch) -> Iterator[None]:
    """Signals to stop reach the batch, those too that the worker has held back since the fork."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, lambda *_: batch.stop()) for number in STOP_SIGNALS}
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)


def _worker_name() -> str:
    job = get_current_job()
    return (job and job.worker_name) or f"{socket.gethostname()}-{os.getpid()}"


def _quietly(do) -> None:
    """Tells the queue something it can also find out by itself."""
    try:
        do()
    except PdsError as error:
        log.info("queue not told", why=str(error))


@contextmanager
def _application() -> Iterator[Settings]:
    """The settings, within the application: the worker's, or one made for this process."""
    if has_app_context():
        yield current_app.extensions["settings"]
        return
    with _own_application().app_context():
        yield current_app.extensions["settings"]


@lru_cache(maxsize=1)
def _own_application() -> Flask:
    from . import create_app

    return create_app(with_web=False)
