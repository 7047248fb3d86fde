"""The first sum of the ledger: the slots that revisions enumerate, compared with the rows that tell of them.

Both are read as streams in the order of instants, so that half a million slots cost seconds and no memory.
Columns are read as plain text where a row edited by hand may hold what no enum knows.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby
from operator import attrgetter

from sqlalchemy import Row, func, or_, select
from sqlalchemy.orm import Session

from ..database import UNREADABLE
from ..domain import cron
from ..domain.cron import CadenceError, Occurrence
from ..domain.reasons import SlotKind
from ..models import Experiment, Schedule, ScheduleRevision, Slot
from ..models.base import stored_text
from ..models.schedules import Intent
from ..scheduling.cadence import cadence_of
from .deletion import still_there

MOST_LISTED = 20
GAP = SlotKind.clock_change.value
KINDS = frozenset(kind.value for kind in SlotKind)
_CHUNK = 5_000
_UNREADABLE = (*UNREADABLE, AttributeError)


@dataclass(frozen=True)
class Entry:
    """One instant the books disagree on. `kind`: its row's; without a row `slot` or `clock_change`."""

    schedule: str
    at: datetime
    kind: str

    def __str__(self) -> str:
        return f"“{self.schedule}” {self.at:%Y-%m-%d %H:%M:%S} UTC ({self.kind.replace('_', ' ')})"


@dataclass
class SlotSum:
    """What is due by the revisions, and what the rows tell, by kind.

    `missing`: due, and no row tells of it; `surplus`: told, and not due. Of both, and of the other
    problems, the first 20 are listed. `waiting`: due, and nobody has claimed it yet.
    """

    due: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    waiting: int = 0
    missing: int = 0
    surplus: int = 0
    doubled: int = 0
    missing_slots: list[Entry] = field(default_factory=list)
    surplus_slots: list[Entry] = field(default_factory=list)
    wrong_rows: int = 0
    details: list[str] = field(default_factory=list)

    @property
    def problems(self) -> Iterator[str]:
        """Everything that is wrong, in sentences."""
        if self.missing:
            yield f"{self.missing:,} due slots have no row: {_listed(self.missing_slots, self.missing)}."
        if self.surplus:
            listed = _listed(self.surplus_slots, self.surplus)
            yield f"{self.surplus:,} slots have a row and were not due: {listed}."
        yield from self.details
        if (more := self.doubled + self.wrong_rows - MOST_LISTED) > 0:
            yield f"{more:,} more such slot rows."
        if not (self.missing or self.surplus or self.details) and self.kinds.total() != self.due:
            yield f"{self.due:,} slots were due, but their kinds sum up to {self.kinds.total():,}."

    def miss(self, entry: Entry, count: int) -> None:
        self.missing += count
        _list(self.missing_slots, entry)

    def exceed(self, entry: Entry, count: int) -> None:
        self.surplus += count
        _list(self.surplus_slots, entry)

    def double(self, entry: Entry) -> None:
        self.doubled += 1
        _list(self.details, f"Told twice: {entry}.")

    def mistrust(self, entry: Entry, words: str) -> None:
        self.wrong_rows += 1
        _list(self.details, f"The row of {entry} {words}.")


def expected_and_told(
    session: Session, experiment: Experiment | None, since: datetime | None, now: datetime | None
) -> SlotSum:
    """The comparison for one experiment's schedules or for all, of the instants from `since` on.

    What is due until `now` and lies behind a schedule's cursor is waiting; without `now` none is counted.
    """
    found = SlotSum()
    columns = (Schedule.id, Schedule.name, Schedule.cursor_at)
    schedules = {row.id: row for row in _readable(session, columns, found, "schedule")}
    revisions: dict[int, list[Row]] = {}
    for row in _revisions(session, experiment, found):
        revisions.setdefault(row.schedule_id, []).append(row)
    rows = groupby(_rows(session, experiment, since), attrgetter("schedule_id"))
    next_id, next_rows = next(rows, (None, ()))
    for schedule in sorted(schedules.values(), key=attrgetter("id")):
        while next_id is not None and next_id < schedule.id:  # of a schedule that cannot be read
            next_id, next_rows = next(rows, (None, ()))
        told: Iterable[Row] = next_rows if next_id == schedule.id else ()
        sweep = _Sweep(schedule.name, found, since)
        sweep.compare(_expected(schedule, revisions.get(schedule.id, []), sweep, now), told)
    return found


def kinds_told(session: Session, experiment: Experiment | None, since: datetime | None) -> Counter[str]:
    """What the rows alone tell, by kind: one query, nothing is enumerated."""
    query = select(stored_text(Slot.kind), func.sum(Slot.slot_count)).where(*_of(Slot, experiment))
    if since is not None:
        query = query.where(Slot.slot_at >= since)
    return Counter({kind: int(count) for kind, count in session.execute(query.group_by(Slot.kind))})


@dataclass
class _Told:
    """A slot row under comparison."""

    row: Row
    until: datetime
    covered: int = 0
    is_of_another: bool = False


class _Sweep:
    """The comparison of one schedule: both sides in order, a row at a time."""

    def __init__(self, name: str, found: SlotSum, since: datetime | None):
        self.name, self.found, self.since = name, found, since
        self.unreadable: set[int] = set()

    def compare(self, expected: Iterable[tuple[Occurrence, int]], rows: Iterable[Row]) -> None:
        rows = iter(rows)
        row, active = next(rows, None), []
        for due, revision_id in expected:
            if (
                not active
                and row is not None
                and row.slot_at == due.at
                and self._is_plain(due, revision_id, row)
            ):
                # Nine of ten: one row for one instant.
                following = next(rows, None)
                if following is None or following.slot_at > due.at:
                    self.found.due += 1
                    self.found.kinds[row.kind] += 1
                    row = following
                    continue
                active.append(_Told(row, row.slot_at))
                row = following
            while row is not None and row.slot_at <= due.at:
                active.append(_Told(row, row.covers_until or row.slot_at))
                row = next(rows, None)
            for told in active:
                if told.until < due.at:
                    self._close(told)
            active = [told for told in active if told.until >= due.at]
            self._match(due, revision_id, active)
        for told in active:
            self._close(told)
        while row is not None:
            self._close(_Told(row, row.covers_until or row.slot_at))
            row = next(rows, None)

    def _is_plain(self, due: Occurrence, revision_id: int, row: Row) -> bool:
        return (
            row.covers_until is None
            and due.kind != GAP
            and row.kind in KINDS
            and row.kind != GAP
            and row.slot_count == 1
            and row.revision_id == revision_id
        )

    def _match(self, due: Occurrence, revision_id: int, active: list[_Told]) -> None:
        is_gap, hits = due.kind == GAP, 0
        self.found.due += due.slot_count
        for told in active:
            if (told.row.kind == GAP) == is_gap and (not is_gap or told.row.slot_at == due.at):
                hits += 1
                told.covered += due.slot_count
                told.is_of_another |= told.row.revision_id != revision_id
        if hits == 0:
            self.found.miss(Entry(self.name, due.at, due.kind), due.slot_count)
        elif hits > 1:
            self.found.double(Entry(self.name, due.at, due.kind))

    def _close(self, told: _Told) -> None:
        row, found = told.row, self.found
        entry = Entry(self.name, row.slot_at, row.kind)
        begins_before = self.since is not None and row.slot_at < self.since
        count = told.covered if begins_before else row.slot_count
        if row.kind not in KINDS:
            found.mistrust(entry, "has a kind that does not exist")
        if row.revision_id in self.unreadable:
            found.kinds[row.kind] += count
        elif told.covered == 0:
            if begins_before:
                found.mistrust(entry, "covers nothing that is due")
            else:
                found.exceed(entry, count)
        else:
            found.kinds[row.kind] += count
            if count != told.covered:
                found.mistrust(entry, f"counts {count:,} slots and covers {told.covered:,}")
            if row.covers_from is not None and row.covers_from != row.slot_at:
                found.mistrust(entry, "says two beginnings")
            if told.is_of_another:
                found.mistrust(entry, "points at a revision that was not valid then")


def _expected(
    schedule: Row, revisions: list[Row], sweep: _Sweep, now: datetime | None
) -> Iterator[tuple[Occurrence, int]]:
    """What is due by each revision in turn, up to where the schedule's cursor stands."""
    before = None
    for revision in revisions:
        follows = before is not None and before.number + 1 == revision.number
        if follows and before.valid_until != revision.valid_from:
            sweep.found.details.append(
                f"Schedule “{schedule.name}”: revision {revision.number} does not begin where "
                f"revision {before.number} ends."
            )
        before = revision
        if not revision.is_enabled:
            continue
        try:
            cadence = cadence_of(revision)
        except (CadenceError, *_UNREADABLE) as error:
            sweep.unreadable.add(revision.id)
            sweep.found.details.append(
                f"Schedule “{schedule.name}”: revision {revision.number} cannot be read, so its slots cannot "
                f"be told ({error})."
            )
            continue
        start, cursor = (
            revision.valid_from,
            max(schedule.cursor_at or revision.valid_from, revision.valid_from),
        )
        if sweep.since is not None:
            start = max(start, sweep.since - timedelta(microseconds=1))
        for due in cron.due_slots(cadence, start, revision.valid_until or cursor):
            yield due, revision.id
        if revision.valid_until is None and now is not None and now > cursor:
            sweep.found.waiting += sum(due.slot_count for due in cron.due_slots(cadence, cursor, now))


def _revisions(session: Session, experiment: Experiment | None, found: SlotSum) -> list[Row]:
    model = ScheduleRevision
    intent = [stored_text(getattr(model, name)).label(name) for name in sorted(Intent.__annotations__)]
    columns = (model.id, model.schedule_id, model.number, model.valid_from, model.valid_until, *intent)
    rows = _readable(session, columns, found, "revision", *_of(model, experiment))
    return sorted(rows, key=lambda row: (row.schedule_id, row.number))


def _rows(session: Session, experiment: Experiment | None, since: datetime | None) -> Iterator[Row]:
    query = (
        select(
            Slot.schedule_id,
            Slot.revision_id,
            Slot.slot_at,
            stored_text(Slot.kind).label("kind"),
            Slot.covers_from,
            Slot.covers_until,
            Slot.slot_count,
        )
        .where(*_of(Slot, experiment))
        .order_by(Slot.schedule_id, Slot.slot_at, Slot.kind)
    )
    if since is not None:
        query = query.where(or_(Slot.slot_at >= since, Slot.covers_until >= since))
    yield from session.execute(query.execution_options(yield_per=_CHUNK))


def _readable(session: Session, columns, found: SlotSum, noun: str, *conditions) -> list[Row]:
    """All rows; should one of them hold what no column type can read, the others, and it as a problem."""
    query = select(*columns).where(*conditions)
    try:
        return list(session.execute(query))
    except _UNREADABLE:
        rows = []
    for id_ in session.scalars(select(columns[0]).where(*conditions)).all():
        try:
            rows.append(session.execute(query.where(columns[0] == id_)).one())
        except _UNREADABLE as error:
            found.details.append(f"The row of {noun} {id_} cannot be read ({error}).")
    return rows


def _of(model, experiment: Experiment | None) -> tuple:
    return of_scope(model.experiment_id, experiment)


def of_scope(column, experiment: Experiment | None) -> tuple:
    """The condition for rows of one experiment, or of all but those that are being deleted piece by piece."""
    if experiment is not None:
        return (column == experiment.id,)
    return (still_there(column),)


def _list(entries: list, entry: object) -> None:
    if len(entries) < MOST_LISTED:
        entries.append(entry)


def _listed(entries: list[Entry], count: int) -> str:
    shown = "; ".join(str(entry) for entry in entries)
    return f"{shown}; …" if count > len(entries) else shown
