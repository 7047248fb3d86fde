"""Limits of tokens, from attempts to the model server: two processes, rests, waiting and giving back."""

import threading
import time
from collections import Counter
from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import select, update

from pdsapp.attempts import permit_scripts as scripts
from pdsapp.attempts import permits, turns
from pdsapp.attempts.cancel import cancel_waiting
from pdsapp.attempts.replay import replay
from pdsapp.database import transaction
from pdsapp.domain.reasons import AttemptState, CallState, Reason, Trigger
from pdsapp.dt_service import load_service
from pdsapp.models import Attempt, DigitalTwin, Experiment, ModelCall, utc_now
from pdsapp.services.ledger import ledger
from pdsapp.services.reports import PERIODS
from pdsapp.services.reports_period import report
from tests import builders
from tests import model_server as fake
from tests.service import herd

pytestmark = pytest.mark.queue


@pytest.fixture
def counted(connection):
    """The server has counted for a while: limits are whole."""
    connection.set(scripts.MARKER, int(time.time() * 1000) - 600_000)
    return connection


@pytest.fixture
def impatient(monkeypatch):
    """Nobody waits in place."""
    monkeypatch.setattr(turns, "PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(turns, "REWRITE_PATIENCE_SECONDS", 0.0)


def bring_forward():
    """What waits is due now."""
    with transaction() as session:
        session.execute(update(Attempt).where(Attempt.state == "due").values(not_before=utc_now()))


def _empty_at(connection, server, calls):
    """Loses all that was counted once so many calls have come in, one at least of them under way."""
    if calls is not None:
        server.wait_for_calls(calls, 60)
        connection.flushdb()


@pytest.mark.parametrize("is_emptied", [False, True], ids=["", "the server is emptied meanwhile"])
def test_two_processes_with_three_calls_at_once_never_make_a_fourth(
    counted, app, settings, session, model_server, monkeypatch, is_emptied
):
    token = builders.make_token(settings, model_server.base_url, max_at_once=3)
    model_server.default = lambda _: fake.text(builders.SHORT_POST).later(0.25)
    study = builders.make_experiment()
    for _ in range(24):
        builders.add_attempt(builders.make_twin(study, token=token))
    monkeypatch.setenv("REDIS_URL", settings.redis_url.get_secret_value())
    emptying = threading.Thread(target=_empty_at, args=(counted, model_server, 8 if is_emptied else None))
    emptying.start()
    herd.run(settings, "drain", [["w1", "all"], ["w2", "all"]])
    emptying.join()
    session.rollback()
    states = session.scalars(select(Attempt.state)).all()
    assert states == [AttemptState.posted] * 24, "all were served"
    assert len(model_server.calls) == len(session.scalars(select(ModelCall.id)).all())
    assert model_server.max_at_once == 3, "and as many as are allowed were made at once"
    workers = set(session.scalars(select(Attempt.claimed_by)))
    assert workers == {"w1", "w2"}
    assert ledger(session).adds_up


def test_an_attempt_that_may_not_call_now_is_given_back_with_what_was_decided(
    counted, app, settings, session, model_server, impatient
):
    """It reads the feed when its turn has come; the rule and the draw have spoken."""
    token = builders.make_token(settings, model_server.base_url, max_per_minute=1)
    study = builders.make_experiment()
    first, second = (
        builders.add_attempt(builders.make_twin(study, token=token), forced=False) for _ in range(2)
    )
    builders.run_due(settings, at_once=1)
    assert builders.load_attempt(session, first).state == AttemptState.posted
    waiting = builders.load_attempt(session, second)
    assert (waiting.state, waiting.strikes, waiting.reason_class) == (
        AttemptState.due,
        0,
        waiting.reason_class,
    )
    assert waiting.not_before > utc_now() + timedelta(seconds=30)
    assert "its requests of this minute are used up" in waiting.waits_for and token.name in waiting.waits_for
    assert set(session.scalars(select(ModelCall.attempt_id))) == {first}, "no call was written down"
    decided = (waiting.decided_at, waiting.draw, waiting.would_post, waiting.target_length)
    assert waiting.would_post is True and waiting.draw >= waiting.skip_probability
    assert (waiting.context, waiting.messages_sha256, waiting.feed_read_at) == ([], "", None)
    assert ledger(session).adds_up
    builders.make_post(builders.make_person(study), "Said while it waited.", minutes=0)
    counted.delete(scripts.keys_of(str(token.uuid))["requests"])
    bring_forward()
    builders.run_due(settings)
    done = builders.load_attempt(session, second)
    assert (done.state, done.waits_for) == (AttemptState.posted, "")
    assert (done.decided_at, done.draw, done.would_post, done.target_length) == decided
    assert done.feed_read_at > done.decided_at
    assert "Said while it waited." in model_server.history[-1].json["messages"][-1]["content"]
    assert replay(session, done, load_service(settings)).verdict == "same"


def test_a_twin_whose_post_waits_is_not_drawn_again_by_a_schedule(
    counted, app, settings, session, model_server, impatient
):
    """It would be by a last post and a share without the one that waits. What a person asks for goes on."""
    token = builders.make_token(settings, model_server.base_url, max_per_minute=1)
    study = builders.make_experiment()
    builders.add_attempt(builders.make_twin(study, token=token))
    twin = builders.make_twin(study, token=token)
    waiting = builders.add_attempt(twin, forced=False, trigger=Trigger.schedule)
    builders.run_due(settings, at_once=1)
    assert builders.load_attempt(session, waiting).waits_for
    drawn_again = builders.add_attempt(twin, forced=False, trigger=Trigger.schedule)
    by_hand = builders.add_attempt(twin)
    builders.run_due(settings)
    skipped = builders.load_attempt(session, drawn_again)
    assert (skipped.state, skipped.reason) == (AttemptState.skipped, Reason.twin_busy)
    assert builders.load_attempt(session, by_hand).decided_at is not None
    assert builders.load_attempt(session, waiting).state == AttemptState.due


def test_stopping_what_waits_leaves_the_draws_as_they_fell(
    counted, app, settings, session, model_server, impatient, write
):
    """Silence is final at once. Were posts that have to wait undecided, a stop would leave mostly silence."""
    token = builders.make_token(settings, model_server.base_url, max_per_minute=1)
    study = builders.make_experiment()
    twins = [builders.make_twin(study, token=token) for _ in range(40)]
    with write() as own:  # by the default policy half of them stay silent
        own.execute(update(DigitalTwin).values(last_post=utc_now() - timedelta(minutes=130)))
    for twin in twins:
        builders.add_attempt(twin, forced=False)
    builders.run_due(settings, limit=80)
    found = _tenths(session, study)
    with write() as own:
        cancel_waiting(own, Attempt.experiment_id == study.id, Reason.paused, "Stopped.", utc_now())
    session.rollback()
    seen = session.execute(select(Attempt.would_post, Attempt.state)).all()
    assert Counter(state for _, state in seen)["cancelled"] > 5
    assert all(would_post is not None for would_post, _ in seen)
    silent = sum(not would_post for would_post, _ in seen)
    assert silent == sum(state == AttemptState.skipped for _, state in seen)
    assert found == (40, silent, pytest.approx(20)), "counted while they waited"
    assert _tenths(session, study) == found, "and when they were stopped"


def _tenths(session, study):
    """How many draws the dashboard counts, how many of them silent, and how many were expected to be."""
    session.rollback()
    study = session.get_one(Experiment, study.id)
    tenths = report(session, study, PERIODS["24h"], utc_now(), ZoneInfo("UTC")).tenths
    return tuple(sum(getattr(each, name) for each in tenths) for name in ("asked", "silent", "expected"))


def test_a_429_slows_its_token_for_everybody_and_nothing_else(
    counted, app, settings, session, model_server, impatient
):
    """Two tokens of one endpoint; the second run is another process as far as memory goes."""
    slow, other = (builders.make_token(settings, model_server.base_url) for _ in range(2))
    study = builders.make_experiment()
    model_server.enqueue(fake.error(429, "slow down", retry_after="600"))
    first = builders.ask_and_run(session, settings, builders.make_twin(study, token=slow))
    assert (first.state, first.strikes) == (AttemptState.due, 0)
    assert first.waits_for.startswith("The endpoint asks to wait 600 s.")
    assert first.not_before - utc_now() > timedelta(seconds=580)
    waiting, served = (builders.add_attempt(builders.make_twin(study, token=t)) for t in (slow, other))
    builders.run_due(settings)
    assert builders.load_attempt(session, served).state == AttemptState.posted
    found = builders.load_attempt(session, waiting)
    assert found.state == AttemptState.due and "asked for a rest" in found.waits_for
    assert timedelta(seconds=580) < found.not_before - utc_now() < timedelta(seconds=620)
    assert found.calls == []
    counted.delete(scripts.keys_of(str(slow.uuid))["state"])
    bring_forward()
    builders.run_due(settings)
    session.rollback()
    assert set(session.scalars(select(Attempt.state))) == {AttemptState.posted}


def test_nobody_waits_longer_than_an_hour_for_an_endpoint(
    counted, app, settings, session, model_server, impatient
):
    token = builders.make_token(settings, model_server.base_url)
    model_server.enqueue(fake.error(429, "slow down", retry_after="3601"))
    twin = builders.make_twin(builders.make_experiment(), token=token)
    ended = builders.ask_and_run(session, settings, twin)
    assert (ended.state, ended.reason) == (AttemptState.failed, "rate_limited")
    assert "asks to wait 3601 s, longer than any attempt waits" in ended.detail


def test_a_503_that_names_a_time_is_a_rest_too_and_one_without_is_none(
    counted, app, settings, session, model_server, impatient, monkeypatch
):
    monkeypatch.setattr("pdsapp.attempts.calls.BACK_OFF_SECONDS", (0.01, 0.01))
    token = builders.make_token(settings, model_server.base_url)
    study = builders.make_experiment()
    model_server.enqueue(fake.error(503), fake.text(builders.SHORT_POST))
    twin = builders.make_twin(study, token=token)
    assert builders.ask_and_run(session, settings, twin).state == AttemptState.posted
    model_server.enqueue(fake.error(503, retry_after="300"))
    builders.ask_and_run(session, settings, builders.make_twin(study, token=token))
    waiting = builders.ask_and_run(session, settings, builders.make_twin(study, token=token))
    assert waiting.state == AttemptState.due and "asked for a rest" in waiting.waits_for


def test_a_rewrite_that_may_not_be_asked_for_shortens_what_is_there(
    counted, app, settings, session, model_server, monkeypatch
):
    monkeypatch.setattr(turns, "REWRITE_PATIENCE_SECONDS", 0.0)
    token = builders.make_token(settings, model_server.base_url, max_per_minute=1)
    model_server.default = lambda _: fake.text("Trains are late. " * 300)
    attempt = builders.ask_and_run(
        session, settings, builders.make_twin(builders.make_experiment(), token=token)
    )
    assert attempt.state == AttemptState.posted and "rewrite_failed" in attempt.fit_flags
    assert [call.state for call in attempt.calls] == [CallState.answered]


def test_tokens_that_answers_took_are_counted(counted, app, settings, session, model_server, impatient):
    token = builders.make_token(settings, model_server.base_url, max_tokens_per_minute=2000)
    study = builders.make_experiment()
    usage = {"prompt_tokens": 1500, "completion_tokens": 490, "total_tokens": 1990}
    model_server.default = lambda _: fake.text(builders.SHORT_POST, usage=usage)
    builders.ask_and_run(session, settings, builders.make_twin(study, token=token))
    waiting = builders.ask_and_run(session, settings, builders.make_twin(study, token=token))
    assert waiting.state == AttemptState.due and "its tokens of this minute" in waiting.waits_for
    stored = counted.hgetall(scripts.keys_of(str(token.uuid))["tokens"])
    assert [int(value) for value in stored.values()] == [1990]


def test_a_stopped_attempt_does_not_go_on_waiting(counted, app, settings, session, model_server, impatient):
    token = builders.make_token(settings, model_server.base_url, max_at_once=1)
    counted.zadd(scripts.keys_of(str(token.uuid))["held"], {"x": int(time.time() * 1000) + 20_000})
    attempt_id = builders.add_attempt(builders.make_twin(builders.make_experiment(), token=token))
    take = permits.Permits.take

    async def stopped_meanwhile(*arguments, **more):
        with transaction() as own:
            own.execute(update(Attempt).where(Attempt.id == attempt_id).values(stop_asked_at=utc_now()))
        return await take(*arguments, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(permits.Permits, "take", stopped_meanwhile)
        builders.run_due(settings, limit=1)
    builders.run_due(settings)
    assert builders.load_attempt(session, attempt_id).state == AttemptState.cancelled
