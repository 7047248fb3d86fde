"""The attempt: one twin, asked once whether and what to post. All screens, charts and exports read it."""

from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column, relationship

from ..domain.reasons import (
    AttemptStage,
    AttemptState,
    CallPurpose,
    CallState,
    Reason,
    ReasonClass,
    Trigger,
)
from .base import Base, HasUuid, Json, enum_of, new_uuid, utc_now
from .experiments import Experiment, PostingPolicyVersion, PromptVersion
from .personas import PersonaVersion
from .posts import Post
from .schedules import Schedule, Slot
from .twins import DigitalTwin

_DUE_LITERAL, _RUNNING_LITERAL = f"'{AttemptState.due}'", f"'{AttemptState.running}'"
_DUE, _RUNNING = sa.text(f"state = {_DUE_LITERAL}"), sa.text(f"state = {_RUNNING_LITERAL}")
_DUE_DECIDED = sa.text(f"state = {_DUE_LITERAL} AND decided_at IS NOT NULL")
_OF_A_SLOT = sa.text("slot_id IS NOT NULL")


class Attempt(Base, HasUuid):
    """One attempt, from due to its terminal state.

    Selection: `selection_key`, `candidate_count` and `drawn_rank` say how the twin was drawn.
    Decision: probabilities are of skipping, 0–1; counts are posts; `decided_at` is the rule's `now`.
    `feed_read_at`: when it read the feed it was shown, if it had to wait after the decision.
    `asked_band`: who asked for it chose the length band, which was not drawn then.
    Lease: only the holder of `lease_token` may write; `strikes` counts workers lost with it and times it
    could not be run, and `lost_leases` says which. `stop_asked_at`: somebody stopped it while it ran, so it
    may not publish.
    `waits_for`: why it was given back until `not_before`, in a sentence; of what is due only.
    `delay_seconds` is the jitter drawn for it, before which it is not taken.
    `is_rehearsal`: it was added while its experiment was a draft. `retry_of_id`: the failed one that somebody
    has had tried again with this one.
    Times are UTC, lengths Unicode code points, `latency_ms` the model's time in all calls together.
    """

    __tablename__ = "attempt"
    __table_args__ = (
        sa.UniqueConstraint("slot_id", "ordinal"),
        sa.UniqueConstraint("slot_id", "digital_twin_id"),
        sa.Index("ix_attempt_experiment_id_id", "experiment_id", "id"),
        sa.Index("ix_attempt_experiment_id_created_at", "experiment_id", "created_at"),
        sa.Index("ix_attempt_digital_twin_id_id", "digital_twin_id", "id"),
        sa.Index("ix_attempt_schedule_id_id", "schedule_id", "id"),
        sa.Index("ix_attempt_experiment_id_state_finished_at", "experiment_id", "state", "finished_at"),
        sa.Index("ix_attempt_created_at", "created_at"),
        sa.Index("ix_attempt_changed_at", "changed_at"),
        sa.Index(
            "ix_attempt_slot_id_state", "slot_id", "state",
            postgresql_where=_OF_A_SLOT, sqlite_where=_OF_A_SLOT,
        ),
        sa.Index("ix_attempt_due", "lane", "not_before", postgresql_where=_DUE, sqlite_where=_DUE),
        sa.Index(
            "ix_attempt_due_experiment", "lane", "experiment_id", "not_before", "id",
            postgresql_where=_DUE, sqlite_where=_DUE,
        ),
        sa.Index(
            "ix_attempt_due_decided", "digital_twin_id",
            postgresql_where=_DUE_DECIDED, sqlite_where=_DUE_DECIDED,
        ),
        sa.Index("ix_attempt_lease", "lease_until", postgresql_where=_RUNNING, sqlite_where=_RUNNING),
        sa.Index(
            "uq_attempt_one_running_per_twin", "digital_twin_id", unique=True,
            postgresql_where=_RUNNING, sqlite_where=_RUNNING,
        ),
    )  # fmt: skip

    id: Mapped[int] = mapped_column(primary_key=True)
    experiment_id: Mapped[int] = mapped_column(sa.ForeignKey("experiment.id", ondelete="RESTRICT"))
    digital_twin_id: Mapped[int] = mapped_column(sa.ForeignKey("digital_twin.id", ondelete="RESTRICT"))
    slot_id: Mapped[int | None] = mapped_column(sa.ForeignKey("slot.id", ondelete="RESTRICT"))
    schedule_id: Mapped[int | None] = mapped_column(sa.ForeignKey("schedule.id", ondelete="RESTRICT"))
    ordinal: Mapped[int] = mapped_column(default=0)
    trigger: Mapped[Trigger] = mapped_column(enum_of(Trigger))
    request_id: Mapped[str | None] = mapped_column(sa.String(64), unique=True)
    account_id: Mapped[int | None] = mapped_column(sa.ForeignKey("account.id", ondelete="RESTRICT"))
    is_forced: Mapped[bool] = mapped_column(default=False)
    is_rehearsal: Mapped[bool] = mapped_column(default=False, server_default=sa.false())
    lane: Mapped[str] = mapped_column(sa.String(40), default="default")
    # Without RESTRICT, which is what it comes to: a column added in place cannot be compared with more.
    retry_of_id: Mapped[int | None] = mapped_column(sa.ForeignKey("attempt.id"), index=True)

    # selection
    selection_key: Mapped[str] = mapped_column(sa.String(200), default="")
    candidate_count: Mapped[int | None]
    drawn_rank: Mapped[int | None]

    # life
    state: Mapped[AttemptState] = mapped_column(enum_of(AttemptState), default=AttemptState.due)
    stage: Mapped[AttemptStage | None] = mapped_column(enum_of(AttemptStage))
    reason: Mapped[Reason | None] = mapped_column(enum_of(Reason))
    reason_class: Mapped[ReasonClass | None] = mapped_column(enum_of(ReasonClass))
    detail: Mapped[str] = mapped_column(sa.String(1000), default="")
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    not_before: Mapped[datetime] = mapped_column(default=utc_now)
    waits_for: Mapped[str] = mapped_column(sa.String(300), default="", server_default="")
    claimed_at: Mapped[datetime | None]
    decided_at: Mapped[datetime | None]
    feed_read_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    changed_at: Mapped[datetime] = mapped_column(default=utc_now)
    lease_until: Mapped[datetime | None]
    lease_token: Mapped[UUID | None] = mapped_column(sa.Uuid)
    strikes: Mapped[int] = mapped_column(default=0)
    claimed_by: Mapped[str] = mapped_column(sa.String(120), default="")
    stop_asked_at: Mapped[datetime | None]
    delay_seconds: Mapped[float | None]

    # decision
    policy_id: Mapped[int | None] = mapped_column(sa.ForeignKey("posting_policy.id", ondelete="RESTRICT"))
    prompt_version_id: Mapped[int | None] = mapped_column(
        sa.ForeignKey("prompt_version.id", ondelete="RESTRICT")
    )
    persona_version_id: Mapped[int | None] = mapped_column(
        sa.ForeignKey("persona_version.id", ondelete="RESTRICT"), index=True
    )
    service: Mapped[str] = mapped_column(sa.String(200), default="")
    decision_key: Mapped[str] = mapped_column(sa.String(200), default="")
    last_post_seen: Mapped[datetime | None]
    own_count: Mapped[int | None]
    window_count: Mapped[int | None]
    recency_probability: Mapped[float | None]
    share_probability: Mapped[float | None]
    probability_sum: Mapped[float | None]
    skip_probability: Mapped[float | None]
    draw: Mapped[float | None]
    would_post: Mapped[bool | None]
    asked_band: Mapped[str | None] = mapped_column(sa.String(40))
    length_band: Mapped[str | None] = mapped_column(sa.String(40))
    length_minimum: Mapped[int | None]
    length_maximum: Mapped[int | None]
    target_length: Mapped[int | None]

    # outcome
    messages_sha256: Mapped[str] = mapped_column(sa.String(64), default="")
    draft: Mapped[str | None] = mapped_column(sa.Text)
    cleaning_steps: Mapped[list[Any]] = mapped_column(Json, default=list)
    fit_flags: Mapped[list[Any]] = mapped_column(Json, default=list)
    length: Mapped[int | None]
    is_stand_in: Mapped[bool] = mapped_column(default=False)
    model: Mapped[str] = mapped_column(sa.String(200), default="")
    prompt_tokens: Mapped[int | None]
    completion_tokens: Mapped[int | None]
    latency_ms: Mapped[int | None]

    # To look along, not to write by: a flush looks through none of them, for hundreds of attempts.
    experiment: Mapped[Experiment] = relationship(viewonly=True)
    digital_twin: Mapped[DigitalTwin] = relationship(viewonly=True)
    schedule: Mapped[Schedule | None] = relationship(viewonly=True)
    slot: Mapped[Slot | None] = relationship(viewonly=True)
    policy: Mapped[PostingPolicyVersion | None] = relationship(viewonly=True)
    prompt_version: Mapped[PromptVersion | None] = relationship(viewonly=True)
    persona_version: Mapped[PersonaVersion | None] = relationship(viewonly=True)
    post: Mapped[Post | None] = relationship(viewonly=True)
    context: Mapped[list["AttemptContext"]] = relationship(order_by="AttemptContext.position", viewonly=True)
    calls: Mapped[list["ModelCall"]] = relationship(order_by="ModelCall.id", viewonly=True)
    lost_leases: Mapped[list["LostLease"]] = relationship(order_by="LostLease.id", viewonly=True)

    @property
    def shown_at(self) -> datetime | None:
        """When the feed was as it was shown to the twin; None before it is decided."""
        return self.feed_read_at or self.decided_at


# For queries: spelled out, not bound, as SQLite uses a partial index only for a condition it can read.
IS_DUE = Attempt.state == sa.literal_column(_DUE_LITERAL)
IS_RUNNING = Attempt.state == sa.literal_column(_RUNNING_LITERAL)
# The order of ids for those few: by the bare column SQLite would rather read the whole table in its order.
BY_ID = Attempt.id + sa.literal_column("0")


class AttemptContext(Base):
    """One post of the feed an attempt was shown, and which of its texts. Position 1 is the oldest."""

    __tablename__ = "attempt_context"

    attempt_id: Mapped[int] = mapped_column(
        sa.ForeignKey("attempt.id", ondelete="RESTRICT"), primary_key=True
    )
    position: Mapped[int] = mapped_column(primary_key=True)
    post_id: Mapped[int] = mapped_column(sa.ForeignKey("post.id", ondelete="RESTRICT"), index=True)
    revision: Mapped[int]

    post: Mapped[Post] = relationship()


class LostLease(Base):
    """A worker that let the lease of an attempt run out: it died, or was frozen and may come back.

    `returned_at`: it came back later, with a result that was refused.
    """

    __tablename__ = "lost_lease"

    id: Mapped[int] = mapped_column(primary_key=True)
    attempt_id: Mapped[int] = mapped_column(sa.ForeignKey("attempt.id", ondelete="RESTRICT"), index=True)
    lease_token: Mapped[UUID] = mapped_column(sa.Uuid, unique=True)
    worker: Mapped[str] = mapped_column(sa.String(120), default="")
    stage: Mapped[AttemptStage | None] = mapped_column(enum_of(AttemptStage))
    claimed_at: Mapped[datetime | None]
    lease_until: Mapped[datetime]
    taken_back_at: Mapped[datetime]
    returned_at: Mapped[datetime | None]


class ModelCall(Base):
    """One HTTP request to an endpoint, written as `started` before it is sent.

    `wait_ms` is what was waited before it because of the call before; `reply` the raw text.
    `parameters` holds what was sent beside the messages; never a key.
    """

    __tablename__ = "model_call"
    __table_args__ = (
        sa.Index("ix_model_call_api_token_id_started_at", "api_token_id", "started_at"),
        sa.Index("ix_model_call_experiment_id_started_at", "experiment_id", "started_at"),
        sa.Index("ix_model_call_started_at", "started_at"),
        sa.Index("ix_model_call_finished_at", "finished_at"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    uuid: Mapped[UUID] = mapped_column(sa.Uuid, unique=True, default=new_uuid)
    attempt_id: Mapped[int | None] = mapped_column(
        sa.ForeignKey("attempt.id", ondelete="RESTRICT"), index=True
    )
    experiment_id: Mapped[int | None] = mapped_column(sa.ForeignKey("experiment.id", ondelete="RESTRICT"))
    api_token_id: Mapped[int | None] = mapped_column(sa.ForeignKey("api_token.id", ondelete="RESTRICT"))
    account_id: Mapped[int | None] = mapped_column(sa.ForeignKey("account.id", ondelete="RESTRICT"))
    purpose: Mapped[CallPurpose] = mapped_column(enum_of(CallPurpose), default=CallPurpose.attempt)
    is_rewrite: Mapped[bool] = mapped_column(default=False)
    endpoint: Mapped[str] = mapped_column(sa.String(500))
    endpoint_source: Mapped[str] = mapped_column(sa.String(20), default="")
    model_asked: Mapped[str] = mapped_column(sa.String(200))
    model_returned: Mapped[str] = mapped_column(sa.String(200), default="")
    system_fingerprint: Mapped[str] = mapped_column(sa.String(200), default="")
    parameters: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)
    messages_sha256: Mapped[str] = mapped_column(sa.String(64), default="")
    state: Mapped[CallState] = mapped_column(enum_of(CallState), default=CallState.started)
    http_status: Mapped[int | None]
    error: Mapped[Reason | None] = mapped_column(enum_of(Reason))
    detail: Mapped[str] = mapped_column(sa.String(1000), default="")
    finish_reason: Mapped[str] = mapped_column(sa.String(40), default="")
    reply: Mapped[str | None] = mapped_column(sa.Text)
    prompt_tokens: Mapped[int | None]
    completion_tokens: Mapped[int | None]
    wait_ms: Mapped[int] = mapped_column(default=0)
    latency_ms: Mapped[int | None]
    started_at: Mapped[datetime] = mapped_column(default=utc_now)
    finished_at: Mapped[datetime | None]

    attempt: Mapped[Attempt | None] = relationship(viewonly=True)
