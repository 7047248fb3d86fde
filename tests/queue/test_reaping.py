"""Taking back what lost workers held: all of it, and nothing of those that live when the clock is set."""

from datetime import timedelta

import pytest
from sqlalchemy import update

from pdsapp.attempts import claim
from pdsapp.database import transaction
from pdsapp.domain.reasons import AttemptState
from pdsapp.dt_service import DTService
from pdsapp.models import Attempt, utc_now
from pdsapp.scheduling import scheduler as scheduling
from pdsapp.scheduling.scheduler import TwinScheduler
from tests import builders

pytestmark = pytest.mark.queue
HOUR = timedelta(hours=1)


class Clock:
    """A clock that can be set; it goes on by itself."""

    def __init__(self):
        self.offset = timedelta(0)

    def __call__(self):
        return utc_now() + self.offset


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def scheduler(study, connection, clock):
    return TwinScheduler(connection, DTService(), clock=clock, name="leader")


def take(clock, *attempt_ids):
    with transaction() as session:
        leases = claim.claim(session, "w1", clock(), 10, only=set(attempt_ids))
    assert len(leases) == len(attempt_ids)
    return leases


def test_a_clock_set_forward_costs_a_living_worker_nothing(study, session, scheduler, clock, monkeypatch):
    attempt_id = builders.add_attempt(builders.make_twin(study))
    leases = take(clock, attempt_id)
    clock.offset = HOUR
    scheduler.catch_up()
    found = builders.load_attempt(session, attempt_id)
    assert (found.state, found.strikes) == (AttemptState.running, 0)
    with transaction() as writing:
        assert claim.renew(writing, leases, clock()) == 1
    monkeypatch.setattr(scheduler, "_reaps_from", 0.0)  # the grace is over
    scheduler.catch_up()
    found = builders.load_attempt(session, attempt_id)
    assert (found.state, found.strikes) == (AttemptState.running, 0)


def test_who_stood_by_while_the_clock_was_set_back_and_forward_gives_living_workers_the_same_time(
    study, session, scheduler, connection, clock
):
    """Redis ends the leader's lock when the clock goes forward: another leads in that very moment."""
    other = TwinScheduler(connection, DTService(), name="other")
    assert other.acquire_lock()
    clock.offset = -HOUR
    scheduler.turn()
    attempt_id = builders.add_attempt(builders.make_twin(study))
    with transaction() as writing:
        writing.execute(update(Attempt).values(not_before=clock()))
    take(clock, attempt_id)
    clock.offset = timedelta(0)
    other.remove_lock()
    scheduler.turn()
    assert scheduler.is_leader
    found = builders.load_attempt(session, attempt_id)
    assert (found.state, found.strikes) == (AttemptState.running, 0)


def test_a_clock_set_forward_between_two_looks_at_it_costs_a_living_worker_nothing(
    study, session, connection
):
    """Waiting for the database lies between noticing a step and taking back."""
    attempt_id = builders.add_attempt(builders.make_twin(study))
    take(utc_now, attempt_id)
    looks = []

    def clock():
        looks.append(utc_now())
        return utc_now() + (HOUR if len(looks) > at_look else timedelta(0))

    for at_look in range(1, 12):
        looks.clear()
        TwinScheduler(connection, DTService(), clock=clock, name=f"leader {at_look}").catch_up()
        found = builders.load_attempt(session, attempt_id)
        assert (found.state, found.strikes) == (AttemptState.running, 0), f"set after look {at_look}"


def test_a_clock_set_forward_keeps_a_dead_worker_s_attempt_no_longer_than_the_grace(
    study, session, scheduler, clock, monkeypatch
):
    monkeypatch.setattr(scheduling, "STEP_GRACE_SECONDS", 0.0)
    attempt_id = builders.add_attempt(builders.make_twin(study))
    take(clock, attempt_id)
    clock.offset = HOUR
    scheduler.catch_up()
    found = builders.load_attempt(session, attempt_id)
    assert (found.state, found.strikes) == (AttemptState.due, 1)


def test_the_grace_outlasts_a_renewal_and_keeps_the_promise_of_75_seconds():
    assert claim.RENEW_SECONDS < scheduling.STEP_GRACE_SECONDS
    assert scheduling.STEP_GRACE_SECONDS + scheduling.CATCH_UP_SECONDS + claim.LEASE.total_seconds() <= 75


def test_more_attempts_than_one_transaction_takes_back_are_all_taken_back_in_one_turn(
    study, session, scheduler, monkeypatch
):
    monkeypatch.setattr(claim, "MOST_REAPED", 2)
    ids = [builders.add_attempt(builders.make_twin(study)) for _ in range(7)]
    take(utc_now, *ids)
    with transaction() as writing:
        writing.execute(update(Attempt).values(lease_until=utc_now() - HOUR))
    scheduler.catch_up()
    assert [builders.load_attempt(session, number).state for number in ids] == [AttemptState.due] * 7
