"""Counting over a stretch of time: tallies for what is rolled up, rows for the rest, in one statement.

A stretch is cut into the largest blocks there are; where the blocks of a facet are coarser than its ends, the
ends are read from the rows.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from ..models import Experiment
from ..models.tallies import DAY_SECONDS, QUARTER_SECONDS, WEEK_SECONDS
from .deletion import being_deleted
from .facets import Facet, floor_quarter, rows_of
from .rollups import Marks, moment, read_marks

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
    keys, sums = tuple(facet.keys if keys is None else keys), tuple(facet.sums if sums is None else sums)
    names = [name for name in keys if name != BLOCK]
    spans = [span for span in facet.spans if span <= longest]
    parts = [
        *_tallies(facet, experiment, stretches, spans, (*names, *sums)),
        *_rows(session, facet, experiment, stretches, spans, marks[facet.source.name], (*names, *sums)),
    ]
    everything = sa.union_all(*parts).subquery()
    number = sa.literal_column("0", sa.Integer) if BLOCK in keys else _number(everything.c[BLOCK], stretches)
    numbered = select(
        number.label("number"), *(everything.c[name] for name in (*keys, *sums))
    ).subquery()  # fmt: skip
    grouped = [numbered.c.number, *(numbered.c[name] for name in keys)]
    query = select(*grouped, *(func.sum(numbered.c[name]) for name in sums)).group_by(*grouped)
    return (tuple(row) for row in session.execute(query))


def of_scope(column: sa.ColumnElement, experiment: Experiment | None) -> tuple:
    """The condition for rows of one experiment, or of all but those that are being deleted."""
    return (column.not_in(being_deleted()),) if experiment is None else (column == experiment.id,)


def _number(start: sa.ColumnElement, stretches: Sequence[Stretch]) -> sa.ColumnElement[int]:
    """Which stretch a block lies in, as an expression."""
    number: sa.ColumnElement[int] = sa.literal_column("0", sa.Integer)
    for index, stretch in enumerate(stretches[1:], 1):
        number = sa.case((start >= stretch.start, sa.literal_column(str(index), sa.Integer)), else_=number)
    return number


def _tallies(facet: Facet, experiment, stretches, spans, names) -> Iterator[sa.Select]:
    """Selects over the blocks that cover the stretches, one for each length of block."""
    table = facet.table
    by_span: dict[int, list[tuple[int, int]]] = {}
    for stretch in stretches:
        for span, first, last in blocks(stretch, spans):
            runs = by_span.setdefault(span, [])
            if runs and runs[-1][1] == first:
                runs[-1] = runs[-1][0], last
            else:
                runs.append((first, last))
    columns = [table.start_seconds, *(getattr(table, name) for name in names)]
    for span, runs in by_span.items():
        within = (table.start_seconds >= runs[0][0], table.start_seconds < runs[-1][1])
        query = select(*columns).where(table.span_seconds == span, *within)
        if len(runs) > 1:
            query = query.where(sa.or_(*(_between(table.start_seconds, *run) for run in runs)))
        yield query.where(*of_scope(table.experiment_id, experiment))


def _rows(session, facet: Facet, experiment, stretches, spans, mark, names) -> Iterator[sa.Select]:
    """Selects over the rows: those that are not rolled up, and those at ends no block is fine enough for."""
    source, whole = facet.source, (stretches[0].start, stretches[-1].reach)
    scope = of_scope(source.model.experiment_id, experiment)
    loose = of_scope(source.model.experiment_id + 0, experiment)  # so that the index by the mark is taken

    def counted(*conditions) -> sa.Subquery:
        return rows_of(session, facet, QUARTER_SECONDS, *conditions).subquery()

    def columns(found: sa.Subquery) -> sa.Select:
        return select(found.c.start_seconds, *(found.c[name] for name in names))

    # Narrowed by the time they count for only when they are counted: before, a database would take the index
    # by that time and go through all that is rolled up.
    late = counted(source.unrolled(mark), *loose)
    yield columns(late).where(_between(late.c.start_seconds, *whole))
    for first, last in _uncovered(stretches, spans):
        yield columns(counted(*_within(source.at, first, last), source.rolled(mark), *scope))


def _uncovered(stretches: Sequence[Stretch], spans: Sequence[int]) -> Iterator[tuple[int, int]]:
    for stretch in stretches:
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


def _between(column: sa.ColumnElement, first: int, last: int) -> sa.ColumnElement[bool]:
    return sa.and_(column >= first, column < last)


def _within(column: sa.ColumnElement, first: int, last: int) -> tuple:
    return column >= moment(first), column < moment(last)
