"""Claiming slots: what becomes of each due instant."""

import time
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select, update

from pdsapp.database import transaction
from pdsapp.domain.reasons import ExperimentState, SlotKind
from pdsapp.models import Attempt, Experiment, Installation, Schedule, ScheduleRevision, Slot
from pdsapp.scheduling import slots
from pdsapp.services import schedules
from tests import builders

from .slot_helpers import MINUTE, START, claim, finish_attempts, make_schedule, rows_of

pytestmark = pytest.mark.database


@pytest.fixture
def study(app):
    """A running experiment in UTC with three twins."""
    experiment = builders.make_experiment(zone="UTC")
    for _ in range(3):
        builders.make_twin(experiment)
    return experiment


def test_enabling_never_fires_at_once(study, session):
    on_the_minute = START.replace(second=0)
    schedule = make_schedule(study, now=on_the_minute, is_enabled=False)
    with transaction() as writing:
        schedules.enable(writing, writing.get_one(Schedule, schedule.id), on_the_minute)
    assert claim(on_the_minute).slots == {}
    assert claim(on_the_minute + timedelta(seconds=59)).slots == {}
    assert claim(on_the_minute + MINUTE).slots == {SlotKind.fired: 1}
    assert rows_of(session, schedule) == [("fired", "12:01", 1)]


def test_a_fired_slot_has_its_attempts_and_says_how_many(study, session):
    schedule = make_schedule(study, twins_per_slot=2, lane="evening", is_forced=True)
    claimed = claim(START + MINUTE)
    assert claimed.attempts == {"evening": 2}
    assert claimed.next_slots == {schedule.uuid: START.replace(minute=2, second=0)}
    slot = session.scalars(select(Slot)).one()
    assert (slot.wanted_count, slot.expanded_count, slot.claimed_by) == (2, 2, "test-scheduler")
    attempts = session.scalars(select(Attempt).order_by(Attempt.ordinal)).all()
    assert [(a.slot_id, a.schedule_id, a.ordinal, a.lane) for a in attempts] == [
        (slot.id, schedule.id, 0, "evening"),
        (slot.id, schedule.id, 1, "evening"),
    ]
    assert all(a.is_forced and a.candidate_count == 3 and a.selection_key for a in attempts)
    assert len({a.digital_twin_id for a in attempts}) == 2


def test_claiming_again_claims_nothing(study, session):
    schedule = make_schedule(study)
    assert claim(START + MINUTE, [schedule.uuid]).slots == {SlotKind.fired: 1}
    again = claim(START + MINUTE, [schedule.uuid])
    assert (again.slots, again.attempts) == ({}, {})
    assert again.next_slots == {schedule.uuid: START.replace(minute=2, second=0)}


def test_a_schedule_that_is_unknown_or_off_has_nothing_to_wait_for(study):
    schedule = make_schedule(study, is_enabled=False)
    stranger = schedule.uuid.__class__(int=7)
    assert claim(START + MINUTE, [schedule.uuid, stranger]).next_slots == {
        schedule.uuid: None,
        stranger: None,
    }


@pytest.mark.parametrize(
    ("wish", "minutes", "rows"),
    [
        pytest.param({}, 2.2, [("missed", "12:01", 1), ("fired", "12:02", 1)], id="two in the window"),
        pytest.param({}, 60, [("missed", "12:01", 59), ("fired", "13:00", 1)], id="an hour asleep"),
        pytest.param({"cron": "*/20 * * * *"}, 50, [("missed", "12:20", 2)], id="skipped by default"),
        pytest.param(
            {"cron": "*/20 * * * *", "missed_policy": "fire_once"}, 50,
            [("missed", "12:20", 1), ("fired", "12:40", 1)], id="or the newest fires once",
        ),
    ],
)  # fmt: skip
def test_slots_nobody_claimed_in_time_are_one_row(study, session, wish, minutes, rows):
    schedule = make_schedule(study, **wish)
    claim(START + minutes * MINUTE)
    assert rows_of(session, schedule) == rows


def test_a_month_asleep_is_still_one_row_and_no_burst(study, session):
    schedule = make_schedule(study)
    wake_up = START + timedelta(days=31)
    counts = [sum(claim(wake_up).slots.values()) for _ in range(4)]
    assert sum(counts) == 31 * 24 * 60 and max(counts) <= slots.MOST_OCCURRENCES
    assert [(kind, count) for kind, _, count in rows_of(session, schedule)] == [
        ("missed", 31 * 24 * 60 - 1),
        ("fired", 1),
    ]


def test_a_week_asleep_with_fifty_schedules_is_caught_up_in_short_claims_and_no_burst(study, session):
    made = [make_schedule(study, name=f"S{number}") for number in range(50)]
    wake_up = START + timedelta(days=7)
    claims, longest = 0, 0.0
    while slots_left(session, wake_up):
        began = time.process_time()
        assert sum(claim(wake_up).slots.values()) <= slots.MOST_IN_ALL + slots.MOST_OCCURRENCES
        longest = max(longest, time.process_time() - began)
        claims += 1
    assert 10 <= claims <= 20 and longest < 5
    for schedule in (made[0], made[-1]):
        assert [(kind, count) for kind, _, count in rows_of(session, schedule)] == [
            ("missed", 7 * 24 * 60 - 1),
            ("fired", 1),
        ]
    assert session.scalar(select(func.count(Slot.id))) == 100
    assert session.scalar(select(func.count(Attempt.id))) == 50


def slots_left(session, at):
    session.rollback()
    return slots.is_any_due(session, at)


def pause_everything(session):
    installation = session.get_one(Installation, 1)
    installation.is_paused, installation.paused_reason = True, "exam week"


def pause_the_experiment(session):
    session.execute(update(Experiment).values(state=ExperimentState.paused, paused_reason="review"))


@pytest.mark.parametrize(
    ("pause", "words"),
    [
        pytest.param(pause_everything, "Everything is paused: exam week", id="everything"),
        pytest.param(pause_the_experiment, "The experiment is paused: review", id="the experiment"),
    ],
)
def test_paused_slots_grow_into_one_row_with_the_reason(study, session, pause, words):
    schedule = make_schedule(study)
    claim(START + MINUTE)
    finish_attempts()
    with transaction() as writing:
        pause(writing)
    for minutes in (2, 3, 5):
        claim(START + minutes * MINUTE)
    assert rows_of(session, schedule) == [("fired", "12:01", 1), ("paused", "12:02", 4)]
    run = session.scalars(select(Slot).where(Slot.kind == SlotKind.paused)).one()
    assert (f"{run.covers_from:%H:%M}", f"{run.covers_until:%H:%M}") == ("12:02", "12:05")
    assert run.detail == words
    assert session.scalar(select(func.count(Attempt.id))) == 1


def test_another_reason_or_another_revision_begins_another_row(study, session):
    schedule = make_schedule(study)
    with transaction() as writing:
        pause_the_experiment(writing)
    claim(START + MINUTE)
    with transaction() as writing:
        pause_everything(writing)
    claim(START + 2 * MINUTE)
    with transaction() as writing:
        found = writing.get_one(Schedule, schedule.id)
        wish = schedules.Wish("Test", found.experiment, "* * * * *", twins_per_slot=2, is_enabled=True)
        schedules.change_schedule(writing, found, wish, START + 2.1 * MINUTE)
    claim(START + 3 * MINUTE)
    assert [kind for kind, _, _ in rows_of(session, schedule)] == ["paused"] * 3


def test_unpausing_does_not_replay(study, session):
    schedule = make_schedule(study)
    with transaction() as writing:
        pause_the_experiment(writing)
    claim(START + 5 * MINUTE)
    with transaction() as writing:
        writing.execute(update(Experiment).values(state=ExperimentState.running))
    claim(START + 6 * MINUTE)
    kinds = [(kind, count) for kind, _, count in rows_of(session, schedule)]
    assert kinds == [("missed", 3), ("paused", 2), ("fired", 1)]


def test_a_slot_overlaps_while_the_one_before_is_unfinished(study, session):
    schedule = make_schedule(study)
    claim(START + MINUTE)
    claim(START + 2 * MINUTE)
    finish_attempts()
    claim(START + 3 * MINUTE)
    assert [kind for kind, _, _ in rows_of(session, schedule)] == ["fired", "overlap", "fired"]


def test_a_schedule_may_allow_overlap(study, session):
    schedule = make_schedule(study, overlap_policy="allow")
    claim(START + MINUTE)
    claim(START + 2 * MINUTE)
    assert [kind for kind, _, _ in rows_of(session, schedule)] == ["fired", "fired"]


@pytest.mark.parametrize("state", ["due", "running"])
def test_overlap_is_told_while_any_attempt_of_the_slot_before_is_due_or_running(study, session, state):
    schedule = make_schedule(study, twins_per_slot=2)
    claim(START + MINUTE)
    finish_attempts()
    with transaction() as writing:
        last = select(func.max(Attempt.id)).scalar_subquery()
        writing.execute(update(Attempt).where(Attempt.id == last).values(state=state))
    claim(START + 2 * MINUTE)
    claim(START + 3 * MINUTE)
    assert [kind for kind, _, _ in rows_of(session, schedule)] == ["fired", "overlap", "overlap"]
    words = set(session.scalars(select(Slot.detail).where(Slot.kind == SlotKind.overlap)))
    assert words == {"Attempts of the slot before were still unfinished."}
    finish_attempts()
    claim(START + 4 * MINUTE)
    assert rows_of(session, schedule)[-1][0] == "fired"


def test_the_busy_slot_of_one_schedule_holds_no_other_schedule_back(study, session):
    first, second = (
        make_schedule(study, name="first"),
        make_schedule(study, name="second", cron="*/2 * * * *"),
    )
    claim(START + MINUTE)
    claim(START + 2 * MINUTE)
    assert [kind for kind, _, _ in rows_of(session, first)] == ["fired", "overlap"]
    assert [kind for kind, _, _ in rows_of(session, second)] == ["fired"]


def test_without_an_active_twin_nobody_is_eligible(app, session):
    schedule = make_schedule(builders.make_experiment(zone="UTC"))
    everywhere = make_schedule(None)
    claim(START + MINUTE)
    assert rows_of(session, schedule) == rows_of(session, everywhere) == [("nobody_eligible", "12:01", 1)]
    details = set(session.scalars(select(Slot.detail)))
    assert details == {"The experiment has no active twin.", "No running experiment has an active twin."}


def test_a_schedule_of_all_experiments_passes_over_paused_ones(study, session):
    quiet = builders.make_experiment("Quiet", zone="UTC")
    builders.make_twin(quiet)
    with transaction() as writing:
        writing.execute(update(Experiment).where(Experiment.id == quiet.id).values(state="paused"))
    make_schedule(None, twins_per_slot=9)
    claim(START + MINUTE)
    assert set(session.scalars(select(Attempt.experiment_id))) == {study.id}
    assert session.scalar(select(func.count(Attempt.id))) == 3


@pytest.mark.parametrize(
    ("zone", "expression", "day", "rows"),
    [
        pytest.param(
            "America/New_York", "0,30 2-3 * * *", datetime(2026, 3, 8, tzinfo=UTC),
            {"clock_change": 2, "fired": 2}, id="spring in New York",
        ),
        pytest.param(
            "America/New_York", "30 1 * * *", datetime(2026, 11, 1, tzinfo=UTC), {"fired": 1},
            id="once in autumn",
        ),
        pytest.param(
            "Australia/Lord_Howe", "*/15 * * * *", datetime(2026, 10, 3, tzinfo=UTC),
            {"clock_change": 2, "fired": 96}, id="half an hour on Lord Howe",
        ),
    ],
)  # fmt: skip
def test_clock_changes_are_recorded(study, session, zone, expression, day, rows):
    schedule = make_schedule(study, now=day, cron=expression, zone=zone)
    until = day + timedelta(days=1)
    at = day
    while at <= until:
        claim(at)
        finish_attempts()
        at += timedelta(minutes=15)
    counts = Counter()
    for kind, _, count in rows_of(session, schedule):
        counts[kind] += count
    assert counts == rows


def test_a_row_edited_by_hand_hurts_only_itself(study, session):
    broken, changed, sound = (make_schedule(study, name=name) for name in ("broken", "changed", "sound"))
    with transaction() as writing:
        for model, key in ((Schedule, Schedule.id), (ScheduleRevision, ScheduleRevision.schedule_id)):
            writing.execute(update(model).where(key == broken.id).values(cron="61 * * * *"))
        writing.execute(update(Schedule).where(Schedule.id == changed.id).values(zone="Mars/Base"))
    claimed = claim(START + MINUTE)
    assert claimed.slots == {SlotKind.fired: 1}
    assert claimed.next_slots[broken.uuid] is None
    reasons = dict(session.execute(select(Schedule.id, Schedule.broken_reason)).all())
    assert "61" in reasons[broken.id]
    assert "without leaving a revision" in reasons[changed.id]
    assert reasons[sound.id] == ""
    finish_attempts()
    assert claim(START + 2 * MINUTE).slots == {SlotKind.fired: 1}
