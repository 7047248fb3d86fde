"""Schedules, their immutable revisions, and the slots the ledger counts."""

from datetime import date, datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column, relationship

from ..domain.reasons import SlotKind, SlotStage
from .base import Base, HasEditVersion, HasPause, HasUuid, Json, enum_of, utc_now
from .experiments import Experiment


class Cadence(StrEnum):
    """How a schedule's slots are spaced: by a cron expression or by a fixed interval."""

    cron = "cron"
    interval = "interval"


class MissedPolicy(StrEnum):
    """What happens to slots that passed while nothing ran."""

    skip = "skip"
    fire_once = "fire_once"


class OverlapPolicy(StrEnum):
    """What happens to a slot that is due while the one before it still runs."""

    skip = "skip"
    allow = "allow"


class Intent:
    """The columns that say what a schedule wants; copied into each revision.

    `experiment_id` None means every running experiment, weighted by active twins. Slots lie between the
    beginning of `first_day` and the end of `last_day`, both in `zone`; None is open. Each attempt of a slot
    waits a keyed, uniform 0 … `jitter_seconds`. `target` narrows the experiment's twins, as
    domain/targets.py has it: {} is all active ones, {"tags": […]} any of them, {"twins": [UUID, …]}.
    Each slot asks `twins_per_slot` of them, or each one where it `asks_all`.
    """

    experiment_id: Mapped[int | None] = mapped_column(
        sa.ForeignKey("experiment.id", ondelete="RESTRICT"), index=True
    )
    cadence: Mapped[Cadence] = mapped_column(enum_of(Cadence))
    cron: Mapped[str] = mapped_column(sa.String(100), default="")
    interval_seconds: Mapped[int | None]
    anchor_at: Mapped[datetime | None]
    zone: Mapped[str] = mapped_column(sa.String(64), default="UTC")
    first_day: Mapped[date | None]
    last_day: Mapped[date | None]
    jitter_seconds: Mapped[int] = mapped_column(default=0, server_default="0")
    twins_per_slot: Mapped[int] = mapped_column(default=1)
    asks_all: Mapped[bool] = mapped_column(default=False, server_default=sa.false())
    target: Mapped[dict[str, Any]] = mapped_column(Json, default=dict, server_default="{}")
    is_forced: Mapped[bool] = mapped_column(default=False)
    lane: Mapped[str] = mapped_column(sa.String(40), default="default")
    missed_policy: Mapped[MissedPolicy] = mapped_column(enum_of(MissedPolicy), default=MissedPolicy.skip)
    overlap_policy: Mapped[OverlapPolicy] = mapped_column(enum_of(OverlapPolicy), default=OverlapPolicy.skip)
    is_enabled: Mapped[bool] = mapped_column(default=False)


class Schedule(Base, Intent, HasUuid, HasEditVersion, HasPause):
    """When which experiment's twins are asked. `next_slot_at` is the cursor: the next unclaimed slot.

    A pause is no revision: its slots stay due and are recorded as `paused`.
    """

    __tablename__ = "schedule"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(120))
    is_archived: Mapped[bool] = mapped_column(default=False)
    revision_number: Mapped[int] = mapped_column(default=0)
    cursor_at: Mapped[datetime | None]
    next_slot_at: Mapped[datetime | None] = mapped_column(index=True)
    broken_reason: Mapped[str] = mapped_column(sa.String(500), default="")
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    created_by_id: Mapped[int | None] = mapped_column(sa.ForeignKey("account.id", ondelete="SET NULL"))

    experiment: Mapped[Experiment | None] = relationship()

    def __str__(self) -> str:
        return self.name


class ScheduleRevision(Base, Intent):
    """What a schedule wanted after `valid_from` (excluded) until `valid_until` (included). Never edited,
    but for closing `valid_until`: a slot at the very instant of a change belongs to what was before."""

    __tablename__ = "schedule_revision"
    __table_args__ = (sa.UniqueConstraint("schedule_id", "number"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    schedule_id: Mapped[int] = mapped_column(sa.ForeignKey("schedule.id", ondelete="RESTRICT"))
    number: Mapped[int]
    valid_from: Mapped[datetime]
    valid_until: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    created_by_id: Mapped[int | None] = mapped_column(sa.ForeignKey("account.id", ondelete="SET NULL"))


_IS_OPEN = sa.text("stage IS NOT NULL")


class Slot(Base):
    """One due instant of one schedule and what became of it.

    A run of missed or paused instants is one row: `covers_from` … `covers_until`, `slot_count`.
    A fired slot asks `wanted_count` twins. `expanded_count` have an attempt so far; `gone_count` could not
    be asked any more when it was their turn, `stopped_count` were not asked because of a stop, a pause or an
    end. `stage` is what the scheduler has still to do for it: while `expanding` the three do not sum up yet,
    `draw` says whom it asks and `cursor` how far that is. `ends` are the attempts of a large slot by state,
    summed up once when the last of them has ended.
    """

    __tablename__ = "slot"
    __table_args__ = (
        sa.UniqueConstraint("schedule_id", "slot_at", "kind"),
        sa.Index("ix_slot_experiment_id_slot_at", "experiment_id", "slot_at"),
        sa.Index("ix_slot_slot_at_kind", "slot_at", "kind"),
        sa.Index("ix_slot_stage", "stage", postgresql_where=_IS_OPEN, sqlite_where=_IS_OPEN),
        sa.CheckConstraint("slot_count >= 1", name="count_positive"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    schedule_id: Mapped[int] = mapped_column(sa.ForeignKey("schedule.id", ondelete="RESTRICT"))
    revision_id: Mapped[int] = mapped_column(
        sa.ForeignKey("schedule_revision.id", ondelete="RESTRICT"), index=True
    )
    experiment_id: Mapped[int | None] = mapped_column(sa.ForeignKey("experiment.id", ondelete="RESTRICT"))
    slot_at: Mapped[datetime]
    kind: Mapped[SlotKind] = mapped_column(enum_of(SlotKind))
    covers_from: Mapped[datetime | None]
    covers_until: Mapped[datetime | None]
    slot_count: Mapped[int] = mapped_column(default=1)
    wanted_count: Mapped[int] = mapped_column(default=0)
    expanded_count: Mapped[int] = mapped_column(default=0)
    gone_count: Mapped[int] = mapped_column(default=0, server_default="0")
    stopped_count: Mapped[int] = mapped_column(default=0, server_default="0")
    stage: Mapped[SlotStage | None] = mapped_column(enum_of(SlotStage))
    draw: Mapped[dict[str, Any] | None] = mapped_column(Json)
    cursor: Mapped[dict[str, Any] | None] = mapped_column(Json)
    ends: Mapped[dict[str, Any] | None] = mapped_column(Json)
    detail: Mapped[str] = mapped_column(sa.String(500), default="")
    claimed_at: Mapped[datetime] = mapped_column(default=utc_now)
    claimed_by: Mapped[str] = mapped_column(sa.String(120), default="")

    schedule: Mapped[Schedule] = relationship()
    revision: Mapped[ScheduleRevision] = relationship()


class Downtime(Base):
    """A stretch in which no scheduler lived: from the last beat of any to the first one after it.

    The machine slept, was off, or its clock was set forward.
    """

    __tablename__ = "downtime"

    id: Mapped[int] = mapped_column(primary_key=True)
    from_at: Mapped[datetime]
    until_at: Mapped[datetime] = mapped_column(index=True)
    found_by: Mapped[str] = mapped_column(sa.String(120), default="")
