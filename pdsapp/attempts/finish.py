"""Ending an attempt: its state, reason, class and a sentence, once and for all."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session, object_session

from ..domain.reasons import REASON_CLASS, TERMINAL_STATES, AttemptState, Reason
from ..models import Attempt, ModelCall

DETAIL_LENGTH = 1000
# What the columns of sums hold on PostgreSQL: an attempt must be able to end, whatever its calls say.
MOST = 2**31 - 1


@dataclass(frozen=True)
class Usage:
    """What all calls of an attempt took together; None where no call said."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    latency_ms: int | None = None


def end(
    attempt: Attempt,
    state: AttemptState,
    reason: Reason,
    now: datetime,
    detail: str,
    usage: Usage | None = None,
) -> None:
    """Puts the attempt into a terminal state; the caller commits. Without `usage` its calls are summed up.

    Raises ValueError on an attempt that has ended already: terminal rows never change.
    """
    if attempt.state in TERMINAL_STATES:
        raise ValueError(f"Attempt {attempt.uuid} has ended already as {attempt.state}.")
    attempt.state = state
    attempt.stage = None
    attempt.waits_for = ""
    attempt.reason = reason
    attempt.reason_class = REASON_CLASS[reason]
    attempt.detail = detail[:DETAIL_LENGTH]
    attempt.finished_at = now
    attempt.changed_at = now
    attempt.lease_token = None
    attempt.lease_until = None
    if attempt.messages_sha256:  # else no model was asked
        usage = usage or usage_of(object_session(attempt), [attempt.id])[attempt.id]
        attempt.prompt_tokens = usage.prompt_tokens
        attempt.completion_tokens = usage.completion_tokens
        attempt.latency_ms = usage.latency_ms


def usage_of(session: Session, attempt_ids: Collection[int]) -> dict[int, Usage]:
    """The sums over the calls of each of these attempts; one query."""
    sums = (
        select(
            ModelCall.attempt_id,
            func.sum(ModelCall.prompt_tokens),
            func.sum(ModelCall.completion_tokens),
            func.sum(ModelCall.latency_ms),
        )
        .where(ModelCall.attempt_id.in_(attempt_ids))
        .group_by(ModelCall.attempt_id)
    )
    found = {number: Usage(*map(_kept, each)) for number, *each in session.execute(sums)}
    return {number: found.get(number, Usage()) for number in attempt_ids}


def _kept(total: int | None) -> int | None:
    return None if total is None else min(int(total), MOST)
