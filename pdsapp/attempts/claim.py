"""Leases: which worker may run an attempt, for how long, and what happens when it is lost."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import structlog
from sqlalchemy import and_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from ..database import read_each
from ..domain.reasons import AttemptState, CallState, Reason, Trigger
from ..models import BY_ID, IS_DUE, IS_RUNNING, Attempt, ModelCall
from . import clock_steps
from .erased import being_erased
from .finish import end
from .lost import record_loss, record_return

log = structlog.get_logger()
LEASE = timedelta(seconds=45)
RENEW_SECONDS = 15.0
MAX_STRIKES = 3
BUSY_WAIT = timedelta(seconds=2)
MOST_REAPED = 200


@dataclass(frozen=True)
class Lease:
    """The right to run one attempt: writes are fenced by `token`."""

    attempt_id: int
    attempt_uuid: UUID
    token: UUID
    strikes: int


def claim(
    session: Session,
    worker: str,
    now: datetime,
    limit: int,
    lane: str | None = None,
    only: set[int] | None = None,
    may_be_struck: bool = True,
) -> list[Lease]:
    """Up to `limit` due attempts, oldest first, leased to this worker; the caller commits.

    An attempt that lost a worker before is handed out alone. Of a twin that is at work already,
    scheduled attempts end as `skipped: twin_busy`, those somebody asked for wait. Those of an experiment
    that a participant is being erased from wait too. `only` names the
    attempts that may be taken; `may_be_struck=False` leaves those that lost a worker.
    """
    query = select(Attempt).where(
        IS_DUE, Attempt.not_before <= now, Attempt.experiment_id.not_in(being_erased())
    )
    if lane is not None:
        query = query.where(Attempt.lane == lane)
    if only is not None:
        query = query.where(Attempt.id.in_(only))
    query = query.order_by(Attempt.not_before, Attempt.id).limit(limit)
    leases: list[Lease] = []
    found, broken = read_each(session, query.with_for_update(skip_locked=True, of=Attempt), Attempt.id)
    for number, error in broken.items():  # it stays due, and keeps nobody else from being taken
        log.warning("attempt cannot be read", attempt=number, why=f"{type(error).__name__}: {error}")
    # By twin: two workers that take attempts of the same twins never wait for each other in a circle.
    # One that lost a worker goes first where it may: it ends the claim, so it cannot close a circle either,
    # and it does not wait for ever behind those that can run together.
    for attempt in sorted(found, key=lambda a: (not (a.strikes and may_be_struck), a.digital_twin_id)):
        if attempt.strikes and (leases or not may_be_struck):
            continue
        if _is_twin_busy(session, attempt):
            _busy(session, attempt, now)
            continue
        lease = _lease(session, attempt, worker, now)
        if lease is None:
            _busy(session, attempt, now)
            continue
        leases.append(lease)
        if attempt.strikes:
            break
    return leases


def renew(session: Session, leases: list[Lease], now: datetime) -> int:
    """Prolongs the leases that still hold; gives how many do. The caller commits."""
    if not leases:
        return 0
    holding = and_(
        Attempt.id.in_([lease.attempt_id for lease in leases]),
        Attempt.lease_token.in_([lease.token for lease in leases]),
    )
    # By id, as a stop marks them: an update alone takes rows in any order, and two could wait in a ring.
    query = select(Attempt.id).where(holding, IS_RUNNING).order_by(Attempt.id)
    session.execute(query.with_for_update())
    return session.execute(
        update(Attempt).where(holding, IS_RUNNING).values(lease_until=now + LEASE)
    ).rowcount


def give_back(session: Session, lease: Lease, now: datetime, wait: timedelta = timedelta(0)) -> None:
    """Returns an attempt to due without a strike: the worker stops in good order. The caller commits.

    It is not taken again before `wait` is over. If it was taken back before, only that is written down.
    """
    attempt = session.scalars(held(lease)).one_or_none()
    if attempt is None:
        record_return(session, lease.token, now)
        return
    _to_due(session, attempt, now)
    attempt.not_before = now + wait


def give_back_all_of(session: Session, worker: str, now: datetime) -> int:
    """Returns to due, without a strike, what a worker holds whose work-horse it has ended itself while it
    stops; gives how many. The caller commits, and knows that nothing of the worker runs any more."""
    held_by_it = session.scalars(
        select(Attempt)
        .where(IS_RUNNING, Attempt.claimed_by == worker)
        .order_by(BY_ID)
        .with_for_update(of=Attempt)
    ).all()
    for attempt in held_by_it:
        _to_due(session, attempt, now)
    return len(held_by_it)


def reap(session: Session, now: datetime) -> int:
    """Takes back attempts whose lease ran out, MOST_REAPED at once; gives how many. The caller commits.

    Each gets a strike; the third ends it as `failed: worker_lost`. Times that only a clock set back
    explains are mended first.
    """
    clock_steps.mend(session, now, LEASE)
    expired = session.scalars(
        select(Attempt)
        .where(IS_RUNNING, Attempt.lease_until < now)
        .order_by(BY_ID)
        .limit(MOST_REAPED)
        .with_for_update(skip_locked=True, of=Attempt)
    ).all()
    for attempt in expired:
        record_loss(session, attempt, now)
        attempt.strikes += 1
        if attempt.strikes >= MAX_STRIKES:
            _mark_calls_lost(session, attempt, now)
            end(
                attempt,
                AttemptState.failed,
                Reason.worker_lost,
                now,
                f"{attempt.strikes} workers died or stopped answering while they ran this attempt.",
            )
        else:
            _to_due(session, attempt, now)
    return len(expired)


def held(lease: Lease):
    """A query for the attempt, locked, if this lease still holds it."""
    return (
        select(Attempt)
        .where(
            Attempt.id == lease.attempt_id,
            Attempt.lease_token == lease.token,
            IS_RUNNING,
        )
        .with_for_update(of=Attempt)
        .execution_options(populate_existing=True)
    )


def _is_twin_busy(session: Session, attempt: Attempt) -> bool:
    query = select(Attempt.id).where(Attempt.digital_twin_id == attempt.digital_twin_id, IS_RUNNING)
    return session.scalars(query.limit(1)).first() is not None


def _busy(session: Session, attempt: Attempt, now: datetime) -> None:
    if attempt.trigger == Trigger.schedule and attempt.strikes == 0 and attempt.decided_at is None:
        end(
            attempt,
            AttemptState.skipped,
            Reason.twin_busy,
            now,
            "The twin was still at work on an earlier attempt.",
        )
    else:
        attempt.not_before = now + BUSY_WAIT
        attempt.changed_at = now
    session.flush()


def _lease(session: Session, attempt: Attempt, worker: str, now: datetime) -> Lease | None:
    """The lease, or None when another worker took the same twin in this very moment."""
    token = uuid4()
    try:
        with session.begin_nested():
            attempt.state = AttemptState.running
            attempt.lease_token = token
            attempt.lease_until = now + LEASE
            attempt.claimed_at = now
            attempt.claimed_by = worker
            attempt.changed_at = now
            session.flush()
    except IntegrityError:
        return None
    return Lease(attempt.id, attempt.uuid, token, attempt.strikes)


def _to_due(session: Session, attempt: Attempt, now: datetime) -> None:
    _mark_calls_lost(session, attempt, now)
    attempt.state = AttemptState.due
    attempt.stage = None
    attempt.lease_token = None
    attempt.lease_until = None
    attempt.not_before = now
    attempt.changed_at = now


def _mark_calls_lost(session: Session, attempt: Attempt, now: datetime) -> None:
    session.execute(
        update(ModelCall)
        .where(ModelCall.attempt_id == attempt.id, ModelCall.state == CallState.started)
        .values(
            state=CallState.lost, finished_at=now, detail="The worker was lost before the answer was stored."
        )
    )
