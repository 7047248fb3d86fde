"""Ending an attempt: its state, reason, class and a sentence, once and for all."""

from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session, object_session

from ..domain.reasons import REASON_CLASS, TERMINAL_STATES, AttemptState, Reason
from ..models import Attempt, ModelCall

DETAIL_LENGTH = 1000


def end(attempt: Attempt, state: AttemptState, reason: Reason, now: datetime, detail: str) -> None:
    """Puts the attempt into a terminal state; the caller commits.

    Raises ValueError on an attempt that has ended already: terminal rows never change.
    """
    if attempt.state in TERMINAL_STATES:
        raise ValueError(f"Attempt {attempt.uuid} has ended already as {attempt.state}.")
    attempt.state = state
    attempt.stage = None
    attempt.reason = reason
    attempt.reason_class = REASON_CLASS[reason]
    attempt.detail = detail[:DETAIL_LENGTH]
    attempt.finished_at = now
    attempt.changed_at = now
    attempt.lease_token = None
    attempt.lease_until = None
    if attempt.messages_sha256:  # else no model was asked
        _add_usage(object_session(attempt), attempt)


def _add_usage(session: Session, attempt: Attempt) -> None:
    """Sums the attempt's calls into its own columns: tokens and milliseconds of all calls."""
    tokens_in, tokens_out, latency = session.execute(
        select(
            func.sum(ModelCall.prompt_tokens),
            func.sum(ModelCall.completion_tokens),
            func.sum(ModelCall.latency_ms),
        ).where(ModelCall.attempt_id == attempt.id)
    ).one()
    attempt.prompt_tokens = tokens_in
    attempt.completion_tokens = tokens_out
    attempt.latency_ms = latency
