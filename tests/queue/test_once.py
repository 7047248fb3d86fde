"""Exactly one claim per slot: several scheduler processes, and everything done to them at once."""

import signal
import time
from contextlib import ExitStack
from datetime import timedelta

import pytest
from sqlalchemy import func, select, update

from pdsapp.database import snapshot, transaction
from pdsapp.domain.reasons import AttemptState
from pdsapp.models import Attempt, Schedule, Slot, utc_now
from pdsapp.scheduling import projection
from pdsapp.scheduling.scheduler import TwinScheduler
from pdsapp.services.ledger import ledger

from . import world
from .world import make_schedule, wait_for

pytestmark = pytest.mark.queue
HOUR = 3600


@pytest.fixture
def crowd(study):
    """Sixty schedules of every minute; one of them is due each second, for ever."""
    now = utc_now()
    return [
        make_schedule(
            study, name=f"S{number}", anchor_at=now - timedelta(seconds=90 + number),
            ago=timedelta(seconds=89), overlap_policy="allow",
        )
        for number in range(60)
    ]  # fmt: skip


def finish_attempts():
    with transaction() as session:
        session.execute(
            update(Attempt).where(Attempt.state == AttemptState.due).values(state=AttemptState.skipped)
        )


def check_books(now=None):
    """Every slot has been claimed, once; its attempts are there, once."""
    with snapshot() as session:
        found = ledger(session, now=now or utc_now())
    assert found.problems == ()
    return found


def check_uniqueness(session):
    session.rollback()
    doubles = select(Slot.schedule_id, Slot.slot_at).group_by(Slot.schedule_id, Slot.slot_at)
    assert session.execute(doubles.having(func.count() > 1)).all() == []
    fired = session.scalar(select(func.count(Slot.id)).where(Slot.kind == "fired"))
    assert session.scalar(select(func.count(Attempt.id))) == fired >= 60


def slot_count(session):
    session.rollback()
    return session.scalar(select(func.coalesce(func.sum(Slot.slot_count), 0)))


def run_for(seconds, trouble=lambda: None, every=0.1):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        trouble()
        time.sleep(every)


def started(stack, settings, count, start=world.scheduler, *arguments):
    found = [stack.enter_context(start(settings, *arguments)) for _ in range(count)]
    wait_for(lambda: any("scheduler leads" in process.output for process in found), seconds=60)
    return found


def stop_all(processes):
    for process in processes:
        process.process.send_signal(signal.SIGTERM)
    for process in processes:
        assert process.process.wait(30) == 0, process.output


@pytest.mark.parametrize("count", [2, 5])
def test_with_the_lock_deleted_all_the_time_each_slot_is_claimed_once(
    crowd, settings, session, connection, count
):
    with ExitStack() as stack:
        processes = started(stack, settings, count)
        leaders = set()

        def delete_the_lock():
            leaders.add(connection.getdel(TwinScheduler.scheduler_lock_key))

        run_for(6, delete_the_lock, every=0.05)
        wait_for(lambda: check_books().slot_sum.waiting <= 2, seconds=30)
        stop_all(processes)
    check_books()
    check_uniqueness(session)
    assert len(leaders - {None}) >= 2, "the lead changed hands"


def test_with_a_frozen_leader_thawed_later_each_slot_is_claimed_once(crowd, settings, session, connection):
    with ExitStack() as stack:
        processes = started(stack, settings, 3)
        wait_for(lambda: slot_count(session) >= 60, seconds=60)
        for _ in range(2):
            holder = connection.get(TwinScheduler.scheduler_lock_key)
            leader = next((p for p in processes if f"-{p.pid}-".encode() in (holder or b"")), processes[0])
            leader.process.send_signal(signal.SIGSTOP)
            run_for(1)
            connection.delete(TwinScheduler.scheduler_lock_key)  # as if its five seconds were over
            run_for(2)
            leader.process.send_signal(signal.SIGCONT)
            run_for(1)
        wait_for(lambda: check_books().slot_sum.waiting <= 2, seconds=30)
        stop_all(processes)
    check_books()
    check_uniqueness(session)


def test_with_redis_flushed_again_and_again_each_slot_is_claimed_once(crowd, settings, session, connection):
    with ExitStack() as stack:
        processes = started(stack, settings, 3)
        run_for(5, connection.flushdb, every=0.4)
        wait_for(lambda: check_books().slot_sum.waiting <= 2, seconds=30)
        wait_for(lambda: connection.zcard(projection.ENTRIES) == 60, seconds=60)
        stop_all(processes)
    check_books()
    check_uniqueness(session)


@pytest.mark.parametrize(
    "steps", [(HOUR, 0), (-HOUR, 0), (HOUR, -HOUR, 0)], ids=["forward and back", "back and forward", "both"]
)
def test_with_the_clock_stepped_by_an_hour_each_slot_is_claimed_once(
    crowd, settings, session, tmp_path, steps
):
    offset = tmp_path / "offset"

    def step(seconds):
        fresh = offset.with_suffix(".new")
        fresh.write_text(str(seconds))
        fresh.replace(offset)  # nobody reads half of it

    step(0)
    with ExitStack() as stack:
        processes = started(stack, settings, 2, world.stepped_scheduler, offset)
        wait_for(lambda: slot_count(session) >= 60, seconds=60)
        for seconds in steps:
            before = slot_count(session)
            finish_attempts()
            step(seconds)
            if seconds > 0:
                wait_for(lambda before=before: slot_count(session) >= before + 60 * 59, seconds=60)
            run_for(1.5)
            check_books()
        stop_all(processes)
    latest = utc_now() + timedelta(seconds=max(*steps, 0))
    found = check_books()
    check_uniqueness(session)
    assert found.slot_sum.due <= 60 * (HOUR / 60 + 5)
    assert session.scalar(select(func.max(Schedule.cursor_at))) <= latest
