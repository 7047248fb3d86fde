"""Participants who withdrew: what was asked for, how far it is, and what was erased."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column, relationship

from .base import Base, Json, utc_now
from .experiments import Experiment
from .twins import UserProfile


class Withdrawal(Base):
    """The erasing of one person from an experiment. `pseudonym` is the username the profile has from then on.

    `texts` (pairs of time and text) and `names` are what is looked for in the texts of others; both are gone
    when it is finished. `progress` is the step and the last id it has looked at; `counts` how many texts were
    changed, by table. `compacted_at`: when no freed part of the database's file held them any more; only
    SQLite's is seen to.
    """

    __tablename__ = "withdrawal"

    id: Mapped[int] = mapped_column(primary_key=True)
    experiment_id: Mapped[int] = mapped_column(
        sa.ForeignKey("experiment.id", ondelete="RESTRICT"), index=True
    )
    user_profile_id: Mapped[int] = mapped_column(
        sa.ForeignKey("user_profile.id", ondelete="RESTRICT"), unique=True
    )
    account_id: Mapped[int | None] = mapped_column(sa.ForeignKey("account.id", ondelete="SET NULL"))
    pseudonym: Mapped[str] = mapped_column(sa.String(30))
    texts: Mapped[list[Any] | None] = mapped_column(Json, deferred=True)
    names: Mapped[list[Any] | None] = mapped_column(Json, deferred=True)
    only_mentions: Mapped[bool] = mapped_column(default=False)
    progress: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)
    counts: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)
    asked_at: Mapped[datetime] = mapped_column(default=utc_now)
    finished_at: Mapped[datetime | None]
    compacted_at: Mapped[datetime | None]

    experiment: Mapped[Experiment] = relationship()
    user_profile: Mapped[UserProfile] = relationship(back_populates="withdrawal")

    def __str__(self) -> str:
        return f"@{self.pseudonym}"
