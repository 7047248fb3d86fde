"""What goes wrong with one attempt, or with one endpoint, is nobody else's trouble."""

import asyncio

import pytest
from sqlalchemy import func, insert, select, update
from sqlalchemy.exc import OperationalError

from pdsapp.attempts import batch, calls, claim, finish
from pdsapp.attempts.workshop import make_workshop
from pdsapp.database import transaction
from pdsapp.domain.reasons import AttemptState, CallState, Reason
from pdsapp.dt_service import DTService
from pdsapp.models import Attempt, ModelCall, utc_now
from pdsapp.services.ledger import ledger
from tests import builders
from tests import model_server as fake
from tests.builders import SHORT_POST

pytestmark = pytest.mark.database
MANY = 16


@pytest.fixture
def several(study, token):
    """`several(3)`: so many twins."""
    return lambda count: [builders.make_twin(study, token=token) for _ in range(count)]


def states(session, ids):
    return [builders.load_attempt(session, attempt_id).state for attempt_id in ids]


def bring_forward():
    """What waits is due now."""
    with transaction() as session:
        session.execute(update(Attempt).where(Attempt.state == "due").values(not_before=utc_now()))


def test_an_attempt_that_cannot_be_run_gets_strikes_and_ends_while_the_others_post(
    session, settings, several, model_server, monkeypatch
):
    twins = several(4)
    bad, *good = [builders.add_attempt(twin) for twin in twins]
    original = batch.run_attempt

    async def run(lease, *others):
        if lease.attempt_id == bad:
            raise ValueError("a value that no column holds: secret")
        return await original(lease, *others)

    monkeypatch.setattr(batch, "run_attempt", run)
    builders.run_due(settings)
    assert states(session, good) == [AttemptState.posted] * 3
    waiting = builders.load_attempt(session, bad)
    assert (waiting.state, waiting.strikes) == (AttemptState.due, 1)
    assert waiting.waits_for == "ValueError while the attempt was run."
    for _ in range(2):
        bring_forward()
        builders.run_due(settings)
    ended = builders.load_attempt(session, bad)
    assert (ended.state, ended.reason, ended.strikes) == (AttemptState.failed, Reason.service_error, 3)
    assert ledger(session).adds_up


def test_an_attempt_ends_whatever_number_of_tokens_its_calls_are_said_to_have_taken(session, twin):
    attempt_id = builders.add_attempt(twin)
    row = {
        "attempt_id": attempt_id, "experiment_id": twin.experiment_id, "purpose": "attempt",
        "endpoint": "https://example.org/v1", "model_asked": "m", "state": "answered",
        "prompt_tokens": 2_000_000_000, "completion_tokens": 2_000_000_000, "started_at": utc_now(),
    }  # fmt: skip
    with transaction() as writing:
        writing.execute(insert(ModelCall), [row] * 3)
        attempt = writing.get_one(Attempt, attempt_id)
        attempt.messages_sha256 = "0" * 64
        finish.end(attempt, AttemptState.cancelled, Reason.stopped, utc_now(), "Stopped.")
    found = builders.load_attempt(session, attempt_id)
    assert (found.prompt_tokens, found.completion_tokens) == (finish.MOST, finish.MOST)


def test_those_that_lost_one_worker_run_with_their_like_and_one_that_lost_two_alone(
    session, settings, several, model_server
):
    model_server.default = lambda _: fake.text(SHORT_POST).later(0.3)
    strikes = [0, 0, 1, 1, 2]
    ids = [builders.add_attempt(twin) for twin in several(len(strikes))]
    with transaction() as writing:
        for attempt_id, count in zip(ids, strikes, strict=True):
            writing.get_one(Attempt, attempt_id).strikes = count
    builders.run_due(settings, at_once=8)
    spans = {
        number: (attempt.claimed_at, attempt.finished_at)
        for number, attempt in enumerate(session.scalars(select(Attempt).order_by(Attempt.id)))
    }

    def are_together(one, other):
        return spans[one][0] < spans[other][1] and spans[other][0] < spans[one][1]

    together = {(a, b) for a in spans for b in spans if a < b and are_together(a, b)}
    assert together == {(0, 1), (2, 3)}
    assert spans[4] < spans[2] < spans[0]


def test_what_waits_for_a_line_has_its_time_all_the_same(
    session, settings, several, model_server, monkeypatch
):
    """A quarter more than may call are held, and wait until the first have their slow answers."""
    monkeypatch.setattr(calls, "TOTAL_DEADLINE_SECONDS", 3.0)
    monkeypatch.setattr("pdsapp.attempts.run.WRITING_SECONDS", 4.0)
    model_server.default = lambda _: fake.text(SHORT_POST).later(2.0)
    ids = [builders.add_attempt(twin) for twin in several(MANY + MANY // 4)]
    builders.run_due(settings, at_once=MANY)
    assert states(session, ids) == [AttemptState.posted] * len(ids)


def test_a_wait_an_endpoint_asks_for_takes_nobody_s_place(session, settings, several, model_server):
    first, second = several(2)
    model_server.enqueue(fake.error(429, "slow down", retry_after="12"))
    waiting = builders.add_attempt(first)
    builders.run_due(settings, at_once=1)
    found = builders.load_attempt(session, waiting)
    assert found.state == AttemptState.due and "asks to wait 12 s" in found.waits_for
    assert 8 < (found.not_before - utc_now()).total_seconds() <= 12
    assert [call.state for call in found.calls] == ["failed"]
    served = builders.add_attempt(second)
    bring_forward()
    builders.run_due(settings, at_once=1)
    assert states(session, [waiting, served]) == [AttemptState.posted] * 2
    assert ledger(session).adds_up


def test_an_attempt_whose_calls_were_all_refused_ends_with_what_was_said(
    session, settings, twin, model_server
):
    model_server.default = lambda _: fake.error(429, "slow down", retry_after="12")
    attempt_id = builders.add_attempt(twin)
    for _ in range(3):
        builders.run_due(settings)
        bring_forward()
    found = builders.load_attempt(session, attempt_id)
    assert (found.state, found.reason, len(found.calls)) == (AttemptState.failed, Reason.rate_limited, 3)
    assert "slow down" in found.detail and "worker" not in found.detail


def test_a_batch_goes_on_while_a_slow_call_runs_until_somebody_else_waits(
    session, settings, several, model_server, monkeypatch
):
    """A lane is not kept waiting by one slow call, and keeps no import waiting."""
    monkeypatch.setattr(batch, "CLAIMING_SECONDS", 0.5)
    monkeypatch.setattr(batch, "LOOK_SECONDS", 0.0)
    slow, soon, late = several(3)
    model_server.default = lambda _: fake.text(SHORT_POST)
    model_server.enqueue(fake.text(SHORT_POST).later(6.0))
    first = builders.add_attempt(slow)
    shop = make_workshop(settings, DTService())
    running = batch.Batch(shop, "test", None, 10, 4)
    others = []
    running.others_wait = lambda: bool(others)
    found = []

    async def watch():
        drain = asyncio.create_task(running.drain())
        await asyncio.sleep(1.5)
        found.append(builders.add_attempt(soon))
        await asyncio.sleep(2.0)
        assert builders.load_attempt(session, found[0]).state == AttemptState.posted
        others.append("an import")
        await asyncio.sleep(1.0)
        found.append(builders.add_attempt(late))
        await drain

    asyncio.run(watch())
    assert states(session, [first, *found]) == [
        AttemptState.posted, AttemptState.posted, AttemptState.due,
    ]  # fmt: skip


def test_a_claim_that_fails_with_the_database_leaves_what_runs(
    session, settings, several, model_server, monkeypatch
):
    model_server.default = lambda _: fake.text(SHORT_POST).later(1.5)
    original, failures = claim.claim, []

    def claims(writing, *arguments, **options):
        running = writing.scalar(select(func.count(Attempt.id)).where(Attempt.state == "running"))
        if running and not failures:
            failures.append(running)
            raise OperationalError("claim", {}, Exception("database is locked"))
        return original(writing, *arguments, **options)

    monkeypatch.setattr(claim, "claim", claims)
    ids = [builders.add_attempt(twin) for twin in several(3)]
    builders.run_due(settings, at_once=8)
    assert failures == [3]
    assert states(session, ids) == [AttemptState.posted] * 3
    assert set(session.scalars(select(ModelCall.state))) == {CallState.answered}, "none was called off"
