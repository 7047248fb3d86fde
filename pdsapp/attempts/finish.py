"""Ending an attempt: its state, reason, class and a sentence, once and for all."""

from datetime import datetime

from ..domain.reasons import REASON_CLASS, TERMINAL_STATES, AttemptState, Reason
from ..models import Attempt

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
