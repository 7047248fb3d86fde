"""Adding attempts: for a person's request, a command, or a slot. Adding one is not asking it yet."""

from collections import Counter
from collections.abc import Container, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from ..domain.jitter import delay_of
from ..domain.policy import PolicyError, PostingPolicy
from ..domain.quoting import quote
from ..domain.reasons import ExperimentState, Trigger
from ..errors import BadInput, NotFound
from ..models import Attempt, DigitalTwin, Experiment, ScheduleRevision
from ..services.editing import require_open_now
from .gate import pass_gate
from .ranks import GONE
from .selection import Pick

LANE_NOW = "now"


@dataclass(frozen=True)
class Request:
    """Who asks for attempts, and how.

    `request_id`, at most 58 characters, makes asking twice the same as asking once. `account_id` is who
    pressed the button, `retry_of_id` the failed attempt that is tried again. `length_band` names the band of
    the twin's policy its post shall have; "" leaves it to the draw.
    """

    trigger: Trigger
    request_id: str
    is_forced: bool = False
    account_id: int | None = None
    lane: str = LANE_NOW
    retry_of_id: int | None = None
    length_band: str = ""


def add_for_twin(session: Session, twin: DigitalTwin, request: Request, now: datetime) -> Attempt:
    """The attempt of this request for a given twin; the one already there if it was asked before.

    It passes the gate, so that an experiment's end finds it and calls it off, or is found by it. The caller
    commits, then wakes the lane. Raises ReadOnly where the twin's experiment is over, NotFound where the twin
    was deleted meanwhile, BadInput at `band` for a length band its policy has not.
    """
    pass_gate(session)
    require_open_now(session, twin.experiment_id)
    if request.length_band and request.length_band not in band_names(twin):
        raise BadInput(
            f"The policy has no length band {quote(request.length_band[:40])}. Choose another.", "band"
        )
    drafts = drafts_among(session, [twin.experiment_id])
    return _add_once(
        session, request.request_id, lambda: _attempt(request, twin.experiment_id, twin.id, now, drafts)
    )


def band_names(twin: DigitalTwin) -> tuple[str, ...]:
    """The length bands the policy of a twin's experiment has; none if it cannot be read."""
    try:
        return tuple(band.name for band in PostingPolicy.from_dict(twin.experiment.policy.body).bands)
    except PolicyError:
        return ()


def add_for_picks(session: Session, picks: list[Pick], request: Request, now: datetime) -> list[Attempt]:
    """One attempt for each drawn twin, or those already there. The caller commits, then wakes the lane."""
    drafts = drafts_among(session, [pick.experiment_id for pick in picks])
    return [
        _add_once(
            session,
            f"{request.request_id}-{pick.ordinal}",
            lambda pick=pick: _picked(_attempt(request, pick.experiment_id, pick.twin_id, now, drafts), pick),
        )
        for pick in picks
    ]


@dataclass(frozen=True)
class FiredSlot:
    """A stored slot that fires at an instant, and the twins drawn for it."""

    id: int
    at: datetime
    revision: ScheduleRevision
    picks: list[Pick]


def add_for_slots(session: Session, fired: list[FiredSlot], now: datetime) -> Counter[str]:
    """One attempt for each twin drawn for each of these slots, all written together.

    Gives how many of them may begin at once, by lane; those with a delay to wait out are due later. The
    caller commits, then wakes these lanes.
    """
    drafts = drafts_among(session, [pick.experiment_id for slot in fired for pick in slot.picks])
    rows = [_of_slot(slot, pick, now, drafts) for slot in fired for pick in slot.picks]
    if rows:
        session.execute(insert(Attempt), rows)
    return Counter(row["lane"] for row in rows if row["not_before"] <= now)


def drafts_among(session: Session, experiment_ids: Iterable[int]) -> frozenset[int]:
    """Which of these experiments are drafts at this moment: what is added for them is a rehearsal.

    Should one be started before the caller's commit, the rehearsal is called off when a worker looks at it.
    """
    keys = set(experiment_ids)
    if not keys:
        return frozenset()
    query = select(Experiment.id).where(Experiment.id.in_(keys), Experiment.state == ExperimentState.draft)
    return frozenset(session.scalars(query))


def _of_slot(slot: FiredSlot, pick: Pick, now: datetime, drafts: Container[int]) -> dict[str, object]:
    delay = None
    if slot.revision.jitter_seconds:
        delay = delay_of(pick.key, pick.ordinal, slot.revision.jitter_seconds)
    return {
        "experiment_id": pick.experiment_id,
        "digital_twin_id": pick.twin_id,
        "slot_id": slot.id,
        "schedule_id": slot.revision.schedule_id,
        "trigger": Trigger.schedule,
        "is_forced": slot.revision.is_forced,
        "is_rehearsal": pick.experiment_id in drafts,
        "lane": slot.revision.lane,
        "created_at": now,
        "changed_at": now,
        "not_before": max(now, slot.at + timedelta(seconds=delay or 0)),
        "delay_seconds": delay,
        "ordinal": pick.ordinal,
        "selection_key": pick.key,
        "candidate_count": pick.candidate_count,
        "drawn_rank": pick.rank,
    }


def _attempt(
    request: Request, experiment_id: int, twin_id: int, now: datetime, drafts: Container[int]
) -> Attempt:
    return Attempt(
        experiment_id=experiment_id,
        digital_twin_id=twin_id,
        trigger=request.trigger,
        account_id=request.account_id,
        retry_of_id=request.retry_of_id,
        is_forced=request.is_forced,
        asked_band=request.length_band or None,
        is_rehearsal=experiment_id in drafts,
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
    except IntegrityError:  # another process asked the same in this moment, or deleted the twin
        found = session.scalars(query).one_or_none()
        if found is None:
            raise NotFound(GONE) from None
        return found
    return attempt
