"""Slots that come due under a pause: recorded with who, when and why, and never fired after it."""

import pytest
from sqlalchemy import select, update

from pdsapp.database import transaction
from pdsapp.domain.reasons import AttemptState
from pdsapp.dt_service import DTService
from pdsapp.errors import NobodyEligible
from pdsapp.models import (
    Attempt,
    Experiment,
    Installation,
    Schedule,
    Slot,
)
from pdsapp.services import pauses, schedules
from pdsapp.services.ledger import ledger
from tests import builders

from .pause_helpers import CANCELLED, ended, on, pause
from .slot_helpers import MINUTE, START, make_schedule, rows_of
from .slot_helpers import claim as claim_slots

pytestmark = pytest.mark.database


def test_slots_of_a_paused_schedule_are_one_row_that_says_who_when_and_why(study, twin, session):
    schedule = make_schedule(study, zone="UTC")
    claim_slots(START + MINUTE)
    attempt_id = session.scalars(select(Attempt.id)).one()
    other = builders.add_attempt(twin)
    effect = on(Schedule, schedule.id, pauses.pause_schedule, START + MINUTE, "holiday")
    assert effect.cancelled == 1
    assert ended(session, attempt_id) == CANCELLED
    assert ended(session, other)[0] == AttemptState.due
    for minutes in (2, 3, 4):
        claim_slots(START + minutes * MINUTE)
    assert rows_of(session, schedule) == [("fired", "12:01", 1), ("paused", "12:02", 3)]
    words = session.scalars(select(Slot.detail).where(Slot.kind == "paused")).one()
    assert words == "The schedule is paused since Sat 21 Nov 2026, 12:01 UTC by command line: holiday"
    assert ledger(session).adds_up


def test_resuming_replays_nothing_not_even_the_slot_of_this_minute(study, twin, session):
    schedule = make_schedule(study)
    on(Schedule, schedule.id, pauses.pause_schedule, START)
    claim_slots(START + MINUTE)
    # 12:02 has come due and no scheduler has looked yet
    assert on(Schedule, schedule.id, pauses.resume_schedule, START + 2 * MINUTE)
    assert claim_slots(START + 2 * MINUTE).slots == {}
    claim_slots(START + 3 * MINUTE)
    assert rows_of(session, schedule) == [("paused", "12:01", 2), ("fired", "12:03", 1)]
    row = session.get_one(Schedule, schedule.id)
    assert (row.paused_at, row.paused_by, row.paused_reason) == (None, "", "")


@pytest.mark.parametrize("scope", ["experiment", "everything"])
def test_resuming_a_scope_leaves_its_last_slots_paused(study, twin, session, scope):
    schedule = make_schedule(study)
    with transaction() as writing:
        if scope == "experiment":
            pauses.pause_experiment(writing, writing.get_one(Experiment, study.id), START)
        else:
            pauses.pause_everything(writing, START)
    with transaction() as writing:
        if scope == "experiment":
            pauses.resume_experiment(writing, writing.get_one(Experiment, study.id), START + MINUTE)
        else:
            pauses.resume_everything(writing, START + MINUTE)
    claim_slots(START + MINUTE)
    assert rows_of(session, schedule) == [("paused", "12:01", 1)]


def test_a_schedule_of_all_experiments_passes_over_a_paused_one(study, twin, session):
    other = builders.make_twin(builders.make_experiment("Other"))
    make_schedule(None, twins_per_slot=5)
    pause(study)
    claim_slots(START + MINUTE)
    assert session.scalars(select(Attempt.digital_twin_id)).all() == [other.id]


def test_a_paused_schedule_is_not_fired_by_hand_either(study, twin, session):
    schedule = make_schedule(study)
    on(Schedule, schedule.id, pauses.pause_schedule, START, "holiday")
    with pytest.raises(NobodyEligible, match=r"The schedule is paused since .*: holiday\."):
        on(Schedule, schedule.id, schedules.fire_once, DTService(), "once", START)


def test_the_revisions_of_a_schedule_do_not_change_with_a_pause(study, twin, session):
    schedule = make_schedule(study)
    on(Schedule, schedule.id, pauses.pause_schedule, START)
    on(Schedule, schedule.id, pauses.resume_schedule, START)
    row = session.get_one(Schedule, schedule.id)
    assert (row.revision_number, row.is_enabled) == (1, True)


@pytest.mark.parametrize("scope", ["experiment", "schedule", "everything"])
def test_what_came_due_under_a_pause_stays_paused_however_late_it_is_claimed(study, twin, session, scope):
    """Nothing ran for ten hours; the slots say who had paused, not that nobody was there."""
    schedule = make_schedule(study)
    act, kind, key = {
        "experiment": (pauses.pause_experiment, Experiment, study.id),
        "schedule": (pauses.pause_schedule, Schedule, schedule.id),
        "everything": (lambda session, _row, *more: pauses.pause_everything(session, *more), Installation, 1),
    }[scope]
    on(kind, key, act, START + MINUTE, "exam week")
    claim_slots(START + 600 * MINUTE)
    # 12:01 was due half a minute before the pause and nobody had claimed it
    assert rows_of(session, schedule) == [("missed", "12:01", 1), ("paused", "12:02", 599)]
    assert ledger(session, now=START + 600 * MINUTE).adds_up


def test_two_pauses_tell_of_each_slot_the_one_that_held_it(study, twin, session):
    schedule = make_schedule(study)
    on(Experiment, study.id, pauses.pause_experiment, START + MINUTE, "exam week")
    with transaction() as writing:
        pauses.pause_everything(writing, START + 5 * MINUTE, "move")
    claim_slots(START + 600 * MINUTE)
    rows = session.scalars(select(Slot).where(Slot.kind == "paused").order_by(Slot.slot_at)).all()
    told = [(row.slot_count, row.detail.rpartition(": ")[2]) for row in rows]
    assert told == [(4, "exam week"), (595, "move")]
    assert rows_of(session, schedule)[0] == ("missed", "12:01", 1)


def test_a_zone_that_does_not_exist_loses_no_slot_of_a_paused_schedule(study, twin, session):
    """Somebody has written into the row; the revision says what was due, and in which zone."""
    schedule = make_schedule(study)
    on(Schedule, schedule.id, pauses.pause_schedule, START, "holiday")
    with transaction() as writing:
        writing.execute(update(Schedule).values(zone="Mars/Base"))
    on(Schedule, schedule.id, schedules.disable, START + 5 * MINUTE)
    assert rows_of(session, schedule) == [("paused", "12:01", 5)]
    assert ledger(session, now=START + 10 * MINUTE).adds_up
