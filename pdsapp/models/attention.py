"""What the attention list remembers: models as endpoints named them, and lines somebody called fine."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from .base import Base, HasUuid, utc_now


class ModelSeen(Base, HasUuid):
    """A model and fingerprint an endpoint answered with when one model was asked for in an experiment.

    `asked_key` hashes (endpoint, model asked), `seen_key` what was answered too; texts may be too long for an
    index. `model_before` and `fingerprint_before` are what was new last; None for the first answer ever.

    `is_pause_due`: the experiment is to be paused for it; `paused_at`: it was, then, by that pause's time.
    """

    __tablename__ = "model_seen"
    __table_args__ = (
        sa.UniqueConstraint("experiment_id", "seen_key"),
        sa.Index("ix_model_seen_experiment_id_asked_key", "experiment_id", "asked_key", "id"),
        sa.Index("ix_model_seen_since", "since"),
        sa.Index(
            "ix_model_seen_pause_due",
            "experiment_id",
            postgresql_where=sa.text("is_pause_due"),
            sqlite_where=sa.text("is_pause_due = 1"),
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    experiment_id: Mapped[int] = mapped_column(sa.ForeignKey("experiment.id", ondelete="RESTRICT"))
    asked_key: Mapped[str] = mapped_column(sa.String(64))
    seen_key: Mapped[str] = mapped_column(sa.String(64))
    endpoint: Mapped[str] = mapped_column(sa.String(500))
    model_asked: Mapped[str] = mapped_column(sa.String(200))
    model_returned: Mapped[str] = mapped_column(sa.String(200))
    system_fingerprint: Mapped[str] = mapped_column(sa.String(200))
    model_before: Mapped[str | None] = mapped_column(sa.String(200))
    fingerprint_before: Mapped[str | None] = mapped_column(sa.String(200))
    since: Mapped[datetime] = mapped_column(default=utc_now)
    is_pause_due: Mapped[bool] = mapped_column(default=False, server_default=sa.false())
    paused_at: Mapped[datetime | None]


class SettledLine(Base):
    """A line of the attention list somebody has looked at and called fine; `key` is the line's."""

    __tablename__ = "settled_line"

    id: Mapped[int] = mapped_column(primary_key=True)
    experiment_id: Mapped[int] = mapped_column(
        sa.ForeignKey("experiment.id", ondelete="RESTRICT"), index=True
    )
    key: Mapped[str] = mapped_column(sa.String(80), unique=True)
    account_id: Mapped[int | None] = mapped_column(sa.ForeignKey("account.id", ondelete="SET NULL"))
    settled_at: Mapped[datetime] = mapped_column(default=utc_now)

    def __str__(self) -> str:
        return self.key
