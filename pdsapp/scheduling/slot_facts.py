"""What a claim must know of its schedules, read for all of them at once."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import and_, exists, select
from sqlalchemy.orm import Session

from ..domain.reasons import AttemptState, SlotKind
from ..models import Attempt, OverlapPolicy, Schedule, ScheduleRevision, Slot


def current_revisions(session: Session, schedule_ids: Sequence[int]) -> dict[int, ScheduleRevision]:
    """The newest revision of each schedule, by schedule."""
    query = (
        select(ScheduleRevision)
        .join(
            Schedule,
            and_(
                Schedule.id == ScheduleRevision.schedule_id,
                Schedule.revision_number == ScheduleRevision.number,
            ),
        )
        .where(Schedule.id.in_(schedule_ids))
    )
    return {revision.schedule_id: revision for revision in session.scalars(query)}


def last_slots(session: Session, schedule_ids: Sequence[int]) -> dict[int, Slot]:
    """The row of each schedule's newest slot, by schedule."""
    query = select(Slot).where(Slot.id.in_(_newest(schedule_ids)))
    return {slot.schedule_id: slot for slot in session.scalars(query)}


def busy_schedules(session: Session, schedule_ids: Sequence[int]) -> set[int]:
    """The schedules without overlap whose last fired slot has attempts that are due or running."""
    unfinished = exists().where(
        Attempt.slot_id == Slot.id, Attempt.state.in_([AttemptState.due, AttemptState.running])
    )
    query = select(Slot.schedule_id).where(
        Slot.id.in_(
            _newest(
                schedule_ids, Slot.kind == SlotKind.fired, of=Schedule.overlap_policy == OverlapPolicy.skip
            )
        ),
        unfinished,
    )
    return set(session.scalars(query))


def fired_slot_ids(
    session: Session, instants: Sequence[tuple[int, datetime]]
) -> dict[tuple[int, datetime], int]:
    """The ids of fired slots by (schedule, instant); one query for each different instant."""
    by_instant: dict[datetime, list[int]] = {}
    for schedule_id, at in instants:
        by_instant.setdefault(at, []).append(schedule_id)
    found = {}
    for at, schedule_ids in by_instant.items():
        query = select(Slot.schedule_id, Slot.id).where(
            Slot.schedule_id.in_(schedule_ids), Slot.slot_at == at, Slot.kind == SlotKind.fired
        )
        found.update({(schedule_id, at): slot_id for schedule_id, slot_id in session.execute(query)})
    return found


def _newest(schedule_ids: Sequence[int], *conditions, of=None):
    """The ids of the schedules' newest slots: one index seek each, however long their history."""
    newest = (
        select(Slot.id)
        .where(Slot.schedule_id == Schedule.id, *conditions)
        .order_by(Slot.slot_at.desc(), Slot.id.desc())
        .limit(1)
        .correlate(Schedule)
        .scalar_subquery()
    )
    query = select(newest).where(Schedule.id.in_(schedule_ids))
    return query if of is None else query.where(of)
