"""Model calls of one attempt: each recorded before it is sent, retried within the limits."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import func, insert, select, update
from sqlalchemy.orm import Session, load_only

from ..domain.draft import CallFailed
from ..domain.length import whole_sentences
from ..domain.prompt import Messages, messages_hash
from ..domain.reasons import AttemptStage, CallState, Reason, TokenState
from ..domain.reply import BadReply, Reply
from ..errors import LeaseLost, NotNow, Stopped
from ..llm.client import CallOutcome
from ..llm.endpoint import Endpoint
from ..models import ApiToken, Attempt, ModelCall
from ..services import disk, model_changes, model_pauses
from .beside import load_slots
from .claim import Lease, held_by, lost
from .desk import Desk, Urgency
from .gate import pass_gate
from .obstacles import BY_ENDPOINT, over_of, stop_of
from .permits import MOST_REST_SECONDS, PATIENCE_SECONDS
from .turns import REWRITE_PATIENCE_SECONDS, Waiter
from .workshop import Workshop

TOTAL_DEADLINE_SECONDS = 90.0
BACK_OFF_SECONDS = (1.0, 4.0)
CAME_BACK = (
    "The worker was lost before the answer was stored. It came back with one later, which was refused."
)
_LOOKED_AT = (
    Attempt.id, Attempt.state, Attempt.lease_token, Attempt.experiment_id, Attempt.is_rehearsal,
    Attempt.stop_asked_at, Attempt.detail, Attempt.stage, Attempt.changed_at, Attempt.slot_id,
)  # fmt: skip


@dataclass
class RecordedCalls:
    """Asks an endpoint on behalf of one attempt and writes down every call.

    At most `max_calls` calls and 90 s in all, whatever happens, without what it waits for one of the
    process's lines: others' slow calls are not its own. For an endpoint that asks to wait longer than a
    moment, up to an hour, the attempt is given back. A refused key pauses its token, once, visibly.
    `clock` is that of the writing, if it has a time limit too.
    """

    lease: Lease
    experiment_id: int
    endpoint: Endpoint
    waiter: Waiter
    max_calls: int
    shop: Workshop
    desk: Desk
    clock: asyncio.Timeout | None = None
    _waiting: int = 0
    _stands_since: float = 0.0
    _clock_until: float | None = None
    deadline_at: float = field(default_factory=lambda: time.monotonic() + TOTAL_DEADLINE_SECONDS)
    wait_seconds: float = 0.0
    last_reply: Reply | None = None
    calls_made: int = 0
    has_asked: bool = False

    async def __call__(self, messages: Messages, is_rewrite: bool = False) -> str:
        """The reply's text. Raises CallFailed when it cannot be had, LeaseLost when fenced off, Stopped
        when a person stopped the attempt: no further call is paid for then; NotNow when it has to wait."""
        failures = 0
        while True:
            outcome = await self._call_once(messages, is_rewrite)
            if outcome.reply is not None:
                self.last_reply = outcome.reply
                text = outcome.reply.text
                return whole_sentences(text) if outcome.reply.is_cut_off else text
            bad = outcome.bad
            if bad.swap_parameter is not None:
                continue
            if not bad.is_retryable:
                raise CallFailed(bad.reason, bad.detail)
            self.wait_seconds = self._wait_for(bad.retry_after_seconds, failures)
            failures += 1
            if self.calls_made >= self.max_calls:
                raise CallFailed(bad.reason, f"{bad.detail} Tried {self.max_calls} times.")
            self._refuse_to_wait(bad, is_rewrite)
            await asyncio.sleep(self.wait_seconds)

    def _wait_for(self, retry_after: float | None, failures: int) -> float:
        return retry_after if retry_after is not None else BACK_OFF_SECONDS[min(failures, 1)]

    def _refuse_to_wait(self, bad: BadReply, is_rewrite: bool) -> None:
        """Raises NotNow or CallFailed if the wait before the next call is none to sit out here."""
        is_beyond = time.monotonic() + self.wait_seconds >= self.deadline_at
        if bad.retry_after_seconds is None:
            if is_beyond:
                raise CallFailed(bad.reason, bad.detail)
        elif self.wait_seconds > MOST_REST_SECONDS:
            raise CallFailed(Reason.rate_limited, self._asked_to_wait(bad, ", longer than any attempt waits"))
        elif is_rewrite:  # the text that is there is shortened instead, and not paid for again
            if is_beyond or self.wait_seconds > REWRITE_PATIENCE_SECONDS:
                raise CallFailed(Reason.rate_limited, self._asked_to_wait(bad))
        elif self.last_reply is not None:  # an own service asks again: what was paid for is not asked twice
            if is_beyond:
                raise CallFailed(Reason.rate_limited, self._asked_to_wait(bad))
        elif is_beyond or self.wait_seconds > PATIENCE_SECONDS:
            raise NotNow(self._asked_to_wait(bad), self.wait_seconds)

    def _asked_to_wait(self, bad: BadReply, what: str = "") -> str:
        return f"The endpoint asks to wait {self.wait_seconds:.0f} s{what}. {bad.detail}"

    async def _call_once(self, messages: Messages, is_rewrite: bool) -> CallOutcome:
        if (room := disk.look(self.shop.settings)).is_low:  # what could not be stored is not paid for
            raise CallFailed(Reason.disk_low, room.sentence)
        async with (
            self._line(),
            self.shop.turns.turn(
                self.waiter, self.endpoint, messages, is_rewrite, self.deadline_at, self.desk.aside
            ) as turn,
        ):
            remaining = self.deadline_at - time.monotonic()
            call_id = await self._start(messages, is_rewrite, remaining)
            outcome = await self.shop.client.complete(
                self.endpoint, [dict(m) for m in messages], max_tokens=None, deadline_seconds=remaining
            )
            await turn.over(outcome)
        await self._store(call_id, outcome)
        return outcome

    @asynccontextmanager
    async def _line(self) -> AsyncIterator[None]:
        """One of the process's lines. What the attempt waits for it is not counted."""
        self._stand_still()
        try:
            await self.desk.lines.acquire()
        finally:
            self._go_on()
        try:
            yield
        finally:
            self.desk.lines.release()

    def _stand_still(self) -> None:
        """Stops the attempt's clocks; several calls may wait at once."""
        self._waiting += 1
        if self._waiting == 1:
            self._stands_since = time.monotonic()
            self._clock_until = self.clock and self.clock.when()
            self._set_clock(None)

    def _go_on(self) -> None:
        self._waiting -= 1
        if self._waiting == 0:
            waited = time.monotonic() - self._stands_since
            self.deadline_at += waited
            if self._clock_until is not None:
                self._set_clock(self._clock_until + waited)

    def _set_clock(self, until: float | None) -> None:
        if self.clock is not None and not self.clock.expired():
            with suppress(RuntimeError):  # the writing is over; only a task it has left behind still asks
                self.clock.reschedule(until)

    async def _start(self, messages: Messages, is_rewrite: bool, remaining: float) -> int:
        call_id = await self.desk.do(start, Start(self, messages, is_rewrite, remaining), Urgency.calling)
        self.wait_seconds = 0.0
        self.calls_made += 1
        self.has_asked = True
        return call_id

    async def _store(self, call_id: int, outcome: CallOutcome) -> None:
        if await self.desk.do(store, Stored(self, call_id, outcome)):
            # After the commit: what is stored stays, whatever comes.
            await self.desk.aside(lambda: model_pauses.pause_at_once(self.experiment_id, self.shop.clock()))

    def used_up(self) -> CallFailed:
        """What it ends with when no call is left."""
        if self.has_asked:
            return CallFailed(
                Reason.bad_reply, f"All {self.max_calls} model calls of this attempt are used up."
            )
        return CallFailed(
            Reason.worker_lost,
            f"All {self.max_calls} model calls of this attempt were made by workers that died or were "
            "stopped before they could publish an answer.",
        )


@dataclass(frozen=True)
class Start:
    """A call about to be sent, with the seconds its attempt has left."""

    calls: RecordedCalls
    messages: Messages
    is_rewrite: bool
    remaining: float


@dataclass(frozen=True)
class Stored:
    """What came back of a call."""

    calls: RecordedCalls
    call_id: int
    outcome: CallOutcome


def start(session: Session, shop: Workshop, orders: Sequence[Start]) -> list[int | Exception]:
    """Writes down calls as started, behind the gate; ids, or why one is not made. The caller commits."""
    now = shop.clock()
    pass_gate(session)
    leases = [order.calls.lease for order in orders]
    attempts = held_by(session, leases, load_only(*_LOOKED_AT))
    load_slots(session, list(attempts.values()))
    made = dict(
        session.execute(
            select(ModelCall.attempt_id, func.count(ModelCall.id))
            .where(ModelCall.attempt_id.in_(attempts))
            .group_by(ModelCall.attempt_id)
        ).all()
    )
    found: list[int | Exception] = []
    rows: list[dict] = []
    with session.no_autoflush:
        for order in orders:
            attempt = attempts.get(order.calls.lease.attempt_id)
            problem = _against(session, order, attempt, made, now)
            if problem is None:
                attempt.stage = AttemptStage.rewriting if order.is_rewrite else AttemptStage.asking
                attempt.changed_at = now
                order.calls.calls_made = made.get(attempt.id, 0)
                rows.append(_started(order, now))
            found.append(problem)
    if rows:
        ids = iter(
            session.scalars(
                insert(ModelCall).returning(ModelCall.id, sort_by_parameter_order=True), rows
            ).all()
        )
        found = [next(ids) if problem is None else problem for problem in found]
    return found


def _against(
    session: Session, order: Start, attempt: Attempt | None, made: Mapping[int, int], now: datetime
) -> Exception | None:
    """Why this call is not made."""
    uuid, calls = order.calls.lease.attempt_uuid, order.calls
    if attempt is None:
        return LeaseLost(f"Attempt {uuid} was taken back before its call.")
    if stop_of(session, attempt) is not None:
        return Stopped(f"Attempt {uuid} was stopped before its call.")
    if over_of(attempt, now) is not None:
        return Stopped(f"What attempt {uuid} was for was over before its call.")
    if made.get(attempt.id, 0) >= calls.max_calls:
        return _used_up(session, calls)
    if order.remaining <= 0:
        return CallFailed(Reason.deadline, f"No usable answer within {TOTAL_DEADLINE_SECONDS:.0f} s.")
    return None


def _used_up(session: Session, calls: RecordedCalls) -> CallFailed:
    """What it ends with: what the last call said, if that was an answer."""
    newest = select(ModelCall).where(ModelCall.attempt_id == calls.lease.attempt_id)
    last = session.scalars(newest.order_by(ModelCall.id.desc()).limit(1)).one()
    if last.state != CallState.failed or last.error is None:
        return calls.used_up()
    return CallFailed(last.error, f"{last.detail} All {calls.max_calls} model calls of it are used up.")


def _started(order: Start, now: datetime) -> dict[str, Any]:
    calls = order.calls
    return {
        "attempt_id": calls.lease.attempt_id,
        "experiment_id": calls.experiment_id,
        "api_token_id": calls.endpoint.token_id,
        "is_rewrite": order.is_rewrite,
        "endpoint": calls.endpoint.base_url,
        "endpoint_source": calls.endpoint.source,
        "model_asked": calls.endpoint.model,
        "messages_sha256": messages_hash(order.messages),
        "parameters": dict(calls.endpoint.parameters),
        "wait_ms": round(calls.wait_seconds * 1000),
        "started_at": now,
    }


def store(session: Session, shop: Workshop, orders: Sequence[Stored]) -> list[bool | LeaseLost]:
    """Writes down what came back; for each whether its experiment is to pause for it. The caller commits."""
    now = shop.clock()
    query = select(ModelCall).where(ModelCall.id.in_([order.call_id for order in orders]))
    calls = {call.id: call for call in session.scalars(query)}
    answered: list[ModelCall] = []
    for order in orders:
        call = calls.get(order.call_id)
        if call is None:  # deleted with its experiment
            continue
        if call.state == CallState.started:
            store_outcome(call, order.outcome, now)
            answered.append(call)
        elif call.state == CallState.lost:  # the attempt was taken back while the model wrote
            call.detail = CAME_BACK
        bad, token_id = order.outcome.bad, order.calls.endpoint.token_id
        if bad is not None and bad.pauses_token and token_id is not None:
            pause_token(session, token_id, bad.detail, now)
    is_due = {seen.experiment_id for seen in model_changes.note_all(session, answered) if seen.is_pause_due}
    return [
        order.calls.experiment_id in is_due if order.call_id in calls else lost(order.calls.lease)
        for order in orders
    ]


def store_outcome(call: ModelCall, outcome: CallOutcome, now: datetime) -> None:
    """Writes what came back into the call's row; the caller commits."""
    reply, bad = outcome.reply, outcome.bad
    readable = reply or bad
    call.state = CallState.answered if reply else CallState.failed
    call.http_status = outcome.http_status
    call.latency_ms = outcome.latency_ms
    call.finished_at = now
    call.parameters = {k: v for k, v in outcome.request.items() if k not in ("messages", "model")}
    call.model_returned = (readable.model_returned or "")[:200]
    call.system_fingerprint = (readable.system_fingerprint or "")[:200]
    call.finish_reason = (readable.finish_reason or "")[:40]
    call.prompt_tokens = readable.prompt_tokens
    call.completion_tokens = readable.completion_tokens
    if reply is not None:
        call.reply = reply.text
    else:
        call.error = bad.reason
        call.detail = bad.detail[:1000]


def pause_token(session, token_id: int, why: str, now: datetime) -> None:
    """Pauses an active token with the reason shown beside it; leaves a paused one as it is."""
    session.execute(
        update(ApiToken)
        .where(ApiToken.id == token_id, ApiToken.state == TokenState.active)
        .values(state=TokenState.paused, paused_by=BY_ENDPOINT, paused_reason=why[:500], paused_at=now)
    )
