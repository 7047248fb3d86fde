"""Trying a text: drafts by the model, recorded and published nowhere."""

import asyncio

import pytest
from sqlalchemy import func, select

from pdsapp.domain.policy import PostingPolicy
from pdsapp.domain.reasons import CallPurpose, CallState, Reason, TokenState
from pdsapp.dt_service import DTService
from pdsapp.errors import BadInput, DiskLow
from pdsapp.models import ApiToken, Attempt, DigitalTwin, ModelCall, Post, utc_now
from pdsapp.services import trials
from tests import builders
from tests.model_server import error, hang, text

pytestmark = pytest.mark.database
BANDS = [band.name for band in PostingPolicy().bands]
SHORT, LONG = "x" * 30 + ".", "Bread is dear again. " * 8


@pytest.fixture
def twin(app, settings, model_server):
    token = builders.make_token(settings, model_server.base_url)
    return builders.make_twin(builders.make_experiment(), "maya", token=token, persona="Old text.")


def is_for_the_first(request):
    """Whether the very short band is asked for, which aims at 49 characters."""
    return "49" in request.messages[1]["content"]


def attempt(twin, settings, *bands, service=None):
    service = service or DTService()
    return asyncio.run(trials.try_text(twin.id, "You are new.", bands, service, settings, utc_now, None))


def calls(session):
    session.rollback()
    session.expire_all()
    return session.scalars(select(ModelCall).order_by(ModelCall.id)).all()


def test_each_chosen_band_gets_a_draft_and_nothing_is_published(session, settings, twin, model_server):
    model_server.default = lambda request: text(SHORT if is_for_the_first(request) else LONG)
    found = attempt(twin, settings, BANDS[2], BANDS[0])
    assert [(t.target.band, t.problem) for t in found] == [(BANDS[0], ""), (BANDS[2], "")]
    assert found[0].text == SHORT and 140 <= len(found[1].text) < 200
    sent = [request.messages[1]["content"] for request in model_server.history]
    assert all("You are new." in each and "Old text." not in each for each in sent)
    assert session.scalar(select(func.count(Post.id))) == session.scalar(select(func.count(Attempt.id))) == 0
    assert session.get_one(DigitalTwin, twin.id).last_post is None


def test_every_call_is_recorded_as_a_trial(session, settings, twin, model_server):
    attempt(twin, settings, BANDS[1])
    for call in calls(session):
        assert (call.purpose, call.state, call.attempt_id) == (CallPurpose.trial, CallState.answered, None)
        assert (call.experiment_id, call.model_asked) == (twin.experiment_id, "fake-model")
        assert call.messages_sha256 and call.reply and call.finished_at
    assert len(calls(session)) == len(model_server.history) >= 1


def test_no_transaction_is_open_while_the_model_is_asked(app, settings, twin, model_server, write):
    def write_meanwhile(_request):
        with app.app_context(), write() as other:
            other.get_one(DigitalTwin, twin.id).llm_model = "changed meanwhile"
            seen.append(other.scalar(select(ModelCall.state)))
        return text(SHORT)

    seen = []
    model_server.default = write_meanwhile
    (trial,) = attempt(twin, settings, BANDS[0])
    assert (trial.text, seen) == (SHORT, [CallState.started])


def test_a_failure_is_said_and_spares_the_others(session, settings, twin, model_server):
    model_server.default = lambda request: (
        text(SHORT) if is_for_the_first(request) else error(500, "out of order")
    )
    good, bad = attempt(twin, settings, *BANDS[:2])
    assert good.text == SHORT and not bad.text and bad.problem
    assert sorted(call.state for call in calls(session)) == [CallState.answered, CallState.failed]


def test_a_refused_key_pauses_its_token(session, settings, twin, model_server):
    model_server.enqueue(error(401, "no such key"))
    (trial,) = attempt(twin, settings, BANDS[0])
    assert trial.problem and calls(session)[0].error == Reason.wrong_key
    assert session.get_one(ApiToken, twin.api_token_id).state == TokenState.paused
    with pytest.raises(BadInput, match="paused"):
        attempt(twin, settings, BANDS[0])
    assert len(calls(session)) == 1


def test_an_endpoint_that_hangs_is_left_and_its_call_is_not_left_open(
    session, settings, twin, model_server, monkeypatch
):
    monkeypatch.setattr(trials, "DEADLINE_SECONDS", 0.5)
    model_server.enqueue(hang())
    (trial,) = attempt(twin, settings, BANDS[0])
    assert trial.problem and not trial.text
    assert calls(session)[0].state in (CallState.failed, CallState.lost)


def test_posting_code_that_raises_is_named(settings, twin):
    class Broken(DTService):
        async def generate_original_post_content(self, brief, ask):
            raise KeyError("secret")

    (trial,) = attempt(twin, settings, BANDS[0], service=Broken())
    assert trial.problem.startswith("KeyError in ") and "secret" not in trial.problem


def test_nothing_is_asked_without_a_band_an_endpoint_or_room(session, settings, twin, model_server):
    for bands in ((), ("no such band",)):
        with pytest.raises(BadInput, match="Choose at least one length"):
            attempt(twin, settings, *bands)
    alone = builders.make_twin(builders.make_experiment("Alone"), "solo")
    with pytest.raises(BadInput):
        attempt(alone, settings, BANDS[0])
    with pytest.raises(DiskLow):
        attempt(twin, settings.model_copy(update={"min_free": 10**18}), BANDS[0])
    assert calls(session) == [] and model_server.history == []
