"""The gate: what is decided, called or published lies wholly before or wholly after a stop."""

import threading
import time

import pytest
from sqlalchemy import func, select

from pdsapp.attempts import claim, create
from pdsapp.attempts.gate import close_gate, pass_gate
from pdsapp.database import transaction
from pdsapp.domain.reasons import AttemptState, Reason, Trigger
from pdsapp.dt_service import DTService
from pdsapp.errors import ReadOnly
from pdsapp.models import Attempt, DigitalTwin, Experiment, Installation, Post, utc_now
from pdsapp.services import lifecycle, pauses
from tests import builders
from tests.conftest import TEST_DATABASE_URL

pytestmark = pytest.mark.database
HELD_SECONDS = 0.5


@pytest.fixture
def beside(app):
    """`beside(act)` runs it in a thread of its own, within the application; joined at the end."""
    threads = []

    def run(act):
        def within():
            with app.app_context():
                act()

        threads.append(threading.Thread(target=within))
        threads[-1].start()
        return threads[-1]

    yield run
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()


def stop(study):
    with transaction() as session:
        pauses.stop_experiment(session, session.get_one(Experiment, study.id), utc_now())


def test_a_stop_is_answered_only_after_a_publication_under_way_is_there(
    session, settings, study, twin, beside
):
    is_publishing, at = threading.Event(), {}

    class PublishesSlowly(DTService):
        def create_original_post(self, *args):
            is_publishing.set()
            time.sleep(HELD_SECONDS)
            return super().create_original_post(*args)

    attempt_id = builders.add_attempt(twin)

    def click():
        assert is_publishing.wait(10)
        stop(study)
        at["answer"] = time.monotonic()

    thread = beside(click)
    builders.run_due(settings, PublishesSlowly())
    at["published"] = time.monotonic()
    thread.join(30)
    assert builders.load_attempt(session, attempt_id).state == AttemptState.posted
    assert session.scalar(select(func.count(Post.id))) == 1
    assert at["answer"] > at["published"] - HELD_SECONDS / 2  # it waited for the publication's commit


def test_what_would_publish_while_a_stop_commits_is_refused(session, settings, study, twin, beside):
    is_written, is_stopping = threading.Event(), threading.Event()

    class WaitsForTheStop(DTService):
        async def generate_original_post_content(self, brief, ask):
            draft = await super().generate_original_post_content(brief, ask)
            is_written.set()
            assert is_stopping.wait(10)
            return draft

    attempt_id = builders.add_attempt(twin)

    def click_slowly():
        assert is_written.wait(10)
        with transaction() as session:
            pauses.stop_experiment(session, session.get_one(Experiment, study.id), utc_now())
            is_stopping.set()
            time.sleep(HELD_SECONDS)

    beside(click_slowly)
    builders.run_due(settings, WaitsForTheStop())
    attempt = builders.load_attempt(session, attempt_id)
    assert (attempt.state, attempt.reason) == (AttemptState.cancelled, Reason.stopped)
    assert session.scalar(select(func.count(Post.id))) == 0


def test_an_attempt_being_claimed_as_the_stop_comes_is_stopped_or_cancelled(
    session, settings, study, twin, beside
):
    attempt_id = builders.add_attempt(twin)
    is_claimed = threading.Event()

    def claim_slowly():
        with transaction() as writing:
            assert len(claim.claim(writing, "slow", utc_now(), 1)) == 1
            is_claimed.set()
            time.sleep(HELD_SECONDS)

    beside(claim_slowly)
    assert is_claimed.wait(10)
    stop(study)
    attempt = builders.load_attempt(session, attempt_id)
    assert attempt.state == AttemptState.running  # it had been taken: the mark ends it
    assert attempt.stop_asked_at is not None


def test_an_attempt_that_comes_while_the_stop_commits_is_not_asked(session, settings, study, twin, beside):
    """On PostgreSQL the stop cannot see its row; the gate lets nobody ask it before the stop is there."""
    may_commit = threading.Event()

    def stop_slowly():
        with transaction() as writing:
            pauses.stop_experiment(writing, writing.get_one(Experiment, study.id), utc_now())
            may_commit.wait(HELD_SECONDS)

    thread = beside(stop_slowly)
    time.sleep(0.1)
    attempt_id = builders.add_attempt(twin)
    builders.run_due(settings)
    thread.join(30)
    attempt = builders.load_attempt(session, attempt_id)
    assert (attempt.state, attempt.reason) in {
        (AttemptState.skipped, Reason.paused), (AttemptState.cancelled, Reason.paused),
    }  # fmt: skip
    assert session.scalar(select(func.count(Post.id))) == 0


def test_an_attempt_asked_for_while_an_end_commits_is_refused_or_called_off(session, study, twin, beside):
    is_ending = threading.Event()

    def end_slowly():
        with transaction() as writing:
            lifecycle.end(writing, writing.get_one(Experiment, study.id), utc_now())
            is_ending.set()
            time.sleep(HELD_SECONDS)

    thread = beside(end_slowly)
    assert is_ending.wait(10)
    request = create.Request(Trigger.button, "web-beside-the-end", is_forced=True)
    with pytest.raises(ReadOnly, match="has ended"), transaction() as writing:
        create.add_for_twin(writing, writing.get_one(DigitalTwin, twin.id), request, utc_now())
    thread.join(30)
    assert session.scalar(select(func.count(Attempt.id))) == 0


@pytest.mark.skipif(TEST_DATABASE_URL is None, reason="SQLite has one writer at a time: nobody passes beside")
def test_many_pass_at_once_and_whoever_closes_waits_for_all(app, beside):
    passed, closed = [], []
    all_in = threading.Barrier(4)

    def work():
        with transaction() as session:
            pass_gate(session)
            all_in.wait(10)  # breaks if the three do not hold it together
            time.sleep(HELD_SECONDS)
            passed.append(time.monotonic())

    threads = [beside(work) for _ in range(3)]
    all_in.wait(10)
    with transaction() as session:
        assert isinstance(close_gate(session), Installation)
        closed.append(time.monotonic())
    for thread in threads:
        thread.join(10)
    assert len(passed) == 3 and closed[0] >= max(passed)


def test_renewing_and_stopping_many_at_once_never_wait_in_a_ring(settings, study, model_server, beside):
    """Both lock running attempts by id."""
    token = builders.make_token(settings, model_server.base_url)
    for _ in range(30):
        builders.add_attempt(builders.make_twin(study, token=token))
    with transaction() as writing:
        leases = claim.claim(writing, "many", utc_now(), 30)
    failures = []

    def renew_often():
        for _ in range(20):
            try:
                with transaction() as writing:
                    claim.renew(writing, leases[::-1], utc_now())
            except Exception as error:
                failures.append(error)

    def stop_often():
        for _ in range(10):
            with transaction() as writing:
                row = writing.get_one(Experiment, study.id)
                pauses.stop_experiment(writing, row, utc_now())
                pauses.resume_experiment(writing, row, utc_now())

    threads = [beside(renew_often), beside(stop_often), beside(renew_often)]
    for thread in threads:
        thread.join(60)
    assert failures == []
    with transaction() as session:
        assert session.scalar(select(func.count()).where(Attempt.stop_asked_at.is_not(None))) == 30
