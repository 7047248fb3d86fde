"""Stopping: what is being written is not published, whoever stopped it, and not after resuming either."""

from datetime import timedelta

import pytest
from sqlalchemy import func, select, update

from pdsapp.attempts import claim
from pdsapp.database import transaction
from pdsapp.domain.reasons import ExperimentState
from pdsapp.dt_service import DTService
from pdsapp.models import (
    Attempt,
    Experiment,
    Installation,
    ModelCall,
    Post,
    utc_now,
)
from pdsapp.services import accounts, pauses
from tests import builders
from tests import model_server as fake

from .pause_helpers import AT, CANCELLED, STOPPED, While, ended, on, pause, resume, stop, token_of
from .slot_helpers import MINUTE

pytestmark = pytest.mark.database


def test_a_stop_publishes_nothing_and_keeps_the_text(session, settings, twin, study):
    attempt_id = builders.add_attempt(twin)
    effects = []
    builders.run_due(settings, While(lambda: effects.append(stop(study, "wrong prompt"))))
    assert effects[0].words == "0 waiting attempts were cancelled; 1 being written will not be published."
    attempt = builders.load_attempt(session, attempt_id)
    assert (attempt.state, attempt.reason) == STOPPED
    assert attempt.draft == fake.DEFAULT_TEXT
    assert attempt.detail.startswith("Stopped on ")
    assert attempt.detail.endswith("by command line: wrong prompt. What was written by then is kept as a "
                                   "draft and was not published.")  # fmt: skip
    assert attempt.prompt_tokens
    assert session.scalar(select(func.count(Post.id))) == 0
    assert session.get_one(Experiment, study.id).is_stopped


def test_resuming_does_not_let_a_stopped_attempt_publish(session, settings, twin, study):
    attempt_id = builders.add_attempt(twin)
    builders.run_due(settings, While(lambda: (stop(study), resume(study))))
    assert ended(session, attempt_id) == STOPPED
    row = session.get_one(Experiment, study.id)
    assert (row.state, row.is_stopped, row.paused_at) == (ExperimentState.running, False, None)


def test_no_rewrite_is_paid_for_after_a_stop(session, settings, twin, study, model_server):
    model_server.enqueue("Tiny.")

    class StopsBeforeTheRewrite(DTService):
        def clean(self, brief, raw):
            stop(study)
            return super().clean(brief, raw)

    attempt_id = builders.add_attempt(twin)
    with transaction() as writing:  # no band takes five characters
        writing.execute(update(Attempt).values(is_forced=True))
    builders.run_due(settings, StopsBeforeTheRewrite())
    attempt = builders.load_attempt(session, attempt_id)
    assert (attempt.state, attempt.reason, attempt.draft) == (*STOPPED, "Tiny.")
    assert (len(model_server.calls), session.scalar(select(func.count(ModelCall.id)))) == (1, 1)


def test_an_attempt_that_fails_after_a_stop_was_stopped(session, settings, twin, study, model_server):
    model_server.enqueue(fake.text("I'm sorry, but I can't help with that."))

    class StopsFirst(DTService):
        def clean(self, brief, raw):
            stop(study)
            return super().clean(brief, raw)

    attempt_id = builders.add_attempt(twin)
    builders.run_due(settings, StopsFirst())
    assert ended(session, attempt_id) == STOPPED
    assert "Writing it had failed as well: The model declined" in session.get_one(Attempt, attempt_id).detail


@pytest.mark.parametrize("is_resumed", [False, True], ids=["still stopped", "resumed since"])
def test_a_lost_worker_s_attempt_keeps_the_mark_and_its_text(
    session, settings, twin, study, write, is_resumed
):
    attempt_id = builders.add_attempt(twin)

    def stop_and_die():
        stop(study)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        builders.run_due(settings, While(stop_and_die))
    if is_resumed:
        resume(study)
    with write() as writing:
        claim.reap(writing, utc_now() + MINUTE)
    builders.run_due(settings)
    attempt = builders.load_attempt(session, attempt_id)
    assert (attempt.state, attempt.reason, attempt.draft) == (*STOPPED, fake.DEFAULT_TEXT)
    assert session.scalar(select(func.count(Post.id))) == 0


def test_stopping_everything_reaches_every_experiment(session, settings, twin, model_server):
    other = builders.make_twin(builders.make_experiment("Other"), token=token_of(session, twin))
    ids = [builders.add_attempt(twin), builders.add_attempt(other)]

    def stop_everything():
        with transaction() as writing:
            pauses.stop_everything(writing, utc_now(), "alarm")

    builders.run_due(settings, While(stop_everything))
    assert {ended(session, key) for key in ids} <= {STOPPED, CANCELLED}
    assert STOPPED in {ended(session, key) for key in ids}
    assert session.scalar(select(func.count(Post.id))) == 0
    assert session.get_one(Installation, 1).is_stopped


def test_a_stop_after_a_pause_is_the_stop_of_who_pressed_it_and_of_then(session, settings, twin, study):
    """The button in the line that tells of the pause asks for no reason."""
    with transaction() as writing:
        ada, bob = (
            accounts.add_account(writing, f"{name}@example.org", "researcher", AT) for name in ("ada", "bob")
        )
    held = []

    def pause_and_stop():
        held.append(pause(study, "exam week", AT, account=ada))
        on(Experiment, study.id, pauses.stop_experiment, AT + timedelta(days=3), account=bob)

    attempt_id = builders.add_attempt(twin)
    builders.run_due(settings, While(pause_and_stop))
    attempt = builders.load_attempt(session, attempt_id)
    assert attempt.detail.startswith("Stopped on Tue 24 Nov 2026, 13:00 CET by bob@example.org. ")
    assert attempt.stop_asked_at == AT + timedelta(days=3)
    row = session.get_one(Experiment, study.id)
    assert (row.paused_at, row.stopped_at) == (AT, AT + timedelta(days=3))
    words = pauses.words_of(row, "UTC", "This experiment is stopped")
    assert words == "This experiment is stopped since Tue 24 Nov 2026, 12:00 UTC by bob@example.org."
    assert resume(study)
    session.expire_all()
    assert not session.get_one(Experiment, study.id).is_stopped


def test_a_stop_that_comes_again_changes_nothing_of_the_first(session, study):
    stop(study, "wrong prompt")
    before = session.get_one(Experiment, study.id)
    seen = (before.stopped_at, before.paused_by, before.paused_reason)
    assert not stop(study, "another word").changed
    session.expire_all()
    after = session.get_one(Experiment, study.id)
    assert (after.stopped_at, after.paused_by, after.paused_reason) == seen


@pytest.mark.parametrize("scope", ["experiment", "everything"])
def test_what_is_asked_for_after_a_stop_is_told_of_a_stop(session, settings, twin, study, scope):
    if scope == "experiment":
        stop(study, "wrong prompt")
    else:
        with transaction() as writing:
            pauses.stop_everything(writing, utc_now(), "wrong prompt")
    attempt_id = builders.add_attempt(twin)
    builders.run_due(settings)
    detail = builders.load_attempt(session, attempt_id).detail
    what = "The experiment" if scope == "experiment" else "Everything"
    assert detail.startswith(f"{what} is stopped since ")
