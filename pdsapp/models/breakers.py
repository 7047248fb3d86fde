"""Circuit breakers: endpoints that did not work when they were last asked."""

from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from .base import Base, HasUuid, utc_now


class EndpointBreaker(Base, HasUuid):
    """An endpoint that failed when it was last asked: no row means that it works, or was never asked.

    `place` is scheme, host, port and path, which may be shared by any number of tokens. `failures` counts
    those in a row. `opened_at`: nobody but a probe asks it since then. `probe_until`: one is under way, and
    is taken for lost then; `probe_key` says whose it is.
    """

    __tablename__ = "endpoint_breaker"

    id: Mapped[int] = mapped_column(primary_key=True)
    place: Mapped[str] = mapped_column(sa.String(520), unique=True)
    failures: Mapped[int] = mapped_column(default=0)
    detail: Mapped[str] = mapped_column(sa.String(500), default="")
    failed_at: Mapped[datetime] = mapped_column(default=utc_now)
    opened_at: Mapped[datetime | None]
    next_probe_at: Mapped[datetime | None]
    probe_until: Mapped[datetime | None]
    probe_key: Mapped[UUID | None] = mapped_column(sa.Uuid)

    def __str__(self) -> str:
        return self.place
