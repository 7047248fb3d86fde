"""What is rolled up, and from which rows: for each table of tallies its keys and sums, said once.

The job that fills the tables and the readers that add the rows not rolled up yet both take them from here, so
that the two can only agree.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Select, func, select

from ..domain.latency import STEPS_MS, UNKNOWN_STEP
from ..domain.reasons import TERMINAL_STATES, AttemptState, CallPurpose, CallState, ReasonClass, Visibility
from ..models import Attempt, ModelCall, Post, UserProfile
from ..models.base import stored_text
from ..models.tallies import (
    DAY_SECONDS,
    HOUR_SECONDS,
    QUARTER_SECONDS,
    WEEK_SECONDS,
    AuthorTally,
    CallTally,
    LengthTally,
    OutcomeTally,
    PostTally,
    ProbabilityTally,
)
from .rehearsals import in_study

SPANS = (DAY_SECONDS, HOUR_SECONDS, QUARTER_SECONDS)
# A change that carries a time is committed within so long.
LATE_COMMIT = timedelta(seconds=60)
_ENDED = [sa.literal_column(f"'{state}'") for state in sorted(TERMINAL_STATES)]


@dataclass(frozen=True)
class Source:
    """A kind of rows: by which time they count, and which of them stand in the tallies.

    `rolled` gives the condition for those that do once the rows are rolled up to a mark, `unrolled` the
    opposite, written so that an index finds them; `next_mark` says how far they could be rolled up at a time.
    `cursor` is the column the mark is compared with, `changed` the one that tells late changes.
    """

    name: str
    model: type
    at: ColumnElement
    cursor: ColumnElement
    changed: ColumnElement
    rolled: Callable[[datetime], ColumnElement[bool]]
    unrolled: Callable[[datetime], ColumnElement[bool]]
    next_mark: Callable[[datetime], datetime]


@dataclass(frozen=True, eq=False)
class Facet:
    """A table of tallies: expressions over the rows for its keys and sums; `spans` are its blocks."""

    table: type
    source: Source
    keys: dict[str, ColumnElement]
    sums: dict[str, ColumnElement]
    only: tuple[ColumnElement[bool], ...]
    joined: tuple = ()
    spans: tuple[int, ...] = SPANS


def floor_quarter(at: datetime) -> datetime:
    """The beginning of the quarter of an hour an instant lies in."""
    seconds = int(at.timestamp()) // QUARTER_SECONDS * QUARTER_SECONDS
    return datetime.fromtimestamp(seconds, UTC)


def start_of_block(dialect: str, column: ColumnElement, span: int) -> ColumnElement[int]:
    """The beginning of the block of so many seconds a stored time lies in, in seconds since 1970."""
    if dialect == "sqlite":
        seconds = sa.cast(func.strftime("%s", column), sa.Integer)
    else:
        seconds = sa.cast(func.floor(sa.extract("epoch", column)), sa.BigInteger)
    # Spelled out, not bound: PostgreSQL must see that it groups by what it selects.
    width = sa.literal_column(str(span), sa.Integer)
    return seconds // width * width


def rows_of(facet: Facet, *of: ColumnElement, where: Iterable[ColumnElement[bool]]) -> Select:
    """The sums of a facet counted from its rows, by `of` and its keys: (*of, *keys, *sums)."""
    keys = [*of, *(expression.label(name) for name, expression in facet.keys.items())]
    sums = [expression.label(name) for name, expression in facet.sums.items()]
    query = select(*keys, *sums).select_from(facet.source.model)
    for target, condition in facet.joined:
        query = query.outerjoin(target, condition)
    return query.where(*facet.only, *where).group_by(*keys)


def _text(column: ColumnElement) -> ColumnElement[str]:
    return func.coalesce(stored_text(column), "")


def _sum(column: ColumnElement) -> ColumnElement[int]:
    return func.coalesce(func.sum(column), 0)


_is_over = stored_text(Attempt.state).in_(_ENDED)
_is_limit = (Attempt.state == AttemptState.skipped) & (
    func.coalesce(Attempt.reason_class, ReasonClass.rule) == ReasonClass.limit
)
# Decided by the rule alone, so that the decision tells of it; by tenths of the skip probability.
_is_ruled = Attempt.is_forced.is_(False) & sa.not_(_is_limit) & Attempt.would_post.is_not(None)
TENTH = sa.case(
    *((Attempt.skip_probability < (step + 1) / 10, step) for step in range(10)), else_=sa.literal_column("10")
)
_fit = sa.case(
    (Attempt.length < Attempt.length_minimum, "shorter"),
    (Attempt.length > Attempt.length_maximum, "longer"),
    else_="within",
)
# The offline writer has another port each time it starts, and is one endpoint all the same.
_endpoint = sa.case((ModelCall.endpoint_source == "offline", "offline writer"), else_=ModelCall.endpoint)
_latency_step = sa.case(
    (ModelCall.latency_ms.is_(None), UNKNOWN_STEP),
    *((ModelCall.latency_ms < end, step) for step, end in enumerate(STEPS_MS)),
    else_=len(STEPS_MS),
)
_call_outcome = sa.case(
    (ModelCall.state == CallState.answered, "answered"),
    else_=func.coalesce(stored_text(ModelCall.error), stored_text(ModelCall.state)),
)

# Attempts and calls stand in the tallies from their end on: ended ones never change again, and their last
# change is their end. Attempts that wait are counted from the rows, calls that are out are not counted yet.
ATTEMPTS = Source(
    name="attempts",
    model=Attempt,
    at=Attempt.created_at,
    cursor=Attempt.changed_at,
    changed=Attempt.changed_at,
    rolled=lambda mark: sa.and_(_is_over, Attempt.changed_at <= mark),
    unrolled=lambda mark: sa.and_(_is_over, Attempt.changed_at > mark),
    next_mark=lambda now: now - LATE_COMMIT,
)
CALLS = Source(
    name="calls",
    model=ModelCall,
    at=ModelCall.started_at,
    cursor=ModelCall.finished_at,
    changed=ModelCall.finished_at,
    rolled=lambda mark: ModelCall.finished_at <= mark,
    unrolled=lambda mark: ModelCall.finished_at > mark,
    next_mark=lambda now: now - LATE_COMMIT,
)
# Posts can be hidden long after: they stand in the tallies by whole quarters of an hour, and whoever hides
# one has its quarter counted again.
POSTS = Source(
    name="posts",
    model=Post,
    at=Post.created_at,
    cursor=Post.created_at,
    changed=Post.changed_at,
    rolled=lambda mark: Post.created_at < mark,
    unrolled=lambda mark: Post.created_at >= mark,
    next_mark=lambda now: floor_quarter(now - LATE_COMMIT),
)
SOURCES = (ATTEMPTS, CALLS, POSTS)

OUTCOMES = Facet(
    OutcomeTally,
    ATTEMPTS,
    keys={
        "is_rehearsal": Attempt.is_rehearsal,
        "state": _text(Attempt.state),
        "reason_class": _text(Attempt.reason_class),
        "reason": _text(Attempt.reason),
        "verdict": sa.case((sa.not_(_is_ruled), ""), (Attempt.would_post, "post"), else_="skip"),
    },
    sums={
        "attempt_count": func.count(),
        "prompt_tokens": _sum(Attempt.prompt_tokens),
        "completion_tokens": _sum(Attempt.completion_tokens),
        "post_count": func.count(Post.id),
    },
    only=(),
    joined=((Post, Post.attempt_id == Attempt.id),),
)
IS_JUDGED = _is_ruled & Attempt.skip_probability.is_not(None)
PROBABILITIES = Facet(
    ProbabilityTally,
    ATTEMPTS,
    keys={"tenth": TENTH, "is_silent": sa.not_(Attempt.would_post)},
    sums={"attempt_count": func.count(), "probability_sum": _sum(Attempt.skip_probability)},
    only=(IS_JUDGED, in_study(Attempt)),
)
LENGTHS = Facet(
    LengthTally,
    ATTEMPTS,
    keys={"length_band": _text(Attempt.length_band), "fit": _fit},
    sums={"attempt_count": func.count()},
    # Not the plain column: for that SQLite would go through all that ever was posted, by its index by state.
    only=(
        _text(Attempt.state) == AttemptState.posted,
        Attempt.length_band.is_not(None),
        Attempt.asked_band.is_(None),
        in_study(Attempt),
    ),
)
CALL_OUTCOMES = Facet(
    CallTally,
    CALLS,
    keys={
        "endpoint": _endpoint,
        "model": ModelCall.model_asked,
        "outcome": _call_outcome,
        "latency_step": _latency_step,
    },
    sums={"call_count": func.count(), "latency_ms": _sum(ModelCall.latency_ms)},
    only=(ModelCall.purpose == CallPurpose.attempt, ModelCall.experiment_id.is_not(None)),
)
POST_KINDS = Facet(
    PostTally,
    POSTS,
    keys={"is_bot": UserProfile.is_bot, "is_reply": Post.parent_id.is_not(None)},
    sums={"post_count": func.count()},
    only=(Post.visibility != Visibility.hidden, in_study(Post)),
    joined=((UserProfile, UserProfile.id == Post.user_profile_id),),
)
AUTHORS = Facet(
    AuthorTally,
    POSTS,
    # Not the plain column: to group by it SQLite would look up each author's posts, however few there are.
    keys={"user_profile_id": Post.user_profile_id + 0},
    sums={"post_count": func.count()},
    only=(Post.visibility != Visibility.hidden, in_study(Post)),
    spans=(WEEK_SECONDS, DAY_SECONDS),
)
FACETS = (OUTCOMES, PROBABILITIES, LENGTHS, CALL_OUTCOMES, POST_KINDS, AUTHORS)
