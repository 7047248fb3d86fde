"""Ending attempts that somebody stopped while they ran."""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from ..domain.reasons import AttemptState, CallState, Reason
from ..models import Attempt, ModelCall
from .finish import end
from .obstacles import NOT_PUBLISHED, over_of, stop_of


def end_stopped(session: Session, attempt: Attempt, now: datetime) -> None:
    """Ends an attempt that may not be asked any more; the last text the model gave is kept as its draft.

    The caller commits.
    """
    stop = stop_of(session, attempt) or over_of(attempt, now)
    reply = session.scalars(
        select(ModelCall.reply)
        .where(ModelCall.attempt_id == attempt.id, ModelCall.state == CallState.answered)
        .order_by(ModelCall.id.desc())
        .limit(1)
    ).first()
    attempt.draft = reply or attempt.draft
    words = NOT_PUBLISHED if reply else "Nothing had been written by then."
    reason = stop.reason if stop else Reason.stopped
    end(attempt, AttemptState.cancelled, reason, now, f"{stop.words} {words}" if stop else words)
