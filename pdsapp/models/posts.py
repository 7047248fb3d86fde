"""Posts of people and twins, and the texts they had."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column, relationship

from ..domain.quoting import one_line
from ..domain.reasons import Visibility
from .base import Base, HasUuid, enum_of, utc_now
from .experiments import Experiment
from .twins import UserProfile

_IS_REPLY = sa.text("parent_id IS NOT NULL")
# Not plainly "is null": SQLite takes the unique index for that, as if there were but one such row.
_BY_HAND = sa.text("(attempt_id IS NULL) IS TRUE")
_IN_FEED = sa.text("parent_id IS NULL AND visibility = 'visible'")


class Post(Base, HasUuid):
    """What somebody said in an experiment. `attempt_id` is unique: an attempt posts at most once.

    `is_rehearsal`: it was said while the experiment was a draft.
    """

    __tablename__ = "post"
    __table_args__ = (
        sa.Index(
            "ix_post_feed", "experiment_id", "created_at", "id",
            postgresql_where=_IN_FEED, sqlite_where=_IN_FEED,
        ),
        sa.Index("ix_post_user_profile_id_created_at", "user_profile_id", "created_at"),
        # Wide enough that authors are counted without looking at a post.
        sa.Index(
            "ix_post_experiment_id_created_at", "experiment_id", "created_at", "user_profile_id",
            "visibility", "is_rehearsal",
        ),
        sa.Index("ix_post_experiment_id_is_rehearsal", "experiment_id", "is_rehearsal"),
        sa.Index("ix_post_created_at", "created_at", "user_profile_id", "visibility", "is_rehearsal"),
        sa.Index("ix_post_changed_at", "changed_at"),
        # What people wrote, among ever so much that twins did.
        sa.Index(
            "ix_post_by_hand", "experiment_id", "created_at", "id",
            postgresql_where=_BY_HAND, sqlite_where=_BY_HAND,
        ),
        sa.Index(
            "ix_post_by_hand_of_all", "created_at", "id", postgresql_where=_BY_HAND, sqlite_where=_BY_HAND
        ),
        # Of replies only: where there are few or none, SQLite would take one of all posts for useless.
        sa.Index("ix_post_parent_id", "parent_id", postgresql_where=_IS_REPLY, sqlite_where=_IS_REPLY),
    )  # fmt: skip

    id: Mapped[int] = mapped_column(primary_key=True)
    experiment_id: Mapped[int] = mapped_column(sa.ForeignKey("experiment.id", ondelete="RESTRICT"))
    user_profile_id: Mapped[int] = mapped_column(sa.ForeignKey("user_profile.id", ondelete="RESTRICT"))
    attempt_id: Mapped[int | None] = mapped_column(
        sa.ForeignKey("attempt.id", ondelete="RESTRICT"), unique=True
    )
    parent_id: Mapped[int | None] = mapped_column(sa.ForeignKey("post.id", ondelete="RESTRICT"))
    text: Mapped[str] = mapped_column(sa.Text)
    revision: Mapped[int] = mapped_column(default=1)
    visibility: Mapped[Visibility] = mapped_column(enum_of(Visibility), default=Visibility.visible)
    is_stand_in: Mapped[bool] = mapped_column(default=False)
    is_rehearsal: Mapped[bool] = mapped_column(default=False, server_default=sa.false())
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    changed_at: Mapped[datetime] = mapped_column(default=utc_now)

    experiment: Mapped[Experiment] = relationship()
    user_profile: Mapped[UserProfile] = relationship(lazy="joined")

    def __str__(self) -> str:
        return one_line(self.text, 60)


# For queries: spelled out, not bound, as SQLite uses a partial index only for a condition it can read.
IS_BY_HAND = Post.attempt_id.is_(None).is_(sa.literal_column("TRUE"))
IS_IN_FEED = sa.and_(Post.parent_id.is_(None), Post.visibility == sa.literal_column("'visible'"))


class PostRevision(Base):
    """A text a post had. Number 1 is the original; context rows point at (post, number)."""

    __tablename__ = "post_revision"

    post_id: Mapped[int] = mapped_column(sa.ForeignKey("post.id", ondelete="RESTRICT"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str] = mapped_column(sa.Text)
    account_id: Mapped[int | None] = mapped_column(sa.ForeignKey("account.id", ondelete="SET NULL"))
    created_at: Mapped[datetime] = mapped_column(default=utc_now)

    post: Mapped[Post] = relationship()
