"""Life signs of the processes that do the work."""

from datetime import datetime
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from .base import Base, enum_of, utc_now


class ProcessKind(StrEnum):
    """What a process with a heartbeat is."""

    worker = "worker"
    scheduler = "scheduler"


class Heartbeat(Base):
    """One worker or scheduler process; it beats every 5 s and counts as dead after 15 s."""

    __tablename__ = "heartbeat"

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[ProcessKind] = mapped_column(enum_of(ProcessKind))
    name: Mapped[str] = mapped_column(sa.String(120), unique=True)
    host: Mapped[str] = mapped_column(sa.String(120))
    pid: Mapped[int]
    lanes: Mapped[str] = mapped_column(sa.Text, default="")
    is_leader: Mapped[bool] = mapped_column(default=False)
    started_at: Mapped[datetime] = mapped_column(default=utc_now)
    beat_at: Mapped[datetime] = mapped_column(default=utc_now, index=True)
    stopped_at: Mapped[datetime | None]
