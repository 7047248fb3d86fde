"""Model calls of one attempt: each recorded before it is sent, retried within the limits."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import func, select, update

from ..config import Settings
from ..database import reading, transaction
from ..domain.draft import CallFailed
from ..domain.length import whole_sentences
from ..domain.prompt import Messages, messages_hash
from ..domain.reasons import AttemptStage, CallState, Reason, TokenState
from ..domain.reply import Reply
from ..errors import LeaseLost, Stopped
from ..llm.client import CallOutcome, ModelClient
from ..llm.endpoint import Endpoint
from ..models import ApiToken, ModelCall
from ..services import disk, model_changes, model_pauses
from .claim import Lease, held
from .gate import pass_gate
from .obstacles import BY_ENDPOINT, over_of, stop_of

TOTAL_DEADLINE_SECONDS = 90.0
BACK_OFF_SECONDS = (1.0, 4.0)
CAME_BACK = (
    "The worker was lost before the answer was stored. It came back with one later, which was refused."
)


@dataclass
class RecordedCalls:
    """Asks an endpoint on behalf of one attempt and writes down every call.

    At most `max_calls` calls and 90 s in all, whatever happens; a wait that would pass the deadline
    ends in CallFailed(rate_limited). A refused key pauses its token, once, visibly.
    """

    lease: Lease
    experiment_id: int
    endpoint: Endpoint
    client: ModelClient
    clock: Callable[[], datetime]
    max_calls: int
    settings: Settings
    deadline_at: float = field(default_factory=lambda: time.monotonic() + TOTAL_DEADLINE_SECONDS)
    wait_seconds: float = 0.0
    last_reply: Reply | None = None
    has_asked: bool = False

    async def __call__(self, messages: Messages, is_rewrite: bool = False) -> str:
        """The reply's text. Raises CallFailed when it cannot be had, LeaseLost when fenced off, Stopped
        when a person stopped the attempt: no further call is paid for then."""
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
            if time.monotonic() + self.wait_seconds >= self.deadline_at:
                if bad.retry_after_seconds is not None:
                    raise CallFailed(
                        Reason.rate_limited,
                        f"The endpoint asks to wait {self.wait_seconds:.0f} s, longer than an attempt may "
                        "take. "
                        f"{bad.detail}",
                    )
                raise CallFailed(bad.reason, bad.detail)
            if self._calls_made() >= self.max_calls:
                raise CallFailed(bad.reason, f"{bad.detail} Tried {self.max_calls} times.")
            await asyncio.sleep(self.wait_seconds)

    def _wait_for(self, retry_after: float | None, failures: int) -> float:
        return retry_after if retry_after is not None else BACK_OFF_SECONDS[min(failures, 1)]

    async def _call_once(self, messages: Messages, is_rewrite: bool) -> CallOutcome:
        if (room := disk.look(self.settings)).is_low:  # what could not be stored is not paid for
            raise CallFailed(Reason.disk_low, room.sentence)
        remaining = self.deadline_at - time.monotonic()
        call_id = self._start(messages, is_rewrite, remaining)
        outcome = await self.client.complete(
            self.endpoint, [dict(m) for m in messages], max_tokens=None, deadline_seconds=remaining
        )
        self._store(call_id, outcome)
        return outcome

    def _calls_made(self) -> int:
        with reading() as session:
            return session.scalar(
                select(func.count(ModelCall.id)).where(ModelCall.attempt_id == self.lease.attempt_id)
            )

    def _start(self, messages: Messages, is_rewrite: bool, remaining: float) -> int:
        now = self.clock()
        with transaction() as session:
            pass_gate(session)
            attempt = session.scalars(held(self.lease)).one_or_none()
            if attempt is None:
                raise LeaseLost(f"Attempt {self.lease.attempt_uuid} was taken back before its call.")
            if stop_of(session, attempt) is not None:
                raise Stopped(f"Attempt {self.lease.attempt_uuid} was stopped before its call.")
            if over_of(attempt, now) is not None:
                raise Stopped(f"What attempt {self.lease.attempt_uuid} was for was over before its call.")
            made = session.scalar(select(func.count(ModelCall.id)).where(ModelCall.attempt_id == attempt.id))
            if made >= self.max_calls:
                raise self._used_up()
            if remaining <= 0:
                raise CallFailed(Reason.deadline, f"No usable answer within {TOTAL_DEADLINE_SECONDS:.0f} s.")
            attempt.stage = AttemptStage.rewriting if is_rewrite else AttemptStage.asking
            attempt.changed_at = now
            call = ModelCall(
                attempt_id=attempt.id,
                experiment_id=self.experiment_id,
                api_token_id=self.endpoint.token_id,
                is_rewrite=is_rewrite,
                endpoint=self.endpoint.base_url,
                endpoint_source=self.endpoint.source,
                model_asked=self.endpoint.model,
                messages_sha256=messages_hash(messages),
                parameters=dict(self.endpoint.parameters),
                wait_ms=round(self.wait_seconds * 1000),
                started_at=now,
            )
            session.add(call)
            session.flush()
            self.wait_seconds = 0.0
            self.has_asked = True
            return call.id

    def _used_up(self) -> CallFailed:
        if self.has_asked:
            return CallFailed(
                Reason.bad_reply, f"All {self.max_calls} model calls of this attempt are used up."
            )
        return CallFailed(
            Reason.worker_lost,
            f"All {self.max_calls} model calls of this attempt were made by workers that died or were "
            "stopped before they could publish an answer.",
        )

    def _store(self, call_id: int, outcome: CallOutcome) -> None:
        now, seen = self.clock(), None
        with transaction() as session:
            call = session.get_one(ModelCall, call_id)
            if call.state == CallState.started:
                store_outcome(call, outcome, now)
                seen = model_changes.note(session, call)
            elif call.state == CallState.lost:  # the attempt was taken back while the model wrote
                call.detail = CAME_BACK
            bad = outcome.bad
            if bad is not None and bad.pauses_token and self.endpoint.token_id is not None:
                pause_token(session, self.endpoint.token_id, bad.detail, now)
        if seen is not None and seen.is_pause_due:  # after the commit: what is stored stays, whatever comes
            model_pauses.pause_at_once(self.experiment_id, self.clock())


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
