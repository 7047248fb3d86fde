"""What a claim must know of its schedules, read for all of them at once."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from datetime import datetime
from uuid import UUID

import structlog
from sqlalchemy import Column, Enum, Row, Select, and_, exists, func, or_, select, update
from sqlalchemy.orm import Session

from ..database import UNREADABLE, read_each
from ..domain.cron import Occurrence
from ..domain.reasons import AttemptState, SlotKind, SlotStage
from ..models import IS_DUE, Attempt, OverlapPolicy, Schedule, ScheduleRevision, Slot
from .cadence import INTENT

_COLUMNS = [column for column in Schedule.__table__.columns if not column.primary_key]
log = structlog.get_logger()


def readable_schedules(session: Session, query: Select[tuple[Schedule]]) -> list[Schedule]:
    """The schedules of a query; one whose row cannot even be read is broken alone and left out.

    What it wants is put back to what its revision says, so that screens can show it; it stays broken
    until somebody saves it.
    """
    found, broken = read_each(session, query, Schedule.id)
    for schedule_id, error in broken.items():
        _put_back(session, schedule_id, f"{error}")
    return found


def is_any_unsound(session: Session) -> bool:
    """Whether a schedule cannot be read, or holds what its column is not for; one query.

    SQLite lets people write anything anywhere.
    """
    try:
        return any(_wrong(row) for row in session.execute(select(*_COLUMNS)))
    except UNREADABLE:
        return True


def mend_unsound(session: Session) -> int:
    """Breaks such schedules and puts them back as `readable_schedules` does; how many. The caller commits."""
    count = 0
    for schedule_id in session.scalars(select(Schedule.id)).all():
        try:
            row = session.execute(select(*_COLUMNS).where(Schedule.id == schedule_id)).one()
            why = ", ".join(f"no usable {name}" for name in _wrong(row))
        except UNREADABLE as error:
            why = str(error)
        if why:
            _put_back(session, schedule_id, why)
            count += 1
    return count


def _wrong(row: Row) -> list[str]:
    return [c.name for c, value in zip(_COLUMNS, row, strict=True) if not is_sound(c, value)]


def is_sound(column: Column, value: object) -> bool:
    """Whether a column can hold this value; SQLite lets people write anything anywhere."""
    return value is None or isinstance(value, column.type.python_type)


def _put_back(session: Session, schedule_id: int, why: str) -> None:
    log.warning("schedule is broken", schedule=schedule_id, why=why)
    intent = {}
    for name in INTENT:
        wanted = (
            select(getattr(ScheduleRevision, name))
            .where(
                ScheduleRevision.schedule_id == Schedule.id,
                ScheduleRevision.number == Schedule.revision_number,
            )
            .correlate(Schedule)
            .scalar_subquery()
        )
        column = getattr(Schedule, name)
        # No such revision, if its number is what somebody wrote.
        intent[name] = wanted if column.nullable else func.coalesce(wanted, column)
    words = f"Its row held what cannot be read ({why}), and was put back to its revision. Save it again."
    _write(session, schedule_id, broken_reason=words[:500], next_slot_at=None, **intent)
    for column in _COLUMNS:  # what is still not usable is no better in the revision
        try:
            value = session.scalars(select(column).where(Schedule.id == schedule_id)).one()
        except UNREADABLE:
            value = UNREADABLE
        if not is_sound(column, value):
            _write(session, schedule_id, **{column.name: _plain(column, schedule_id)})


def _plain(column: Column, schedule_id: int) -> object:
    """What a column can hold that stands for nothing: for a name the schedule's number, for a time none."""
    if column.name == "name":
        return f"Schedule {schedule_id}"
    if isinstance(column.type, Enum):
        return column.type.enums[0]
    if column.default is not None:
        return column.default.arg(None) if column.default.is_callable else column.default.arg
    return None if column.nullable else column.type.python_type()


def _write(session: Session, schedule_id: int, **values: object) -> None:
    session.execute(
        update(Schedule)
        .where(Schedule.id == schedule_id)
        .values(**values)
        .execution_options(synchronize_session=False)
    )


# Broken although it waits for a slot: its entry in the queue was damaged, not its row.
_IS_DAMAGED = and_(Schedule.broken_reason != "", Schedule.next_slot_at.is_not(None))


def mark_damaged(session: Session, uuid: UUID, why: str) -> None:
    """Says of a schedule that is not broken that its entry in the queue was damaged. The caller commits."""
    session.execute(
        update(Schedule)
        .where(Schedule.uuid == uuid, Schedule.broken_reason == "")
        .values(broken_reason=f"Its entry in the queue was damaged. {why}"[:500])
    )


def is_any_damaged(session: Session) -> bool:
    """Whether a schedule says so."""
    return session.scalars(select(Schedule.id).where(_IS_DAMAGED).limit(1)).first() is not None


def mend_damaged(session: Session) -> None:
    """Takes the word off all of them: their entries are about to be written anew. The caller commits."""
    session.execute(update(Schedule).where(_IS_DAMAGED).values(broken_reason=""))


def open_revision(session: Session, schedule_id: int) -> ScheduleRevision | None:
    """The schedule's newest revision that is still open; None if it has none that can be read."""
    query = select(ScheduleRevision).where(
        ScheduleRevision.schedule_id == schedule_id, ScheduleRevision.valid_until.is_(None)
    )
    try:
        return session.scalars(query.order_by(ScheduleRevision.number.desc()).limit(1)).first()
    except UNREADABLE:
        return None


def told_since(session: Session, schedule_id: int, at: datetime) -> Callable[[Occurrence], bool]:
    """Whether one of the schedule's rows tells of an occurrence at or after an instant."""
    query = select(Slot.slot_at, Slot.covers_until, Slot.kind).where(
        Slot.schedule_id == schedule_id, or_(Slot.slot_at >= at, Slot.covers_until >= at)
    )
    rows = session.execute(query.order_by(Slot.slot_at)).all()
    gaps = {row.slot_at for row in rows if row.kind == SlotKind.clock_change}
    spans = [(r.slot_at, r.covers_until or r.slot_at) for r in rows if r.kind != SlotKind.clock_change]
    starts = [start for start, _ in spans]

    def is_told(occurrence: Occurrence) -> bool:
        if occurrence.kind == "clock_change":
            return occurrence.at in gaps
        index = bisect_right(starts, occurrence.at)
        return index > 0 and spans[index - 1][1] >= occurrence.at

    return is_told


def current_revisions(session: Session, schedule_ids: Sequence[int]) -> dict[int, ScheduleRevision]:
    """The newest revision of each schedule, by schedule; without those that cannot be read."""
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
    found, _ = read_each(session, query, ScheduleRevision.id)
    return {revision.schedule_id: revision for revision in found}


def last_slots(session: Session, schedule_ids: Sequence[int]) -> tuple[dict[int, Slot], set[int]]:
    """The row of each schedule's newest slot, by schedule; and the schedules whose cannot be read."""
    found, broken = read_each(session, select(Slot).where(Slot.id.in_(_newest(schedule_ids))), Slot.id)
    of = select(Slot.schedule_id).where(Slot.id.in_(broken))
    return {slot.schedule_id: slot for slot in found}, set(session.scalars(of)) if broken else set()


def busy_schedules(session: Session, schedule_ids: Sequence[int]) -> set[int]:
    """The schedules without overlap whose last fired slot has attempts due, running or still to be made."""
    unfinished = exists().where(
        Attempt.slot_id == Slot.id, Attempt.state.in_([AttemptState.due, AttemptState.running])
    )
    query = select(Slot.schedule_id).where(
        Slot.id.in_(
            _newest(
                schedule_ids, Slot.kind == SlotKind.fired, of=Schedule.overlap_policy == OverlapPolicy.skip
            )
        ),
        or_(Slot.stage.in_((SlotStage.expanding, SlotStage.stopping)), unfinished),
    )
    return set(session.scalars(query))


def lanes_with_work(session: Session, now: datetime) -> list[str]:
    """The lanes in which attempts are due."""
    return list(session.scalars(select(Attempt.lane).where(IS_DUE, Attempt.not_before <= now).distinct()))


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
