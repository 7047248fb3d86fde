"""Slots of very many twins, expanded by scheduler processes that are killed, doubled, and stopped."""

import signal
from contextlib import ExitStack
from datetime import timedelta

import pytest
from sqlalchemy import func, select

from pdsapp.database import reading, snapshot, transaction
from pdsapp.domain.reasons import AttemptState, SlotKind, SlotStage
from pdsapp.models import Attempt, DigitalTwin, Slot, utc_now
from pdsapp.scheduling.scheduler import TwinScheduler
from pdsapp.services import slot_stops
from pdsapp.services.ledger import ledger
from tests import builders
from tests.twins import add_many

from . import world
from .world import make_schedule, wait_for

pytestmark = pytest.mark.queue
COUNT = 3_000
# Pieces of 50, one of which never comes back: killed before it writes, or before it commits.
PIECES = "from pdsapp.scheduling import expansion; expansion.PIECE = 50; "
DEADLY = """
import os, signal
made, add, at, is_after = [], expansion.add_for_slots, int(os.environ["AT"]), os.environ["WHEN"] == "after"

def deadly(session, *rest):
    made.append(1)
    if len(made) == at and not is_after:
        os.kill(os.getpid(), signal.SIGKILL)
    found = add(session, *rest)
    if len(made) == at:
        session.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    return found

expansion.add_for_slots = deadly
"""


@pytest.fixture
def crowd(app):
    experiment = builders.make_experiment(zone="UTC")
    add_many(experiment, COUNT)
    return experiment


def the_slot():
    with reading() as session:
        return session.scalars(select(Slot).where(Slot.kind == SlotKind.fired)).one_or_none()


def expanded():
    slot = the_slot()
    return slot.expanded_count if slot else 0


def is_made():
    slot = the_slot()
    return slot is not None and slot.stage not in (SlotStage.expanding, SlotStage.stopping)


def check_books():
    with snapshot() as session:
        assert ledger(session, now=utc_now()).problems == ()


def check_once_each():
    check_books()
    with reading() as session:
        asked = sorted(session.scalars(select(Attempt.digital_twin_id)))
        assert asked == sorted(session.scalars(select(DigitalTwin.id)))
        ordinals = sorted(session.scalars(select(Attempt.ordinal)))
    assert ordinals == list(range(COUNT))


def due_schedule(experiment):
    """One slot is due, the next one in ten minutes."""
    now = utc_now()
    return make_schedule(
        experiment, asks_all=True, interval_seconds=600, anchor_at=now - timedelta(seconds=5),
        ago=timedelta(seconds=6),
    )  # fmt: skip


def test_killed_in_the_middle_of_any_piece_the_next_scheduler_goes_on_and_asks_each_once(crowd, settings):
    due_schedule(crowd)
    reached = [0]
    for at, when in ((1, "before"), (1, "after"), (7, "after"), (9, "before"), (20, "after")):
        with world.running(PIECES + DEADLY + world.SCHEDULER, settings, AT=str(at), WHEN=when) as process:
            assert process.process.wait(60) == -signal.SIGKILL, process.output
        check_books()
        assert expanded() % 50 == 0
        reached.append(expanded())
    assert reached == [0, 0, 0, 300, 700, 1_650]
    with world.running(PIECES + world.SCHEDULER, settings):
        wait_for(is_made, seconds=60)
    check_once_each()
    assert (the_slot().wanted_count, the_slot().expanded_count) == (COUNT, COUNT)


def test_two_schedulers_that_both_believe_they_lead_ask_each_twin_once(crowd, settings, connection):
    with ExitStack() as stack:
        processes = [stack.enter_context(world.running(PIECES + world.SCHEDULER, settings)) for _ in range(2)]
        for process in processes:
            process.says("scheduler started")
        due_schedule(crowd)

        def steal_the_lead():
            connection.delete(TwinScheduler.scheduler_lock_key)
            return is_made()

        wait_for(steal_the_lead, seconds=60, every=0.01)
        for process in processes:
            assert process.stop()[0] == 0, process.output
            assert "Traceback" not in process.output, process.output
    check_once_each()


def test_stopped_while_a_scheduler_expands_it_nothing_more_is_made(crowd, settings):
    slow = PIECES + "import time; real = expansion.next_piece\n"
    slow += "def slowly(*given):\n    time.sleep(0.05)\n    return real(*given)\n"
    slow += "expansion.next_piece = slowly\n"
    due_schedule(crowd)
    with world.running(slow + world.SCHEDULER, settings):
        wait_for(lambda: expanded() >= 500, seconds=60)
        with transaction() as session:
            found = session.scalars(select(Slot).where(Slot.kind == SlotKind.fired)).one()
            done = slot_stops.stop_slot(session, found, utc_now(), "wrong prompt")
        wait_for(lambda: the_slot().stage is None, seconds=30)  # summed up
    slot = the_slot()
    assert done.unmade == slot.stopped_count == COUNT - slot.expanded_count > 0
    with reading() as session:
        states = session.execute(select(Attempt.state, func.count()).group_by(Attempt.state)).all()
    assert states == [(AttemptState.cancelled, slot.expanded_count)]
    assert slot.ends == {"cancelled": slot.expanded_count}
    check_books()
