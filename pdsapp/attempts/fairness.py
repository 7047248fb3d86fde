"""Which due attempts come next: experiments take turns, so that one's flood does not keep another waiting."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from ..database import read_each
from ..models import IS_DUE, Attempt
from .erased import being_erased

Found = tuple[list[Attempt], dict[int, Exception]]


def take_turns(
    session: Session,
    now: datetime,
    limit: int,
    lane: str | None = None,
    only: set[int] | None = None,
    strikes: int | None = None,
) -> Found:
    """Up to `limit` due attempts, locked, and what was raised for those that cannot be read, by their id.

    Each experiment of the lane has about the same part of them, as long as it has so many; within it the
    oldest come first. Of `strikes` only those that lost so many workers. Where more experiments wait than
    `limit`, `now` says where the round begins. Reads one row for each experiment and those that are taken,
    however many are due.
    """
    if only is not None:
        return _read(session, _due(now, strikes).where(Attempt.id.in_(only)), limit)
    streams = _streams(session, now, lane)
    first = int(now.timestamp() * 1000) % max(1, len(streams))
    return _deal(session, limit, _due(now, strikes), streams[first:] + streams[:first])


def _deal(session: Session, limit: int, due: Select, streams: list[tuple[str, int]]) -> Found:
    found: dict[int, Attempt] = {}
    broken: dict[int, Exception] = {}
    while streams and len(found) < limit:
        part = -(-(limit - len(found)) // len(streams))
        left = []
        for lane, experiment_id in streams:
            wanted = min(part, limit - len(found))
            if not wanted:
                break
            query = due.where(Attempt.lane == lane, Attempt.experiment_id == experiment_id)
            known = [*(a.id for a in found.values() if a.experiment_id == experiment_id), *broken]
            rows, unreadable = _read(session, query.where(Attempt.id.not_in(known)), wanted)
            found.update((attempt.id, attempt) for attempt in rows)
            broken.update(unreadable)
            if len(rows) + len(unreadable) == wanted:
                left.append((lane, experiment_id))
        streams = left
    return list(found.values()), broken


def _due(now: datetime, strikes: int | None) -> Select:
    query = select(Attempt).where(
        IS_DUE, Attempt.not_before <= now, Attempt.experiment_id.not_in(being_erased())
    )
    return query if strikes is None else query.where(Attempt.strikes == strikes)


def _read(session: Session, query: Select, limit: int) -> Found:
    query = query.order_by(Attempt.not_before, Attempt.id).limit(limit)
    return read_each(session, query.with_for_update(skip_locked=True, of=Attempt), Attempt.id)


def _streams(session: Session, now: datetime, lane: str | None) -> list[tuple[str, int]]:
    """The experiments with attempts that are due now, in a lane or in each: (lane, experiment)."""
    lanes = [lane] if lane is not None else session.scalars(_distinct(Attempt.lane)).all()
    return [(each, number) for each in lanes for number in session.scalars(_experiments(each, now))]


def _experiments(lane: str, now: datetime) -> Select:
    numbers = _distinct(Attempt.experiment_id, Attempt.lane == lane).subquery()
    any_now = select(Attempt.id).where(
        IS_DUE, Attempt.lane == lane, Attempt.experiment_id == numbers.c.value, Attempt.not_before <= now
    )
    # In the order of the index, so that no database thinks of reading anything else.
    first = any_now.order_by(Attempt.not_before).limit(1).correlate(numbers).scalar_subquery()
    return select(numbers.c.value).where(first.is_not(None))


def _distinct(column, *conditions) -> Select:
    """The values of a column among what is due, each found by one seek: DISTINCT would read every row."""

    order = (column, Attempt.not_before) if conditions else (column,)

    def next_after(*more) -> sa.ScalarSelect:
        query = select(column).where(IS_DUE, *conditions, *more).order_by(*order).limit(1)
        return query.correlate_except(Attempt).scalar_subquery()

    steps = select(next_after().label("value")).cte("steps", recursive=True)
    steps = steps.union_all(select(next_after(column > steps.c.value)).where(steps.c.value.is_not(None)))
    return select(steps.c.value).where(steps.c.value.is_not(None))
