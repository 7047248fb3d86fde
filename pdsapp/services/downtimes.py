"""Stretches in which no scheduler lived: the machine slept, was off, or its clock was set forward."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import and_, case, func, or_, select
from sqlalchemy.orm import Session

from ..domain.reasons import SlotKind
from ..models import Downtime, Experiment, Heartbeat, Installation, ProcessKind, Slot
from .heartbeats import DEAD_AFTER

SHOWN_FOR = timedelta(hours=24)
MOST_SHOWN, MOST_LOOKED_AT = 3, 20
# A run of missed slots may have begun while a scheduler still lived that could not claim.
BEGAN_BEFORE = timedelta(days=1)


@dataclass(frozen=True)
class Sleep:
    """A downtime and how many slots it cost. `schedule_id`: the one they are of, None if of several."""

    from_at: datetime
    until_at: datetime
    missed: int
    schedule_id: int | None


def note(session: Session, found_by: str, now: datetime) -> Downtime | None:
    """Records that no scheduler has beaten for longer than one that lives can; None if one has.

    Call it before the scheduler's own beat and in the same transaction: of several that wake up together
    only the first finds the gap. The caller commits.
    """
    if not _is_gap(_newest_beat(session), now):
        return None
    session.execute(select(Installation.id).where(Installation.id == 1).with_for_update())
    newest = _newest_beat(session)
    if not _is_gap(newest, now):
        return None
    row = Downtime(from_at=newest, until_at=now, found_by=found_by[:120])
    session.add(row)
    return row


def costly_sleeps(session: Session, experiment: Experiment | None, now: datetime) -> tuple[Sleep, ...]:
    """The newest downtimes of the last 24 h in which slots were missed, newest first; one query, or two.

    Of an experiment, slots of schedules of all experiments count too: they ask its twins. Of more than twenty
    the newest are looked at.
    """
    query = (
        select(Downtime.from_at, Downtime.until_at)
        .where(Downtime.until_at > now - SHOWN_FOR, Downtime.until_at <= now)
        .order_by(Downtime.until_at.desc(), Downtime.id.desc())
        .limit(MOST_LOOKED_AT)
    )
    found = session.execute(query).all()
    if not found:
        return ()
    of_scope = []
    if experiment is not None:
        of_scope = [or_(Slot.experiment_id == experiment.id, Slot.experiment_id.is_(None))]
    # A run of missed slots is one stretch in which nothing claimed: it never spans two downtimes.
    number = case(
        *(
            (and_(func.coalesce(Slot.covers_until, Slot.slot_at) > from_at, Slot.slot_at <= until_at), n)
            for n, (from_at, until_at) in enumerate(found)
        )
    ).label("number")
    # Bounded by values, not by a join: for that SQLite would go through all slots there are.
    missed = (
        select(number, func.sum(Slot.slot_count), func.min(Slot.schedule_id), func.max(Slot.schedule_id))
        .where(
            Slot.kind == SlotKind.missed,
            Slot.slot_at > min(from_at for from_at, _ in found) - BEGAN_BEFORE,
            Slot.slot_at <= found[0].until_at,
            number.is_not(None),
            *of_scope,
        )
        .group_by(number)
        .order_by(number)
        .limit(MOST_SHOWN)
    )
    return tuple(
        Sleep(*found[n], int(count), first if first == last else None)
        for n, count, first, last in session.execute(missed)
    )


def _newest_beat(session: Session) -> datetime | None:
    query = select(Heartbeat.beat_at).where(Heartbeat.kind == ProcessKind.scheduler)
    return session.scalars(query.order_by(Heartbeat.beat_at.desc()).limit(1)).first()


def _is_gap(newest: datetime | None, now: datetime) -> bool:
    """A beat from the future says that the clock was set back, not that anything was down."""
    return newest is not None and now - newest > DEAD_AFTER
