"""The timeline of an attempt: what was lost, who came back, and when it was stopped."""

from datetime import timedelta
from uuid import uuid4

import pytest

from pdsapp.models import Attempt, LostLease, ModelCall, utc_now
from tests.attempt_rows import add_row
from tests.builders import make_experiment, make_twin
from tests.web.looking import titles_of, words_of


@pytest.fixture
def twin(app):
    return make_twin(make_experiment(), "dr_okafor")


def page_of(viewer, session, number):
    return viewer.get(f"/attempts/{session.get_one(Attempt, number).uuid}")


def test_a_call_that_was_lost_is_told(viewer, session, twin, write):
    number = add_row(twin, "failed", "worker_lost", utc_now(), draw=0.9, strikes=3)
    with write() as other:
        other.add(
            ModelCall(
                attempt_id=number, endpoint="https://x.example", model_asked="m", state="lost", detail="Lost."
            )
        )
    words = words_of(page_of(viewer, session, number))
    assert "the worker was lost before the answer was stored" in words
    assert "Strikes 3" in words


def lose(write, number, at, stage, **seconds):
    """w1 had the attempt from the first second after `at`, for 45 s; what else is at which second."""
    later = {"claimed_at": 1, "lease_until": 46, **seconds}
    times = {name: at + timedelta(seconds=each) for name, each in later.items()}
    with write() as other:
        other.add(LostLease(attempt_id=number, lease_token=uuid4(), worker="w1", stage=stage, **times))


def test_a_lost_worker_is_told_with_when_it_was_given_up_and_when_it_came_back(viewer, session, twin, write):
    at = utc_now() - timedelta(minutes=5)
    number = add_row(twin, "posted", None, at, claimed_by="w2", claimed_at=at + timedelta(seconds=51),
                     finished_at=at + timedelta(seconds=52), strikes=1)  # fmt: skip
    lose(write, number, at, "asking", taken_back_at=50, returned_at=70)
    answer = page_of(viewer, session, number)
    assert titles_of(answer) == [
        "Asked for", "Claimed", "Worker lost", "Claimed", "Posted", "Lost worker came back",
    ]  # fmt: skip
    words = words_of(answer)
    assert "w1, while the model was asked; the attempt was taken back" in words
    assert "w1; its result was refused" in words
    assert "w2, after 1 lost" in words


def test_what_our_own_code_could_not_run_is_no_lost_worker(viewer, session, twin, write):
    at = utc_now() - timedelta(minutes=5)
    number = add_row(twin, "posted", None, at, claimed_by="w1", claimed_at=at + timedelta(seconds=9),
                     finished_at=at + timedelta(seconds=10), strikes=1)  # fmt: skip
    lose(write, number, at, "saving", taken_back_at=3)
    answer = page_of(viewer, session, number)
    assert titles_of(answer) == ["Asked for", "Claimed", "Could not be run", "Claimed", "Posted"]
    assert "our own code failed" in words_of(answer)


def test_a_stop_is_told_at_its_time_before_what_became_of_it(viewer, session, twin):
    at = utc_now() - timedelta(minutes=5)
    claimed, stopped, ended = (at + timedelta(seconds=number) for number in (1, 2, 4))
    number = add_row(twin, "cancelled", "stopped", at, claimed_by="w1", claimed_at=claimed,
                     stop_asked_at=stopped, finished_at=ended)  # fmt: skip
    answer = page_of(viewer, session, number)
    assert titles_of(answer) == ["Asked for", "Claimed", "Stop asked for", "Called off"]
    assert "it may not publish any more" in words_of(answer)
