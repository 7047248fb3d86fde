"""An end date and ending by hand: what stops, what is told, and that the ledger adds up."""

from datetime import date, timedelta

import pytest
from sqlalchemy import func, select

from pdsapp.domain.reasons import Reason, SlotKind
from pdsapp.dt_service import DTService
from pdsapp.errors import BadInput
from pdsapp.models import (
    Attempt,
    AuditEvent,
    DigitalTwin,
    Experiment,
    Post,
    ProtocolChange,
    Slot,
    utc_now,
)
from pdsapp.services import edits, lifecycle, pauses
from pdsapp.services.ledger import ledger
from tests import builders
from tests.conftest import NOON

from .pause_helpers import While
from .slot_helpers import MINUTE, START, claim, finish_attempts, make_schedule, rows_of
from .states import DRAFT, END, ENDED, RUNNING, end, load, plan_end, start


@pytest.fixture
def study(token):
    """A running experiment that ends with 21 November in Rome: at 23:00 UTC."""
    study = builders.make_experiment("Study")
    builders.make_twin(study, "ada", token)
    return study


def test_a_last_day_is_the_midnight_after_it_in_the_zone(session, write, study):
    with write() as writing:
        found = writing.get_one(Experiment, study.id)
        edits.change_experiment(
            writing, found, found.edit_version, NOON,
            name="Study", description="", zone="Europe/Rome", last_day=date(2026, 11, 21),
            reason="as planned",
        )  # fmt: skip
    assert load(session, study).ends_at == END


def test_a_last_day_that_is_over_is_refused_at_its_field(write, study):
    with pytest.raises(BadInput, match="20 Nov 2026 is over in Europe/Rome") as caught, write() as writing:
        found = writing.get_one(Experiment, study.id)
        edits.change_experiment(
            writing, found, found.edit_version, NOON,
            name="Study", description="", zone="Europe/Rome", last_day=date(2026, 11, 20),
        )  # fmt: skip
    assert caught.value.field == "last_day"


def test_before_its_end_date_nothing_ends(session, write, study):
    plan_end(write, study)
    assert lifecycle.end_what_is_over(END - timedelta(seconds=1)) == []
    assert load(session, study).state == RUNNING


def test_one_that_cannot_be_ended_keeps_no_other_from_it(session, write, study, monkeypatch):
    other = builders.make_experiment()
    for each in (study, other):
        plan_end(write, each)
    original = lifecycle.end

    def end(writing, experiment, *arguments, **options):
        if experiment.id == study.id:
            raise ValueError("something is wrong with it")
        return original(writing, experiment, *arguments, **options)

    monkeypatch.setattr(lifecycle, "end", end)
    assert lifecycle.end_what_is_over(END) == [other.identifier]
    assert load(session, study).state == RUNNING
    monkeypatch.undo()
    assert lifecycle.end_what_is_over(END) == [study.identifier]


@pytest.mark.parametrize("late", [timedelta(0), timedelta(days=3)], ids=["on time", "after three days off"])
def test_the_end_date_ends_it_however_late_that_is_noticed(session, write, study, late):
    schedule = make_schedule(study, now=END - 10 * MINUTE)
    plan_end(write, study)
    claim(END - 2 * MINUTE)
    finish_attempts()
    assert lifecycle.end_what_is_over(END + late) == [study.identifier]
    found = load(session, study)
    assert (found.state, found.ended_at) == (ENDED, END)
    assert not load(session, schedule).is_enabled
    last = max(row.covers_until or row.slot_at for row in session.scalars(select(Slot)))
    assert last == END - MINUTE, "what was due before the end is told, nothing behind it is"
    claim(END + late + MINUTE)
    books = ledger(session, found, now=END + late + MINUTE)
    assert books.problems == ()
    event = session.scalars(select(AuditEvent).where(AuditEvent.action == "end")).one()
    assert event.actor == "system"
    assert (
        session.scalars(select(ProtocolChange.made_by).where(ProtocolChange.part == "life")).one() == "system"
    )


def test_no_slot_behind_the_end_date_fires_even_before_anybody_ends_it(session, write, study):
    schedule = make_schedule(study, now=END - 2 * MINUTE)
    plan_end(write, study)
    claim(END + 5 * MINUTE)
    assert {row[0] for row in rows_of(session, schedule)} == {"missed"}
    assert max(slot.covers_until or slot.slot_at for slot in session.scalars(select(Slot))) < END
    lifecycle.end_what_is_over(END + 5 * MINUTE)
    assert ledger(session, load(session, study), now=END + 5 * MINUTE).problems == ()


def test_a_slot_that_was_claimed_behind_the_end_date_still_adds_up(session, write, study):
    schedule = make_schedule(study, now=END - 2 * MINUTE)
    claim(END + MINUTE)
    finish_attempts()
    plan_end(write, study)
    lifecycle.end_what_is_over(END + 2 * MINUTE)
    assert SlotKind.fired in {row[0] for row in rows_of(session, schedule)}
    assert ledger(session, load(session, study), now=END + 2 * MINUTE).problems == ()


def test_a_paused_study_ends_on_its_day_too(session, write, study):
    schedule = make_schedule(study, now=END - 3 * MINUTE)
    plan_end(write, study)
    with write() as writing:
        pauses.pause_experiment(writing, writing.get_one(Experiment, study.id), END - 3 * MINUTE)
    lifecycle.end_what_is_over(END + MINUTE)
    found = load(session, study)
    assert (found.state, found.paused_at) == (ENDED, None)
    assert {row[0] for row in rows_of(session, schedule)} == {"paused"}
    assert ledger(session, found, now=END + MINUTE).problems == ()


def test_a_draft_has_no_end_date_to_keep_yet(session, write, draft, draft_twin):
    make_schedule(draft)
    plan_end(write, draft, NOON)
    claim(START + MINUTE)
    assert lifecycle.end_what_is_over(START + MINUTE) == []
    assert load(session, draft).state == DRAFT
    assert session.scalars(select(Slot.kind)).one() == SlotKind.fired


def test_ending_cancels_what_waits_and_says_when_it_ended(session, write, settings, study):
    twin = session.scalars(select(DigitalTwin)).one()
    waiting = builders.add_attempt(twin)
    effect = end(write, study)
    attempt = builders.load_attempt(session, waiting)
    assert (effect.cancelled, attempt.state, attempt.reason) == (1, "cancelled", Reason.experiment_over)
    assert attempt.detail.startswith("The experiment ended on ")
    assert ledger(session, study).problems == ()


def test_what_is_being_written_when_it_ends_is_not_published(session, write, settings, study):
    twin = session.scalars(select(DigitalTwin)).one()
    attempt_id = builders.add_attempt(twin)
    builders.run_due(settings, While(lambda: end(write, study)))
    attempt = builders.load_attempt(session, attempt_id)
    assert (attempt.state, attempt.reason) == ("cancelled", Reason.experiment_over)
    assert session.scalar(select(func.count(Post.id))) == 0


def test_no_rewrite_is_paid_for_once_it_has_ended(session, write, settings, study, model_server):
    class EndsBeforeTheRewrite(DTService):
        def clean(self, brief, raw):
            end(write, study)
            return super().clean(brief, raw)

    model_server.enqueue("Tiny.")
    attempt_id = builders.add_attempt(session.scalars(select(DigitalTwin)).one())
    builders.run_due(settings, EndsBeforeTheRewrite())
    attempt = builders.load_attempt(session, attempt_id)
    assert (attempt.state, attempt.reason) == ("cancelled", Reason.experiment_over)
    assert (attempt.draft, len(model_server.history)) == ("Tiny.", 1)


def test_what_waited_over_the_end_date_is_not_asked_even_if_nobody_has_ended_it(
    session, write, settings, study
):
    twin = session.scalars(select(DigitalTwin)).one()
    waiting = builders.add_attempt(twin)
    plan_end(write, study, utc_now() - timedelta(minutes=1))
    builders.run_due(settings)
    attempt = builders.load_attempt(session, waiting)
    assert (attempt.state, attempt.reason) == ("cancelled", Reason.experiment_over)


def test_a_reason_for_ending_by_hand_may_be_left_out(session, write, study):
    with write() as writing:
        lifecycle.end(writing, writing.get_one(Experiment, study.id), utc_now())
    change = session.scalars(select(ProtocolChange)).one()
    assert (change.summary, change.reason, change.state) == ("Ended by hand", "", ENDED)


def test_the_ledger_adds_up_across_draft_start_and_end(session, write, settings, draft, draft_twin):
    make_schedule(draft)
    for minute in (1, 2):
        claim(START + minute * MINUTE)
        finish_attempts()
    start(write, settings, draft, now=START + 2 * MINUTE)
    for minute in (3, 4):
        claim(START + minute * MINUTE)
        finish_attempts()
    end(write, draft, START + 5 * MINUTE)
    now = START + 20 * MINUTE
    claim(now)
    books = ledger(session, load(session, draft), now=now)
    assert (books.problems, books.slots) == ((), {"fired": 4, "missed": 1})
    assert [a.is_rehearsal for a in session.scalars(select(Attempt).order_by(Attempt.id))] == [
        True, True, False, False,
    ]  # fmt: skip
