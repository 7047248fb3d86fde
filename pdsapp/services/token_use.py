"""Who uses an API token, and how much: studies under way, twins, calls."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session, contains_eager, joinedload

from ..domain.reasons import CallState
from ..models import DigitalTwin, Experiment, ModelCall
from .protocol import GUARDED

MOST_TWINS = 50
DAY, MONTH = timedelta(hours=24), timedelta(days=30)


@dataclass(frozen=True)
class Use:
    """A study under way and how many of its twins use the token."""

    experiment: Experiment
    twins: int


@dataclass(frozen=True)
class Usage:
    """Calls of a period, what became of them, and the tokens they took as far as the endpoint said."""

    calls: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


def under_way(session: Session, token_id: int) -> list[Use]:
    """The running and paused experiments whose twins use the token, in one query."""
    counts = (
        select(DigitalTwin.experiment_id, func.count(DigitalTwin.id).label("twins"))
        .where(DigitalTwin.api_token_id == token_id)
        .group_by(DigitalTwin.experiment_id)
        .subquery()
    )
    query = (
        select(Experiment, counts.c.twins)
        .join(counts, counts.c.experiment_id == Experiment.id)
        .where(Experiment.state.in_(GUARDED))
        .order_by(Experiment.id)
    )
    return [Use(experiment, twins) for experiment, twins in session.execute(query)]


def twins_of(session: Session, token_id: int, limit: int = MOST_TWINS) -> list[DigitalTwin]:
    """The twins that use the token, with profile and experiment, in one query; `limit` of them at most."""
    query = (
        select(DigitalTwin)
        .join(DigitalTwin.experiment)
        .options(contains_eager(DigitalTwin.experiment), joinedload(DigitalTwin.user_profile))
        .where(DigitalTwin.api_token_id == token_id)
        .order_by(Experiment.name, DigitalTwin.id)
        .limit(limit)
    )
    return list(session.scalars(query))


def usage(session: Session, token_id: int, now: datetime) -> tuple[Usage, Usage]:
    """The last 24 hours and the last 30 days, in one query. Tests count: they are paid for too."""
    is_today = ModelCall.started_at > now - DAY
    sums = [
        column
        for inside in (is_today, None)
        for column in (
            _sum(1, inside),
            _sum(case((ModelCall.state == CallState.failed, 1), else_=0), inside),
            _sum(func.coalesce(ModelCall.prompt_tokens, 0), inside),
            _sum(func.coalesce(ModelCall.completion_tokens, 0), inside),
        )
    ]
    query = select(*sums).where(ModelCall.api_token_id == token_id, ModelCall.started_at > now - MONTH)
    found = [int(number) for number in session.execute(query).one()]
    return Usage(*found[:4]), Usage(*found[4:])


def usage_today(session: Session, token_ids: Iterable[int], now: datetime) -> dict[int, Usage]:
    """The last 24 hours of several tokens, in one query; those without a call are left out."""
    query = (
        select(
            ModelCall.api_token_id,
            func.count(ModelCall.id),
            _sum(case((ModelCall.state == CallState.failed, 1), else_=0)),
            _sum(func.coalesce(ModelCall.prompt_tokens, 0)),
            _sum(func.coalesce(ModelCall.completion_tokens, 0)),
        )
        .where(ModelCall.api_token_id.in_(list(token_ids)), ModelCall.started_at > now - DAY)
        .group_by(ModelCall.api_token_id)
    )
    return {key: Usage(*map(int, numbers)) for key, *numbers in session.execute(query)}


def _sum(value, inside=None):
    counted = value if inside is None else case((inside, value), else_=0)
    return func.coalesce(func.sum(counted), 0)
