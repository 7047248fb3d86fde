"""The ledger: what the revisions enumerate against the rows, and each tampering named."""

import json
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy import delete, insert, select, text, update

from pdsapp.database import snapshot, transaction
from pdsapp.domain.reasons import ExperimentState, SlotKind
from pdsapp.models import Attempt, DigitalTwin, Experiment, Schedule, ScheduleRevision, Slot
from pdsapp.services import schedules
from pdsapp.services.ledger import brief, ledger
from tests import builders
from tests.conftest import TEST_DATABASE_URL

from .slot_helpers import MINUTE, START, claim, finish_attempts, make_schedule

pytestmark = pytest.mark.database


@pytest.fixture
def study(app):
    """A running experiment in UTC with three twins."""
    experiment = builders.make_experiment(zone="UTC")
    for _ in range(3):
        builders.make_twin(experiment)
    return experiment


@pytest.fixture
def busy_hour(study):
    """A schedule with six fired slots of two twins, a run of missed ones, and one that fired after it."""
    schedule = make_schedule(study, name="Daytime chatter", twins_per_slot=2)
    for minutes in (*range(1, 7), 60):
        claim(START + minutes * MINUTE)
        finish_attempts()
    return schedule


def books(now=START + 60 * MINUTE, experiment=None, since=None):
    with snapshot() as session:
        return ledger(session, experiment, since, now)


def change(statement):
    with transaction() as session:
        session.execute(statement)


def slot_at(minute):
    return Slot.slot_at == START.replace(minute=minute, second=0)


def test_slots_and_turns_add_up(busy_hour):
    found = books()
    assert found.problems == ()
    assert found.slots == {"fired": 7, "missed": 53}
    assert (found.slot_sum.due, found.slot_sum.missing, found.slot_sum.surplus, found.slot_sum.waiting) == (
        60, 0, 0, 0,
    )  # fmt: skip
    assert found.slot_sentence == "60 due = 7 fired + 53 missed"
    assert found.sentence == "14 asked = 0 posted + 14 skipped + 0 failed + 0 waiting"
    assert (found.turn_sum.wanted, found.turn_sum.expanded, found.turn_sum.attempts_of_slots) == (14, 14, 14)


def test_what_nobody_has_claimed_yet_is_waiting_and_no_failure(busy_hour):
    found = books(now=START + 63 * MINUTE)
    assert (found.slot_sum.waiting, found.slot_sum.due, found.problems) == (3, 60, ())


def test_a_run_that_began_before_the_period_counts_what_lies_in_it(busy_hour):
    found = books(since=START + 30 * MINUTE)
    assert found.problems == ()
    assert found.slots == {"missed": 29, "fired": 1}


def test_manual_attempts_are_in_the_second_sum(busy_hour, session):
    builders.add_attempt(session.scalars(select(Attempt)).first().digital_twin)
    found = books()
    assert (found.problems, found.asked, found.waiting, found.turn_sum.wanted) == ((), 15, 1, 14)


def test_a_schedule_that_changes_experiments_is_in_the_books_of_each(study):
    other = builders.make_experiment("Other", zone="UTC")
    builders.make_twin(other)
    schedule = make_schedule(study)
    claim(START + MINUTE)
    with transaction() as session:
        wish = schedules.Wish("Test", session.get_one(Experiment, other.id), "* * * * *", is_enabled=True)
        schedules.change_schedule(session, session.get_one(Schedule, schedule.id), wish, START + 1.2 * MINUTE)
    finish_attempts()
    claim(START + 2 * MINUTE)
    for experiment in (study, other):
        found = books(experiment=experiment)
        assert (found.problems, found.slots, found.asked) == ((), {"fired": 1}, 1)
    assert books().slots == {"fired": 2}


def test_a_clock_change_counts_the_wall_times_it_swallowed(study):
    make_schedule(
        study, now=datetime(2026, 3, 8, 5, tzinfo=UTC), cron="0,30 2-3 * * *", zone="America/New_York"
    )
    found_at = datetime(2026, 3, 8, 7, 0, 10, tzinfo=UTC)
    claim(found_at)
    found = books(now=found_at)
    assert (found.problems, found.slots) == ((), {"clock_change": 2, "fired": 1})


def test_a_clock_change_is_told_when_the_schedule_changes_before_its_next_slot(study):
    """The gap has its instant while no slot is due: it must not be lost with the old revision."""
    start = datetime(2026, 3, 7, 12, tzinfo=UTC)
    schedule = make_schedule(study, now=start, cron="30 2 * * *", zone="America/New_York")
    at = datetime(2026, 3, 8, 9, tzinfo=UTC)
    claim(at)
    with transaction() as session:
        schedules.disable(session, session.get_one(Schedule, schedule.id), at)
    found = books(now=at)
    assert (found.problems, found.slots) == ((), {"clock_change": 1})


def edit_the_row(schedule, **values):
    change(update(Schedule).where(Schedule.id == schedule.id).values(**values))


def save_again(schedule, at, **wish):
    with transaction() as session:
        found = session.get_one(Schedule, schedule.id)
        experiment = session.scalars(select(Experiment)).first()
        given = {"name": "Test", "experiment": experiment, "cron": "* * * * *", "is_enabled": True, **wish}
        schedules.change_schedule(session, found, schedules.Wish(**given), at)


def test_what_was_due_while_a_schedule_was_broken_is_missed_once_it_is_mended(busy_hour):
    edit_the_row(busy_hour, cron="61 * * * *")
    claim(START + 61 * MINUTE)
    found = books(now=START + 70 * MINUTE)
    assert (found.problems, found.slot_sum.waiting) == ((), 10)
    save_again(busy_hour, START + 70 * MINUTE)
    found = books(now=START + 70 * MINUTE)
    assert (found.problems, found.slot_sum.waiting) == ((), 0)
    assert found.slots == {"fired": 7, "missed": 63}


def test_a_slot_at_the_very_instant_of_a_change_is_told_once(study, session):
    schedule = make_schedule(study)
    on_the_minute = START.replace(minute=1, second=0)
    save_again(schedule, on_the_minute, twins_per_slot=2)
    claim(on_the_minute)
    claim(on_the_minute + MINUTE)
    assert books().problems == ()
    assert [(s.kind.value, s.slot_at.minute) for s in session.scalars(select(Slot).order_by(Slot.id))] == [
        ("missed", 1),
        ("fired", 2),
    ]


def test_switched_off_and_on_within_a_minute(study):
    schedule = make_schedule(study)
    for seconds, switch in ((70, "disable"), (80, "enable"), (95, "disable"), (96, "enable")):
        at = START + timedelta(seconds=seconds)
        with transaction() as session:
            getattr(schedules, switch)(session, session.get_one(Schedule, schedule.id), at)
    claim(START + 3 * MINUTE)
    found = books(now=START + 3 * MINUTE)
    assert (found.problems, found.slot_sum.waiting, found.slots) == ((), 0, {"missed": 2, "fired": 1})


def test_an_edit_while_the_experiment_is_paused_accounts_for_paused_slots(study):
    schedule = make_schedule(study)
    change(update(Experiment).values(state=ExperimentState.paused))
    save_again(schedule, START + 1.5 * MINUTE, twins_per_slot=2)
    claim(START + 3 * MINUTE)
    found = books(now=START + 3 * MINUTE)
    assert (found.problems, found.slots) == ((), {"paused": 3})


def test_an_edit_after_the_clock_was_set_back_doubles_nothing(study):
    schedule = make_schedule(study)
    for minutes in (1, 2, 62):
        claim(START + minutes * MINUTE)
        finish_attempts()
    save_again(schedule, START + 5 * MINUTE, cron="*/2 * * * *")
    for minutes in (6, 7, 62, 63, 64):
        claim(START + minutes * MINUTE)
        assert books(now=START + minutes * MINUTE).problems == ()


def test_archiving_accounts_for_a_schedule_that_was_switched_off_by_hand(study):
    """What its open revision wants was due until it was closed."""
    schedule = make_schedule(study)
    change(update(Schedule).values(is_enabled=False))
    with transaction() as session:
        schedules.archive(session, session.get_one(Schedule, schedule.id), START + 9.9 * MINUTE)
    found = books(now=START + 20 * MINUTE)
    assert (found.problems, found.slots) == ((), {"missed": 10})


@pytest.mark.skipif(TEST_DATABASE_URL is not None, reason="PostgreSQL refuses a time that is none")
def test_a_schedule_that_cannot_be_read_does_not_hide_the_slots_of_others(study):
    broken, sound = make_schedule(study, name="Broken"), make_schedule(study, name="Sound")
    claim(START + MINUTE)
    change(text(f"UPDATE schedule SET cursor_at = 'nonsense' WHERE id = {broken.id}"))
    (problem,) = books(now=START + MINUTE).problems
    assert "cannot be read" in problem and sound.name not in problem


# Each tampering by hand, and what the ledger says of it.
def _delete_a_slot(_):
    number = select(Slot.id).where(slot_at(3)).scalar_subquery()
    change(delete(Attempt).where(Attempt.slot_id == number))
    change(delete(Slot).where(slot_at(3)))


def _double_a_slot(_):
    with transaction() as session:
        slot = session.scalars(select(Slot).where(slot_at(3))).one()
        given = {"schedule_id": slot.schedule_id, "revision_id": slot.revision_id, "kind": SlotKind.missed}
        session.execute(insert(Slot).values(experiment_id=slot.experiment_id, slot_at=slot.slot_at, **given))


def _invent_a_slot(_):
    with transaction() as session:
        slot = session.scalars(select(Slot).where(slot_at(3))).one()
        session.execute(
            insert(Slot).values(
                schedule_id=slot.schedule_id, revision_id=slot.revision_id, kind=SlotKind.paused,
                experiment_id=slot.experiment_id, slot_at=slot.slot_at + timedelta(seconds=7),
            )
        )  # fmt: skip


def _shorten_a_run(_):
    change(update(Slot).where(Slot.kind == SlotKind.missed).values(slot_count=52))


def _stretch_a_run(_):
    change(update(Slot).where(Slot.kind == SlotKind.missed).values(covers_until=START + 62 * MINUTE))


def _swap_the_revision(schedule):
    save_again(schedule, START + 60.2 * MINUTE, name=schedule.name, twins_per_slot=3)
    newest = select(sa.func.max(ScheduleRevision.id)).scalar_subquery()
    change(update(Slot).where(slot_at(3)).values(revision_id=newest))


def _write_into_a_revision(_):
    change(update(ScheduleRevision).values(cron="61 * * * *"))


def _invent_a_kind(_):
    change(sa.text("UPDATE slot SET kind = 'sung' WHERE kind = 'missed'"))


def _delete_an_attempt(_):
    change(delete(Attempt).where(Attempt.id == select(sa.func.min(Attempt.id)).scalar_subquery()))


def _invent_a_state(_):
    first = select(sa.func.min(Attempt.id)).scalar_subquery()
    change(update(Attempt).where(Attempt.id == first).values(state=sa.literal_column("'gone'")))


TAMPERINGS = {
    "a slot row deleted": (
        _delete_a_slot, ["1 due slots have no row: “Daytime chatter” 2026-11-21 12:03:00 UTC (slot)."],
    ),
    "a slot row doubled": (
        _double_a_slot, ["Told twice: “Daytime chatter” 2026-11-21 12:03:00 UTC (slot)."],
    ),
    "a slot row invented": (
        _invent_a_slot,
        ["1 slots have a row and were not due: “Daytime chatter” 2026-11-21 12:03:07 UTC (paused)."],
    ),
    "a run that counts less than it covers": (
        _shorten_a_run,
        ["The row of “Daytime chatter” 2026-11-21 12:07:00 UTC (missed) counts 52 slots and covers 53."],
    ),
    "a run that reaches over another row": (
        _stretch_a_run,
        [
            "Told twice: “Daytime chatter” 2026-11-21 13:00:00 UTC (slot).",
            "The row of “Daytime chatter” 2026-11-21 12:07:00 UTC (missed) counts 53 slots and covers 54.",
        ],
    ),
    "the cursor set forward": (
        lambda schedule: edit_the_row(schedule, cursor_at=START + 63 * MINUTE),
        [
            "3 due slots have no row: “Daytime chatter” 2026-11-21 13:01:00 UTC (slot); "
            "“Daytime chatter” 2026-11-21 13:02:00 UTC (slot); "
            "“Daytime chatter” 2026-11-21 13:03:00 UTC (slot)."
        ],
    ),
    "the cursor set back": (
        lambda schedule: edit_the_row(schedule, cursor_at=START + 59 * MINUTE),
        ["1 slots have a row and were not due: “Daytime chatter” 2026-11-21 13:00:00 UTC (fired)."],
    ),
    "a row of a revision not valid then": (
        _swap_the_revision,
        ["The row of “Daytime chatter” 2026-11-21 12:03:00 UTC (fired) points at a revision that was not "
         "valid then."],
    ),
    "a revision that cannot be read": (
        _write_into_a_revision, ["Schedule “Daytime chatter”: revision 1 cannot be read"],
    ),
    "a kind that does not exist": (_invent_a_kind, ["has a kind that does not exist"]),
    "an attempt deleted": (
        _delete_an_attempt,
        [
            "Fired slots count 14 attempts, but 13 point at them.",
            "Slot “Daytime chatter” 2026-11-21 12:01:00 UTC (fired) wanted 2, made 2, has 1 attempts.",
        ],
    ),
    "a state that does not exist": (
        _invent_a_state, ["1 attempts are in a state that does not exist: “gone”."],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("tamper", "said"), TAMPERINGS.values(), ids=TAMPERINGS.keys())
def test_the_ledger_names_each_tampering_and_the_command_exits_1(busy_hour, runner, tamper, said):
    tamper(busy_hour)
    found = books()
    assert not found.adds_up
    for sentence in said:
        assert any(sentence in problem for problem in found.problems), found.problems
    answer = runner.invoke(args=["ledger"])
    assert answer.exit_code == 1
    assert "It does not add up" in answer.stdout and said[0] in answer.stdout


def test_two_tamperings_that_cancel_out_in_the_total_are_found(busy_hour):
    """The totals are the same: only slot by slot it shows."""
    with transaction() as session:
        first, *_, other = session.scalars(select(Attempt).order_by(Attempt.id).limit(3)).all()
        absent = session.scalars(
            select(DigitalTwin.id).where(
                DigitalTwin.id.not_in(select(Attempt.digital_twin_id).where(Attempt.slot_id == other.slot_id))
            )
        ).first()
        moved = {"slot_id": other.slot_id, "ordinal": 9, "digital_twin_id": absent}
        session.execute(update(Attempt).where(Attempt.id == first.id).values(**moved))
    found = books()
    assert [problem for problem in found.problems if "has 1 attempts" in problem]
    assert [problem for problem in found.problems if "has 3 attempts" in problem]


def test_the_command_prints_both_sums_in_words_and_as_one_object(busy_hour, runner):
    answer = runner.invoke(args=["ledger"])
    assert answer.exit_code == 0
    assert "Slots: 60 due = 7 fired + 53 missed" in answer.stdout
    assert "0 missing, 0 surplus" in answer.stdout
    assert "Turns: 14 asked = 0 posted + 14 skipped + 0 failed + 0 waiting" in answer.stdout
    assert "14 wanted by fired slots, 14 expanded, 14 attempts; 0 posts" in answer.stdout
    lines = runner.invoke(args=["ledger", "--json", "--since", "2026-11-21T12:30:00"]).stdout.splitlines()
    assert len(lines) == 1
    row = json.loads(lines[0])
    assert (row["slots"], row["slots_due"], row["missing"], row["surplus_slots"]) == (
        {"missed": 30, "fired": 1}, 31, 0, [],
    )  # fmt: skip
    assert (row["adds_up"], row["problems"]) == (True, [])


def test_the_sums_of_the_rows_alone_are_the_same(busy_hour):
    with snapshot() as session:
        found = brief(session)
    assert (found.slots, found.sentence, found.problems) == (books().slots, books().sentence, ())


def test_the_ledger_costs_the_same_statements_however_much_there_is(app, busy_hour, study):
    from tests.web.looking import counted_queries

    with counted_queries() as few:
        books()
    for number in range(20):
        make_schedule(study, name=f"S{number}")
    claim(START + 70 * MINUTE)
    with counted_queries() as many:
        assert books().problems == ()
    assert len(few) == len(many) <= 12
