"""Leases, strikes and second workers: an attempt is run once, whoever dies."""

import asyncio
import time
from datetime import timedelta

import pytest
from sqlalchemy import func, select, text, update
from sqlalchemy.exc import OperationalError

from pdsapp.attempts import claim
from pdsapp.attempts.batch import Batch
from pdsapp.attempts.run import run_attempt
from pdsapp.attempts.workshop import make_workshop
from pdsapp.database import transaction
from pdsapp.domain.reasons import AttemptStage, AttemptState, CallState, Reason, Trigger
from pdsapp.dt_service import DTService
from pdsapp.models import Attempt, DigitalTwin, LostLease, Post, utc_now
from pdsapp.services import twins
from pdsapp.services.ledger import ledger
from tests import builders
from tests import model_server as fake
from tests.builders import SHORT_POST
from tests.conftest import TEST_DATABASE_URL

pytestmark = pytest.mark.database


def test_a_request_id_asked_twice_is_one_attempt(session, twin):
    assert builders.add_attempt(twin, request_id="double-click") == builders.add_attempt(
        twin, request_id="double-click"
    )
    assert session.scalar(select(func.count(Attempt.id))) == 1


def test_one_twin_never_runs_twice_at_once(session, settings, twin, write):
    first, second = builders.add_attempt(twin), builders.add_attempt(twin)
    with write() as writing:
        leases = claim.claim(writing, "w1", utc_now(), 10)
    assert [lease.attempt_id for lease in leases] == [first]
    waiting = builders.load_attempt(session, second)
    assert waiting.state == AttemptState.due
    assert waiting.not_before > utc_now()


def test_a_scheduled_attempt_of_a_busy_twin_is_skipped(session, twin, write):
    builders.add_attempt(twin)
    second = builders.add_attempt(twin, trigger=Trigger.schedule)
    with write() as writing:
        claim.claim(writing, "w1", utc_now(), 10)
    assert builders.load_attempt(session, second).reason == Reason.twin_busy


def test_a_lost_worker_s_attempt_is_due_again_and_fails_at_the_third_strike(session, twin, write):
    attempt_id = builders.add_attempt(twin)
    for strike in (1, 2, 3):
        later = utc_now() + timedelta(minutes=strike)
        with write() as writing:
            assert len(claim.claim(writing, "w", later, 1)) == 1
        with write() as writing:
            assert claim.reap(writing, later + claim.LEASE + timedelta(seconds=1)) == 1
        attempt = builders.load_attempt(session, attempt_id)
        assert attempt.strikes == strike
    assert (attempt.state, attempt.reason) == (AttemptState.failed, Reason.worker_lost)


def test_each_lost_worker_is_written_down_with_where_it_was_lost(session, twin, write):
    attempt_id = builders.add_attempt(twin)
    began = utc_now()
    for strike in (1, 2, 3):
        later = began + timedelta(minutes=strike)
        with write() as writing:
            lease = claim.claim(writing, f"w{strike}", later, 1)[0]
            writing.get_one(Attempt, attempt_id).stage = AttemptStage.asking
        with write() as writing:
            claim.reap(writing, later + timedelta(seconds=50))
        row = session.scalars(select(LostLease).order_by(LostLease.id.desc())).first()
        assert (row.attempt_id, row.worker, row.stage) == (attempt_id, f"w{strike}", AttemptStage.asking)
        assert (row.lease_token, row.claimed_at, row.lease_until) == (lease.token, later, later + claim.LEASE)
        assert (row.taken_back_at, row.returned_at) == (later + timedelta(seconds=50), None)
        session.rollback()
    assert session.scalar(select(func.count(LostLease.id))) == 3


def test_a_worker_that_comes_back_too_late_is_refused_and_the_row_says_so(
    app, session, settings, twin, write, model_server
):
    attempt_id = builders.add_attempt(twin)
    later = utc_now() + timedelta(minutes=2)

    def taken_back_meanwhile(_request):
        with app.app_context(), write() as writing:
            assert claim.reap(writing, later) == 1
        return fake.text(SHORT_POST)

    model_server.default = taken_back_meanwhile
    with write() as writing:
        lease = claim.claim(writing, "frozen", utc_now(), 1)[0]
    shop = make_workshop(settings, DTService())

    async def run_late():
        async with shop.client:
            return await run_attempt(lease, shop)

    assert asyncio.run(run_late()) is None
    attempt = builders.load_attempt(session, attempt_id)
    row = session.scalars(select(LostLease)).one()
    assert (row.worker, row.taken_back_at) == ("frozen", later)
    assert row.returned_at is not None
    assert attempt.calls[0].state == CallState.lost
    assert "came back" in attempt.calls[0].detail and "refused" in attempt.calls[0].detail
    assert attempt.calls[0].reply is None
    assert (attempt.state, attempt.strikes) == (AttemptState.due, 1)
    assert session.scalar(select(func.count(Post.id))) == 0


def test_an_attempt_whose_workers_are_stopped_in_the_middle_of_every_call_says_that_it_lost_them(
    app, session, settings, twin, write, model_server
):
    """Its three calls are used up, but no reply was bad."""
    attempt_id = builders.add_attempt(twin)

    def given_back_meanwhile(_request):
        with app.app_context(), write() as writing:
            assert claim.give_back_all_of(writing, "w", utc_now()) == 1
        return fake.text(SHORT_POST)

    model_server.default = given_back_meanwhile
    for _ in range(4):
        with write() as writing:
            (lease,) = claim.claim(writing, "w", utc_now(), 1)
        state = builders.run_lease(settings, lease)
    attempt = builders.load_attempt(session, attempt_id)
    assert (state, attempt.reason, attempt.strikes) == (AttemptState.failed, Reason.worker_lost, 0)
    assert attempt.detail == (
        "All 3 model calls of this attempt were made by workers that died or were stopped before they could "
        "publish an answer."
    )
    assert [call.state for call in attempt.calls] == [CallState.lost] * 3


def test_a_lease_given_back_too_late_is_a_return_too(session, twin, write):
    attempt_id = builders.add_attempt(twin)
    with write() as writing:
        lease = claim.claim(writing, "frozen", utc_now(), 1)[0]
    with write() as writing:
        claim.reap(writing, utc_now() + timedelta(minutes=2))
    with write() as writing:
        claim.give_back(writing, lease, utc_now())
    assert session.scalars(select(LostLease.returned_at)).one() is not None
    assert builders.load_attempt(session, attempt_id).strikes == 1


def test_a_lease_that_was_never_taken_back_leaves_no_trace(session, settings, twin):
    builders.ask_and_run(session, settings, twin)
    assert session.scalar(select(func.count(LostLease.id))) == 0


def test_a_worker_that_lost_its_lease_changes_nothing(session, settings, twin, write, model_server):
    attempt_id = builders.add_attempt(twin)
    with write() as writing:
        stale = claim.claim(writing, "frozen", utc_now(), 1)[0]
    with write() as writing:
        claim.reap(writing, utc_now() + timedelta(minutes=2))
    shop = make_workshop(settings, DTService())
    assert asyncio.run(run_attempt(stale, shop)) is None
    attempt = builders.load_attempt(session, attempt_id)
    assert attempt.state == AttemptState.due
    assert session.scalar(select(func.count(Post.id))) == 0


def test_a_second_worker_reuses_the_stored_decision(session, settings, twin, write):
    attempt_id = builders.add_attempt(twin)

    class Killed(DTService):
        """Stands for a process that dies after the decision was committed."""

        name = DTService().name

        async def generate_original_post_content(self, brief, ask):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        builders.run_due(settings, Killed())
    before = builders.load_attempt(session, attempt_id)
    decided = (before.draw, before.decided_at, before.target_length, before.messages_sha256)
    assert before.decided_at is not None
    with write() as writing:
        claim.reap(writing, utc_now() + timedelta(minutes=1))
    builders.run_due(settings)
    after = builders.load_attempt(session, attempt_id)
    assert after.state == AttemptState.posted
    assert (after.draw, after.decided_at, after.target_length, after.messages_sha256) == decided


def test_custom_writing_that_never_ends_is_ended(session, settings, twin, monkeypatch):
    monkeypatch.setattr("pdsapp.attempts.run.WRITING_SECONDS", 0.2)

    class Endless(DTService):
        async def generate_original_post_content(self, brief, ask):
            await asyncio.sleep(60)

    attempt_id = builders.add_attempt(twin)
    builders.run_due(settings, Endless())
    assert builders.load_attempt(session, attempt_id).reason == Reason.deadline


def test_an_attempt_that_lost_a_worker_runs_apart(session, settings, study, twin, model_server):
    others = [builders.make_twin(study, f"other_{n}", twin.api_token) for n in range(3)]
    model_server.default = lambda request: fake.text(SHORT_POST).later(0.2)
    struck = builders.add_attempt(twin)
    with transaction() as writing:
        writing.get_one(Attempt, struck).strikes = 1
    for other in others:
        builders.add_attempt(other)
    builders.run_due(settings, at_once=4)
    times = {
        attempt.id: (attempt.claimed_at, attempt.finished_at) for attempt in session.scalars(select(Attempt))
    }
    alone = times.pop(struck)
    assert all(end <= alone[0] or begin >= alone[1] for begin, end in times.values())


def test_an_attempt_that_lost_a_worker_does_not_wait_behind_those_that_can_run_together(
    session, settings, study, twin, write
):
    others = [builders.make_twin(study, f"other_{n}", twin.api_token) for n in range(3)]
    for other in others[:2]:
        builders.add_attempt(other)
    struck = builders.add_attempt(others[2])
    with write() as writing:
        writing.get_one(Attempt, struck).strikes = 1
    builders.add_attempt(twin)
    with write() as writing:
        assert len(claim.claim(writing, "busy", utc_now(), 10, strikes=0)) == 3
    builders.add_attempt(builders.make_twin(study, "one_more", twin.api_token))
    with write() as writing:
        assert [lease.attempt_id for lease in claim.claim(writing, "free", utc_now(), 10)] == [struck]


def test_a_batch_that_is_told_to_stop_gives_back_without_a_strike(session, settings, twin, model_server):
    model_server.enqueue(fake.hang(20))
    attempt_id = builders.add_attempt(twin)
    shop = make_workshop(settings.model_copy(update={"stop_seconds": 0.2}), DTService())
    batch = Batch(shop, "stopping", None, 10, 4)

    async def stop_soon():
        drain = asyncio.create_task(batch.drain())
        await asyncio.sleep(0.8)
        batch.stop()
        await drain

    asyncio.run(stop_soon())
    attempt = builders.load_attempt(session, attempt_id)
    assert (attempt.state, attempt.strikes) == (AttemptState.due, 0)
    assert [call.state for call in attempt.calls] == [CallState.lost]


@pytest.mark.parametrize("when", ["before it is run again", "while it is written"])
def test_a_twin_that_is_banned_meanwhile_does_not_post(session, settings, twin, write, when):
    attempt_id = builders.add_attempt(twin)

    def ban():
        with write() as writing:
            twins.set_banned(writing, writing.get_one(DigitalTwin, twin.id).user_profile, True, utc_now())

    class Bans(DTService):
        name = DTService().name

        async def generate_original_post_content(self, brief, ask):
            draft = await super().generate_original_post_content(brief, ask)
            ban()
            if when == "before it is run again":
                raise KeyboardInterrupt
            return draft

    if when == "before it is run again":
        with pytest.raises(KeyboardInterrupt):
            builders.run_due(settings, Bans())
        with write() as writing:
            claim.reap(writing, utc_now() + timedelta(minutes=1))
        builders.run_due(settings)
    else:
        builders.run_due(settings, Bans())
    attempt = builders.load_attempt(session, attempt_id)
    expected = AttemptState.skipped if when == "before it is run again" else AttemptState.cancelled
    assert (attempt.state, attempt.reason) == (expected, Reason.banned)
    assert attempt.prompt_tokens  # what was paid for is counted, posted or not
    assert session.scalar(select(func.count(Post.id))) == 0
    assert ledger(session).adds_up


def test_a_database_that_fails_for_a_moment_costs_no_attempt_and_no_strike(session, settings, twin):
    attempt_id = builders.add_attempt(twin)

    class Locked(DTService):
        def create_original_post(self, *args):
            raise OperationalError("INSERT", {}, Exception("database is locked"))

    assert builders.run_due(settings, Locked()) == {}
    attempt = builders.load_attempt(session, attempt_id)
    assert (attempt.state, attempt.strikes) == (AttemptState.due, 0)
    assert attempt.not_before > utc_now()


@pytest.mark.skipif(TEST_DATABASE_URL is None, reason="on SQLite nobody ends a session; the supervisor kills")
def test_a_session_that_slept_in_the_final_transaction_costs_no_attempt(session, settings, twin):
    attempt_id = builders.add_attempt(twin)

    class Sleepy(DTService):
        def create_original_post(self, session, *args):
            session.execute(text("SET LOCAL idle_in_transaction_session_timeout = 100"))
            time.sleep(0.5)
            return super().create_original_post(session, *args)

    assert builders.run_due(settings, Sleepy()) == {}
    attempt = builders.load_attempt(session, attempt_id)
    assert (attempt.state, attempt.strikes) == (AttemptState.due, 0)
    assert session.scalar(select(func.count(Post.id))) == 0


def test_a_lease_is_renewed_while_the_model_writes(session, settings, twin, model_server, monkeypatch):
    monkeypatch.setattr(claim, "RENEW_SECONDS", 0.1)
    model_server.enqueue(fake.text(SHORT_POST).later(1.0))
    attempt_id = builders.add_attempt(twin)
    seen = []
    shop = make_workshop(settings, DTService())

    async def watch():
        drain = asyncio.create_task(Batch(shop, "renewing", None, 10, 4).drain())
        while not drain.done():
            await asyncio.sleep(0.2)
            seen.append(builders.load_attempt(session, attempt_id).lease_until)
        await drain

    asyncio.run(watch())
    leases = [until for until in seen if until is not None]
    assert len(set(leases)) >= 3
    assert leases == sorted(leases)
    assert builders.load_attempt(session, attempt_id).state == AttemptState.posted


def test_a_busy_twin_skips_what_is_scheduled_and_makes_wait_what_somebody_asked_for(
    session, settings, twin, write, model_server
):
    """With the overlap of slots allowed, it is the twin that keeps two attempts apart."""
    first, now = builders.add_attempt(twin), utc_now()
    with write() as writing:
        (lease,) = claim.claim(writing, "w1", now, 1, only={first})
    scheduled = builders.add_attempt(twin, trigger=Trigger.schedule)
    manual = builders.add_attempt(twin)
    builders.run_due(settings)
    skipped = builders.load_attempt(session, scheduled)
    assert (skipped.state, skipped.reason) == (AttemptState.skipped, Reason.twin_busy)
    waiting = builders.load_attempt(session, manual)
    assert waiting.state == AttemptState.due
    assert waiting.not_before > now
    with write() as writing:
        claim.give_back(writing, lease, utc_now())
    builders.run_due(settings)
    with write() as writing:
        writing.execute(update(Attempt).where(Attempt.id == manual).values(not_before=utc_now()))
    builders.run_due(settings)
    assert builders.load_attempt(session, manual).state == AttemptState.posted
    assert builders.load_attempt(session, first).state == AttemptState.posted
    assert ledger(session).adds_up
