"""A poisoned entry, key or row hurts only itself: refused, said once, shown, and mended."""

import json
import pickle
import time
from datetime import timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy import select

from pdsapp.database import snapshot, transaction
from pdsapp.domain.reasons import AttemptState
from pdsapp.dt_service import DTService
from pdsapp.models import Attempt, Experiment, Schedule, Slot, utc_now
from pdsapp.scheduling import queue
from pdsapp.scheduling.projection import ENTRIES, entry_id
from pdsapp.scheduling.scheduler import TwinScheduler
from pdsapp.services import schedules
from pdsapp.services.ledger import ledger

from .world import make_schedule

pytestmark = pytest.mark.queue
LANE_KEY = "rq:queue:pds:default"


class Clock:
    """The time a scheduler believes in."""

    def __init__(self):
        self.now = utc_now()

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def scheduler(app, connection, clock):
    """A leading scheduler that has just reconciled and caught up."""
    found = TwinScheduler(connection, DTService(), clock=clock, name="leader")
    found.acquire_lock()
    found._last = {"reconcile": time.monotonic(), "catch up": time.monotonic()}
    return found


def kinds(session, schedule):
    session.rollback()
    query = select(Slot.kind).where(Slot.schedule_id == schedule.id).order_by(Slot.slot_at, Slot.id)
    return [kind.value for kind in session.scalars(query)]


def broken_reason(session, schedule):
    session.rollback()
    return session.scalars(select(Schedule.broken_reason).where(Schedule.id == schedule.id)).one()


def minute_later(clock):
    clock.now += timedelta(minutes=1)
    with transaction() as session:
        session.execute(sa.update(Attempt).values(state=AttemptState.skipped))


def hset(**fields):
    return lambda connection, key: connection.hset(key, mapping=fields)


def with_another_type(connection, key):
    connection.delete(key)
    connection.set(key, "a string")


ENTRY_POISON = {
    "a corrupt hash": hset(created_at="yesterday", data=b"\x00\x01\x02"),
    "an unknown function": hset(data=b'["pdsapp.tasks.nothing", null, [], {}]'),
    "a pickle": hset(data=pickle.dumps(("os.system", None, ("true",), {}))),
    "os.system": hset(data=json.dumps(["os.system", None, ["true"], {}]).encode()),
    "10 MB of data": hset(data=b"[" + b" " * 10_000_000 + b"]"),
    "10 MB beside the data": hset(description="x" * 10_000_000),
    "another schedule": hset(data=json.dumps(["pdsapp.tasks.claim_slot", None, ["x"], {}]).encode()),
    "another type": with_another_type,
}


@pytest.mark.parametrize("poison", ENTRY_POISON.values(), ids=ENTRY_POISON.keys())
def test_a_poisoned_entry_is_refused_once_and_the_others_fire_on_time(
    study, session, connection, scheduler, clock, caplog, poison
):
    poisoned, sound = make_schedule(study, name="poisoned"), make_schedule(study, name="sound")
    scheduler.reconcile()
    poison(connection, f"rq:job:{entry_id(poisoned.uuid)}")
    for _ in range(4):
        scheduler._last["catch up"] = time.monotonic()
        scheduler.turn()
    assert (kinds(session, sound), kinds(session, poisoned)) == (["fired"], [])
    assert caplog.text.count("entry refused") == 1
    assert broken_reason(session, poisoned).startswith("Its entry in the queue was damaged. ")
    assert broken_reason(session, sound) == ""
    scheduler._last.pop("catch up")
    scheduler.turn()
    assert (kinds(session, poisoned), broken_reason(session, poisoned)) == (["fired"], "")
    minute_later(clock)
    scheduler.turn()
    assert kinds(session, poisoned) == kinds(session, sound) == ["fired", "fired"]
    assert caplog.text.count("entry refused") == 1
    with snapshot() as own:
        assert ledger(own, now=clock.now).problems == ()


@pytest.mark.parametrize(
    "key", [ENTRIES, TwinScheduler.scheduler_lock_key, LANE_KEY, "rq:queues"],
    ids=["the entries", "the lock", "a lane", "the list of lanes"],
)  # fmt: skip
def test_a_key_of_another_type_is_taken_away_and_schedules_fire_meanwhile(
    study, session, connection, scheduler, clock, caplog, key
):
    schedule = make_schedule(study)
    scheduler.reconcile()
    connection.delete(key)
    connection.lpush(key, "nonsense") if key != LANE_KEY else connection.set(key, "nonsense")
    for _ in range(6):
        scheduler.turn()
        time.sleep(0.2)
    assert kinds(session, schedule) == ["fired"]
    assert caplog.text.count("key refused") == 1
    assert scheduler.is_leader
    assert connection.zscore(ENTRIES, entry_id(schedule.uuid)) > clock.now.timestamp()
    assert queue.queued_count(connection, "default") == 1
    minute_later(clock)
    scheduler.turn()
    assert kinds(session, schedule) == ["fired", "fired"]


ROW_POISON = {
    "a bad cron expression": "cron = '61 * * * *', cadence = 'cron'",
    "a bad zone": "zone = 'Mars/Base'",
    "no interval": "interval_seconds = NULL",
    "no anchor": "anchor_at = NULL",
    "an absurd interval": "interval_seconds = 2000000000",
    "a negative interval": "interval_seconds = -60",
    "negative twins": "twins_per_slot = -4",
    "no cadence that exists": "cadence = 'sometimes'",
    "no policy that exists": "missed_policy = 'panic'",
    "no experiment": "experiment_id = NULL",
    "another lane": "lane = 'not a lane!'",
}


@pytest.mark.parametrize("both", [False, True], ids=["the row", "the row and its revision"])
@pytest.mark.parametrize("values", ROW_POISON.values(), ids=ROW_POISON.keys())
def test_a_row_edited_into_nonsense_is_broken_alone_said_once_and_mended_by_saving(
    study, session, scheduler, clock, caplog, values, both
):
    poisoned, sound = make_schedule(study, name="poisoned"), make_schedule(study, name="sound")
    scheduler.reconcile()
    scheduler.turn()
    minute_later(clock)
    with transaction() as writing:
        writing.execute(sa.text(f"UPDATE schedule SET {values} WHERE id = :id"), {"id": poisoned.id})
        if both:
            statement = f"UPDATE schedule_revision SET {values} WHERE schedule_id = :id"
            writing.execute(sa.text(statement), {"id": poisoned.id})
    for _ in range(3):
        scheduler.turn()
        scheduler.reconcile()
    assert kinds(session, sound) == ["fired", "fired"]
    if both and values.startswith("experiment_id"):
        return  # of all experiments: unusual, and no nonsense
    assert broken_reason(session, poisoned).endswith((".", "again."))
    assert caplog.text.count("schedule is broken") == 1
    with transaction() as writing:
        wish = schedules.Wish(
            "mended", writing.get_one(Experiment, study.id), interval_seconds=60,
            anchor_at=sound.anchor_at, is_enabled=True,
        )  # fmt: skip
        schedules.change_schedule(writing, writing.get_one(Schedule, poisoned.id), wish, clock.now)
    scheduler.reconcile()
    minute_later(clock)
    scheduler.turn()
    assert kinds(session, poisoned)[-1] == "fired"
    assert broken_reason(session, poisoned) == ""
    assert kinds(session, sound) == ["fired"] * 3
    if not both:  # then what its revision enumerates cannot be known any more, and the ledger says so
        with snapshot() as own:
            assert ledger(own, now=clock.now).problems == ()


@pytest.mark.parametrize("column", ["next_slot_at", "cursor_at", "anchor_at"])
def test_a_time_that_is_none_is_broken_alone(study, session, scheduler, clock, column):
    poisoned, sound = make_schedule(study, name="poisoned"), make_schedule(study, name="sound")
    scheduler.reconcile()
    scheduler.turn()
    minute_later(clock)
    if session.get_bind().dialect.name != "sqlite":
        with pytest.raises(sa.exc.DataError), transaction() as writing:
            writing.execute(sa.text(f"UPDATE schedule SET {column} = 'soon'"))
        return
    with transaction() as writing:
        writing.execute(sa.text(f"UPDATE schedule SET {column} = 'soon' WHERE id = :id"), {"id": poisoned.id})
    scheduler._last.clear()
    for _ in range(3):
        scheduler.turn()
        scheduler._last.clear()
    assert kinds(session, sound) == ["fired", "fired"]
    assert "cannot be read" in broken_reason(session, poisoned)


def test_a_negative_jitter_is_broken_alone(study, session, scheduler, caplog):
    poisoned, sound = make_schedule(study, name="poisoned"), make_schedule(study, name="sound")
    scheduler.reconcile()
    with transaction() as writing:
        for table, key in (("schedule", "id"), ("schedule_revision", "schedule_id")):
            statement = f"UPDATE {table} SET jitter_seconds = -5 WHERE {key} = :id"
            writing.execute(sa.text(statement), {"id": poisoned.id})
    for _ in range(3):
        scheduler.turn()
    assert kinds(session, sound) == ["fired"]
    assert broken_reason(session, poisoned) == "It delays attempts by -5 s; that cannot be negative."
    assert caplog.text.count("schedule is broken") == 1
