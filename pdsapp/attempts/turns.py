"""When a model call may be made: the breaker of its endpoint, then a permit of its token.

`async with turns.turn(…) as turn:` around each call, `await turn.over(outcome)` once its answer is there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from hashlib import sha256
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from ..config import Settings
from ..database import reading
from ..domain.draft import CallFailed
from ..domain.estimates import estimated_tokens
from ..domain.prompt import Messages
from ..domain.reasons import Reason, Trigger
from ..errors import NotNow
from ..llm.client import CallOutcome
from ..llm.endpoint import Endpoint
from ..models import Attempt, Heartbeat, ProcessKind
from ..services.heartbeats import DEAD_AFTER
from .breaker import Breakers, Pass
from .permit_terms import Asked
from .permits import PATIENCE_SECONDS, Permit, Permits

# What an answer is taken to cost until it is there, if the endpoint is not told how long it may be.
ANSWER_TOKENS = 150
# A rewrite waits longer: the text it is to mend has been paid for.
REWRITE_PATIENCE_SECONDS = 15.0
RESTS = frozenset({429, 503})
# Does a call that opens transactions, in a thread, and gives what it gives.
Aside = Callable[[Callable[[], Any]], Awaitable[Any]]
log = structlog.get_logger()


@dataclass(frozen=True)
class Waiter:
    """Who wants to call: an attempt, since when it has been due, and whether a person waits for it."""

    attempt_uuid: UUID
    experiment_id: int
    since: datetime
    goes_first: bool = False

    @property
    def spread(self) -> float:
        """A number of its own in [0, 1), the same each time."""
        return self.attempt_uuid.int % 10_000 / 10_000


def waiter_of(attempt: Attempt) -> Waiter:
    """The attempt as somebody who waits."""
    since = attempt.created_at + timedelta(seconds=attempt.delay_seconds or 0)
    return Waiter(attempt.uuid, attempt.experiment_id, since, attempt.trigger != Trigger.schedule)


class Turn:
    """A call that may be made now."""

    def __init__(self, permits: Permits, permit: Permit | None):
        self._permits, self._permit = permits, permit
        self.outcome: CallOutcome | None = None

    async def over(self, outcome: CallOutcome) -> None:
        """The answer is there: the next may call, and a rest it asks for is everybody's with this token."""
        self.outcome = outcome
        permit, self._permit = self._permit, None
        if permit is None:
            return
        told = outcome.reply or outcome.bad
        counts = (told.prompt_tokens, told.completion_tokens)
        tokens = None if counts == (None, None) else sum(count or 0 for count in counts)
        rest = (outcome.bad and outcome.bad.retry_after_seconds) or 0.0
        done = self._permits.give_back(
            permit, tokens, rest if outcome.http_status in RESTS else 0.0, is_over=True
        )
        if done is not None:
            await asyncio.shield(done)

    def abandon(self) -> None:
        """Nobody waits for the answer, or nothing was asked."""
        permit, self._permit = self._permit, None
        if permit is not None:
            self._permits.give_back(permit, is_over=False)


class Turns:
    """Gives out turns. One for each process that calls; used in one event loop."""

    def __init__(self, settings: Settings, clock: Callable[[], datetime]):
        url = settings.redis_url.get_secret_value() if settings.redis_url else None
        self._clock = clock
        self.permits = Permits(url, self._workers)
        self.breakers = Breakers(clock)

    def obstacle(self, session: Session, endpoint: Endpoint, waiter: Waiter) -> NotNow | CallFailed | None:
        """Why the attempt may not ask this endpoint now, as far as can be said at once.

        Reads in the caller's transaction, at most once a second.
        """
        self.breakers.look(session)
        return self.breakers.obstacle(endpoint.place, waiter.since, waiter.spread)

    @asynccontextmanager
    async def turn(
        self,
        waiter: Waiter,
        endpoint: Endpoint,
        messages: Messages,
        is_rewrite: bool,
        until: float,
        aside: Aside,
    ) -> AsyncIterator[Turn]:
        """A turn, after a short wait if need be, never beyond `until` (of time.monotonic).

        What opens transactions is done by `aside`, one after the other, in a thread: leases and permits must
        be renewed meanwhile. No transaction may be open. Raises NotNow, with how long the attempt is to be
        given back for; CallFailed when it has waited for its endpoint long enough, or for a rewrite that
        cannot be had soon.
        """
        try:
            given, permit = await self._enter(waiter, endpoint, messages, is_rewrite, until, aside)
        except NotNow as error:
            if is_rewrite:  # the text that is there is shortened instead, and not paid for again
                raise CallFailed(Reason.rate_limited, str(error)) from error
            raise
        turn = Turn(self.permits, permit)
        try:
            yield turn
        finally:
            turn.abandon()
            await self._leave(given, turn.outcome, aside)

    async def _enter(
        self,
        waiter: Waiter,
        endpoint: Endpoint,
        messages: Messages,
        is_rewrite: bool,
        until: float,
        aside: Aside,
    ) -> tuple[Pass, Permit | None]:
        if (obstacle := self.breakers.obstacle(endpoint.place, waiter.since, waiter.spread)) is not None:
            raise obstacle
        permit = None
        if endpoint.source != "offline":
            patience = REWRITE_PATIENCE_SECONDS if is_rewrite else PATIENCE_SECONDS
            permit = await self.permits.take(_asked(waiter, endpoint, messages), until, patience)
        try:
            enter = partial(self.breakers.enter, endpoint.place, waiter.since, waiter.spread)
            needs_database = self.breakers.needs_database(endpoint.place)
            return await aside(enter) if needs_database else enter(), permit
        except BaseException:
            if permit is not None:
                self.permits.give_back(permit, tokens=0, is_over=False)
            raise

    async def _leave(self, given: Pass, outcome: CallOutcome | None, aside: Aside) -> None:
        try:
            if not self.breakers.is_told(given, outcome):
                await aside(partial(self.breakers.leave, given, outcome))
        except SQLAlchemyError as error:  # a probe's place is free again when its time is over
            log.warning("state of an endpoint not written", why=type(error).__name__)

    def _workers(self) -> int:
        """How many workers are alive, this one included; only looked at while the queue is away."""
        now = self._clock()
        query = select(func.count(Heartbeat.id)).where(
            Heartbeat.kind == ProcessKind.worker,
            Heartbeat.stopped_at.is_(None),
            Heartbeat.beat_at > now - DEAD_AFTER,
            Heartbeat.beat_at < now + DEAD_AFTER,
        )
        with reading() as session:
            return session.scalar(query) or 1


def _asked(waiter: Waiter, endpoint: Endpoint, messages: Messages) -> Asked:
    if endpoint.token_uuid is not None:
        subject = str(endpoint.token_uuid)
    else:  # the platform's, or a twin's own: neither has a key of ours to tell it by
        subject = f"{endpoint.source}-{sha256(endpoint.place.encode()).hexdigest()[:24]}"
    answer = next(
        (n for k in ("max_tokens", "max_completion_tokens") if (n := endpoint.parameters.get(k))),
        ANSWER_TOKENS,
    )
    return Asked(
        subject,
        endpoint.limits,
        endpoint.token_name,
        sum(estimated_tokens(message["content"]) for message in messages) + int(answer),
        str(waiter.experiment_id),
        waiter.goes_first,
    )
