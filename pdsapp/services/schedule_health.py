"""How schedules are doing: one verdict each, from the slots and attempts of late."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Column, ScalarSelect, Select, exists, func, or_, select
from sqlalchemy.orm import Session, aliased

from ..database import UNREADABLE, read_each
from ..domain.reasons import AttemptState, SlotKind
from ..domain.slot_words import Progress
from ..models import Attempt, Schedule, Slot
from ..scheduling.cadence import ended_on
from ..scheduling.outcomes import LATE_AFTER
from ..scheduling.slot_facts import is_sound

SLOTS_KEPT = 20
SLOTS_LOOKED_AT = 5  # for the verdict, of those
READ = (
    "id", "schedule_id", "slot_at", "covers_until", "kind", "slot_count", "wanted_count", "expanded_count",
    "gone_count", "stopped_count", "stage", "ends",
)  # fmt: skip
LEAST_SKIPS = 3  # fewer are chance
JUDGED = (AttemptState.posted, AttemptState.skipped, AttemptState.failed)


class Health(StrEnum):
    """Closed set: how a schedule that is switched on is doing."""

    broken = "broken"
    paused = "paused"
    late = "late"
    never_fired = "never fired"
    failing = "failing"
    only_skipping = "only skipping"
    on_time = "on time"


@dataclass(frozen=True)
class Facts:
    """What is known of one schedule: its newest slots, newest first, and how many attempts of each of them
    stand in which state, by the slot's id."""

    slots: tuple[Any, ...] = ()
    states: Mapping[int, Counter] = field(default_factory=dict)
    has_fired: bool = False

    @property
    def last_slot(self) -> Any | None:
        """The newest slot's `slot_at`, `kind` and `slot_count`; None before the first."""
        return self.slots[0] if self.slots else None

    @property
    def ends(self) -> Counter:
        """How the attempts of its newest slots ended."""
        found = Counter()
        for slot in self.slots[:SLOTS_LOOKED_AT]:
            found.update({state: n for state, n in self.states.get(slot.id, {}).items() if state in JUDGED})
        return found


def due_at_newest(number: int) -> ScalarSelect[datetime]:
    """When the so many-th newest slot of the `Schedule` of a statement was due; null where it has fewer."""
    inner = aliased(Slot)
    return (
        select(inner.slot_at)
        .where(inner.schedule_id == Schedule.id)
        .order_by(inner.slot_at.desc())
        .offset(number - 1)
        .limit(1)
        .correlate(Schedule)
        .scalar_subquery()
    )


def facts_of(session: Session, schedule_ids: Sequence[int]) -> dict[int, Facts]:
    """The facts of each of these schedules, in three queries however many there are."""
    oldest = due_at_newest(SLOTS_KEPT)
    newest = (
        select(*(getattr(Slot, name) for name in READ))
        .join(Schedule, Schedule.id == Slot.schedule_id)
        .where(Schedule.id.in_(schedule_ids), or_(oldest.is_(None), Slot.slot_at >= oldest))
        .order_by(Slot.slot_at.desc(), Slot.id.desc())
    )
    slots: dict[int, list[Any]] = defaultdict(list)
    for slot in _readable(session, newest):
        slots[slot.schedule_id].append(slot)
    all_fired = [slot for rows in slots.values() for slot in rows if slot.kind == SlotKind.fired]
    fired = [slot.id for slot in all_fired if slot.ends is None]
    counted = (
        select(Attempt.slot_id, Attempt.state, func.count())
        .where(Attempt.slot_id.in_(fired))
        .group_by(Attempt.slot_id, Attempt.state)
    )
    states: dict[int, Counter] = defaultdict(Counter)
    try:
        for slot_id, state, count in session.execute(counted) if fired else ():
            states[slot_id][state] = count
    except UNREADABLE:  # a state somebody has written by hand: what can be told is told
        states.clear()
    states.update((slot.id, summed(slot.ends)) for slot in all_fired if slot.ends is not None)
    has_fired = exists().where(Slot.schedule_id == Schedule.id, Slot.kind == SlotKind.fired)
    ever = set(session.scalars(select(Schedule.id).where(Schedule.id.in_(schedule_ids), has_fired)))
    return {key: Facts(tuple(slots[key][:SLOTS_KEPT]), states, key in ever) for key in schedule_ids}


def summed(ends: Mapping[str, int]) -> Counter:
    """The attempts of a slot by state, as they were summed up when the last had ended."""
    known = {state.value: state for state in AttemptState}
    return Counter({known[state]: count for state, count in ends.items() if state in known})


def progress_of(slot: Any, states: Mapping[AttemptState, int]) -> Progress:
    """How far a fired slot is; `states` are its attempts by state."""
    at_work = states.get(AttemptState.due, 0) + states.get(AttemptState.running, 0)
    asked = slot.expanded_count
    return Progress(slot.wanted_count, asked, max(0, asked - at_work), slot.gone_count + slot.stopped_count)


def latest_slots(session: Session, schedule_id: int, count: int) -> tuple[list[Slot], int]:
    """The newest slot rows, newest first, and how many of them cannot be read and are left out."""
    query = select(Slot).where(Slot.schedule_id == schedule_id)
    found, broken = read_each(
        session, query.order_by(Slot.slot_at.desc(), Slot.id.desc()).limit(count), Slot.id
    )
    columns = Slot.__table__.columns
    sound = [slot for slot in found if all(_is_sound(c, getattr(slot, c.name)) for c in columns)]
    return sound, len(broken) + len(found) - len(sound)


def _readable(session: Session, query: Select) -> list[Any]:
    """The rows of a query for some columns of slots, without those somebody has written nonsense into."""
    try:
        rows = session.execute(query).all()
    except UNREADABLE:
        rows = []
        for key in session.scalars(query.with_only_columns(Slot.id)).all():
            try:
                rows += session.execute(query.where(Slot.id == key)).all()
            except UNREADABLE:
                continue
    columns = Slot.__table__.columns
    return [row for row in rows if all(_is_sound(columns[k], v) for k, v in row._mapping.items())]


def _is_sound(column: Column, value: object) -> bool:
    return is_sound(column, value) and (value is not None or column.nullable)


def verdict(schedule: Schedule, facts: Facts, is_held: bool, now: datetime) -> tuple[Health, str] | None:
    """How it is doing, and a sentence that says why, or ""; None for one that is not to fire.

    `is_held`: a pause of it, of its experiment or of everything is in force. The first that holds counts.
    """
    if schedule.is_archived or not schedule.is_enabled or ended_on(schedule) is not None:
        return None
    if schedule.broken_reason:
        return Health.broken, schedule.broken_reason
    if is_held:
        return Health.paused, ""
    if schedule.next_slot_at is not None and now - schedule.next_slot_at > LATE_AFTER:
        return Health.late, "A slot is due and not claimed. Is a scheduler running?"
    if facts.last_slot is not None and facts.last_slot.kind == SlotKind.missed:
        return Health.late, "Its last slots passed before a scheduler claimed them."
    if not facts.has_fired:
        return Health.never_fired, "" if facts.slots else "Its first slot is still to come."
    return _by_attempts(facts.ends)


def _by_attempts(ends: Counter) -> tuple[Health, str]:
    ended, failed, skipped = ends.total(), ends[AttemptState.failed], ends[AttemptState.skipped]
    if failed and 2 * failed >= ended:
        return Health.failing, f"{failed:,} of its last {ended:,} attempts failed."
    if skipped >= LEAST_SKIPS and skipped == ended:
        return Health.only_skipping, f"Its last {ended:,} attempts were all skipped."
    return Health.on_time, ""
