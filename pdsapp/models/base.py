"""What every row shares: the declarative base, UTC times, public ids, enums as text."""

import os
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from ..domain.ids import uuid7

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class UtcDateTime(sa.TypeDecorator[datetime]):
    """An aware UTC datetime on every database. A naive one is refused with ValueError."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    @property
    def python_type(self) -> type[datetime]:
        return datetime

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"A time without a zone cannot be stored: {value!r}.")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


Json = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")


def enum_of(values: type[StrEnum]) -> sa.Enum:
    """A column type holding one of a closed set as plain text; unknown values raise LookupError."""
    return sa.Enum(
        values, native_enum=False, create_constraint=False, validate_strings=True, length=24,
        values_callable=lambda enum: [member.value for member in enum],
    )  # fmt: skip


def stored_text(column):
    """The column; one of a closed set as the text that is stored, which by hand may be none of the set."""
    return sa.type_coerce(column, sa.String) if isinstance(column.type, sa.Enum) else column


class Base(DeclarativeBase):
    """The base of all rows. Times are UtcDateTime, dicts are JSON."""

    metadata = sa.MetaData(naming_convention=NAMING)
    type_annotation_map = {datetime: UtcDateTime(), dict[str, Any]: Json, list[Any]: Json}


def utc_now() -> datetime:
    """The time of this machine, aware UTC. Only doors and column defaults call it."""
    return datetime.now(UTC)


def new_uuid() -> UUID:
    """A fresh public id (UUID v7)."""
    return uuid7(utc_now(), os.urandom(10))


class HasUuid:
    """A row that is known outside by a UUID; the integer key stays inside."""

    uuid: Mapped[UUID] = mapped_column(sa.Uuid, unique=True, default=new_uuid)


class HasEditVersion:
    """A row people edit: the counter grows with each edit by a person, never by a worker's write."""

    edit_version: Mapped[int] = mapped_column(default=1, server_default="1")


class HasPause:
    """A row that people can pause: since when, by whom, why. Resuming clears all three.

    `paused_by` is an account's e-mail address, or what else paused it.
    """

    paused_at: Mapped[datetime | None]
    paused_by: Mapped[str] = mapped_column(sa.String(255), default="", server_default="")
    paused_reason: Mapped[str] = mapped_column(sa.String(255), default="", server_default="")

    @property
    def is_stopped(self) -> bool:
        """Whether the pause is a stop: never, of what cannot be stopped."""
        return False


class HasStop(HasPause):
    """A row whose pause can be a stop: what was being written is refused too.

    `stopped_at` is when, and then `paused_by` and `paused_reason` are the stop's; resuming clears it.
    """

    stopped_at: Mapped[datetime | None]

    @property
    def is_stopped(self) -> bool:
        """Whether the pause is a stop."""
        return self.stopped_at is not None
