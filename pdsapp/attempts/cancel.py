"""Ending attempts that wait, many at once: what pauses, stops and ends do with them."""

from datetime import datetime

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.orm import Session

from ..domain.reasons import REASON_CLASS, AttemptState, Reason
from ..models import BY_ID, IS_DUE, Attempt
from .finish import DETAIL_LENGTH, end

# So many waiting attempts end with the pause itself, in about a second; more follow, so many at a time.
MOST_CANCELLED = 10_000
KEYS_AT_ONCE = 500


def cancel_waiting(
    session: Session,
    where: ColumnElement[bool],
    reason: Reason,
    words: str,
    now: datetime,
    most: int | None = None,
) -> int:
    """Ends the first `most` (10,000) attempts that are due; how many. On PostgreSQL it waits for claims that
    are under way, whose attempts run then. Those that have called a model before are summed up one by one."""
    # With the lane, for which SQLite takes the index of what is due: the id alone it would rather look for in
    # one of all attempts there are.
    due = select(Attempt.id, Attempt.lane).where(IS_DUE, where).order_by(BY_ID)
    keys = session.scalars(due.limit(most or MOST_CANCELLED).with_for_update(of=Attempt)).all()
    count = 0
    for first in range(0, len(keys), KEYS_AT_ONCE):
        part = Attempt.id.in_(keys[first : first + KEYS_AT_ONCE])
        query = select(Attempt).where(part, Attempt.messages_sha256 != "")
        for attempt in session.scalars(query.execution_options(populate_existing=True)).all():
            end(attempt, AttemptState.cancelled, reason, now, words)
            count += 1
        session.flush()
        fresh = session.execute(
            update(Attempt)
            .where(part, Attempt.messages_sha256 == "")
            .values(
                state=AttemptState.cancelled,
                waits_for="",
                reason=reason,
                reason_class=REASON_CLASS[reason],
                detail=words[:DETAIL_LENGTH],
                finished_at=now,
                changed_at=now,
            )
            .execution_options(synchronize_session=False)
        )
        count += fresh.rowcount
    return count
