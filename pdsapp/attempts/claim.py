"""Leases: which worker may run an attempt, for how long, and what happens when it is lost."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import structlog
from sqlalchemy import and_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from sqlalchemy.sql.base import ExecutableOption as ORMOption

from ..domain.reasons import AttemptState, CallState, Reason, Trigger
from ..errors import LeaseLost
from ..models import BY_ID, IS_DUE, IS_RUNNING, Attempt, LostLease, ModelCall
from . import clock_steps
from .fairness import take_turns
from .finish import end
from .lost import record_loss, record_return

log = structlog.get_logger()
LEASE = timedelta(seconds=45)
RENEW_SECONDS = 15.0
MAX_STRIKES = 3
# One attempt that kills its worker takes those beside it along once, and no further.
ALONE_FROM = 2
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
    strikes: int | None = None,
) -> list[Lease]:
    """Up to `limit` due attempts leased to this worker, of each experiment about as many, of one the oldest
    first; the caller commits.

    Attempts that lost a worker once are handed out with their like, one that lost two alone. Of a twin that
    is at work already, scheduled attempts end as `skipped: twin_busy`, those somebody asked for wait; so do
    scheduled ones of a twin whose post is decided and waits, for it would be decided without that. Those
    of an experiment that a participant is being erased from wait too. `only` names the attempts that may be
    taken; of `strikes` those that lost so many workers.
    """
    found, broken = take_turns(session, now, limit, lane, only, strikes)
    for number, error in broken.items():  # it stays due, and keeps nobody else from being taken
        log.warning("attempt cannot be read", attempt=number, why=f"{type(error).__name__}: {error}")
    # By twin: two workers that take attempts of the same twins never wait for each other in a circle.
    # Those that lost a worker go first where they may, and nothing else with them: so they do not wait for
    # ever behind those that can run together.
    busy, free = _busy_twins(session, found), []
    about_to_post = _decided_twins(session, found)
    for attempt in sorted(found, key=lambda a: (-a.strikes, a.digital_twin_id)):
        if strikes not in (None, attempt.strikes):  # only its like beside the first
            continue
        twin_id = attempt.digital_twin_id
        if twin_id in busy or (twin_id in about_to_post and _is_fresh(attempt)):
            _busy(attempt, now)
            continue
        strikes = attempt.strikes
        free.append(attempt)
        busy.add(twin_id)
        if attempt.strikes >= ALONE_FROM:
            break
    session.flush()
    return _lease_all(session, free, worker, now)


def has_struck(session: Session, lane: str, now: datetime) -> bool:
    """Whether attempts of a lane are due that lost a worker."""
    # By what was lost: that is little, and what is due may be a million.
    query = select(Attempt.id).join(LostLease, LostLease.attempt_id == Attempt.id)
    query = query.where(IS_DUE, Attempt.lane == lane, Attempt.not_before <= now, Attempt.strikes > 0)
    return session.scalar(query.limit(1)) is not None


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


def give_back(
    session: Session, lease: Lease, now: datetime, wait: timedelta = timedelta(0), words: str = ""
) -> None:
    """Returns an attempt to due without a strike: the worker stops in good order, or it has to wait for what
    `words` say. The caller commits.

    It is not taken again before `wait` is over. If it was taken back before, only that is written down.
    """
    give_back_all(session, [lease], now, wait, words)


def give_back_all(
    session: Session,
    leases: Sequence[Lease],
    now: datetime,
    wait: timedelta = timedelta(0),
    words: str = "",
) -> None:
    """The same for many leases. The caller commits."""
    attempts = held_by(session, leases)
    for lease in leases:
        if lease.attempt_id not in attempts:
            record_return(session, lease.token, now)
    _to_due(session, attempts.values(), now)
    for attempt in attempts.values():
        _let_wait(attempt, now, wait, words)


def strike(session: Session, lease: Lease, now: datetime, wait: timedelta, words: str) -> None:
    """Returns an attempt to due that our own code could not run, with a strike as if its worker had died; the
    third ends it as `failed: service_error`. The caller commits.

    It is not taken again before `wait` is over; `words` say what went wrong.
    """
    attempt = held_by(session, [lease]).get(lease.attempt_id)
    if attempt is None:
        record_return(session, lease.token, now)
        return
    _take_back(session, attempt, now, Reason.service_error, words)
    if attempt.state == AttemptState.due:
        _let_wait(attempt, now, wait, words)


def give_back_all_of(session: Session, worker: str, now: datetime) -> int:
    """Returns to due, without a strike, what a worker holds whose work-horse it has ended itself while it
    stops; gives how many. The caller commits, and knows that nothing of the worker runs any more."""
    held_by_it = session.scalars(
        select(Attempt)
        .where(IS_RUNNING, Attempt.claimed_by == worker)
        .order_by(BY_ID)
        .with_for_update(of=Attempt)
    ).all()
    _to_due(session, held_by_it, now)
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
        words = f"{attempt.strikes + 1} workers died or stopped answering while they ran this attempt."
        _take_back(session, attempt, now, Reason.worker_lost, words)
    return len(expired)


def held_by(session: Session, leases: Sequence[Lease], *options: ORMOption) -> dict[int, Attempt]:
    """By id, the attempts these leases still hold, locked in the order of their ids."""
    if not leases:
        return {}
    tokens = {lease.attempt_id: lease.token for lease in leases}
    query = select(Attempt).where(Attempt.id.in_(tokens), IS_RUNNING).order_by(BY_ID).options(*options)
    found = session.scalars(query.with_for_update(of=Attempt).execution_options(populate_existing=True)).all()
    return {each.id: each for each in found if each.lease_token == tokens[each.id]}


def lost(lease: Lease) -> LeaseLost:
    """That somebody else has the attempt, or it has ended."""
    return LeaseLost(f"Attempt {lease.attempt_uuid} is no longer held by this worker.")


def _busy_twins(session: Session, attempts: Sequence[Attempt]) -> set[int]:
    """Those of the attempts' twins that are at work already."""
    twins = [each.digital_twin_id for each in attempts]
    query = select(Attempt.digital_twin_id).where(Attempt.digital_twin_id.in_(twins), IS_RUNNING)
    return set(session.scalars(query)) if twins else set()


def _decided_twins(session: Session, attempts: Sequence[Attempt]) -> set[int]:
    """Those of the attempts' twins that have decided to post, and wait for their token or their endpoint."""
    twins = {each.digital_twin_id for each in attempts if _is_fresh(each)}
    query = select(Attempt.digital_twin_id).where(
        Attempt.digital_twin_id.in_(twins), IS_DUE, Attempt.decided_at.is_not(None)
    )
    return set(session.scalars(query)) if twins else set()


def _is_fresh(attempt: Attempt) -> bool:
    """Whether a schedule asks, and nobody has begun with it."""
    return attempt.trigger == Trigger.schedule and attempt.strikes == 0 and attempt.decided_at is None


def _busy(attempt: Attempt, now: datetime) -> None:
    if _is_fresh(attempt):
        end(
            attempt,
            AttemptState.skipped,
            Reason.twin_busy,
            now,
            "The twin was still at work on an earlier attempt.",
        )
    else:
        attempt.not_before = now + BUSY_WAIT
        attempt.waits_for = ""
        attempt.changed_at = now


def _lease_all(session: Session, free: Sequence[Attempt], worker: str, now: datetime) -> list[Lease]:
    """The leases, without those whose twin another worker took in this very moment."""
    try:
        with session.begin_nested():
            leases = [_lease(attempt, worker, now) for attempt in free]
            session.flush()
            return leases
    except IntegrityError:
        if len(free) == 1:
            _busy(free[0], now)
            session.flush()
            return []
    return [lease for attempt in free for lease in _lease_all(session, [attempt], worker, now)]


def _lease(attempt: Attempt, worker: str, now: datetime) -> Lease:
    attempt.state = AttemptState.running
    attempt.lease_token = uuid4()
    attempt.lease_until = now + LEASE
    attempt.claimed_at = now
    attempt.claimed_by = worker
    attempt.waits_for = ""
    attempt.changed_at = now
    return Lease(attempt.id, attempt.uuid, attempt.lease_token, attempt.strikes)


def _take_back(session: Session, attempt: Attempt, now: datetime, reason: Reason, words: str) -> None:
    """Takes an attempt from its holder with a strike; the last one ends it, for this reason."""
    record_loss(session, attempt, now)
    attempt.strikes += 1
    if attempt.strikes < MAX_STRIKES:
        _to_due(session, [attempt], now)
        return
    _mark_calls_lost(session, [attempt], now)
    end(attempt, AttemptState.failed, reason, now, words)


def _let_wait(attempt: Attempt, now: datetime, wait: timedelta, words: str) -> None:
    """Has an attempt that is due again wait, unless somebody has stopped it."""
    attempt.not_before = now if attempt.stop_asked_at is not None else now + wait
    attempt.waits_for = words[:300]


def _to_due(session: Session, attempts: Collection[Attempt], now: datetime) -> None:
    _mark_calls_lost(session, attempts, now)
    for attempt in attempts:
        attempt.state = AttemptState.due
        attempt.stage = None
        attempt.lease_token = None
        attempt.lease_until = None
        attempt.not_before = now
        attempt.changed_at = now


def _mark_calls_lost(session: Session, attempts: Collection[Attempt], now: datetime) -> None:
    session.execute(
        update(ModelCall)
        .where(ModelCall.attempt_id.in_([each.id for each in attempts]), ModelCall.state == CallState.started)
        .values(
            state=CallState.lost, finished_at=now, detail="The worker was lost before the answer was stored."
        )
    )
