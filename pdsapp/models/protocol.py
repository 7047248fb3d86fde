"""Protocol changes: what was changed about a study, when, by whom and why."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column, relationship

from ..domain.protocol import MOST_REASON, ProtocolPart
from ..domain.reasons import ExperimentState
from .base import Base, HasUuid, Json, enum_of, utc_now
from .experiments import Experiment


class ProtocolChange(Base, HasUuid):
    """One change of what an experiment is run by. Never changes itself.

    `before` and `after` are the whole part for a policy or prompt (the bodies of their versions), the
    changed values for anything else. `state` is the experiment's at that time; `summary` says in a few
    words what changed, `reason` why, as somebody typed it.
    """

    __tablename__ = "protocol_change"
    __table_args__ = (
        sa.Index("ix_protocol_change_experiment_id_made_at", "experiment_id", "made_at"),
        sa.Index("ix_protocol_change_experiment_id_part", "experiment_id", "part", "id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    experiment_id: Mapped[int] = mapped_column(sa.ForeignKey("experiment.id", ondelete="RESTRICT"))
    part: Mapped[ProtocolPart] = mapped_column(enum_of(ProtocolPart))
    state: Mapped[ExperimentState] = mapped_column(enum_of(ExperimentState))
    made_at: Mapped[datetime] = mapped_column(default=utc_now)
    account_id: Mapped[int | None] = mapped_column(sa.ForeignKey("account.id", ondelete="RESTRICT"))
    made_by: Mapped[str] = mapped_column(sa.String(255))
    summary: Mapped[str] = mapped_column(sa.String(500))
    reason: Mapped[str] = mapped_column(sa.String(MOST_REASON), default="")
    before: Mapped[dict[str, Any]] = mapped_column(Json)
    after: Mapped[dict[str, Any]] = mapped_column(Json)

    experiment: Mapped[Experiment] = relationship()

    def __str__(self) -> str:
        return self.summary
