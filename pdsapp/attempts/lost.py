"""Leases that ended without their worker: who was lost with which, and whether it came back."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import update
from sqlalchemy.orm import Session

from ..models import Attempt, LostLease


def record_loss(session: Session, attempt: Attempt, now: datetime) -> None:
    """Writes down that the present holder of a running attempt is given up; the caller takes it back.

    Call it while the attempt still shows the lease: worker, stage and token are copied from it.
    """
    if attempt.lease_token is None:
        return
    session.add(
        LostLease(
            attempt_id=attempt.id,
            lease_token=attempt.lease_token,
            worker=attempt.claimed_by,
            stage=attempt.stage,
            claimed_at=attempt.claimed_at,
            lease_until=attempt.lease_until,
            taken_back_at=now,
        )
    )


def record_return(session: Session, token: UUID, now: datetime) -> bool:
    """Whether this lease had been taken back; then its row says that the worker came back at `now`.

    What the worker brought is refused elsewhere, by the token. The caller commits.
    """
    result = session.execute(
        update(LostLease)
        .where(LostLease.lease_token == token, LostLease.returned_at.is_(None))
        .values(returned_at=now)
    )
    return bool(result.rowcount)
