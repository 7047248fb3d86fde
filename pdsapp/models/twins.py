"""User profiles and digital twins."""

from datetime import datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column, relationship

from .base import Base, HasEditVersion, HasUuid, Json, utc_now
from .experiments import Experiment
from .personas import PersonaVersion
from .tokens import ApiToken

if TYPE_CHECKING:
    from .withdrawals import Withdrawal


class UserProfile(Base, HasUuid, HasEditVersion):
    """A member of an experiment, human or twin (`is_bot`).

    `username_key` is the case-folded username, unique within the experiment.
    """

    __tablename__ = "user_profile"
    __table_args__ = (
        sa.UniqueConstraint("experiment_id", "username_key"),
        sa.Index("ix_user_profile_experiment_id_is_bot", "experiment_id", "is_bot"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    experiment_id: Mapped[int] = mapped_column(sa.ForeignKey("experiment.id", ondelete="RESTRICT"))
    username: Mapped[str] = mapped_column(sa.String(30))
    username_key: Mapped[str] = mapped_column(sa.String(60))
    display_name: Mapped[str] = mapped_column(sa.String(80))
    bio: Mapped[str] = mapped_column(sa.Text, default="")
    is_bot: Mapped[bool] = mapped_column(default=False)
    is_banned: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)

    experiment: Mapped[Experiment] = relationship()
    twin: Mapped["DigitalTwin | None"] = relationship(back_populates="user_profile")
    withdrawal: Mapped["Withdrawal | None"] = relationship(back_populates="user_profile")

    def __str__(self) -> str:
        return f"@{self.username}"


class DigitalTwin(Base, HasUuid, HasEditVersion):
    """A bot's user profile + persona version + optional token, URL, model, parameters.

    `active_rank` is dense, 0 … n−1 within the experiment's eligible twins (active, profile not
    banned), None for the others: a uniform draw is one index seek.
    `rank_mark` is the experiment's at the moment the twin last came to have a rank.
    `last_post` is moved by published top-level posts only.
    """

    __tablename__ = "digital_twin"
    __table_args__ = (
        sa.UniqueConstraint("experiment_id", "active_rank"),
        sa.Index("ix_digital_twin_experiment_id_id", "experiment_id", "id"),
        sa.Index("ix_digital_twin_persona_version_id_experiment_id", "persona_version_id", "experiment_id"),
        sa.CheckConstraint("active_rank IS NULL OR is_active", name="rank_only_if_active"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    experiment_id: Mapped[int] = mapped_column(sa.ForeignKey("experiment.id", ondelete="RESTRICT"))
    user_profile_id: Mapped[int] = mapped_column(
        sa.ForeignKey("user_profile.id", ondelete="RESTRICT"), unique=True
    )
    persona_version_id: Mapped[int] = mapped_column(sa.ForeignKey("persona_version.id", ondelete="RESTRICT"))
    api_token_id: Mapped[int | None] = mapped_column(
        sa.ForeignKey("api_token.id", ondelete="RESTRICT"), index=True
    )
    llm_url: Mapped[str] = mapped_column(sa.String(500), default="")
    llm_model: Mapped[str] = mapped_column(sa.String(200), default="")
    parameters: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)
    is_active: Mapped[bool] = mapped_column(default=False)
    active_rank: Mapped[int | None]
    rank_mark: Mapped[int] = mapped_column(default=0, server_default="0")
    last_post: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)

    experiment: Mapped[Experiment] = relationship()
    user_profile: Mapped[UserProfile] = relationship(back_populates="twin", lazy="joined")
    persona_version: Mapped[PersonaVersion] = relationship(lazy="joined")
    api_token: Mapped[ApiToken | None] = relationship()
    tags: Mapped[list["TwinTag"]] = relationship(cascade="all, delete-orphan", order_by="TwinTag.tag")

    def __str__(self) -> str:
        return f"@{self.user_profile.username}"


class TwinTag(Base):
    """A word somebody put on a twin to find it again."""

    __tablename__ = "twin_tag"
    __table_args__ = (sa.Index("ix_twin_tag_tag_digital_twin_id", "tag", "digital_twin_id"),)

    digital_twin_id: Mapped[int] = mapped_column(
        sa.ForeignKey("digital_twin.id", ondelete="CASCADE"), primary_key=True
    )
    tag: Mapped[str] = mapped_column(sa.String(40), primary_key=True)
