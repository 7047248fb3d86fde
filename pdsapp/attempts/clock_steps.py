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
    worker be dead, nobody has to wait for the old clock. An attempt that was made due while the clock was
    ahead is due now, or after the delay drawn for it if nobody has had it yet. The caller commits.
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
        # Whatever is made due says so in `changed_at`: a wait set by a clock that was right is left alone.
        .where(IS_DUE, Attempt.changed_at > ahead, Attempt.not_before > ahead)
        .order_by(BY_ID)
        .limit(limit)
        .with_for_update(skip_locked=True, of=Attempt)
    ).all()
    brought = 0
    for attempt in early:
        delay = attempt.delay_seconds if attempt.claimed_at is None else None
        wanted = now + timedelta(seconds=delay or 0)
        if attempt.not_before > wanted + SLACK:
            attempt.not_before = wanted
            brought += 1
        attempt.changed_at = now
    if trimmed or brought:
        log.warning("clock was set back", leases=trimmed, attempts=brought)
    return trimmed + brought
