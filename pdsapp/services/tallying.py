"""Counting over a stretch of time: tallies for what is rolled up, rows for the rest, in one statement.

A stretch is cut into the largest blocks there are; where the blocks of a facet are coarser than its ends, the
ends are read from the rows.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from itertools import pairwise
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from ..models import Experiment
from ..models.tallies import DAY_SECONDS, QUARTER_SECONDS, WEEK_SECONDS
from .deletion import being_deleted
from .facets import Facet, floor_quarter, rows_of, start_of_block
from .rollups import Marks, dialect_of, moment, read_marks

MOST_TRIES = 4
BLOCK = "start_seconds"
Found = TypeVar("Found")


@dataclass(frozen=True)
class Stretch:
    """A stretch of time in whole quarters of an hour, in seconds since 1970; `end` is excluded.

    `is_open`: nothing has happened after it yet, so that a block may reach over its end.
    """

    start: int
    end: int
    is_open: bool = False

    @classmethod
    def ending(cls, now: datetime, seconds: int) -> "Stretch":
        """The last so many seconds, the quarter of an hour that is not over included."""
        end = int(floor_quarter(now).timestamp()) + QUARTER_SECONDS
        return cls(end - seconds, end, is_open=True)

    @property
    def starts_at(self) -> datetime:
        return moment(self.start)

    @property
    def ends_at(self) -> datetime:
        return moment(self.end)

    @property
    def reach(self) -> int:
        """Where its last block may end: an open one has the day to its end."""
        return -(-self.end // DAY_SECONDS) * DAY_SECONDS if self.is_open else self.end

    @property
    def before(self) -> "Stretch":
        """The stretch before it, as long as it is."""
        return Stretch(2 * self.start - self.end, self.start)

    def cut_at(self, edges: Sequence[int]) -> list["Stretch"]:
        """The parts between these instants, which lie within it."""
        inner = sorted({edge for edge in edges if self.start < edge < self.end})
        parts = [Stretch(*ends) for ends in pairwise([self.start, *inner, self.end])]
        return [*parts[:-1], replace(parts[-1], is_open=self.is_open)]


def consistently(session: Session, work: Callable[[Marks], Found]) -> Found:
    """What `work` gives for the marks, none of which moved meanwhile: no row counts twice or not at all."""
    for _ in range(MOST_TRIES):
        marks = read_marks(session)
        found = work(marks)
        if read_marks(session) == marks:
            break
    return found


@dataclass(frozen=True)
class _Shape:
    """What makes two counts the same statement with other values: so it is built once."""

    facet: Facet
    dialect: str
    keys: tuple[str, ...]
    sums: tuple[str, ...]
    is_of_one: bool
    stretches: int
    tallies: tuple[tuple[int, int, int], ...]  # number of the stretch, length of the blocks, runs of them
    ends: tuple[int, ...]  # number of the stretch


def count(
    session: Session,
    facet: Facet,
    experiment: Experiment | None,
    stretches: Sequence[Stretch],
    marks: Marks,
    keys: Sequence[str] | None = None,
    sums: Sequence[str] | None = None,
    longest: int = WEEK_SECONDS,
) -> Iterator[tuple]:
    """Rows of (number of the stretch, *keys, *sums), of one experiment or of all, in one statement.

    Without `keys` and `sums` all of the facet's. Stretches follow one another; with `start_seconds` among the
    keys rows are of single blocks, `longest` seconds at most, none over an end of a stretch, and their number
    is 0. `marks` is what `consistently` gives. Attempts that wait are in no tally.
    """
    query, values = grouped(session, facet, experiment, stretches, marks, keys, sums, longest)
    return (tuple(row) for row in session.execute(query, values))


def grouped(
    session: Session,
    facet: Facet,
    experiment: Experiment | None,
    stretches: Sequence[Stretch],
    marks: Marks,
    keys: Sequence[str] | None = None,
    sums: Sequence[str] | None = None,
    longest: int = WEEK_SECONDS,
) -> tuple[sa.Select, dict[str, object]]:
    """The statement of `count`, for a statement around it, and the values it wants.

    Its columns are `number`, the keys and the sums. The same object for stretches cut alike, so that what is
    built around it can be kept.
    """
    keys, sums = tuple(facet.keys if keys is None else keys), tuple(facet.sums if sums is None else sums)
    spans = tuple(span for span in facet.spans if span <= longest)
    runs, ends = _cut(tuple(stretches), spans, is_by_block=BLOCK in keys)
    shape = _Shape(
        facet,
        dialect_of(session),
        keys,
        sums,
        is_of_one=experiment is not None,
        stretches=1 if BLOCK in keys else len(stretches),
        tallies=tuple((number, span, len(found)) for (number, span), found in runs.items()),
        ends=tuple(number for number, _, _ in ends),
    )
    values = scope_values(experiment) | {
        "mark": marks[facet.source.name],
        "first": stretches[0].start,
        "last": stretches[-1].reach,
    }
    if BLOCK not in keys:
        values |= {f"start_{number}": stretch.start for number, stretch in enumerate(stretches)}
    for part, found in enumerate(runs.values()):
        for run, (first, last) in enumerate(found):
            values |= {f"first_{part}_{run}": first, f"last_{part}_{run}": last}
    for part, (_, first, last) in enumerate(ends):
        values |= {f"from_{part}": moment(first), f"until_{part}": moment(last)}
    return _statement(shape), values


@lru_cache(maxsize=256)
def _cut(
    stretches: tuple[Stretch, ...], spans: tuple[int, ...], is_by_block: bool
) -> tuple[dict[tuple[int, int], list[tuple[int, int]]], list[tuple[int, int, int]]]:
    """Runs of blocks by (number of the stretch, length), and (number, beginning, end) of what none covers."""
    runs: dict[tuple[int, int], list[tuple[int, int]]] = {}
    ends: list[tuple[int, int, int]] = []
    for index, stretch in enumerate(stretches):
        number = 0 if is_by_block else index
        for span, first, last in blocks(stretch, spans):
            found = runs.setdefault((number, span), [])
            if found and found[-1][1] == first:
                found[-1] = found[-1][0], last
            else:
                found.append((first, last))
        ends += [(number, *end) for end in _uncovered(stretch, spans)]
    return runs, ends


@lru_cache(maxsize=256)
def _statement(shape: _Shape) -> sa.Select:
    facet, source = shape.facet, shape.facet.source
    names = (*(name for name in shape.keys if name != BLOCK), *shape.sums)
    parts = [
        *(_of_tallies(shape, part, *each, names) for part, each in enumerate(shape.tallies)),
        *(_of_ends(shape, part, number, names) for part, number in enumerate(shape.ends)),
    ]
    # Narrowed by the time they count for only when they are counted: before, a database would take the index
    # by that time and go through all that is rolled up.
    start = start_of_block(shape.dialect, source.at, QUARTER_SECONDS).label(BLOCK)
    where = (
        source.unrolled(sa.bindparam("mark")),
        *of_any_scope(source.model.experiment_id + 0, shape.is_of_one),
    )
    late = rows_of(facet, start, where=where).subquery().c
    number: sa.ColumnElement[int] = sa.literal_column("0", sa.Integer)
    for index in range(1, shape.stretches):
        is_later = late[BLOCK] >= sa.bindparam(f"start_{index}", type_=sa.BigInteger)
        number = sa.case((is_later, sa.literal_column(str(index), sa.Integer)), else_=number)
    within = late[BLOCK] >= sa.bindparam("first"), late[BLOCK] < sa.bindparam("last")
    parts.append(select(number.label("number"), late[BLOCK], *(late[name] for name in names)).where(*within))
    found = sa.union_all(*parts).subquery().c
    by = [found.number, *(found[name] for name in shape.keys)]
    return select(*by, *(_total(facet, found[name]).label(name) for name in shape.sums)).group_by(*by)


def _total(facet: Facet, column: sa.ColumnElement) -> sa.ColumnElement:
    """The sum as the kind of number that was summed: PostgreSQL makes a decimal of large integers."""
    is_whole = isinstance(getattr(facet.table, column.name).type, sa.Integer)
    return sa.cast(func.sum(column), sa.BigInteger if is_whole else sa.Double)


def _of_tallies(shape: _Shape, part: int, number: int, span: int, runs: int, names) -> sa.Select:
    """Blocks of one length that lie within a stretch."""
    table = shape.facet.table
    start = table.start_seconds
    places = [
        sa.and_(start >= sa.bindparam(f"first_{part}_{run}"), start < sa.bindparam(f"last_{part}_{run}"))
        for run in range(runs)
    ]
    within = (start >= sa.bindparam(f"first_{part}_0"), start < sa.bindparam(f"last_{part}_{runs - 1}"))
    columns = [_number(number), start, *(getattr(table, name) for name in names)]
    query = select(*columns).where(table.span_seconds == sa.literal_column(str(span)), *within)
    query = query.where(sa.or_(*places)) if runs > 1 else query
    return query.where(*of_any_scope(table.experiment_id, shape.is_of_one))


def _of_ends(shape: _Shape, part: int, number: int, names) -> sa.Select:
    """Rows at an end of a stretch no block is fine enough for."""
    facet, source = shape.facet, shape.facet.source
    where = (
        source.at >= sa.bindparam(f"from_{part}"),
        source.at < sa.bindparam(f"until_{part}"),
        source.rolled(sa.bindparam("mark")),
        *of_any_scope(source.model.experiment_id, shape.is_of_one),
    )
    is_by_block = BLOCK in shape.keys
    of = [start_of_block(shape.dialect, source.at, QUARTER_SECONDS).label(BLOCK)] if is_by_block else []
    rows = rows_of(facet, *of, where=where).subquery().c
    start = rows[BLOCK] if is_by_block else sa.literal_column("0", sa.BigInteger).label(BLOCK)
    return select(_number(number), start, *(rows[name] for name in names))


def _number(number: int) -> sa.Label[int]:
    return sa.literal_column(str(number), sa.Integer).label("number")


def of_scope(column: sa.ColumnElement, experiment: Experiment | None) -> tuple:
    """The condition for rows of one experiment, or of all but those that are being deleted."""
    return of_any_scope(column, False) if experiment is None else (column == experiment.id,)


def of_any_scope(column: sa.ColumnElement, is_of_one: bool) -> tuple:
    """The same for a statement that is built once: the one experiment's id is its value `experiment`."""
    return (column == sa.bindparam("experiment"),) if is_of_one else (column.not_in(being_deleted()),)


def scope_values(experiment: Experiment | None) -> dict[str, int]:
    """What a statement with `of_any_scope` wants."""
    return {} if experiment is None else {"experiment": experiment.id}


def _uncovered(stretch: Stretch, spans: Sequence[int]) -> Iterator[tuple[int, int]]:
    at = stretch.start
    for _, first, last in blocks(stretch, spans):
        if at < first:
            yield at, first
        at = last
    if at < stretch.reach:
        yield at, stretch.reach


def blocks(stretch: Stretch, spans: Sequence[int]) -> list[tuple[int, int, int]]:
    """The largest blocks within a stretch and its reach, in order: (span, beginning, end of the run).

    `spans` are given from the largest to the finest.
    """
    largest, *finer = spans
    first = -(-stretch.start // largest) * largest
    last = stretch.reach // largest * largest
    if first >= last:
        return blocks(stretch, finer) if finer else []
    found = [(largest, first, last)]
    if finer:
        left, right = Stretch(stretch.start, first), Stretch(last, stretch.reach)
        found = [*blocks(left, finer), *found] if left.start < left.end else found
        found = [*found, *blocks(right, finer)] if right.start < right.end else found
    return found
