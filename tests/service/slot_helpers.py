"""What the slot tests share: schedules, claims, and what the rows say."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import select, update

from pdsapp.database import transaction
from pdsapp.domain.reasons import AttemptState
from pdsapp.dt_service import DTService
from pdsapp.models import Attempt, Experiment, Slot
from pdsapp.scheduling import slots
from pdsapp.services import schedules

START = datetime(2026, 11, 21, 12, 0, 30, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def make_schedule(experiment, now=START, **wish):
    """A committed, enabled schedule: every minute unless told otherwise."""
    if "interval_seconds" not in wish:
        wish.setdefault("cron", "* * * * *")
    with transaction() as session:
        found = session.get_one(Experiment, experiment.id) if experiment else None
        return schedules.add_schedule(
            session, schedules.Wish(**{"name": "Test", "experiment": found, "is_enabled": True, **wish}), now
        )


def claim(now, uuids=None, service=None):
    with transaction() as session:
        return slots.claim_due(session, service or DTService(), uuids, now, "test-scheduler")


def finish_attempts():
    with transaction() as session:
        session.execute(update(Attempt).values(state=AttemptState.skipped))


def rows_of(session, schedule):
    """The schedule's rows as (kind, instant, count), by instant."""
    session.rollback()
    session.expire_all()
    found = session.scalars(
        select(Slot).where(Slot.schedule_id == schedule.id).order_by(Slot.slot_at, Slot.id)
    )
    return [(slot.kind.value, f"{slot.slot_at:%H:%M}", slot.slot_count) for slot in found]
