"""Notices to an address outside: the outbox, the lines they were about, and who looked when."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from .base import Base, HasUuid, utc_now


class Notice(Base, HasUuid):
    """One thing to tell; it stays until it is delivered or, after a day, given up.

    `body` is the JSON text that is sent, the same with each try; `status` and `problem` are of the last try.
    """

    __tablename__ = "notice"
    __table_args__ = (sa.Index("ix_notice_is_waiting_id", "is_waiting", "id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    event: Mapped[str] = mapped_column(sa.String(20))
    title: Mapped[str] = mapped_column(sa.String(300))
    body: Mapped[str] = mapped_column(sa.Text)
    is_waiting: Mapped[bool] = mapped_column(default=True)
    tries: Mapped[int] = mapped_column(default=0)
    status: Mapped[int | None]
    problem: Mapped[str] = mapped_column(sa.String(300), default="")
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    next_try_at: Mapped[datetime] = mapped_column(default=utc_now)
    delivered_at: Mapped[datetime | None]
    given_up_at: Mapped[datetime | None]

    def __str__(self) -> str:
        return self.title


class NoticeLine(Base):
    """A line of the attention list as it was last seen; `told_at` is when a notice of it was written."""

    __tablename__ = "notice_line"

    key: Mapped[str] = mapped_column(sa.String(120), primary_key=True)
    level: Mapped[str] = mapped_column(sa.String(10))
    title: Mapped[str] = mapped_column(sa.String(300))
    words: Mapped[str] = mapped_column(sa.Text)
    seen_since: Mapped[datetime]
    missing_since: Mapped[datetime | None]
    told_at: Mapped[datetime | None]


class NoticeMark(Base):
    """When something was last done, so that one of several schedulers does it."""

    __tablename__ = "notice_mark"

    name: Mapped[str] = mapped_column(sa.String(20), primary_key=True)
    marked_at: Mapped[datetime]
