"""An attempt that waits for its part of a schedule's jitter: shown with the delay, and when it is due."""

from datetime import timedelta

import pytest
from sqlalchemy import select

from pdsapp.database import transaction
from pdsapp.dt_service import DTService
from pdsapp.models import Attempt, Experiment, ProcessKind, Schedule, utc_now
from pdsapp.scheduling import slots
from pdsapp.services import heartbeats, schedules
from tests import builders


@pytest.fixture
def delayed(app, session):
    """The attempt of a slot that was due just now, with an hour of jitter."""
    study = builders.make_experiment("Campus climate", "America/Indiana/Indianapolis")
    builders.make_twin(study, "dr_okafor")
    now = utc_now()
    with transaction() as own:
        wish = schedules.Wish(
            "Slow", own.get_one(Experiment, study.id), interval_seconds=7200,
            anchor_at=now, jitter_seconds=3600, is_enabled=True,
        )  # fmt: skip
        schedules.add_schedule(own, wish, now - timedelta(minutes=5))
        heartbeats.beat(own, ProcessKind.worker, "worker", now, lanes="default")
    with transaction() as own:
        slots.claim_due(own, DTService(), None, own.scalars(select(Schedule.next_slot_at)).one(), "test")
    return session.scalars(select(Attempt)).one()


def test_the_page_says_how_long_it_waits_and_until_when(viewer, delayed):
    page = viewer.get(f"/attempts/{delayed.uuid}").text
    assert f"{delayed.delay_seconds:.1f} s after the slot, drawn from 0–3,600 s" in page
    assert "Delay over" in page
    assert "; it is asked then." in page
    assert "each attempt up to 1 h later" in page


def test_lists_say_when_it_is_due_instead_of_waiting_for_a_worker(viewer, delayed):
    page = viewer.get("/activity").text
    assert "due at " in page and "waiting for a worker" not in page
