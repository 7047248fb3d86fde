"""What the attention list looks for in the rows: each a fixed number of bounded queries.

Everything is narrowed by grants, and to one experiment if one is given.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from ..domain.humanity import asks_if_human, mentions
from ..domain.reasons import (
    UNDER_WAY,
    AttemptState,
    CallState,
    ExperimentState,
    Reason,
    SlotKind,
    SlotStage,
    TokenState,
    Visibility,
)
from ..models import (
    ApiToken,
    Attempt,
    AuthorTally,
    DigitalTwin,
    Downtime,
    EndpointBreaker,
    Experiment,
    Installation,
    ModelCall,
    ModelSeen,
    Post,
    Schedule,
    SettledLine,
    Slot,
    UserProfile,
    Withdrawal,
)
from ..models.posts import IS_BY_HAND
from ..models.tallies import DAY_SECONDS, WEEK_SECONDS
from .downtimes import SHOWN_FOR
from .tallying import of_any_scope, scope_values

MOST_SHOWN = 20
CALLS_OF = timedelta(hours=1)
REFUSALS = (Reason.wrong_key, Reason.quota, Reason.endpoint_refused, Reason.model_not_found)
LAST_SLOTS, MOST_LOOKED_AT = 8, 100
SEEN_FOR = timedelta(days=30)
QUESTIONS_OF = timedelta(days=7)
MOST_POSTS_READ = 2_000
FEWEST_POSTS = 5
TIMES_THE_GAP = 3
SILENT_AT_LEAST = timedelta(hours=1)


@dataclass(frozen=True)
class FailingToken:
    """An active token whose newest call of the last hour failed for a reason that does not pass by itself."""

    token: ApiToken
    reason: Reason
    at: datetime


@dataclass(frozen=True)
class Question:
    """A person's post that asks a twin whether it is a human being."""

    post: UUID
    experiment_id: int
    identifier: str
    author: str
    at: datetime


@dataclass(frozen=True)
class SilentTwins:
    """Twins of an experiment that are silent for longer than usual, the longest first; `count` in all."""

    experiment_id: int
    experiment: str
    experiment_uuid: UUID
    usernames: tuple[str, ...]
    count: int
    twin_id: int


@dataclass(frozen=True)
class Signs:
    """Whether there may be any of what on most days there is none of, in any experiment."""

    of_troubles: bool
    of_withdrawals: bool
    of_other_models: bool
    of_endpoints_down: bool


def signs(session: Session, now: datetime) -> Signs:
    """What is worth looking for more closely; one query instead of one for each kind."""
    since = {"awake_since": now - SHOWN_FOR, "known_since": now - SEEN_FOR}
    return Signs(*(bool(each) for each in session.execute(_signs(), since).one()))


@cache
def _signs() -> sa.Select:
    is_troubled = sa.or_(Schedule.broken_reason != "", Schedule.paused_at.is_not(None))
    return select(
        sa.or_(
            sa.exists().where(ApiToken.state == TokenState.paused),
            sa.exists().where(Schedule.is_enabled, is_troubled),
            sa.exists().where(Downtime.until_at > sa.bindparam("awake_since")),
        ),
        sa.exists().where(Withdrawal.finished_at.is_(None)),
        sa.exists().where(ModelSeen.model_before.is_not(None), ModelSeen.since > sa.bindparam("known_since")),
        sa.exists().where(EndpointBreaker.opened_at.is_not(None)),
    )


def failing_tokens(
    session: Session, experiment: Experiment | None, now: datetime
) -> tuple[FailingToken, ...]:
    """Active tokens in use whose last call failed, and which nothing has answered since; one query."""
    values = scope_values(experiment) | {"since": now - CALLS_OF}
    rows = session.execute(_failing_tokens(experiment is not None), values)
    return tuple(FailingToken(token, reason, at) for token, reason, at in rows)


@cache
def _failing_tokens(is_of_one: bool) -> sa.Select:
    newest = (
        select(ModelCall.id)
        .where(
            ModelCall.api_token_id == ApiToken.id,
            ModelCall.started_at > sa.bindparam("since"),
            ModelCall.state.in_((CallState.answered, CallState.failed)),
        )
        .order_by(ModelCall.started_at.desc(), ModelCall.id.desc())
        .limit(1)
        .correlate(ApiToken)
        .scalar_subquery()
    )
    is_used = sa.exists().where(
        DigitalTwin.api_token_id == ApiToken.id,
        DigitalTwin.is_active,
        *of_any_scope(DigitalTwin.experiment_id, is_of_one),
    )
    return (
        select(ApiToken, ModelCall.error, ModelCall.finished_at)
        .join(ModelCall, ModelCall.id == newest)
        .where(ApiToken.state == TokenState.active, ModelCall.error.in_(REFUSALS), is_used)
        .order_by(ApiToken.name)
        .limit(MOST_SHOWN)
    )


def schedules_without_a_post(session: Session, experiment: Experiment | None) -> tuple[Schedule, ...]:
    """Schedules whose last eight slots that asked, or found nobody, all ended without a post; one query.

    Of the first 100 that fire.
    """
    found = session.execute(_with_their_hopes(experiment is not None), scope_values(experiment))
    return tuple(schedule for schedule, slots, hopes in found if slots == LAST_SLOTS and not hopes)[
        :MOST_SHOWN
    ]


@cache
def _with_their_hopes(is_of_one: bool) -> sa.Select:
    """Schedules that fire, their last eight slots, and how many of those brought a post or may."""
    last = (
        select(Slot.id, Slot.stage)
        .where(Slot.schedule_id == Schedule.id, Slot.kind.in_((SlotKind.fired, SlotKind.nobody_eligible)))
        .order_by(Slot.slot_at.desc())
        .limit(LAST_SLOTS)
        .correlate(Schedule)
        .subquery()
    )
    hopeful = (AttemptState.posted, AttemptState.due, AttemptState.running)
    is_hopeful = sa.exists().where(Attempt.slot_id == last.c.id, Attempt.state.in_(hopeful))
    slots = select(func.count(last.c.id)).scalar_subquery()
    is_open = last.c.stage == SlotStage.expanding
    hopes = select(func.count(last.c.id)).where(sa.or_(is_open, is_hopeful)).scalar_subquery()
    of_one = sa.or_(Schedule.experiment_id == sa.bindparam("experiment"), Schedule.experiment_id.is_(None))
    return (
        select(Schedule, slots, hopes)
        .outerjoin(Experiment, Experiment.id == Schedule.experiment_id)
        .where(
            Schedule.is_enabled,
            Schedule.is_archived.is_(False),
            Schedule.paused_at.is_(None),
            Schedule.broken_reason == "",
            Schedule.next_slot_at.is_not(None),
            sa.or_(Schedule.experiment_id.is_(None), Experiment.state == ExperimentState.running),
            *((of_one,) if is_of_one else ()),
        )
        .order_by(Schedule.name)
        .limit(MOST_LOOKED_AT)
    )


def new_models(
    session: Session, experiment: Experiment | None, now: datetime
) -> tuple[tuple[ModelSeen, Experiment], ...]:
    """Models that were not what was answered before, the newest first; one query.

    In running experiments and in paused ones: a pause mends nothing.
    """
    values = scope_values(experiment) | {"since": now - SEEN_FOR}
    rows = session.execute(_new_models(experiment is not None), values)
    return tuple((seen, of) for seen, of in rows)


@cache
def _new_models(is_of_one: bool) -> sa.Select:
    return (
        select(ModelSeen, Experiment)
        .join(Experiment, Experiment.id == ModelSeen.experiment_id)
        .where(
            ModelSeen.model_before.is_not(None),
            ModelSeen.since > sa.bindparam("since"),
            Experiment.state.in_(UNDER_WAY),
            *of_any_scope(ModelSeen.experiment_id, is_of_one),
        )
        .order_by(ModelSeen.since.desc(), ModelSeen.id.desc())
        .limit(MOST_SHOWN)
    )


def questions(session: Session, experiment: Experiment | None, now: datetime) -> tuple[Question, ...]:
    """People's posts of the last seven days that ask a twin whether it is human, newest first.

    Three queries. Among the newest 2,000 posts that no attempt wrote: a list of what needs a person must not
    read a week of a town. No alias stands in them, since grants would not narrow it.
    """
    values = scope_values(experiment) | {"since": now - QUESTIONS_OF}
    rows = session.execute(_posts_that_may_ask(experiment is not None), values)
    asking = [row for row in rows if asks_if_human(row.text)]
    answered = _of_twins(session, {row.parent_id for row in asking} - {None})
    twins = _twins_named(session, [row for row in asking if row.parent_id not in answered])
    return tuple(
        Question(row.uuid, row.experiment_id, row.identifier, row.username, row.created_at)
        for row in asking
        if row.parent_id in answered or any((row.experiment_id, name) in twins for name in mentions(row.text))
    )


@cache
def _posts_that_may_ask(is_of_one: bool) -> sa.Select:
    newest = (
        select(
            Post.id, Post.uuid, Post.text, Post.created_at, Post.experiment_id, Post.parent_id,
            Post.user_profile_id,
        )
        .where(
            IS_BY_HAND,
            *of_any_scope(Post.experiment_id, is_of_one),
            Post.created_at > sa.bindparam("since"),
            Post.visibility == Visibility.visible,
        )
        .order_by(Post.created_at.desc(), Post.id.desc())
        .limit(MOST_POSTS_READ)
        .subquery()
    )  # fmt: skip
    return (
        select(newest, Experiment.identifier, UserProfile.username)
        .join(UserProfile, UserProfile.id == newest.c.user_profile_id)
        .join(Experiment, Experiment.id == newest.c.experiment_id)
        .where(
            UserProfile.is_bot.is_(False),
            sa.or_(newest.c.parent_id.is_not(None), newest.c.text.contains("@")),
        )
        .order_by(newest.c.created_at.desc(), newest.c.id.desc())
    )


def _of_twins(session: Session, keys: set[int]) -> set[int]:
    """Those of these posts that a twin wrote."""
    if not keys:
        return set()
    query = select(Post.id).join(UserProfile, UserProfile.id == Post.user_profile_id)
    return set(session.scalars(query.where(Post.id.in_(keys), UserProfile.is_bot)))


def _twins_named(session: Session, asking: Sequence) -> set[tuple[int, str]]:
    names = sorted({name for row in asking for name in mentions(row.text)})
    if not names:
        return set()
    query = select(UserProfile.experiment_id, UserProfile.username_key).where(
        UserProfile.experiment_id.in_({row.experiment_id for row in asking}),
        UserProfile.username_key.in_(names[:500]),
        UserProfile.is_bot,
    )
    return {(experiment_id, name) for experiment_id, name in session.execute(query)}


def silent_twins(session: Session, experiment: Experiment | None, now: datetime) -> tuple[SilentTwins, ...]:
    """Twins of running experiments silent for more than three times their mean gap, by experiment; one query.

    The mean gap comes of the tallies by author, in days and sevens of them that begin within the last 30
    days: from the first of those blocks to the last post, divided by the posts. No post is looked at.
    """
    values = scope_values(experiment) | {
        "first_week": int((now - SEEN_FOR).timestamp()) // WEEK_SECONDS * WEEK_SECONDS + WEEK_SECONDS,
        "this_week": int(now.timestamp()) // WEEK_SECONDS * WEEK_SECONDS,
        "since": now - SILENT_AT_LEAST,
    }
    rows = session.execute(_lately_silent(experiment is not None), values)
    found: dict[int, list[tuple]] = {}
    for twin_id, last_post, username, posts, start, experiment_id, name, uuid in rows:
        gap = (last_post.timestamp() - start) / posts
        silent = (now - last_post).total_seconds()
        if gap > 0 and silent > TIMES_THE_GAP * gap:
            found.setdefault(experiment_id, []).append((-silent, username, twin_id, name, uuid))
    return tuple(
        SilentTwins(
            experiment_id=key,
            experiment=lines[0][3],
            experiment_uuid=lines[0][4],
            usernames=tuple(line[1] for line in lines[:5]),
            count=len(lines),
            twin_id=lines[0][2],
        )
        for key, lines in ((key, sorted(lines)) for key, lines in found.items())
    )


@cache
def _lately_silent(is_of_one: bool) -> sa.Select:
    """Twins of running experiments without a post of late, with their posts of the last 30 days."""
    counted = (
        select(
            AuthorTally.user_profile_id.label("profile"),
            func.sum(AuthorTally.post_count).label("posts"),
            func.min(AuthorTally.start_seconds).label("start"),
        )
        .where(
            sa.or_(
                sa.and_(
                    AuthorTally.span_seconds == WEEK_SECONDS,
                    AuthorTally.start_seconds >= sa.bindparam("first_week"),
                    AuthorTally.start_seconds < sa.bindparam("this_week"),
                ),
                sa.and_(
                    AuthorTally.span_seconds == DAY_SECONDS,
                    AuthorTally.start_seconds >= sa.bindparam("this_week"),
                ),
            ),
            *of_any_scope(AuthorTally.experiment_id, is_of_one),
            AuthorTally.experiment_id.in_(
                select(Experiment.id).where(Experiment.state == ExperimentState.running)
            ),
        )
        .group_by(AuthorTally.user_profile_id)
        .having(func.sum(AuthorTally.post_count) >= FEWEST_POSTS)
        .subquery()
    )
    return (
        select(
            DigitalTwin.id, DigitalTwin.last_post, UserProfile.username, counted.c.posts, counted.c.start,
            Experiment.id, Experiment.name, Experiment.uuid,
        )
        .select_from(counted)
        .join(UserProfile, UserProfile.id == counted.c.profile)
        .join(DigitalTwin, DigitalTwin.user_profile_id == counted.c.profile)
        .join(Experiment, Experiment.id == DigitalTwin.experiment_id)
        .where(
            DigitalTwin.active_rank.is_not(None),
            DigitalTwin.last_post < sa.bindparam("since"),
            Experiment.state == ExperimentState.running,
            sa.not_(sa.exists().where(Installation.is_paused)),
        )
    )  # fmt: skip


def settled(session: Session, keys: Sequence[str]) -> frozenset[str]:
    """Those of the keys whose line somebody has called fine; one query, none for no keys."""
    if not keys:
        return frozenset()
    return frozenset(session.scalars(select(SettledLine.key).where(SettledLine.key.in_(keys))))
