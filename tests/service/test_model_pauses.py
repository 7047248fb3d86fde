"""An experiment that is to pause when its provider answers with another model: once for each change."""

import threading
import time

import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import OperationalError

from pdsapp.attempts import calls
from pdsapp.attempts.gate import pass_gate
from pdsapp.database import transaction
from pdsapp.domain.reasons import AttemptState, CallState, ExperimentState, Reason, SlotKind
from pdsapp.models import (
    Attempt,
    AuditEvent,
    Experiment,
    ModelCall,
    ModelSeen,
    ProtocolChange,
    Schedule,
    Slot,
    utc_now,
)
from pdsapp.scheduling import slots
from pdsapp.services import cloning, lifecycle, model_changes, model_pauses, pauses, schedules
from pdsapp.services.editing import hold_experiment
from pdsapp.services.ledger import ledger
from tests import builders
from tests import model_server as fake
from tests.conftest import NOON, TEST_DATABASE_URL

from .pause_helpers import pause, resume
from .slot_helpers import MINUTE

pytestmark = pytest.mark.database


@pytest.fixture
def study(app):
    """A running experiment that pauses at another model."""
    return builders.make_experiment(pauses_at_model_change=True)


@pytest.fixture
def answer(session, settings, twin, model_server):
    """`answer("gpt-5", …)` asks the twin, whose endpoint answers under these names in turn; the attempts."""

    def ask(*names, fingerprint="fp_1"):
        found = []
        for name in names:
            reply = fake.text(model=name, system_fingerprint=fingerprint)
            model_server.default = lambda _, reply=reply: reply  # also to the request to rewrite it
            found.append(builders.ask_and_run(session, settings, twin))
        return found

    return ask


@pytest.fixture
def not_at_once(monkeypatch):
    """The worker that sees a change dies before it has paused for it."""
    monkeypatch.setattr(calls.model_pauses, "pause_at_once", lambda *_: None)


def state_of(session, study):
    session.rollback()
    row = session.get_one(Experiment, study.id, populate_existing=True)
    return row.state, row.paused_by, row.paused_reason


def pauses_of(session):
    session.rollback()
    return session.scalars(
        select(AuditEvent).where(AuditEvent.action == "pause").order_by(AuditEvent.id)
    ).all()


PAUSED = (ExperimentState.paused, "model change", "The provider answered with model gpt-5 instead of gpt-4.")
RUNNING = (ExperimentState.running, "", "")


def test_another_model_pauses_the_experiment_and_what_saw_it_is_published(session, study, answer):
    first, second = answer("gpt-4", "gpt-5")
    assert (first.state, second.state) == (AttemptState.posted, AttemptState.posted)
    assert state_of(session, study) == PAUSED
    (event,) = pauses_of(session)
    assert (event.actor, event.account_id, event.experiment_id) == ("model change", None, study.id)
    assert (event.before["state"], event.after["state"]) == ("running", "paused")
    assert (event.after["reason"], event.after["paused_by"]) == (PAUSED[2], PAUSED[1])
    assert ledger(session).adds_up


def test_the_first_answer_ever_and_the_same_again_pause_nothing(session, study, answer):
    answer("gpt-4", "gpt-4")
    assert state_of(session, study) == RUNNING and pauses_of(session) == []


def test_another_fingerprint_pauses_too(session, study, answer):
    answer("gpt-4", fingerprint="fp_1")
    answer("gpt-4", fingerprint="fp_2")
    reason = "The provider answered with fingerprint fp_2 instead of fp_1."
    assert state_of(session, study) == (ExperimentState.paused, "model change", reason)


def test_an_experiment_without_the_wish_goes_on(session, study, answer):
    with transaction() as writing:
        writing.execute(update(Experiment).values(pauses_at_model_change=False))
    answer("gpt-4", "gpt-5")
    lifecycle.keep_to_plan(utc_now())
    assert state_of(session, study) == RUNNING and pauses_of(session) == []


def test_what_was_answered_last_is_what_came_before_a_change(session, study, answer, write):
    with write() as writing:
        writing.get_one(Experiment, study.id).pauses_at_model_change = False
    for model in ("gpt-4", "gpt-5", "gpt-4", "gpt-6"):
        answer(model)
    seen = session.scalars(select(ModelSeen).order_by(ModelSeen.id.desc())).first()
    assert (seen.model_returned, seen.model_before) == ("gpt-6", "gpt-4")


def test_a_draft_is_not_paused_neither_then_nor_when_it_starts(
    session, settings, draft, draft_twin, model_server
):
    with transaction() as writing:
        writing.execute(update(Experiment).values(pauses_at_model_change=True))
    for name in ("gpt-4", "gpt-5"):
        model_server.default = lambda _, name=name: fake.text(model=name)
        assert builders.ask_and_run(session, settings, draft_twin).state == AttemptState.posted
    with transaction() as writing:
        row = writing.get_one(Experiment, draft.id)
        lifecycle.start(writing, row, settings, utc_now(), accepts_warnings=True)
    lifecycle.keep_to_plan(utc_now())
    assert state_of(session, draft) == RUNNING


def test_it_is_a_pause_like_a_persons_for_what_waits_what_is_asked_and_slots(
    session, settings, study, twin, token, answer
):
    now = utc_now()
    with transaction() as writing:
        row = writing.get_one(Experiment, study.id)
        wish = schedules.Wish("Minutely", row, cron="* * * * *", is_enabled=True)
        number = schedules.add_schedule(writing, wish, now).id
    answer("gpt-4")
    waiting = builders.add_attempt(builders.make_twin(study, "walt", token))
    with transaction() as writing:  # not yet, so that it waits when the change comes
        writing.get_one(Attempt, waiting).not_before = now + 9 * MINUTE
    answer("gpt-5")
    attempt = builders.load_attempt(session, waiting)
    assert (attempt.state, attempt.reason) == (AttemptState.cancelled, Reason.paused)
    assert f"by model change: {PAUSED[2]} It was still waiting then" in attempt.detail
    asked = builders.ask_and_run(session, settings, twin)
    assert (asked.state, asked.reason) == (AttemptState.skipped, Reason.paused)
    with transaction() as writing:
        slots.claim_due(writing, None, None, now + 2 * MINUTE, "test")
        found = writing.scalars(select(Slot).where(Slot.schedule_id == number)).all()
        assert {slot.kind for slot in found} == {SlotKind.paused}
        assert "by model change" in found[0].detail
        assert writing.get_one(Schedule, number).is_enabled
    assert ledger(session).adds_up
    assert session.scalars(select(ProtocolChange).where(ProtocolChange.part == "life")).all() == []


def test_after_resuming_the_same_models_pause_no_more_and_a_further_one_does(session, study, answer):
    answer("gpt-4", "gpt-5")
    assert resume(study)
    answer("gpt-5", "gpt-4", "gpt-5")
    lifecycle.keep_to_plan(utc_now())
    assert state_of(session, study) == RUNNING and len(pauses_of(session)) == 1
    answer("gpt-6")
    reason = "The provider answered with model gpt-6 instead of gpt-5."
    assert state_of(session, study) == (ExperimentState.paused, "model change", reason)
    assert len(pauses_of(session)) == 2


def test_what_comes_back_after_a_person_has_paused_leaves_that_pause_as_it_is(
    app, session, settings, study, twin, answer, model_server
):
    def pause_and_answer(_):
        with app.app_context():
            pause(study, "lunch")
        return fake.text(model="gpt-5")

    answer("gpt-4")
    model_server.default = pause_and_answer
    assert builders.ask_and_run(session, settings, twin).state == AttemptState.posted
    assert state_of(session, study) == (ExperimentState.paused, "command line", "lunch")
    assert resume(study)
    lifecycle.keep_to_plan(utc_now())
    assert state_of(session, study) == RUNNING


def test_a_scheduler_makes_up_for_a_worker_that_died_before_it_paused(session, study, answer, not_at_once):
    answer("gpt-4", "gpt-5")
    assert state_of(session, study) == RUNNING
    assert model_pauses.pause_what_is_due(utc_now()) == [study.identifier]
    assert state_of(session, study) == PAUSED
    assert model_pauses.pause_what_is_due(utc_now()) == []
    assert resume(study)
    assert model_pauses.pause_what_is_due(utc_now()) == []
    assert len(pauses_of(session)) == 1


def test_several_that_see_it_at_the_same_time_pause_once(app, session, settings, study, token, model_server):
    for number in range(8):
        builders.add_attempt(builders.make_twin(study, f"twin_{number}", token))
    model_server.default = lambda _: fake.text(model="gpt-4")
    builders.run_due(settings, limit=1)
    model_server.default = lambda _: fake.text(model="gpt-5").later(0.2)
    ended, failures = [], []

    def work():
        with app.app_context():
            try:
                ended.append(builders.run_due(settings, limit=3, at_once=3))
                model_pauses.pause_what_is_due(utc_now())
            except Exception as error:
                failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert failures == []
    states = {state for each in ended for state in each}
    assert states <= {AttemptState.posted, AttemptState.cancelled, AttemptState.skipped}
    assert state_of(session, study) == PAUSED
    assert len(pauses_of(session)) == 1
    assert ledger(session).adds_up


def test_answers_stored_together_are_not_each_others_before(study, write):
    def answered(minutes, model):
        at = NOON + minutes * MINUTE
        return ModelCall(
            experiment_id=study.id, endpoint="https://llm.example.org/v1", model_asked="small",
            state=CallState.answered, model_returned=model, system_fingerprint="fp_1",
            started_at=at, finished_at=at,
        )  # fmt: skip

    with write() as session:
        for group in ([answered(0, "gpt-4")], [answered(2, "gpt-5"), answered(1, "gpt-5")]):
            session.add_all(group)
            session.flush()
            *_, seen = model_changes.note_all(session, group)
    assert model_changes.difference(seen) == ("model", "gpt-4", "gpt-5")


def test_two_changes_at_once_are_one_pause(session, study, answer, not_at_once):
    answer("gpt-4", "gpt-5", "gpt-6")
    assert model_pauses.pause_what_is_due(utc_now()) == [study.identifier]
    assert resume(study)
    assert model_pauses.pause_what_is_due(utc_now()) == []
    (event,) = pauses_of(session)
    assert event.after["reason"] == "The provider answered with model gpt-6 instead of gpt-5."
    paused_at = session.scalars(select(ModelSeen.paused_at).where(ModelSeen.model_before.is_not(None))).all()
    assert len(paused_at) == 2 and None not in paused_at


def test_a_pause_that_fails_costs_the_attempt_nothing_and_is_made_up_for(session, study, answer, monkeypatch):
    def fail(*_args, **_options):
        raise OperationalError("SELECT", {}, Exception("canceling statement due to lock timeout"))

    answer("gpt-4")
    with monkeypatch.context() as patch:
        patch.setattr(pauses, "pause_experiment", fail)
        (attempt,) = answer("gpt-5")
    assert attempt.state == AttemptState.posted
    assert state_of(session, study) == RUNNING
    lifecycle.keep_to_plan(utc_now())
    assert state_of(session, study) == PAUSED


@pytest.mark.skipif(TEST_DATABASE_URL is None, reason="SQLite has one writer at a time: nobody passes beside")
@pytest.mark.parametrize("where", ["gate", "experiment"])
def test_a_worker_does_not_wait_long_for_somebody_who_stands_in_its_way(
    session, study, answer, app, monkeypatch, where
):
    monkeypatch.setattr(model_pauses, "WORKER_WAITS_SECONDS", 1)
    answer("gpt-4")
    is_in, may_go = threading.Event(), threading.Event()

    def stand():
        with app.app_context(), transaction() as writing:
            pass_gate(writing) if where == "gate" else hold_experiment(writing, study.id)
            is_in.set()
            may_go.wait(12)

    thread = threading.Thread(target=stand)
    thread.start()
    assert is_in.wait(10)
    (attempt,) = answer("gpt-5")
    assert thread.is_alive(), "it did not wait until the way was free"
    may_go.set()
    thread.join(30)
    assert attempt.state == AttemptState.posted
    assert state_of(session, study) == RUNNING
    lifecycle.keep_to_plan(utc_now())
    assert state_of(session, study) == PAUSED


@pytest.mark.skipif(TEST_DATABASE_URL is None, reason="SQLite has one writer at a time: nobody holds a row")
def test_one_that_somebody_holds_holds_up_neither_others_nor_the_scheduler(
    app, session, settings, token, model_server, not_at_once
):
    held, free = (builders.make_experiment(name, pauses_at_model_change=True) for name in ("Held", "Free"))
    twins = [builders.make_twin(each, f"twin_{each.name}", token) for each in (held, free)]
    for name in ("gpt-4", "gpt-5"):
        model_server.default = lambda _, name=name: fake.text(model=name)
        for each in twins:
            builders.ask_and_run(session, settings, each)
    began = time.monotonic()
    with transaction() as holding:
        hold_experiment(holding, held.id)
        assert model_pauses.pause_what_is_due(utc_now()) == [free.identifier]
        assert time.monotonic() - began < 10
    assert model_pauses.pause_what_is_due(utc_now()) == [held.identifier]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("x" * 200, f"model {'x' * 79}… instead of gpt-4."),
        ("a\u202eb", "model ab instead of gpt-4."),
        ("a" + "\u0301" * 90, "another model."),
    ],
    ids=["long", "turns direction", "heap of marks"],
)
def test_whatever_an_endpoint_calls_itself_it_pauses(session, study, answer, name, said):
    answer("gpt-4")
    (attempt,) = answer(name)
    assert attempt.state == AttemptState.posted
    state, by, reason = state_of(session, study)
    assert (state, by) == PAUSED[:2]
    assert reason == f"The provider answered with {said}"


def test_a_wish_that_was_taken_back_meanwhile_pauses_nothing(session, study, answer, not_at_once):
    answer("gpt-4", "gpt-5")
    with transaction() as writing:
        writing.execute(update(Experiment).values(pauses_at_model_change=False))
    assert model_pauses.pause_what_is_due(utc_now()) == []
    with transaction() as writing:
        writing.execute(update(Experiment).values(pauses_at_model_change=True))
    assert model_pauses.pause_what_is_due(utc_now()) == []


def test_a_copy_pauses_as_its_source_does(session, study):
    found = []
    for source in (study, builders.make_experiment("Plain")):
        with transaction() as writing:
            row = writing.get_one(Experiment, source.id)
            found += cloning.clone(writing, row, ["Again"], utc_now(), with_twins=True, with_schedules=True)
    assert [copy.pauses_at_model_change for copy in found] == [True, False]
