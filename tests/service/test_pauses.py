"""Pausing and resuming: what waits, what runs, what is asked for meanwhile, and what is written down."""

import pytest
from sqlalchemy import func, select, update

from pdsapp.attempts import claim
from pdsapp.database import transaction
from pdsapp.domain.reasons import AttemptState, ExperimentState, Reason, ReasonClass, TokenState
from pdsapp.errors import BadInput
from pdsapp.models import (
    ApiToken,
    AuditEvent,
    DigitalTwin,
    Experiment,
    Post,
    utc_now,
)
from pdsapp.services import accounts, edits, pauses, twins
from pdsapp.services.ledger import ledger
from tests import builders

from .pause_helpers import AT, CANCELLED, While, ended, on, pause, resume, stop, token_of
from .slot_helpers import MINUTE

pytestmark = pytest.mark.database


def test_a_pause_cancels_what_waits_and_says_who_when_and_why(session, twin, study, write):
    attempt_id = builders.add_attempt(twin)
    with write() as writing:
        ada = accounts.add_account(writing, "ada@example.org", "researcher", AT)
    at = utc_now()
    effect = pause(study, "exam week", at, account=ada)
    assert (effect.changed, effect.cancelled, effect.running) == (True, 1, 0)
    attempt = builders.load_attempt(session, attempt_id)
    assert (attempt.state, attempt.reason, attempt.reason_class) == (*CANCELLED, ReasonClass.operational)
    assert attempt.finished_at == attempt.changed_at == at
    assert attempt.detail.startswith("The experiment is paused since ")
    assert "CE" in attempt.detail  # CET or CEST: the experiment is in Rome
    assert "by ada@example.org: exam week. It was still waiting then and is not asked." in attempt.detail
    row = session.get_one(Experiment, study.id)
    assert (row.state, row.paused_at, row.paused_by, row.paused_reason, row.is_stopped) == (
        ExperimentState.paused, at, "ada@example.org", "exam week", False,
    )  # fmt: skip
    assert ledger(session).adds_up


def test_a_pause_lets_what_is_being_written_finish_and_be_published(session, settings, twin, study):
    attempt_id = builders.add_attempt(twin)
    effects = []
    builders.run_due(settings, While(lambda: effects.append(pause(study))))
    assert [(effect.cancelled, effect.running) for effect in effects] == [(0, 1)]
    assert ended(session, attempt_id)[0] == AttemptState.posted
    assert session.scalar(select(func.count(Post.id))) == 1


def test_what_comes_back_while_paused_is_cancelled_with_what_it_cost(session, settings, twin, study, write):
    attempt_id = builders.add_attempt(twin)

    def pause_and_die():
        pause(study)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        builders.run_due(settings, While(pause_and_die))
    with write() as writing:
        claim.reap(writing, utc_now() + MINUTE)
    builders.run_due(settings)
    attempt = builders.load_attempt(session, attempt_id)
    assert (attempt.state, attempt.reason) == CANCELLED
    assert attempt.prompt_tokens
    assert ledger(session).adds_up


def test_what_came_back_before_the_pause_is_cancelled_with_what_it_cost(
    session, settings, twin, study, write
):
    attempt_id = builders.add_attempt(twin)

    def die():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        builders.run_due(settings, While(die))
    with write() as writing:
        claim.reap(writing, utc_now() + MINUTE)
    assert pause(study).cancelled == 1
    attempt = builders.load_attempt(session, attempt_id)
    assert (attempt.state, attempt.reason) == CANCELLED
    assert attempt.prompt_tokens


def test_what_is_asked_for_while_paused_is_skipped(session, settings, twin, study):
    pause(study, "lunch")
    attempt = builders.ask_and_run(session, settings, twin)
    assert (attempt.state, attempt.reason) == (AttemptState.skipped, Reason.paused)
    assert "by command line: lunch. Twins are asked while it is running." in attempt.detail


def test_a_pause_of_one_experiment_leaves_the_others_alone(session, settings, twin, study, model_server):
    other = builders.make_twin(builders.make_experiment("Other"), token=token_of(session, twin))
    ids = builders.add_attempt(twin), builders.add_attempt(other)
    pause(study)
    builders.run_due(settings)
    assert [ended(session, key)[0] for key in ids] == [AttemptState.cancelled, AttemptState.posted]


def test_everything_and_one_experiment_are_paused_independently(session, settings, twin, study):
    waiting = builders.add_attempt(twin)
    pause(study, "lunch")
    with transaction() as writing:
        assert pauses.pause_everything(writing, utc_now(), "exam week").changed
    assert ended(session, waiting) == CANCELLED
    assert resume(study)
    attempt = builders.ask_and_run(session, settings, twin)
    assert (attempt.state, attempt.reason) == (AttemptState.skipped, Reason.paused)
    assert "Everything is paused since " in attempt.detail and ": exam week. " in attempt.detail
    with transaction() as writing:
        assert pauses.resume_everything(writing, utc_now())
    assert builders.ask_and_run(session, settings, twin).state == AttemptState.posted


@pytest.mark.parametrize("state", [ExperimentState.ended, ExperimentState.archived])
def test_what_is_over_is_neither_paused_nor_resumed(study, state):
    with transaction() as writing:
        writing.execute(update(Experiment).values(state=state))
    for act in (pause, stop, resume):
        with pytest.raises(BadInput, match="and stays so"):
            act(study)


def test_doing_it_twice_is_doing_it_once(session, twin, study):
    first = pause(study, "first")
    assert not pause(study, "second").changed
    assert session.get_one(Experiment, study.id).paused_reason == "first"
    assert stop(study).changed and not stop(study).changed
    assert resume(study) and not resume(study)
    assert first.changed
    query = select(AuditEvent.action).where(AuditEvent.object_type == "experiment").order_by(AuditEvent.id)
    assert session.scalars(query).all() == ["create", "pause", "stop", "resume"]


def test_every_pause_is_in_the_audit_trail_with_before_and_after(session, twin, study):
    builders.add_attempt(twin)
    pause(study, "lunch")
    resume(study)
    paused, resumed = session.scalars(select(AuditEvent).order_by(AuditEvent.id.desc()).limit(2)).all()[::-1]
    assert paused.before | {"reason": ""} == paused.before
    assert (paused.before["state"], paused.after["state"]) == ("running", "paused")
    assert (paused.after["reason"], paused.after["cancelled"], paused.after["running"]) == ("lunch", 1, 0)
    assert (resumed.before["reason"], resumed.after["state"]) == ("lunch", "running")


def test_only_administrators_pause_everything(write):
    with write() as writing:
        researcher = accounts.add_account(writing, "r@example.org", "researcher", AT)
        boss = accounts.add_account(writing, "a@example.org", "administrator", AT)
    for act in (pauses.pause_everything, pauses.stop_everything):
        with transaction() as writing, pytest.raises(BadInput, match="Only administrators"):
            act(writing, AT, account=researcher)
    with transaction() as writing:
        assert pauses.pause_everything(writing, AT, account=boss).changed
    with transaction() as writing, pytest.raises(BadInput, match="Only administrators"):
        pauses.resume_everything(writing, AT, account=researcher)


@pytest.mark.parametrize("inner", ["experiment", "twin"])
def test_a_pause_that_began_after_the_claim_hides_nothing_that_stood_before(
    session, settings, twin, study, inner
):
    """What runs finishes under a new pause, but only what was allowed to run."""
    if inner == "experiment":
        pause(study, "for a week", AT)
    attempt_id = builders.add_attempt(twin)
    with transaction() as writing:
        (lease,) = claim.claim(writing, "w1", utc_now(), 1)
    if inner == "twin":
        on(DigitalTwin, twin.id, twins.set_twin_active, False, utc_now())
    with transaction() as writing:
        pauses.pause_everything(writing, utc_now())
    builders.run_lease(settings, lease)
    reason = Reason.paused if inner == "experiment" else Reason.inactive
    assert ended(session, attempt_id) == (AttemptState.skipped, reason)


def test_an_archived_token_is_not_paused_back_into_the_list(session, settings, twin):
    token_id = token_of(session, twin).id
    on(ApiToken, token_id, edits.archive_token, utc_now())
    with pytest.raises(BadInput, match="is archived and asks nothing"):
        on(ApiToken, token_id, pauses.pause_token, utc_now())
    session.expire_all()
    assert session.get_one(ApiToken, token_id).state == TokenState.archived
