"""Rows that somebody has written by hand: whatever they hold, the others go on and pages can be shown."""

from datetime import timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy import select

from pdsapp.attempts import claim
from pdsapp.database import transaction
from pdsapp.domain.reasons import AttemptState
from pdsapp.dt_service import DTService
from pdsapp.models import Attempt, Experiment, Schedule, Slot, utc_now
from pdsapp.scheduling.scheduler import TwinScheduler
from pdsapp.services import schedules
from tests import builders
from tests.conftest import TEST_DATABASE_URL

from .world import make_schedule

pytestmark = [
    pytest.mark.queue,
    pytest.mark.skipif(TEST_DATABASE_URL is not None, reason="PostgreSQL refuses what a column is not for"),
]
NONSENSE = ("'nonsense'", "x'ff00'", "-7", "1e300")
COLUMNS = [column.name for column in Schedule.__table__.columns if not column.primary_key]


@pytest.fixture
def now():
    """What the scheduler's clock shows, as the only item of a list."""
    return [utc_now()]


@pytest.fixture
def scheduler(study, connection, now):
    found = TwinScheduler(connection, DTService(), clock=lambda: now[0], name="leader")
    found.acquire_lock()
    return found


def write(table, row_id, column, value):
    """As somebody does at the database's own prompt, where nothing is checked."""
    with transaction() as session:
        session.execute(sa.text("PRAGMA ignore_check_constraints = ON"))
        session.execute(sa.text(f"UPDATE {table} SET {column} = {value} WHERE id = :id"), {"id": row_id})


def fired(session, schedule):
    session.rollback()
    return [kind.value for kind in session.scalars(select(Slot.kind).where(Slot.schedule_id == schedule.id))]


@pytest.mark.parametrize("column", COLUMNS)
def test_a_schedule_can_be_read_again_within_a_minute_whatever_stands_in_it(
    study, session, scheduler, column
):
    """It is not due for months: no claim would come across it."""
    sound = make_schedule(study, name="sound")
    for number, value in enumerate(NONSENSE):
        poisoned = make_schedule(study, name=f"poisoned {number}", cron="0 0 1 1 *")
        try:
            write("schedule", poisoned.id, column, value)
        except sa.exc.IntegrityError:
            continue  # the database refuses it
        scheduler.reconcile()
        session.rollback()
        session.expire_all()
        for row in session.scalars(select(Schedule)):
            assert isinstance(row.name, str) and row.created_at <= utc_now() and row.uuid.hex
            assert row.interval_seconds is None or isinstance(row.interval_seconds, int)
    scheduler.turn()
    assert fired(session, sound) == ["fired"]


@pytest.mark.parametrize("column", ["kind", "slot_at", "covers_until", "claimed_at"])
def test_a_slot_that_cannot_be_read_breaks_its_schedule_alone(study, session, scheduler, now, column):
    poisoned = make_schedule(study, name="poisoned", overlap_policy="allow")
    sound = make_schedule(study, name="sound", overlap_policy="allow")
    scheduler.turn()
    slot = session.scalars(select(Slot).where(Slot.schedule_id == poisoned.id)).one()
    write("slot", slot.id, column, "'nonsense'")
    now[0] += timedelta(minutes=1)
    for _ in range(2):
        scheduler.turn()
    assert len(fired(session, sound)) == 2
    words = session.scalars(select(Schedule.broken_reason).where(Schedule.id == poisoned.id)).one()
    assert "newest slot cannot be read" in words
    with transaction() as writing:
        assert schedules.archive(writing, writing.get_one(Schedule, poisoned.id), utc_now())


def test_an_experiment_that_cannot_be_read_keeps_no_other_from_firing(study, session, scheduler):
    sick = make_schedule(builders.make_experiment("Sick", "UTC"), name="sick")
    sound = make_schedule(study, name="sound")
    write("experiment", sick.experiment_id, "state", "'nonsense'")
    scheduler.turn()
    assert fired(session, sound) == ["fired"]
    words = session.scalars(select(Schedule.broken_reason).where(Schedule.id == sick.id)).one()
    assert words.startswith("Its slots cannot be told")


def test_an_attempt_that_cannot_be_read_starves_nobody(study, session):
    first = builders.add_attempt(builders.make_twin(study))
    second = builders.add_attempt(builders.make_twin(study))
    write("attempt", first, '"trigger"', "'nonsense'")
    with transaction() as writing:
        leases = claim.claim(writing, "w1", utc_now(), 10)
    assert [lease.attempt_id for lease in leases] == [second]
    session.rollback()
    assert session.scalars(select(Attempt.state).where(Attempt.id == first)).one() == AttemptState.due
    assert session.scalars(select(Experiment.id)).all()
