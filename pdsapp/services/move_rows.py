"""Carrying rows from one database to another in the order of their foreign keys, summed on both sides."""

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from itertools import islice
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from ..models import Base

CHUNK = 1000
_WRAP = 1 << 256
_AS_THEY_ARE = frozenset({int, str, bool, type(None)})


@dataclass
class TableSum:
    """How many rows a table has, and what is in them: sums over a hash of each key and of each whole row.

    The order of the rows does not matter, so that databases that sort differently can be compared.
    """

    count: int = 0
    keys: int = 0
    content: int = 0

    def add(self, key: tuple, row: tuple) -> None:
        self.count += 1
        self.keys = (self.keys + _hash(repr(key))) % _WRAP
        self.content = (self.content + _hash(_text(row))) % _WRAP


def tables() -> list[sa.Table]:
    """Every table, each after those it points at."""
    return Base.metadata.sorted_tables


def copy_table(table: sa.Table, source: sa.Connection, target: sa.Connection) -> TableSum:
    """Copies all rows of a table in chunks; the sum of what was read.

    Columns that point into the table itself are filled in afterwards, when every row is there.
    """
    own = [c for c in table.columns if any(fk.column.table is table for fk in c.foreign_keys)]
    later = [table.columns.values().index(column) for column in own]
    total = TableSum()

    def rows() -> Iterator[tuple]:
        for row in _rows(table, source):
            total.add(_key(table, row), row)
            yield tuple(None if i in later else value for i, value in enumerate(row)) if later else row

    put = _copy_in if target.dialect.name == "postgresql" else _insert
    put(table, rows(), target)
    for column in own:
        _fill_in(table, column, source, target)
    return total


def sum_table(table: sa.Table, connection: sa.Connection) -> TableSum:
    """The sum of what a database holds in a table."""
    total = TableSum()
    for row in _rows(table, connection):
        total.add(_key(table, row), row)
    return total


def set_sequences(target: sa.Connection) -> None:
    """Lets PostgreSQL give out ids after the largest one copied. SQLite does so by itself."""
    if target.dialect.name != "postgresql":
        return
    for table in tables():
        for column in table.primary_key.columns:
            name = target.scalar(
                sa.text("SELECT pg_get_serial_sequence(:table, :column)"),
                {"table": f'"{table.name}"', "column": column.name},
            )
            if name is not None:
                largest = target.scalar(sa.select(sa.func.max(column)))
                if largest is not None:
                    target.execute(sa.text("SELECT setval(:name, :value)"), {"name": name, "value": largest})


def _rows(table: sa.Table, connection: sa.Connection) -> Iterator[tuple]:
    query = sa.select(table).order_by(*table.primary_key.columns)
    result = connection.execute(query, execution_options={"yield_per": CHUNK})
    for row in result:
        yield tuple(row)


def _key(table: sa.Table, row: tuple) -> tuple:
    return tuple(row[i] for i, column in enumerate(table.columns) if column.primary_key)


def _insert(table: sa.Table, rows: Iterator[tuple], target: sa.Connection) -> None:
    names = [column.key for column in table.columns]
    while chunk := list(islice(rows, CHUNK)):
        target.execute(table.insert(), [dict(zip(names, row, strict=True)) for row in chunk])


def _copy_in(table: sa.Table, rows: Iterator[tuple], target: sa.Connection) -> None:
    """PostgreSQL's COPY: several times as fast as inserts."""
    processors = [
        column.type.dialect_impl(target.dialect).bind_processor(target.dialect) for column in table.columns
    ]
    quote = target.dialect.identifier_preparer.quote
    names = ", ".join(quote(column.name) for column in table.columns)
    cursor = target.connection.cursor()
    try:
        with cursor.copy(f"COPY {quote(table.name)} ({names}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row([p(value) if p else value for p, value in zip(processors, row, strict=True)])
    finally:
        cursor.close()


def _fill_in(table: sa.Table, column: sa.Column, source: sa.Connection, target: sa.Connection) -> None:
    (key,) = table.primary_key.columns
    query = sa.select(key, column).where(column.is_not(None)).order_by(key)
    change = table.update().where(key == sa.bindparam("key_")).values({column: sa.bindparam("value_")})
    rows = iter(source.execute(query, execution_options={"yield_per": CHUNK}))
    while chunk := [{"key_": k, "value_": value} for k, value in islice(rows, CHUNK)]:
        target.execute(change, chunk)


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest())


def _text(row: tuple) -> str:
    plain = [value if type(value) in _AS_THEY_ARE else _plain(value) for value in row]
    return json.dumps(plain, sort_keys=True)


def _plain(value: Any) -> Any:
    """The same for what means the same in both databases: 1e16 comes back from JSONB as a whole number."""
    if isinstance(value, float):
        return int(value) if math.isfinite(value) and value.is_integer() else value
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, date):  # and datetime
        return value.isoformat()
    return value.hex if isinstance(value, UUID) else value
