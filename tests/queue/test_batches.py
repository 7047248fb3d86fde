"""Batches in real workers: killed or stopped half way, what has ended stays, and the rest returns."""

import os
import re
import signal
import time
from datetime import timedelta

import pytest
from sqlalchemy import func, select

from pdsapp.attempts import claim
from pdsapp.domain.reasons import AttemptState, CallState
from pdsapp.models import Attempt, LostLease, ModelCall, Post, utc_now
from pdsapp.scheduling import queue
from pdsapp.services.ledger import ledger
from tests import builders
from tests.model_server import text

from .world import children_of, wait_for, worker

pytestmark = pytest.mark.queue
MANY, AT_ONCE = 48, 16
KIOSK = "The kiosk sold out of coffee before nine, and nobody minded the rain. "


def fitting(request, seconds):
    """A reply as long as was asked for, after some seconds."""
    length = int(re.search(r"about (\d+)</length>", request.messages[-1]["content"])[1])
    return text((KIOSK * 5)[: length - 1] + ".").later(seconds)


@pytest.fixture
def crowd(study, settings, model_server):
    """Due attempts of many twins in lane `now`, each of whose calls takes a moment; their ids."""
    model_server.default = lambda request: fitting(request, 0.4)
    token = builders.make_token(settings, model_server.base_url, "crowd")
    twins = [builders.make_twin(study, f"crowd_{number}", token=token) for number in range(MANY)]
    return [builders.add_attempt(twin) for twin in twins]


def posts(session):
    session.rollback()
    return session.scalar(select(func.count(Post.id)))


def states(session):
    session.rollback()
    rows = session.execute(select(Attempt.state, func.count()).group_by(Attempt.state))
    return {state: count for state, count in rows}


def half_way(session, connection):
    """Waits until some have ended and others are being written; what has ended, by id."""
    queue.wake(connection, "now", MANY)
    wait_for(lambda: posts(session) >= AT_ONCE and states(session).get(AttemptState.running), 40)
    return ended(session)


def ended(session):
    session.rollback()
    rows = session.execute(
        select(Attempt.id, Attempt.finished_at, Attempt.messages_sha256).where(
            Attempt.state == AttemptState.posted
        )
    )
    return {number: others for number, *others in rows}


def all_posted_once(session):
    rows = session.execute(select(Post.attempt_id, func.count()).group_by(Post.attempt_id)).all()
    assert len(rows) == MANY and {count for _, count in rows} == {1}
    assert ledger(session).problems == ()


def test_killed_half_way_what_ended_stays_and_the_rest_is_run_by_the_next(
    crowd, settings, session, connection, write
):
    with worker(settings, "now", PDS_AT_ONCE=str(AT_ONCE)) as first:
        before = half_way(session, connection)
        first.process.kill()
        for horse in children_of(first.pid):
            os.kill(horse, signal.SIGKILL)
        first.process.wait()
    time.sleep(0.5)
    left = states(session)
    assert left[AttemptState.running] <= AT_ONCE + AT_ONCE // 4
    expire(write)
    with worker(settings, "now", PDS_AT_ONCE=str(AT_ONCE)):
        queue.wake(connection, "now", MANY)
        wait_for(lambda: posts(session) == MANY, 60)
    after = ended(session)
    assert {number: after[number] for number in before} == before
    all_posted_once(session)
    lost = session.scalar(select(func.count(LostLease.id)))
    assert lost == left[AttemptState.running]
    assert session.scalar(select(func.sum(Attempt.strikes))) == lost
    most = session.scalar(
        select(func.count(ModelCall.id)).group_by(ModelCall.attempt_id).order_by(func.count().desc()).limit(1)
    )
    assert most <= 2  # the one that was lost, and the one of its next run


def expire(write):
    """As if 45 s had passed since the leases were renewed: the next who looks takes them back."""
    with write() as session:
        for attempt in session.scalars(select(Attempt).where(Attempt.state == AttemptState.running)):
            attempt.lease_until -= claim.LEASE + timedelta(seconds=1)
        session.flush()
        claim.reap(session, utc_now())


def test_stopped_half_way_nothing_is_a_strike_and_nothing_is_asked_twice_that_was_answered(
    crowd, settings, session, connection
):
    with worker(settings, "now", PDS_AT_ONCE=str(AT_ONCE)) as first:
        half_way(session, connection)
        code, seconds = first.stop()
    assert code == 0 and seconds < 4
    assert states(session).keys() == {AttemptState.posted, AttemptState.due}
    assert session.scalar(select(func.sum(Attempt.strikes))) == 0
    with worker(settings, "now", PDS_AT_ONCE=str(AT_ONCE)):
        queue.wake(connection, "now", MANY)
        wait_for(lambda: posts(session) == MANY, 60)
    all_posted_once(session)
    answered = select(func.count(ModelCall.id)).where(ModelCall.state == CallState.answered)
    assert session.scalar(answered) == MANY


def test_what_is_asked_now_does_not_wait_behind_a_batch(study, crowd, settings, session, connection, write):
    """Lane `now` has a worker of its own; the crowd waits in lane `default`."""
    with write() as writing:
        for attempt in writing.scalars(select(Attempt)):
            attempt.lane = "default"
    one = builders.make_twin(
        study, "asked_now", token=session.get_one(Attempt, crowd[0]).digital_twin.api_token
    )
    with worker(settings, "default", PDS_AT_ONCE="4"), worker(settings, "now"):
        queue.wake(connection, "default", MANY)
        wait_for(lambda: posts(session) >= 1, 40)
        attempt_id = builders.add_attempt(one)
        queue.wake(connection, "now")
        wait_for(lambda: session.scalar(select(Post.id).where(Post.attempt_id == attempt_id)), 20)
        assert posts(session) < MANY // 2
