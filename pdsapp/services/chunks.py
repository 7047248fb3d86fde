"""Asking for many rows by their ids in portions: SQLite takes 32,766 values in one statement."""

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy.orm import Query

AT_ONCE = 500


def portions(keys: Sequence[Any], at_once: int = AT_ONCE) -> Iterator[Sequence[Any]]:
    """The keys in portions that fit into one statement, in their order; none for no keys."""
    for first in range(0, len(keys), at_once):
        yield keys[first : first + at_once]


def rows_by_id(query: Query, column: Any, keys: Sequence[int]) -> list[Any]:
    """The rows of a query that have these ids, in the order of the ids; the queries grow by portions."""
    found: list[Any] = []
    for part in portions(sorted(set(keys))):
        found += query.filter(column.in_(part)).order_by(column).all()
    return found
