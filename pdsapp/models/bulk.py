"""Bulk set-ups under way: what somebody uploaded, until it is set up or forgotten."""

from datetime import datetime
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column, relationship

from .accounts import Account
from .base import Base, HasUuid, enum_of, utc_now
from .experiments import Experiment
from .tokens import ApiToken


class ImportState(StrEnum):
    """What has become of a bulk set-up. A closed set.

    `planned`: shown and not confirmed; `waiting`: confirmed, for a worker; `running`: a worker has it;
    `done`, `failed`: over, and all or nothing of it is there.
    """

    planned = "planned"
    waiting = "waiting"
    running = "running"
    done = "done"
    failed = "failed"


class BulkImport(Base, HasUuid):
    """Rows of twins to be set up, kept between the dry run and its end.

    `content` is the sheet as text, emptied when it is done; rows are forgotten after a day. `fingerprint` is
    that of the plan somebody confirmed. `progress` of `row_count` rows were looked at. A worker holds it by
    `lease_token` until `lease_until`; `tries` counts the workers that have taken it.
    """

    __tablename__ = "bulk_import"

    id: Mapped[int] = mapped_column(primary_key=True)
    account_id: Mapped[int | None] = mapped_column(sa.ForeignKey("account.id", ondelete="CASCADE"))
    experiment_id: Mapped[int] = mapped_column(sa.ForeignKey("experiment.id", ondelete="CASCADE"))
    token_id: Mapped[int | None] = mapped_column(sa.ForeignKey("api_token.id", ondelete="CASCADE"))
    source: Mapped[str] = mapped_column(sa.String(200))
    content: Mapped[str] = mapped_column(sa.Text, deferred=True)
    is_active: Mapped[bool] = mapped_column(default=True)
    state: Mapped[ImportState] = mapped_column(enum_of(ImportState), default=ImportState.planned, index=True)
    fingerprint: Mapped[str] = mapped_column(sa.String(32), default="")
    reason: Mapped[str] = mapped_column(sa.String(500), default="")
    message: Mapped[str] = mapped_column(sa.Text, default="")
    row_count: Mapped[int]
    progress: Mapped[int] = mapped_column(default=0)
    created_count: Mapped[int] = mapped_column(default=0)
    updated_count: Mapped[int] = mapped_column(default=0)
    skipped_count: Mapped[int] = mapped_column(default=0)
    tries: Mapped[int] = mapped_column(default=0)
    lease_token: Mapped[str] = mapped_column(sa.String(40), default="")
    lease_until: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(default=utc_now, index=True)
    changed_at: Mapped[datetime] = mapped_column(default=utc_now)

    account: Mapped[Account | None] = relationship()
    experiment: Mapped[Experiment] = relationship()
    token: Mapped[ApiToken | None] = relationship()

    def __str__(self) -> str:
        return self.source
