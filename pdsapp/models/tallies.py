"""Roll-ups: how many attempts, model calls and posts there were, in blocks of time, by what they share.

They hold nothing that cannot be counted again from the rows (services/rollups.py does). A block is a quarter
of an hour, an hour or a day of UTC: `span_seconds` long, from `start_seconds` since 1970 on. Text that a row
has not is "".
"""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, declared_attr, mapped_column

from .base import Base

QUARTER_SECONDS, HOUR_SECONDS, DAY_SECONDS, WEEK_SECONDS = 900, 3_600, 86_400, 604_800


class Block:
    """What the key of every tally begins with: the experiment and the block of time."""

    @declared_attr.directive
    def __table_args__(cls):
        name = f"ix_{cls.__tablename__}_block"
        return (sa.Index(name, "span_seconds", "start_seconds"),)

    experiment_id: Mapped[int] = mapped_column(
        sa.ForeignKey("experiment.id", ondelete="CASCADE"), primary_key=True
    )
    span_seconds: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    start_seconds: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True, autoincrement=False)


class OutcomeTally(Block, Base):
    """Ended attempts by what became of them, rehearsals too; by when they were asked for.

    `post_count` counts the posts that came of them: one for each that posted, or the books are wrong.
    `verdict` is the rule's own answer, "post" or "skip"; "" if forced, never decided, or held by a limit.
    """

    __tablename__ = "outcome_tally"

    is_rehearsal: Mapped[bool] = mapped_column(primary_key=True)
    state: Mapped[str] = mapped_column(sa.String(24), primary_key=True)
    reason_class: Mapped[str] = mapped_column(sa.String(24), primary_key=True)
    reason: Mapped[str] = mapped_column(sa.String(24), primary_key=True)
    verdict: Mapped[str] = mapped_column(sa.String(4), primary_key=True)
    attempt_count: Mapped[int]
    prompt_tokens: Mapped[int] = mapped_column(sa.BigInteger)
    completion_tokens: Mapped[int] = mapped_column(sa.BigInteger)
    post_count: Mapped[int]


class ProbabilityTally(Block, Base):
    """Unforced attempts the rule decided, by the tenth their skip probability lies in (1 is tenth 10)."""

    __tablename__ = "probability_tally"

    tenth: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    is_silent: Mapped[bool] = mapped_column(primary_key=True)
    attempt_count: Mapped[int]
    probability_sum: Mapped[float]


class LengthTally(Block, Base):
    """Attempts that posted, by the band drawn for them; `fit` is where the length fell."""

    __tablename__ = "length_tally"

    length_band: Mapped[str] = mapped_column(sa.String(40), primary_key=True)
    fit: Mapped[str] = mapped_column(sa.String(8), primary_key=True)
    attempt_count: Mapped[int]


class CallTally(Block, Base):
    """Model calls of attempts by endpoint and model; `outcome` is "answered" or why there was no answer.

    `latency_step` numbers the step their latency lies in (services/latency.py).
    """

    __tablename__ = "call_tally"

    endpoint: Mapped[str] = mapped_column(sa.String(500), primary_key=True)
    model: Mapped[str] = mapped_column(sa.String(200), primary_key=True)
    outcome: Mapped[str] = mapped_column(sa.String(24), primary_key=True)
    latency_step: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    call_count: Mapped[int]
    latency_ms: Mapped[int] = mapped_column(sa.BigInteger)


class PostTally(Block, Base):
    """Posts that are not hidden, of twins and of people, top-level and replies."""

    __tablename__ = "post_tally"

    is_bot: Mapped[bool] = mapped_column(primary_key=True)
    is_reply: Mapped[bool] = mapped_column(primary_key=True)
    post_count: Mapped[int]


class AuthorTally(Block, Base):
    """Posts that are not hidden by who wrote them; only in days, and in sevens of them from 1970 on."""

    __tablename__ = "author_tally"

    user_profile_id: Mapped[int] = mapped_column(
        sa.ForeignKey("user_profile.id", ondelete="CASCADE"), primary_key=True
    )
    post_count: Mapped[int]


class RollupMark(Base):
    """How far the rows of a kind are rolled up: until `mark_at`; `looked_at` is when that was last done."""

    __tablename__ = "rollup_mark"

    source: Mapped[str] = mapped_column(sa.String(20), primary_key=True)
    mark_at: Mapped[datetime]
    looked_at: Mapped[datetime]


TALLIES: tuple[type[Block], ...] = (
    OutcomeTally, ProbabilityTally, LengthTally, CallTally, PostTally, AuthorTally,
)  # fmt: skip
