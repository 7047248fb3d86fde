"""A clock that was ahead and is set back: nothing waits until the time it showed."""

from datetime import timedelta

import pytest
from sqlalchemy import func, select

from pdsapp.attempts import claim, clock_steps
from pdsapp.domain.reasons import AttemptState, Trigger
from pdsapp.models import Attempt, utc_now
from tests import builders

pytestmark = pytest.mark.database
HOUR = timedelta(hours=1)


def test_after_the_clock_was_set_back_a_dead_workers_lease_ends_soon(session, twin, write):
    """Without that, nobody takes its attempt back until the clock has caught up."""
    attempt_id = builders.add_attempt(twin)
    ahead, now = utc_now() + timedelta(hours=1), utc_now()
    with write() as writing:
        claim.claim(writing, "w1", ahead, 1, only={attempt_id})
    with write() as writing:
        assert claim.reap(writing, now) == 0
    attempt = builders.load_attempt(session, attempt_id)
    assert (attempt.lease_until, attempt.strikes) == (now + claim.LEASE, 0)
    with write() as writing:
        assert claim.reap(writing, now + claim.LEASE + timedelta(seconds=1)) == 1
    attempt = builders.load_attempt(session, attempt_id)
    assert (attempt.state, attempt.strikes) == (AttemptState.due, 1)


def test_a_lease_as_long_as_a_worker_takes_it_is_left_alone(session, twin, write):
    attempt_id, now = builders.add_attempt(twin), utc_now()
    with write() as writing:
        claim.claim(writing, "w1", now + timedelta(seconds=10), 1, only={attempt_id})
        claim.reap(writing, now)
    assert builders.load_attempt(session, attempt_id).lease_until == now + timedelta(seconds=10) + claim.LEASE


@pytest.mark.parametrize("delay", [None, 600.0], ids=["without a delay", "after the delay drawn for it"])
def test_an_attempt_added_before_the_clock_was_set_back_does_not_wait_for_the_old_time(
    session, twin, write, delay
):
    attempt_id, now = builders.add_attempt(twin), utc_now()
    ahead = now + timedelta(hours=1)
    with write() as writing:
        attempt = writing.get_one(Attempt, attempt_id)
        attempt.created_at = attempt.changed_at = ahead
        attempt.delay_seconds = delay
        attempt.not_before = ahead + timedelta(seconds=delay or 0)
    for seconds in (0, 5):
        with write() as writing:
            claim.reap(writing, now + timedelta(seconds=seconds))
    assert builders.load_attempt(session, attempt_id).not_before == now + timedelta(seconds=delay or 0)


def test_a_wait_that_no_clock_explains_is_kept(session, twin, write):
    attempt_id, now = builders.add_attempt(twin), utc_now()
    with write() as writing:
        writing.get_one(Attempt, attempt_id).not_before = now + timedelta(hours=2)
        claim.reap(writing, now)
    assert builders.load_attempt(session, attempt_id).not_before == now + timedelta(hours=2)


@pytest.mark.parametrize("how", ["taken back", "given back", "made to wait"])
def test_what_came_back_to_due_while_the_clock_was_ahead_is_due_again(session, twin, write, how):
    """It was added while the clock was right: only its latest change lies in the future."""
    attempt_id = builders.add_attempt(twin)
    now = builders.load_attempt(session, attempt_id).created_at
    ahead = now + HOUR
    if how == "taken back":
        with write() as writing:
            claim.claim(writing, "w1", now, 1)
        with write() as writing:
            assert claim.reap(writing, ahead) == 1
    elif how == "given back":
        with write() as writing:
            (lease,) = claim.claim(writing, "w1", ahead, 1)
            claim.give_back(writing, lease, ahead)
    else:
        other = builders.add_attempt(twin)
        with write() as writing:
            assert len(claim.claim(writing, "w1", ahead, 1, only={other})) == 1
        with write() as writing:
            assert claim.claim(writing, "w2", ahead, 1, only={attempt_id}) == []
    back = now + timedelta(minutes=2)
    with write() as writing:
        claim.reap(writing, back)
    attempt = builders.load_attempt(session, attempt_id)
    assert (attempt.state, attempt.not_before) == (AttemptState.due, back)


def test_many_that_wait_for_their_delay_do_not_keep_others_from_being_mended(session, study, twin, write):
    """As many as one round takes are mended, and are not looked at again."""
    future = utc_now() + HOUR
    with write() as writing:
        for _ in range(45):
            writing.add(
                Attempt(
                    experiment_id=study.id, digital_twin_id=twin.id, trigger=Trigger.button, lane="default",
                    created_at=future, changed_at=future, delay_seconds=600.0,
                    not_before=future + timedelta(seconds=600),
                )
            )  # fmt: skip
    now = utc_now()
    for turn in range(3):
        with write() as writing:
            clock_steps.mend(writing, now + timedelta(seconds=5 * turn), claim.LEASE, limit=20)
    late = select(func.count(Attempt.id)).where(Attempt.not_before > now + timedelta(minutes=11))
    assert session.scalar(late) == 0
