"""One request id asks once, also when it arrives twice in one moment and again after the answer was lost."""

import threading

import pytest
from sqlalchemy import select

from pdsapp.attempts.create import Request, add_for_twin
from pdsapp.database import transaction
from pdsapp.domain.reasons import Trigger
from pdsapp.models import Attempt, DigitalTwin, utc_now
from tests import builders

pytestmark = pytest.mark.database
PRESSED = Request(Trigger.button, "web-0123456789abcdef0123", is_forced=True)


def press(twin_id):
    with transaction() as session:
        return add_for_twin(session, session.get_one(DigitalTwin, twin_id), PRESSED, utc_now()).uuid


def test_two_presses_in_one_moment_and_a_retry_are_one_attempt(app, session):
    twin_id = builders.make_twin(builders.make_experiment()).id
    barrier, found = threading.Barrier(2), []

    def within():
        with app.app_context():
            barrier.wait()
            found.append(press(twin_id))

    threads = [threading.Thread(target=within) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(40)
    found.append(press(twin_id))
    session.rollback()
    assert found == [session.scalars(select(Attempt.uuid)).one()] * 3
