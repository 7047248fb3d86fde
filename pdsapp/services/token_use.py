"""Who uses an API token, and how much: studies under way, twins, calls."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session, contains_eager, joinedload

from ..domain.reasons import CallState
from ..models import IS_DUE, Attempt, DigitalTwin, Experiment, ModelCall
from .protocol import GUARDED

MOST_TWINS = 50
# So many of those that are put off are counted.
MOST_PUT_OFF = 5_000
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


@dataclass(frozen=True)
class Waiting:
    """Attempts that are put off because of a token: how many, and what most of them wait for."""

    attempts: int
    waits_for: str

    @property
    def words(self) -> str:
        """How many, in a sentence."""
        if self.attempts > MOST_PUT_OFF:
            return f"More than {MOST_PUT_OFF:,} attempts are put off."
        return "1 attempt is put off." if self.attempts == 1 else f"{self.attempts:,} attempts are put off."


def waiting(session: Session, token_id: int, now: datetime) -> Waiting | None:
    """What its limits, or a rest its endpoint asked for, hold back now; None for nothing.

    Without those that could not be run. MOST_PUT_OFF and one more are looked at, at most.
    """
    twins = select(DigitalTwin.id).where(DigitalTwin.api_token_id == token_id)
    put_off = (
        select(Attempt.waits_for)
        .where(IS_DUE, Attempt.not_before > now, Attempt.waits_for != "", Attempt.strikes == 0)
        # By what is due: by the twin SQLite would read all its attempts there ever were.
        .where((Attempt.digital_twin_id + 0).in_(twins))
        .limit(MOST_PUT_OFF + 1)
        .subquery()
    )
    query = select(put_off.c.waits_for, func.count().label("attempts")).group_by(put_off.c.waits_for)
    rows = session.execute(query.order_by(func.count().desc(), put_off.c.waits_for)).all()
    return Waiting(sum(row.attempts for row in rows), rows[0].waits_for) if rows else None


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
