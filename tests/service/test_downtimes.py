"""Stretches in which no scheduler lived: recorded once, and quiet when nothing was missed."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, update

from pdsapp.database import reading, transaction
from pdsapp.models import Downtime, Experiment, Heartbeat, ProcessKind, Slot
from pdsapp.services import downtimes, heartbeats, pauses
from pdsapp.services.downtimes import costly_sleeps
from tests import builders

from .slot_helpers import claim, finish_attempts, make_schedule

pytestmark = pytest.mark.database
EVENING = datetime(2026, 11, 24, 22, 10, tzinfo=UTC)
MORNING = datetime(2026, 11, 25, 6, 42, tzinfo=UTC)


@pytest.fixture
def study(app):
    """A running experiment in UTC with a twin."""
    experiment = builders.make_experiment(zone="UTC")
    builders.make_twin(experiment)
    return experiment


def beat(now, name="scheduler-1", kind=ProcessKind.scheduler):
    with transaction() as session:
        if kind == ProcessKind.scheduler:
            downtimes.note(session, name, now)
        heartbeats.beat(session, kind, name, now)


def stretches(session):
    session.rollback()
    return [(row.from_at, row.until_at) for row in session.scalars(select(Downtime).order_by(Downtime.id))]


def test_a_night_without_a_scheduler_is_one_stretch_and_its_missed_slots_are_counted(study, session):
    make_schedule(study, now=EVENING - timedelta(minutes=3))
    for minutes in (2, 1, 0):
        claim(EVENING - timedelta(minutes=minutes))
        finish_attempts()
    beat(EVENING)
    beat(MORNING)
    claim(MORNING)
    assert stretches(session) == [(EVENING, MORNING)]
    with reading() as own:
        (sleep,) = costly_sleeps(own, study, MORNING + timedelta(hours=23))
        assert (sleep.from_at, sleep.until_at, sleep.missed) == (EVENING, MORNING, 511)
        assert costly_sleeps(own, study, MORNING + timedelta(hours=25)) == ()


def test_a_first_start_is_no_downtime(app, session):
    beat(EVENING)
    assert stretches(session) == []


def test_a_scheduler_that_beats_on_and_one_that_stands_by_are_none(app, session):
    for seconds in range(0, 60, 5):
        beat(EVENING + timedelta(seconds=seconds), "first")
    beat(EVENING + timedelta(seconds=62), "second")
    assert stretches(session) == []


def test_a_stopped_stack_without_enabled_schedules_is_no_alarm(study, session):
    make_schedule(study, now=EVENING, is_enabled=False)
    beat(EVENING)
    beat(MORNING)
    claim(MORNING)
    assert stretches(session) == [(EVENING, MORNING)]
    with reading() as own:
        assert costly_sleeps(own, None, MORNING) == ()


def test_of_several_that_wake_up_together_one_records_the_stretch(app, session):
    beat(EVENING)
    threads = [threading.Thread(target=_beat_within, args=(app, f"scheduler-{n}")) for n in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(stretches(session)) == 1
    assert len(session.scalars(select(Heartbeat)).all()) == 5


def _beat_within(app, name):
    with app.app_context():
        beat(MORNING, name)


def test_two_nights_are_two_stretches_each_with_its_own_slots(study):
    """A sparse schedule misses all it has in both: the rows are still one for each night."""
    make_schedule(study, now=EVENING, cron="0 2,4 * * *")
    for day in range(2):
        beat(EVENING + timedelta(days=day))
        beat(MORNING + timedelta(days=day))
        claim(MORNING + timedelta(days=day))
    with reading() as session:
        found = costly_sleeps(session, None, MORNING + timedelta(days=1))
    assert [(sleep.until_at.day, sleep.missed) for sleep in found] == [(26, 2)]


def test_a_worker_that_starts_first_after_days_does_not_hide_the_stretch(app, session):
    beat(EVENING)
    later = EVENING + timedelta(days=4)
    beat(later, "worker-1", ProcessKind.worker)
    beat(later + timedelta(seconds=1), "scheduler-2")
    assert stretches(session) == [(EVENING, later + timedelta(seconds=1))]


def test_a_clock_set_back_is_no_downtime_and_its_beats_are_not_alive(app, session):
    beat(MORNING)
    beat(EVENING, "other")
    assert stretches(session) == []
    with transaction() as writing:
        writing.execute(
            update(Heartbeat).where(Heartbeat.name == "other").values(beat_at=EVENING - timedelta(minutes=1))
        )
    with reading() as own:
        sign = heartbeats.life_sign(own, ProcessKind.scheduler, EVENING)
        assert (sign.is_alive, sign.alive_count) == (False, 0)
        assert not heartbeats.is_lane_served(own, "default", EVENING)


def test_a_sleep_whose_first_slot_was_due_at_the_last_beat_is_told_whole(study, session):
    """Beat, then asleep before the slot of that very moment was claimed."""
    make_schedule(study, now=EVENING - timedelta(seconds=30))
    beat(EVENING + timedelta(milliseconds=20))
    beat(MORNING)
    claim(MORNING)
    (sleep,) = costly_sleeps(session, None, MORNING)
    assert sleep.missed == session.scalars(select(Slot.slot_count).where(Slot.kind == "missed")).one() > 500


def test_a_sleep_under_a_pause_cost_nothing(study, session):
    make_schedule(study, now=EVENING - timedelta(seconds=30))
    with transaction() as writing:
        pauses.pause_experiment(writing, writing.get_one(Experiment, study.id), EVENING, "holidays")
    beat(EVENING + timedelta(seconds=10))
    beat(MORNING)
    claim(MORNING)
    assert costly_sleeps(session, None, MORNING) == ()
