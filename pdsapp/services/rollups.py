"""Rolling rows up into tallies: an idempotent job that counts whole quarters of an hour anew, and its marks.

What a mark covers stands in the tallies, the rest is read from the rows (services/tallying.py adds both), so
that sums are right whenever the job has last run, and if it never has. Each step is one short transaction:
dying in it leaves the step before. A quarter that a late change touches is counted again as a whole.
"""

import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import sqlalchemy as sa
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from ..database import reading, transaction
from ..models.tallies import QUARTER_SECONDS, TALLIES, RollupMark
from . import database
from .facets import FACETS, POSTS, SOURCES, Facet, Source, floor_quarter, rows_of, start_of_block

NEVER = datetime(1970, 1, 1, tzinfo=UTC)
# What was committed late, or by a machine whose clock is behind, is found by looking back so far.
LOOK_BACK, SET_BACK = timedelta(minutes=10), timedelta(hours=2)
CHUNK_ROWS = 5_000
# Each takes statements of its own: beyond so many, what lies between near ones is counted again with them.
MOST_RUNS = 200
OFTEN_ENOUGH = timedelta(seconds=45)

Marks = dict[str, datetime]


def read_marks(session: Session) -> Marks:
    """How far each kind of rows is rolled up, by the name of its source."""
    known = dict(session.execute(select(RollupMark.source, RollupMark.mark_at)).all())
    return {source.name: known.get(source.name, NEVER) for source in SOURCES}


def roll_up(now: datetime) -> bool:
    """Rolls up a chunk of each kind of rows, each in a transaction of its own; whether more is left."""
    return any([_step(source, now) for source in SOURCES])


def roll_up_for(now: datetime, seconds: float = 0.2) -> None:
    """Rolls up for about so long; at once when what could be was rolled up less than a minute ago."""
    until = time.monotonic() + seconds
    while roll_up(now) and time.monotonic() < until:
        pass


def renew_posts(session: Session, times: Iterable[datetime]) -> None:
    """Counts the quarters again in which posts of these times lie, after one was hidden, shown or added.

    Nothing is done for quarters that are not rolled up yet. The caller commits.
    """
    times, mark = set(times), read_marks(session)[POSTS.name]
    if any(at < mark for at in times):
        _hold(session, POSTS)
        mark = read_marks(session)[POSTS.name]  # a job may have moved it on before it was held
        _count_again(session, POSTS, {_quarter(at) for at in times if at < mark}, mark)


def forget(session: Session) -> None:
    """Empties all tallies; the job counts everything anew. The caller commits."""
    for table in (*TALLIES, RollupMark):
        session.execute(delete(table))


def _step(source: Source, now: datetime) -> bool:
    with reading() as session:
        if not _is_work(session, source, now):
            return False
    with transaction() as session:
        database.require_head_still(session)
        row = _hold(session, source)
        mark, is_more = _reach(session, source, row.mark_at, now)
        quarters = _touched(session, source, row, mark, now)
        _count_again(session, source, quarters, mark)
        row.mark_at, row.looked_at = mark, now
    return is_more


def _is_work(session: Session, source: Source, now: datetime) -> bool:
    """Whether a step could change anything: an idle installation is not written to."""
    row = session.get(RollupMark, source.name)
    latest, newest = (session.scalar(select(func.max(each))) for each in (source.changed, source.cursor))
    if row is None or newest is None:
        return newest is not None
    was_complete = row.mark_at >= source.next_mark(row.looked_at)
    if was_complete and abs(now - row.looked_at) < OFTEN_ENOUGH:
        return False
    if latest > _look_from(row, now):
        return True
    return source.next_mark(now) > row.mark_at and newest >= row.mark_at


def _hold(session: Session, source: Source) -> RollupMark:
    """The row of the mark, locked: two schedulers may believe they lead."""
    row = session.get(RollupMark, source.name, with_for_update=True)
    if row is None:
        row = RollupMark(source=source.name, mark_at=NEVER, looked_at=NEVER)
        session.add(row)
        session.flush()
    return row


def _reach(session: Session, source: Source, mark: datetime, now: datetime) -> tuple[datetime, bool]:
    """How far this step rolls up, and whether it is only a part of what could be. Never back."""
    wanted = source.next_mark(now)
    if wanted <= mark:
        return mark, False
    ahead = select(source.cursor).where(source.cursor > mark).order_by(source.cursor)
    there = session.scalar(ahead.offset(CHUNK_ROWS).limit(1))
    if there is None or there >= wanted:
        return wanted, False
    if source.cursor is source.at:  # whole quarters only
        there = floor_quarter(there) + timedelta(seconds=QUARTER_SECONDS)
    return min(there, wanted), there < wanted


def _look_from(row: RollupMark, now: datetime) -> datetime:
    """From when on changes may not have been seen yet. A clock that was set back has been there before."""
    return now - SET_BACK if now < row.looked_at else row.looked_at - LOOK_BACK


def _touched(session: Session, source: Source, row: RollupMark, mark: datetime, now: datetime) -> set[int]:
    """The quarters that hold what the mark newly covers, and what was changed since the last look."""
    conditions = [sa.and_(source.cursor >= row.mark_at, source.cursor <= mark)]
    if row.looked_at != NEVER:
        conditions.append(source.changed > _look_from(row, now))
    start = start_of_block(dialect_of(session), source.at, QUARTER_SECONDS)
    found: set[int] = set()
    for condition in conditions:
        found.update(session.scalars(select(start).where(condition).distinct()))
    return found


def _count_again(session: Session, source: Source, quarters: set[int], mark: datetime) -> None:
    for facet in FACETS:
        if facet.source is not source:
            continue
        finest = facet.spans[-1]
        for first, last in _runs({each // finest * finest for each in quarters}, finest):
            _replace(
                session, facet, finest, first, last, _from_rows(session, facet, finest, first, last, mark)
            )
        finer = finest
        for span in reversed(facet.spans[:-1]):
            for first, last in _runs({each // span * span for each in quarters}, span):
                _replace(session, facet, span, first, last, _from_tallies(facet, span, finer, first, last))
            finer = span


def _replace(session: Session, facet: Facet, span: int, first: int, last: int, rows: sa.Select) -> None:
    table = facet.table
    session.execute(
        delete(table).where(
            table.span_seconds == span, table.start_seconds >= first, table.start_seconds < last
        ).execution_options(synchronize_session=False)
    )  # fmt: skip
    names = ["experiment_id", "start_seconds", *facet.keys, *facet.sums, "span_seconds"]
    counted = rows.add_columns(sa.literal(span, sa.Integer))
    session.execute(sa.insert(table.__table__).from_select(names, counted))


def _from_rows(session: Session, facet: Facet, span: int, first: int, last: int, mark: datetime) -> sa.Select:
    source = facet.source
    start = start_of_block(dialect_of(session), source.at, span).label("start_seconds")
    within = (source.at >= moment(first), source.at < moment(last), source.rolled(mark))
    return rows_of(facet, source.model.experiment_id, start, where=within)


def _from_tallies(facet: Facet, span: int, finer: int, first: int, last: int) -> sa.Select:
    """Tallies of a span as sums of those of the next finer one."""
    table = facet.table
    width = sa.literal_column(str(span), sa.Integer)
    start = table.start_seconds // width * width
    keys = [table.experiment_id, start.label("start"), *(getattr(table, name) for name in facet.keys)]
    sums = [func.sum(getattr(table, name)) for name in facet.sums]
    return (
        select(*keys, *sums)
        .where(table.span_seconds == finer, table.start_seconds >= first, table.start_seconds < last)
        .group_by(*keys)
    )


def dialect_of(session: Session) -> str:
    """The name of the database a session speaks with."""
    return session.get_bind().dialect.name


def moment(seconds: int) -> datetime:
    """The instant so many seconds after 1970."""
    return datetime.fromtimestamp(seconds, UTC)


def _quarter(at: datetime) -> int:
    return int(floor_quarter(at).timestamp())


def _runs(starts: Iterable[int], span: int) -> Sequence[tuple[int, int]]:
    """Blocks as runs of neighbours, from the first one's beginning to the last one's end.

    Where there are more than MOST_RUNS, those with the least between them become one.
    """
    ordered = sorted(starts)
    gaps = sorted((b - a for a, b in pairwise(ordered) if b - a > span), reverse=True)
    widest = gaps[MOST_RUNS - 1] if len(gaps) >= MOST_RUNS else span
    runs: list[tuple[int, int]] = []
    for start in ordered:
        if runs and start + span - runs[-1][1] <= widest:
            runs[-1] = runs[-1][0], start + span
        else:
            runs.append((start, start + span))
    return runs
