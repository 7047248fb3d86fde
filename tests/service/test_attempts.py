"""One attempt end to end, against a real database and a real HTTP endpoint."""

from datetime import timedelta

import pytest

from pdsapp.attempts.replay import replay
from pdsapp.database import transaction
from pdsapp.domain.reasons import AttemptState, CallState, Reason, Trigger
from pdsapp.dt_service import DTService
from pdsapp.models import DigitalTwin, utc_now
from pdsapp.services import pauses, twins
from pdsapp.services.ledger import ledger
from tests import builders
from tests import model_server as fake
from tests.builders import SHORT_POST, ask_and_run

pytestmark = pytest.mark.database


def test_a_forced_twin_posts_what_the_model_wrote(session, settings, twin, model_server):
    model_server.default = lambda request: fake.text(SHORT_POST)
    attempt = ask_and_run(session, settings, twin)
    assert attempt.state == AttemptState.posted
    assert attempt.post.text == SHORT_POST[: len(attempt.post.text)]
    assert attempt.reason == Reason.forced
    assert attempt.digital_twin.last_post == attempt.post.created_at
    assert attempt.model == "fake-model"
    assert (attempt.prompt_tokens or 0) > 0
    assert not attempt.is_stand_in
    call = attempt.calls[0]
    assert (call.state, call.http_status, call.model_asked) == (CallState.answered, 200, "fake-model")
    assert model_server.calls[0].key == "sk-test-secret-0001"
    assert ledger(session).adds_up


def test_a_twin_that_just_posted_may_skip_and_says_why(session, settings, twin, model_server):
    with transaction() as writing:
        writing.get_one(DigitalTwin, twin.id).last_post = utc_now() - timedelta(minutes=30)
    states = [ask_and_run(session, settings, twin, forced=False, trigger=Trigger.cli) for _ in range(12)]
    skipped = [attempt for attempt in states if attempt.state == AttemptState.skipped]
    assert skipped, "twelve draws at 0.8 and none skipped"
    for attempt in skipped:
        assert attempt.draw < attempt.skip_probability
        assert attempt.reason in (Reason.recency, Reason.recency_and_share)
        assert "drew" in attempt.detail
        assert attempt.calls == []
        assert attempt.post is None


def test_the_feed_is_shown_oldest_first_with_own_posts_marked(session, settings, study, twin, model_server):
    walt = builders.make_person(study)
    for number in range(12):
        builders.make_post(walt, f"Post number {number}.", minutes=60 - number)
    attempt = ask_and_run(session, settings, twin)
    assert [item.position for item in attempt.context] == list(range(1, 11))
    user = model_server.calls[0].messages[1]["content"]
    assert "[1] @walt" in user
    assert user.index("Post number 2.") < user.index("Post number 11.")
    assert "Post number 1." not in user


def test_a_stored_attempt_replays_to_the_same(session, settings, twin):
    attempt = ask_and_run(session, settings, twin)
    again = replay(session, attempt, DTService())
    assert again.verdict == "same"
    assert {check.name for check in again.checks} >= {"verdict", "length band", "target length", "messages"}


def test_replay_says_why_it_cannot_when_another_service_decided(session, settings, twin):
    attempt = ask_and_run(session, settings, twin)

    class Other(DTService):
        pass

    again = replay(session, attempt, Other())
    assert again.verdict == "not reproducible"
    assert "was decided by pdsapp.dt_service:DTService" in again.causes[0]


def test_replay_finds_a_tampered_row(session, settings, twin):
    attempt = ask_and_run(session, settings, twin)
    attempt.draw = 0.123
    assert replay(session, attempt, DTService()).verdict == "different"


@pytest.mark.parametrize("forced", [False, True], ids=["respecting the rule", "forced"])
@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        pytest.param("pause", Reason.paused, id="experiment paused"),
        pytest.param("deactivate", Reason.inactive, id="twin inactive"),
        pytest.param("ban", Reason.banned, id="profile banned"),
    ],
)
def test_nothing_bypasses_a_pause_inactivity_or_a_ban(
    session, settings, twin, model_server, spoil, reason, forced
):
    with transaction() as writing:
        row = writing.get_one(DigitalTwin, twin.id)
        if spoil == "pause":
            pauses.pause_experiment(writing, row.experiment, utc_now())
        elif spoil == "deactivate":
            twins.set_twin_active(writing, row, False, utc_now())
        else:
            twins.set_banned(writing, row.user_profile, True, utc_now())
    attempt = ask_and_run(session, settings, twin, forced=forced)
    assert (attempt.state, attempt.reason) == (AttemptState.skipped, reason)
    assert model_server.calls == []


def test_an_error_in_a_custom_service_is_a_failure_with_its_name(session, settings, twin):
    class Broken(DTService):
        def build_messages(self, *args):
            raise ZeroDivisionError("secret sk-test-secret-0001")

    attempt_id = builders.add_attempt(twin)
    builders.run_due(settings, Broken())
    attempt = builders.load_attempt(session, attempt_id)
    assert (attempt.state, attempt.reason) == (AttemptState.failed, Reason.service_error)
    assert "ZeroDivisionError" in attempt.detail
    assert "sk-test" not in attempt.detail
