"""What a clock that was set back leaves behind: times of attempts that lie too far ahead."""

from datetime import datetime, timedelta

import structlog
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from ..models import BY_ID, IS_DUE, IS_RUNNING, Attempt

# By so much the clocks of two machines may differ.
SLACK = timedelta(seconds=15)
log = structlog.get_logger()


def mend(session: Session, now: datetime, lease: timedelta, limit: int = 200) -> int:
    """Brings leases and waits that only a clock set back explains near `now`; gives how many.

    A lease further ahead than any worker takes it ends one lease from now, without a strike: should its
    worker be dead, nobody has to wait for the old clock. An attempt added in the future is due now, or
    after the delay drawn for it. The caller commits.
    """
    trimmed = session.execute(
        update(Attempt)
        .where(IS_RUNNING, Attempt.lease_until > now + lease + SLACK)
        .values(lease_until=now + lease)
        .execution_options(synchronize_session=False)
    ).rowcount
    ahead = now + SLACK
    early = session.scalars(
        select(Attempt)
        .where(IS_DUE, Attempt.not_before > ahead, Attempt.created_at > ahead)
        .order_by(BY_ID)
        .limit(limit)
        .with_for_update(skip_locked=True, of=Attempt)
    ).all()
    brought = 0
    for attempt in early:
        wanted = now + timedelta(seconds=attempt.delay_seconds or 0)
        if attempt.not_before > wanted + SLACK:
            attempt.not_before = wanted
            attempt.changed_at = now
            brought += 1
    if trimmed or brought:
        log.warning("clock was set back", leases=trimmed, attempts=brought)
    return trimmed + brought
