"""Who may sign in, what they may do, and what they did."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from flask_security.core import RoleMixin, UserMixin
from sqlalchemy.orm import Mapped, mapped_column, relationship

from .base import Base, HasEditVersion, Json, utc_now

ADMINISTRATOR = "administrator"

account_role = sa.Table(
    "account_role",
    Base.metadata,
    sa.Column("account_id", sa.ForeignKey("account.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("role_id", sa.ForeignKey("role.id", ondelete="RESTRICT"), primary_key=True),
)


class Role(Base, RoleMixin):
    """administrator, researcher or viewer."""

    __tablename__ = "role"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(80), unique=True)
    description: Mapped[str] = mapped_column(sa.String(255), default="")


class Account(Base, HasEditVersion, UserMixin):
    """Somebody who signs in to the workbench. Not a member of an experiment: that is a user profile.

    `password` is an argon2 hash, None until the first sign-in link was used. `sees_all_experiments`: those of
    others and those still to come; without it an account that is no administrator sees what it is granted.
    """

    __tablename__ = "account"

    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(sa.String(255), unique=True)
    password: Mapped[str | None] = mapped_column(sa.String(255))
    active: Mapped[bool] = mapped_column(default=True)
    fs_uniquifier: Mapped[str] = mapped_column(sa.String(64), unique=True)
    confirmed_at: Mapped[datetime | None]
    zone: Mapped[str | None] = mapped_column(sa.String(64))
    theme: Mapped[str | None] = mapped_column(sa.String(8))
    sees_all_experiments: Mapped[bool] = mapped_column(default=False, server_default=sa.false())
    created_at: Mapped[datetime] = mapped_column(default=utc_now)

    roles: Mapped[list[Role]] = relationship(secondary=account_role, lazy="selectin")

    @property
    def is_administrator(self) -> bool:
        return any(role.name == ADMINISTRATOR for role in self.roles)

    @property
    def sees_everything(self) -> bool:
        """Whether no grant is needed."""
        return self.sees_all_experiments or self.is_administrator

    def __str__(self) -> str:
        return self.email


class Membership(Base):
    """An account's grant of one experiment: it sees it, and changes it if its role changes anything."""

    __tablename__ = "membership"
    __table_args__ = (sa.UniqueConstraint("account_id", "experiment_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    account_id: Mapped[int] = mapped_column(sa.ForeignKey("account.id", ondelete="CASCADE"))
    experiment_id: Mapped[int] = mapped_column(sa.ForeignKey("experiment.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class SignInLink(Base):
    """A one-time link that lets an account set its password. Only the token's SHA-256 is stored."""

    __tablename__ = "sign_in_link"

    id: Mapped[int] = mapped_column(primary_key=True)
    account_id: Mapped[int] = mapped_column(sa.ForeignKey("account.id", ondelete="CASCADE"), index=True)
    token_sha256: Mapped[str] = mapped_column(sa.String(64), unique=True)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]

    account: Mapped[Account] = relationship()


class AuditEvent(Base):
    """One change somebody made: who, when, what, before and after. Never holds a secret."""

    __tablename__ = "audit_event"
    __table_args__ = (sa.Index("ix_audit_event_object", "object_type", "object_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    account_id: Mapped[int | None] = mapped_column(
        sa.ForeignKey("account.id", ondelete="RESTRICT"), index=True
    )
    actor: Mapped[str] = mapped_column(sa.String(255))
    action: Mapped[str] = mapped_column(sa.String(40))
    object_type: Mapped[str] = mapped_column(sa.String(40))
    object_id: Mapped[int | None]
    object_name: Mapped[str] = mapped_column(sa.String(255), default="")
    experiment_id: Mapped[int | None] = mapped_column(
        sa.ForeignKey("experiment.id", ondelete="RESTRICT"), index=True
    )
    before: Mapped[dict[str, Any] | None] = mapped_column(Json)
    after: Mapped[dict[str, Any] | None] = mapped_column(Json)
    created_at: Mapped[datetime] = mapped_column(default=utc_now, index=True)
