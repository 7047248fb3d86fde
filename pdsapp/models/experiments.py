"""The experiment and the versions of its policy and prompt; the installation it lives in."""

from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column, relationship

from ..domain.reasons import ExperimentState
from .base import Base, HasEditVersion, HasStop, HasUuid, Json, enum_of, utc_now


class Installation(Base, HasStop):
    """One row: what belongs to this installation as a whole.

    `seed` keys every selection of twins; it is made once and never changes.
    """

    __tablename__ = "installation"

    id: Mapped[int] = mapped_column(primary_key=True)
    seed: Mapped[str] = mapped_column(sa.String(64))
    is_paused: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)

    def __str__(self) -> str:
        return "everything"


class PostingPolicyVersion(Base):
    """The numbers behind decision and length. Known by the hash of its content; never changes."""

    __tablename__ = "posting_policy"

    id: Mapped[int] = mapped_column(primary_key=True)
    hash: Mapped[str] = mapped_column(sa.String(64), unique=True)
    label: Mapped[str] = mapped_column(sa.String(80))
    body: Mapped[dict[str, Any]] = mapped_column(Json)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)

    def __str__(self) -> str:
        return f"{self.label} ({self.hash[:4]})"


class PromptVersion(Base):
    """The words around persona and feed. Known by the hash of its content; never changes."""

    __tablename__ = "prompt_version"

    id: Mapped[int] = mapped_column(primary_key=True)
    hash: Mapped[str] = mapped_column(sa.String(64), unique=True)
    body: Mapped[dict[str, Any]] = mapped_column(Json)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)

    def __str__(self) -> str:
        return self.hash[:4]


class Experiment(Base, HasUuid, HasEditVersion, HasStop):
    """One sandbox: its people, twins, posts, policy, prompt, time zone, seed.

    `active_twin_count` is the number of eligible twins, whose `active_rank` runs 0 … count−1; both
    change in one transaction (`pdsapp.attempts.ranks`). `rank_mark` grows whenever twins come to have a rank:
    those with a mark up to one that was read could be asked then, and ever since. An experiment and its
    copies share `family_uuid`, the UUID of the first of them; None without copies.

    `started_at`: when it left draft; what happened before is its rehearsal. `ends_at`: the first instant that
    is not of it any more, as planned; `ended_at`: when it ended. `delete_asked_at`: it is being deleted.
    `pauses_at_model_change`: it is paused when its provider answers with another model than before.
    """

    __tablename__ = "experiment"
    __table_args__ = (sa.CheckConstraint("active_twin_count >= 0", name="count_not_negative"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    identifier: Mapped[str] = mapped_column(sa.String(5), unique=True)
    name: Mapped[str] = mapped_column(sa.String(120))
    description: Mapped[str] = mapped_column(sa.Text, default="")
    state: Mapped[ExperimentState] = mapped_column(enum_of(ExperimentState), default=ExperimentState.running)
    is_demo: Mapped[bool] = mapped_column(default=False)
    zone: Mapped[str] = mapped_column(sa.String(64), default="UTC")
    pauses_at_model_change: Mapped[bool] = mapped_column(default=False, server_default=sa.false())
    seed: Mapped[str] = mapped_column(sa.String(64))
    policy_id: Mapped[int] = mapped_column(sa.ForeignKey("posting_policy.id", ondelete="RESTRICT"))
    prompt_version_id: Mapped[int] = mapped_column(sa.ForeignKey("prompt_version.id", ondelete="RESTRICT"))
    family_uuid: Mapped[UUID | None] = mapped_column(sa.Uuid, index=True)
    active_twin_count: Mapped[int] = mapped_column(default=0, server_default="0")
    rank_mark: Mapped[int] = mapped_column(default=0, server_default="0")
    started_at: Mapped[datetime | None]
    ends_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    delete_asked_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    created_by_id: Mapped[int | None] = mapped_column(sa.ForeignKey("account.id", ondelete="SET NULL"))

    policy: Mapped[PostingPolicyVersion] = relationship(lazy="joined")
    prompt_version: Mapped[PromptVersion] = relationship(lazy="joined")

    def __str__(self) -> str:
        return f"{self.name} ({self.identifier})"
