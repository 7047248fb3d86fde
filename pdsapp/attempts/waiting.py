"""Putting off an attempt that may not call now: it is due again later, as if it had not been taken."""

from datetime import datetime, timedelta

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from ..errors import NotNow
from ..models import Attempt, AttemptContext, ModelCall
from .claim import Lease, give_back, held_by

# What a decision writes; the draw is keyed, so that deciding again later draws the same number.
_DECISION = (
    "decided_at", "policy_id", "prompt_version_id", "persona_version_id", "last_post_seen", "own_count",
    "window_count", "recency_probability", "share_probability", "probability_sum", "skip_probability", "draw",
    "would_post", "length_band", "length_minimum", "length_maximum", "target_length", "reason",
)  # fmt: skip
_DECISION_TEXTS = ("decision_key", "service", "detail", "messages_sha256")


def put_off(session: Session, lease: Lease, now: datetime, wait: NotNow) -> None:
    """Gives the attempt back for as long as it has to wait, without a strike. The caller commits.

    If nothing has been asked yet, its decision is taken back too: what it was decided by and the feed it was
    to be shown would be old when its time comes. What a call was made for stays decided.
    """
    attempt = held_by(session, [lease]).get(lease.attempt_id)
    if attempt is not None and not _has_called(session, attempt):
        for name in _DECISION:
            setattr(attempt, name, None)
        for name in _DECISION_TEXTS:
            setattr(attempt, name, "")
        session.execute(delete(AttemptContext).where(AttemptContext.attempt_id == attempt.id))
        session.flush()
    give_back(session, lease, now, timedelta(seconds=wait.seconds), str(wait))


def _has_called(session: Session, attempt: Attempt) -> bool:
    query = select(ModelCall.id).where(ModelCall.attempt_id == attempt.id).limit(1)
    return session.scalar(query) is not None
