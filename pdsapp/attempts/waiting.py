"""Putting off an attempt that may not call now: it is due again later, with what was decided."""

from datetime import datetime, timedelta

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from ..errors import NotNow
from ..models import Attempt, AttemptContext, ModelCall
from .claim import Lease, give_back, held_by


def put_off(session: Session, lease: Lease, now: datetime, wait: NotNow) -> None:
    """Gives the attempt back for as long as it has to wait, without a strike. The caller commits.

    What was decided stays decided: silence is final at once, so deciding again would lean towards it. If
    nothing has been asked yet, it lets go of the feed, and reads that of the time its turn comes.
    """
    attempt = held_by(session, [lease]).get(lease.attempt_id)
    if attempt is not None and attempt.messages_sha256 and not _has_called(session, attempt):
        attempt.feed_read_at = None
        attempt.messages_sha256 = ""
        session.execute(delete(AttemptContext).where(AttemptContext.attempt_id == attempt.id))
        session.flush()
    give_back(session, lease, now, timedelta(seconds=wait.seconds), str(wait))


def _has_called(session: Session, attempt: Attempt) -> bool:
    query = select(ModelCall.id).where(ModelCall.attempt_id == attempt.id).limit(1)
    return session.scalar(query) is not None
