"""Adding attempts: for a person's request, a command, or a slot. Adding one is not asking it yet."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from ..domain.reasons import Trigger
from ..models import Attempt, DigitalTwin, Slot
from .selection import Pick

LANE_NOW = "now"


@dataclass(frozen=True)
class Request:
    """Who asks for attempts, and how.

    `request_id` makes asking twice the same as asking once. `account_id` is who pressed the button.
    """

    trigger: Trigger
    request_id: str
    is_forced: bool = False
    account_id: int | None = None
    lane: str = LANE_NOW


def add_for_twin(session: Session, twin: DigitalTwin, request: Request, now: datetime) -> Attempt:
    """The attempt of this request for a given twin; the one already there if it was asked before.

    The caller commits, then wakes the lane.
    """
    return _add_once(session, request.request_id, lambda: _attempt(request, twin.experiment_id, twin.id, now))


def add_for_picks(session: Session, picks: list[Pick], request: Request, now: datetime) -> list[Attempt]:
    """One attempt for each drawn twin, or those already there. The caller commits, then wakes the lane."""
    return [
        _add_once(
            session,
            f"{request.request_id}-{pick.ordinal}",
            lambda pick=pick: _picked(_attempt(request, pick.experiment_id, pick.twin_id, now), pick),
        )
        for pick in picks
    ]


def add_for_slot(session: Session, slot: Slot, picks: list[Pick], now: datetime) -> list[Attempt]:
    """One attempt for each twin drawn for a fired slot. The caller commits, then wakes the lane."""
    revision = slot.revision
    attempts = []
    for pick in picks:
        attempt = Attempt(
            experiment_id=pick.experiment_id,
            digital_twin_id=pick.twin_id,
            slot_id=slot.id,
            schedule_id=slot.schedule_id,
            trigger=Trigger.schedule,
            is_forced=revision.is_forced,
            lane=revision.lane,
            created_at=now,
            changed_at=now,
            not_before=now,
        )
        attempts.append(_picked(attempt, pick))
    session.add_all(attempts)
    slot.expanded_count += len(attempts)
    session.flush()
    return attempts


def _attempt(request: Request, experiment_id: int, twin_id: int, now: datetime) -> Attempt:
    return Attempt(
        experiment_id=experiment_id,
        digital_twin_id=twin_id,
        trigger=request.trigger,
        account_id=request.account_id,
        is_forced=request.is_forced,
        lane=request.lane,
        created_at=now,
        changed_at=now,
        not_before=now,
    )


def _picked(attempt: Attempt, pick: Pick) -> Attempt:
    attempt.ordinal = pick.ordinal
    attempt.selection_key = pick.key
    attempt.candidate_count = pick.candidate_count
    attempt.drawn_rank = pick.rank
    return attempt


def _add_once(session: Session, request_id: str, make) -> Attempt:
    query = select(Attempt).where(Attempt.request_id == request_id)
    if (found := session.scalars(query).one_or_none()) is not None:
        return found
    attempt = make()
    attempt.request_id = request_id
    try:
        with session.begin_nested():
            session.add(attempt)
    except IntegrityError:  # another process asked the same in this moment
        return session.scalars(query).one()
    return attempt
