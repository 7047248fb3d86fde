"""What keeps single twins from posting: a paused token, deactivation, a ban; and pauses of very many."""

from datetime import timedelta

import pytest
from sqlalchemy import func, select

from pdsapp.attempts import cancel
from pdsapp.attempts.calls import pause_token as pause_by_endpoint
from pdsapp.database import transaction
from pdsapp.domain.reasons import AttemptState, Reason, TokenState, Trigger
from pdsapp.models import (
    ApiToken,
    Attempt,
    DigitalTwin,
    Experiment,
    utc_now,
)
from pdsapp.services import edits, lifecycle, pauses, twins
from tests import builders

from .pause_helpers import CANCELLED, While, ended, on, pause, resume, token_of

pytestmark = pytest.mark.database


def test_pausing_a_token_cancels_what_its_twins_wait_for(session, settings, twin, study):
    token = token_of(session, twin)
    without = builders.make_twin(study)
    ids = builders.add_attempt(twin), builders.add_attempt(without)
    assert on(ApiToken, token.id, pauses.pause_token, utc_now(), "new key soon").cancelled == 1
    assert [ended(session, key)[0] for key in ids] == [AttemptState.cancelled, AttemptState.due]
    assert f"Token “{token.name}” is paused since " in session.get_one(Attempt, ids[0]).detail
    later = builders.ask_and_run(session, settings, twin, trigger=Trigger.schedule)
    assert (later.state, later.reason) == (AttemptState.skipped, Reason.paused)
    assert on(ApiToken, token.id, pauses.resume_token, utc_now())
    assert builders.ask_and_run(session, settings, twin).state == AttemptState.posted


def test_what_a_token_is_writing_when_it_is_paused_is_published(session, settings, twin):
    token = token_of(session, twin)
    attempt_id = builders.add_attempt(twin)
    builders.run_due(settings, While(lambda: on(ApiToken, token.id, pauses.pause_token, utc_now())))
    assert ended(session, attempt_id)[0] == AttemptState.posted


def test_a_token_its_endpoint_paused_fails_what_asks_for_it(session, settings, twin):
    token = token_of(session, twin)
    waiting = builders.add_attempt(twin)
    with transaction() as writing:
        pause_by_endpoint(writing, token.id, "The key was refused.", utc_now())
    builders.run_due(settings)
    assert ended(session, waiting) == (AttemptState.failed, Reason.token_paused)
    session.expire_all()
    row = session.get_one(ApiToken, token.id)
    assert (row.state, row.paused_by, row.paused_reason) == (
        TokenState.paused, "endpoint", "The key was refused.",
    )  # fmt: skip


def test_deactivating_a_twin_cancels_what_waits_and_lets_it_finish_what_it_writes(session, settings, twin):
    running, waiting = builders.add_attempt(twin), builders.add_attempt(twin)
    off = lambda: on(DigitalTwin, twin.id, twins.set_twin_active, False, utc_now())  # noqa: E731
    builders.run_due(settings, While(off), at_once=1)
    assert ended(session, running)[0] == AttemptState.posted
    assert ended(session, waiting) == (AttemptState.cancelled, Reason.inactive)
    assert "The twin was deactivated on " in session.get_one(Attempt, waiting).detail


def test_deactivating_in_the_form_is_the_same(session, twin, write):
    waiting = builders.add_attempt(twin)
    with write() as writing:
        row = writing.get_one(DigitalTwin, twin.id)
        edits.change_twin(
            writing, row, 1, utc_now(), username="maya", display_name="", bio="",
            persona_version=row.persona_version, token=row.api_token, llm_url="", llm_model="",
            parameters="", tags="", is_active=False,
        )  # fmt: skip
    assert ended(session, waiting) == (AttemptState.cancelled, Reason.inactive)


def test_a_ban_refuses_what_is_being_written(session, settings, twin, write):
    def ban():
        with write() as writing:
            twins.set_banned(writing, writing.get_one(DigitalTwin, twin.id).user_profile, True, utc_now())

    attempt_id = builders.add_attempt(twin)
    builders.run_due(settings, While(ban))
    assert ended(session, attempt_id) == (AttemptState.cancelled, Reason.banned)


def test_an_experiment_archived_under_a_post_refuses_it(session, settings, twin, study):
    def archive():
        pause(study)
        on(Experiment, study.id, lifecycle.archive, utc_now())

    attempt_id = builders.add_attempt(twin)
    builders.run_due(settings, While(archive))
    assert ended(session, attempt_id) == (AttemptState.cancelled, Reason.experiment_over)
    assert session.get_one(Attempt, attempt_id).detail.startswith("The experiment is archived. ")


def test_an_hour_of_waiting_attempts_is_cancelled_at_once(session, twin):
    moment = utc_now() - timedelta(hours=1)
    with transaction() as writing:
        row = writing.get_one(DigitalTwin, twin.id)
        writing.add_all(
            Attempt(
                experiment_id=row.experiment_id, digital_twin_id=row.id, trigger=Trigger.api,
                created_at=moment, changed_at=moment, not_before=moment,
            )
            for _ in range(3_000)
        )  # fmt: skip
    with transaction() as writing:
        assert pauses.pause_everything(writing, utc_now()).cancelled == 3_000
    assert session.scalar(select(func.count()).where(Attempt.state == AttemptState.cancelled)) == 3_000


def test_what_is_too_much_for_one_transaction_is_cancelled_after_it(session, twin, study, monkeypatch):
    monkeypatch.setattr(cancel, "MOST_CANCELLED", 4)
    ids = [builders.add_attempt(twin) for _ in range(10)]
    effect = pause(study, "exam week")
    assert (effect.cancelled, effect.rest) == (10, 6)
    pauses.cancel_rest(study, effect, utc_now())
    assert {ended(session, key) for key in ids} == {CANCELLED}
    assert len({session.get_one(Attempt, key).detail for key in ids}) == 1


def test_what_was_left_over_is_not_cancelled_after_resuming(session, twin, study, monkeypatch):
    monkeypatch.setattr(cancel, "MOST_CANCELLED", 4)
    ids = [builders.add_attempt(twin) for _ in range(6)]
    effect = pause(study)
    resume(study)
    pauses.cancel_rest(study, effect, utc_now())
    assert [ended(session, key)[0] for key in ids[4:]] == [AttemptState.due] * 2
