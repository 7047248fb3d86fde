"""First and last day and jitter of a schedule, from what people type to the rows they become."""

from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy import select

from pdsapp.attempts import claim as leases
from pdsapp.attempts.replay import replay
from pdsapp.database import transaction
from pdsapp.domain.jitter import delay_of
from pdsapp.domain.reasons import AttemptState, SlotKind
from pdsapp.dt_service import DTService
from pdsapp.errors import BadInput
from pdsapp.models import Attempt, Schedule, ScheduleRevision
from pdsapp.scheduling import cadence
from pdsapp.services import schedules
from tests import builders

from .slot_helpers import MINUTE, START, claim, finish_attempts, make_schedule, rows_of

pytestmark = pytest.mark.database

TODAY = START.date()
DAY = timedelta(days=1)


@pytest.fixture
def study(app):
    """A running experiment in UTC with three twins."""
    experiment = builders.make_experiment(zone="UTC")
    for _ in range(3):
        builders.make_twin(experiment)
    return experiment


def stored(session, schedule):
    session.rollback()
    session.expire_all()
    return session.get_one(Schedule, schedule.id)


def change(schedule, now=START, **wish):
    with transaction() as session:
        found = session.get_one(Schedule, schedule.id)
        kept = ("name", "experiment", "cron", "zone", "interval_seconds", "is_enabled")
        kept += ("first_day", "last_day", "jitter_seconds")
        given = {key: getattr(found, key) for key in kept} | wish
        return schedules.change_schedule(session, found, schedules.Wish(**given), now)


# Days


def test_nothing_fires_before_the_first_day_or_after_the_last(study, session):
    schedule = make_schedule(
        study, cron="0 */12 * * *", zone="America/New_York", first_day=TODAY + DAY, last_day=TODAY + DAY
    )
    assert stored(session, schedule).next_slot_at == datetime(2026, 11, 22, 5, tzinfo=UTC)
    for hours in range(1, 72):
        claim(START.replace(second=0) + timedelta(hours=hours))
        finish_attempts()
    assert rows_of(session, schedule) == [("fired", "05:00", 1), ("fired", "17:00", 1)]


def test_after_its_last_slot_a_schedule_has_ended_and_is_not_broken(study, session):
    schedule = make_schedule(study, cron="0 18 * * *", last_day=TODAY)
    assert cadence.ended_on(stored(session, schedule)) is None
    claimed = claim(START.replace(hour=18))
    assert claimed.slots == {SlotKind.fired: 1}
    assert claimed.next_slots == {schedule.uuid: None}
    row = stored(session, schedule)
    assert (row.next_slot_at, row.broken_reason, row.is_enabled) == (None, "", True)
    assert cadence.ended_on(row) == TODAY
    assert claim(START + 9 * DAY).slots == {}


def test_days_are_part_of_each_revision_and_a_longer_last_day_goes_on(study, session):
    schedule = make_schedule(study, cron="0 18 * * *", last_day=TODAY)
    claim(START.replace(hour=18))
    assert change(schedule, START + 2 * DAY, last_day=TODAY + 3 * DAY)
    assert stored(session, schedule).next_slot_at == START.replace(hour=18, second=0) + 2 * DAY
    revisions = session.scalars(select(ScheduleRevision).order_by(ScheduleRevision.number)).all()
    assert [revision.last_day for revision in revisions] == [TODAY, TODAY + 3 * DAY]
    assert rows_of(session, schedule) == [("fired", "18:00", 1)], "the days between are not made up for"


def test_missed_slots_end_with_the_last_day(study, session):
    schedule = make_schedule(study, cron="0 * * * *", last_day=TODAY)
    assert claim(START + 30 * DAY).slots == {SlotKind.missed: 11}
    assert rows_of(session, schedule) == [("missed", "13:00", 11)]


def test_an_ended_schedule_keeps_its_name_editable_but_is_not_enabled_again(study, session):
    schedule = make_schedule(study, cron="0 18 * * *", last_day=TODAY)
    claim(START.replace(hour=18))
    assert not change(schedule, START + 2 * DAY, name="Renamed")
    assert change(schedule, START + 2 * DAY, is_enabled=False)
    words = "No slot is left: its last day is 21 Nov 2026"
    with pytest.raises(BadInput, match=words) as refused, transaction() as writing:
        schedules.enable(writing, writing.get_one(Schedule, schedule.id), START + 2 * DAY)
    assert refused.value.field == "last_day"


def test_an_interval_without_an_anchor_counts_from_a_first_day_to_come(study, session):
    schedule = make_schedule(study, interval_seconds=7200, zone="America/New_York", first_day=TODAY + 7 * DAY)
    row = stored(session, schedule)
    assert row.anchor_at == row.next_slot_at == datetime(2026, 11, 28, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("wish", "field", "words"),
    [
        pytest.param(
            {"first_day": TODAY + DAY, "last_day": TODAY},
            "last_day",
            "The last day, 21 Nov 2026, is before the first, 22 Nov 2026: choose the same day",
            id="order",
        ),
        pytest.param(
            {"cron": "0 9 * * MON", "first_day": date(2026, 11, 24), "last_day": date(2026, 11, 29)},
            "last_day",
            "No slot lies in these days. Choose more days, or other times.",
            id="no-slot-between",
        ),
        pytest.param(
            {"cron": "0 9 * * *", "last_day": TODAY},
            "last_day",
            "No slot is left: its last day is 21 Nov 2026. Choose a later one, or none.",
            id="over-already",
        ),
        pytest.param({"first_day": date(1066, 1, 1)}, "first_day", "lies between the years", id="too-early"),
        pytest.param(
            {"interval_seconds": 900, "first_day": date(3066, 1, 1)},
            "first_day",
            "The first day lies between the years",
            id="interval-too-late",
        ),
        pytest.param(
            {"cron": "*/15 * * * *", "jitter_seconds": 901},
            "jitter_seconds",
            "Slots of it are as close as 15 min, and the jitter must not be longer: give at most 900 seconds",
            id="jitter-longer-than-the-spacing",
        ),
        pytest.param(
            {"cron": "*/15 * * * *", "jitter_seconds": 900},
            "overlap_policy",
            "the slot before is still at work when the next one comes",
            id="jitter-as-long-as-the-spacing-without-overlap",
        ),
        pytest.param(
            {"interval_seconds": 900, "jitter_seconds": 1000}, "jitter_seconds", "at most 900", id="interval"
        ),
        pytest.param({"jitter_seconds": -5}, "jitter_seconds", "whole number of seconds", id="negative"),
        pytest.param(
            {"cron": "0 18 1 1 *", "jitter_seconds": 86_401}, "jitter_seconds", "at most 86,400", id="a-day"
        ),
    ],
)
def test_what_cannot_be_says_at_which_field_and_what_to_do(study, session, wish, field, words):
    with pytest.raises(BadInput) as refused:
        make_schedule(study, **wish)
    assert refused.value.field == field
    assert words in str(refused.value)
    assert session.scalars(select(Schedule)).all() == []


# Jitter


def test_each_attempt_of_a_slot_waits_its_own_part_of_the_jitter(study, session):
    schedule = make_schedule(study, cron="0 13 * * *", jitter_seconds=600, twins_per_slot=3)
    slot_at = START.replace(hour=13, second=0)
    now = slot_at + timedelta(seconds=2)
    claimed = claim(now)
    attempts = session.scalars(select(Attempt).order_by(Attempt.ordinal)).all()
    may_begin = sum(attempt.not_before <= now for attempt in attempts)
    assert sum(claimed.attempts.values()) == may_begin, "the others wake no lane"
    for attempt in attempts:
        assert attempt.delay_seconds == delay_of(attempt.selection_key, attempt.ordinal, 600)
        assert attempt.not_before == max(now, slot_at + timedelta(seconds=attempt.delay_seconds))
        assert attempt.created_at == now
    assert len({attempt.delay_seconds for attempt in attempts}) > 1
    assert "each attempt up to 10 min later" in cadence.words_of(schedule)


def test_an_attempt_is_not_taken_before_its_delay_is_over(study, session):
    make_schedule(study, cron="0 13 * * *", jitter_seconds=600)
    claim(START.replace(hour=13))
    attempt = session.scalars(select(Attempt)).one()
    for wait, taken in ((-MINUTE, 0), (-timedelta(microseconds=1), 0), (timedelta(0), 1)):
        with transaction() as writing:
            assert len(leases.claim(writing, "worker", attempt.not_before + wait, 5)) == taken


def test_a_slot_claimed_late_delays_nobody_beyond_its_own_delay(study, session):
    make_schedule(study, cron="0 13 * * *", jitter_seconds=60)
    claimed = claim(START.replace(hour=13) + MINUTE)
    attempt = session.scalars(select(Attempt)).one()
    assert claimed.attempts == {"default": 1}
    assert attempt.not_before == START.replace(hour=13) + MINUTE
    assert 0 <= attempt.delay_seconds < 60


def test_without_jitter_no_delay_is_stored_and_attempts_begin_at_once(study, session):
    make_schedule(study)
    assert claim(START + MINUTE).attempts == {"default": 1}
    attempt = session.scalars(select(Attempt)).one()
    assert (attempt.delay_seconds, attempt.not_before) == (None, START + MINUTE)


def test_a_slot_overlaps_while_a_delayed_attempt_of_the_one_before_still_waits(study, session):
    schedule = make_schedule(study, jitter_seconds=59)
    claim(START + MINUTE)
    assert claim(START + 2 * MINUTE).slots == {SlotKind.overlap: 1}
    finish_attempts()
    assert claim(START + 3 * MINUTE).slots == {SlotKind.fired: 1}
    assert [kind for kind, _, _ in rows_of(session, schedule)] == ["fired", "overlap", "fired"]


def test_replay_draws_the_delay_again_and_finds_a_tampered_one(study, session):
    make_schedule(study, cron="0 13 * * *", jitter_seconds=600)
    claim(START.replace(hour=13))
    attempt = session.scalars(select(Attempt)).one()
    found = replay(session, attempt, DTService())
    assert found.verdict == "same"
    assert ("delay in seconds", attempt.delay_seconds) in [(c.name, c.again) for c in found.checks]
    attempt.delay_seconds += 1
    assert replay(session, attempt, DTService()).verdict == "different"


def test_replay_uses_the_jitter_of_the_revision_that_fired(study, session):
    schedule = make_schedule(study, cron="0 13 * * *", jitter_seconds=600)
    claim(START.replace(hour=13))
    assert change(schedule, START.replace(hour=14), jitter_seconds=30)
    attempt = session.scalars(select(Attempt)).one()
    assert attempt.state == AttemptState.due
    assert replay(session, attempt, DTService()).verdict == "same"
