"""Personas and their versions."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column, relationship

from .base import Base, HasEditVersion, HasUuid, utc_now


class Persona(Base, HasUuid, HasEditVersion):
    """A reusable description of how somebody thinks and writes; its text lives in versions."""

    __tablename__ = "persona"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(120), unique=True)
    notes: Mapped[str] = mapped_column(sa.Text, default="")
    is_archived: Mapped[bool] = mapped_column(default=False)
    latest_number: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    created_by_id: Mapped[int | None] = mapped_column(sa.ForeignKey("account.id", ondelete="SET NULL"))

    versions: Mapped[list["PersonaVersion"]] = relationship(
        back_populates="persona", order_by="PersonaVersion.number"
    )

    def __str__(self) -> str:
        return self.name


class PersonaVersion(Base):
    """One text of a persona. Never changes; twins and attempts point at it."""

    __tablename__ = "persona_version"
    __table_args__ = (sa.UniqueConstraint("persona_id", "number"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    persona_id: Mapped[int] = mapped_column(sa.ForeignKey("persona.id", ondelete="RESTRICT"))
    number: Mapped[int]
    text: Mapped[str] = mapped_column(sa.Text)
    hash: Mapped[str] = mapped_column(sa.String(64))
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    created_by_id: Mapped[int | None] = mapped_column(sa.ForeignKey("account.id", ondelete="SET NULL"))

    persona: Mapped[Persona] = relationship(back_populates="versions", lazy="joined")

    def __str__(self) -> str:
        return f"{self.persona.name}, version {self.number}"
