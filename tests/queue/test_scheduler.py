"""The scheduler: on time, once, and through everything Redis, other schedulers and signals do to it."""

import os
import pickle
import signal
import time
from datetime import timedelta

import pytest
import redis
import sqlalchemy as sa
from sqlalchemy import func, select, update

from pdsapp.attempts import claim
from pdsapp.database import transaction
from pdsapp.domain.reasons import AttemptState, ExperimentState, SlotKind
from pdsapp.dt_service import DTService
from pdsapp.models import Attempt, DigitalTwin, Experiment, Heartbeat, Schedule, Slot, utc_now
from pdsapp.scheduling import projection, queue
from pdsapp.scheduling.projection import ENTRIES, entry_id
from pdsapp.scheduling.scheduler import LONGEST_SLEEP, TwinScheduler
from pdsapp.services import deletion
from pdsapp.services.ledger import ledger
from tests import builders

from . import world
from .world import make_schedule, wait_for

pytestmark = pytest.mark.queue
NOWHERE = "/nowhere/socket"


def nowhere():
    return redis.Redis(unix_socket_path=NOWHERE, retry=None)


def entries(connection):
    return {member.decode(): at for member, at in connection.zrange(ENTRIES, 0, -1, withscores=True)}


def kinds(session, schedule=None):
    session.rollback()
    query = select(Slot.kind).order_by(Slot.slot_at, Slot.id)
    if schedule is not None:
        query = query.where(Slot.schedule_id == schedule.id)
    return [kind.value for kind in session.scalars(query)]


def broken_reason(session, schedule):
    session.rollback()
    return session.scalars(select(Schedule.broken_reason).where(Schedule.id == schedule.id)).one()


@pytest.fixture
def scheduler(app, connection):
    return TwinScheduler(connection, DTService(), name="leader")


def test_a_due_entry_is_claimed_moved_forward_and_its_lane_woken(study, session, connection, scheduler):
    schedule = make_schedule(study, twins_per_slot=2, lane="evening")
    scheduler.turn()
    assert kinds(session) == ["fired"]
    (score,) = entries(connection).values()
    assert utc_now().timestamp() < score <= utc_now().timestamp() + 60
    session.rollback()
    assert session.scalars(select(Schedule.next_slot_at)).one().timestamp() == score
    assert queue.queued_count(connection, "evening") == 1
    scheduler.turn()
    assert kinds(session, schedule) == ["fired"]


def test_it_sleeps_to_the_next_slot_but_not_longer_than_half_a_second(study, connection, scheduler):
    now = [utc_now()]
    clocked = TwinScheduler(connection, DTService(), clock=lambda: now[0])
    assert clocked.turn() == LONGEST_SLEEP
    schedule = make_schedule(study)
    clocked.reconcile()
    now[0] = schedule.next_slot_at + timedelta(seconds=59.8)
    clocked.turn()
    assert clocked.turn() == pytest.approx(0.2, abs=0.05)


def test_one_leads_and_the_others_stand_by_until_it_leaves(study, session, connection, scheduler):
    second = TwinScheduler(connection, DTService(), name="second")
    scheduler.turn()
    make_schedule(study)
    scheduler.reconcile()
    assert second.turn() == LONGEST_SLEEP
    assert (scheduler.is_leader, second.is_leader, kinds(session)) == (True, False, [])
    second.remove_lock()
    assert connection.get(scheduler.scheduler_lock_key) is not None
    scheduler.remove_lock()
    second.turn()
    assert second.is_leader
    assert kinds(session) == ["fired"]


def test_a_lock_deleted_or_taken_by_force_doubles_nothing(study, session, connection, scheduler):
    made = [make_schedule(study, name=str(number)) for number in range(5)]
    second = TwinScheduler(connection, DTService(), name="second")
    scheduler.turn()
    connection.zadd(ENTRIES, {entry_id(schedule.uuid): 1 for schedule in made})
    connection.delete(scheduler.scheduler_lock_key)
    second.turn()
    scheduler.is_leader = True
    scheduler.turn()
    assert kinds(session) == ["fired"] * 5
    assert (scheduler.is_leader, second.is_leader) == (False, True)
    assert min(entries(connection).values()) > utc_now().timestamp()


def test_an_emptied_redis_is_noticed_at_the_next_turn(study, session, connection, scheduler):
    schedule = make_schedule(study)
    scheduler.turn()
    connection.flushdb()
    scheduler.turn()
    assert list(entries(connection)) == [entry_id(schedule.uuid)]
    assert kinds(session) == ["fired"]


def test_a_single_lost_entry_is_caught_up_with(study, session, connection, scheduler):
    schedule = make_schedule(study)
    scheduler.reconcile()
    projection.remove(connection, schedule.uuid)
    scheduler.acquire_lock()
    scheduler.catch_up()
    assert kinds(session) == ["fired"]
    assert entries(connection)[entry_id(schedule.uuid)] > utc_now().timestamp()


def test_without_redis_the_rows_alone_are_looked_at(study, session, caplog):
    make_schedule(study)
    alone = TwinScheduler(nowhere(), DTService(), name="alone")
    for _ in range(5):
        assert alone.turn() <= LONGEST_SLEEP
    assert kinds(session) == ["fired"]
    assert session.scalar(select(func.count(Attempt.id))) == 1
    assert caplog.text.count("queue is away") == 1


def test_it_leads_and_reconciles_again_when_redis_is_back(study, session, connection, scheduler, caplog):
    schedule = make_schedule(study)
    pool = scheduler.connection
    scheduler.connection = nowhere()
    scheduler.turn()
    assert (kinds(session), entries(connection)) == (["fired"], {})
    scheduler.connection = pool
    wait_for(lambda: scheduler.turn() and scheduler.is_leader, every=0.1)
    assert list(entries(connection)) == [entry_id(schedule.uuid)]
    assert queue.queued_count(connection, "default") == 1, "the attempt made meanwhile has its wake-up"
    assert "queue is back" in caplog.text


DAMAGES = {
    "a pickle": pickle.dumps(("os.system", None, ("true",), {})),
    "os.system": b'["os.system", null, ["true"], {}]',
    "an unknown function": b'["pdsapp.tasks.nothing", null, [], {}]',
    "garbage": b"\x00\x01\x02",
}


@pytest.mark.parametrize("data", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_poisoned_entry_hurts_only_itself_and_is_mended(
    study, session, connection, scheduler, data, caplog
):
    poisoned, sound = make_schedule(study, name="poisoned"), make_schedule(study, name="sound")
    scheduler.reconcile()
    connection.hset(f"rq:job:{entry_id(poisoned.uuid)}", "data", data)
    scheduler._last = {"reconcile": time.monotonic(), "catch up": time.monotonic()}
    scheduler.is_leader = True
    connection.set(scheduler.scheduler_lock_key, scheduler._token)
    for _ in range(3):
        scheduler.turn()
    assert (kinds(session, sound), kinds(session, poisoned)) == (["fired"], [])
    assert "damaged" in broken_reason(session, poisoned)
    assert broken_reason(session, sound) == ""
    assert caplog.text.count("entry refused") == 1
    scheduler.catch_up()
    assert kinds(session, poisoned) == ["fired"]
    assert broken_reason(session, poisoned) == ""
    assert projection.due_entries(connection, utc_now() + timedelta(hours=1)).damaged == {}


def test_an_entry_of_nobody_is_dropped(study, session, connection, scheduler, caplog):
    make_schedule(study)
    scheduler.turn()
    connection.zadd(ENTRIES, {"somebody-else": 1, b"\xff\xfe\x00": 2})
    scheduler.turn()
    assert len(entries(connection)) == 1
    assert caplog.text.count("entry refused") == 2


def test_a_broken_schedule_is_out_and_the_others_go_on(study, session, connection, scheduler):
    broken, sound = make_schedule(study, name="broken"), make_schedule(study, name="sound")
    with transaction() as writing:
        writing.execute(update(Schedule).where(Schedule.id == broken.id).values(interval_seconds=7))
    scheduler.turn()
    assert kinds(session) == ["fired"]
    assert list(entries(connection)) == [entry_id(sound.uuid)]
    scheduler.catch_up()
    scheduler.reconcile()
    assert broken_reason(session, broken) != "", "what is wrong with the row is not mended by a reconcile"


def test_a_lane_with_due_attempts_and_no_wake_up_is_woken(study, session, connection, scheduler):
    due, later = session.scalars(select(DigitalTwin).limit(2)).all()
    builders.add_attempt(due)
    waiting = builders.add_attempt(later)
    with transaction() as writing:
        writing.execute(
            update(Attempt)
            .where(Attempt.id == waiting)
            .values(lane="later", not_before=utc_now() + timedelta(hours=1))
        )
    scheduler.turn()
    assert queue.queued_count(connection, "now") == 1
    assert queue.queued_count(connection, "later") == 0
    scheduler._last.pop("lanes")
    scheduler.turn()
    assert queue.queued_count(connection, "now") == 1


def test_attempts_with_a_delay_begin_within_about_a_second_of_its_end(study, settings, session, connection):
    for _ in range(5):
        builders.make_twin(study)
    with world.worker(settings), world.scheduler(settings) as process:
        process.says("scheduler leads")
        at = utc_now().replace(microsecond=0) + timedelta(seconds=2)
        projection.put(
            connection,
            make_schedule(study, ago=timedelta(0), anchor_at=at, jitter_seconds=8, twins_per_slot=8),
        )
        begun = select(func.count(Attempt.id)).where(Attempt.claimed_at.is_not(None))
        wait_for(lambda: [session.rollback(), session.scalar(begun)][1] >= 8, seconds=25)
    attempts = session.scalars(select(Attempt)).all()
    assert all(attempt.not_before >= attempt.slot.slot_at for attempt in attempts)
    late = sorted((attempt.claimed_at - attempt.not_before).total_seconds() for attempt in attempts)
    assert late[0] >= 0
    assert late[len(late) // 2] < 1.2, late
    assert late[-1] < 2.5, late


def test_an_attempt_whose_worker_was_lost_is_taken_back(study, session, scheduler):
    attempt_id = builders.add_attempt(session.scalars(select(DigitalTwin)).first())
    with transaction() as writing:
        claim.claim(writing, "lost", utc_now() - claim.LEASE - timedelta(seconds=1), 1, only={attempt_id})
        writing.execute(update(Attempt).values(not_before=utc_now()))
        claim.claim(writing, "lost", utc_now(), 1, only={attempt_id})
        writing.execute(update(Attempt).values(lease_until=utc_now() - timedelta(seconds=1)))
    scheduler.acquire_lock()
    scheduler.catch_up()
    attempt = builders.load_attempt(session, attempt_id)
    assert (attempt.state, attempt.strikes) == (AttemptState.due, 1)


def test_it_beats_and_says_whether_it_leads(app, session, scheduler):
    for _ in range(2):
        scheduler.turn()
    beat = session.scalars(select(Heartbeat)).one()
    assert (beat.kind.value, beat.name, beat.is_leader, beat.pid) == (
        "scheduler",
        "leader",
        True,
        os.getpid(),
    )


def test_a_database_error_is_said_once_and_waited_out(app, scheduler, caplog):
    with transaction() as session:
        session.execute(sa.text("ALTER TABLE schedule RENAME TO elsewhere"))
    waits = [scheduler.turn() for _ in range(3)]
    assert waits == sorted(waits) and waits[0] > 0
    assert caplog.text.count("database is away") == 1
    with transaction() as session:
        session.execute(sa.text("ALTER TABLE elsewhere RENAME TO schedule"))
    scheduler.turn()
    assert "database is back" in caplog.text


def test_rq_schedulers_own_methods_never_queue_an_entrys_job(study, session, connection, scheduler):
    make_schedule(study)
    scheduler.reconcile()
    (job,) = scheduler.get_jobs()
    assert scheduler.enqueue_job(job).slots == {SlotKind.fired: 1}
    assert scheduler.enqueue_jobs().slots == {}
    assert queue.lane_queue(connection, "default").job_ids[0].startswith("wake-default-")


def test_three_scheduler_processes_claim_each_slot_once(study, settings, session):
    made = [make_schedule(study, name=str(number), twins_per_slot=2) for number in range(30)]
    with world.scheduler(settings) as a, world.scheduler(settings) as b, world.scheduler(settings) as c:
        wait_for(lambda: len(kinds(session)) == len(made))
        for process in (a, b, c):
            process.says("scheduler started")
            code, seconds = process.stop()
            assert (code, seconds < 0.7) == (0, True), (code, seconds, process.output)
    assert kinds(session) == ["fired"] * 30
    assert session.scalar(select(func.count(Attempt.id))) == 60
    beats = session.scalars(select(Heartbeat)).all()
    assert len(beats) == 3 and all(beat.stopped_at for beat in beats)


def test_another_scheduler_takes_over_when_the_leader_is_killed(study, settings, session, connection):
    with world.scheduler(settings) as first:
        first.says("scheduler leads")
        with world.scheduler(settings) as second:
            second.says("scheduler started")
            first.process.kill()
            second.says("scheduler leads")
            schedule = make_schedule(study)
            projection.put(connection, schedule)
            wait_for(lambda: kinds(session) == ["fired"])


def test_slots_are_claimed_within_a_moment_of_their_instant(study, settings, session, connection):
    with world.scheduler(settings) as process:
        process.says("scheduler leads")
        at = utc_now().replace(microsecond=0) + timedelta(seconds=2)
        projection.put(connection, make_schedule(study, ago=timedelta(0), anchor_at=at))
        wait_for(lambda: kinds(session) == ["fired"])
    slot = session.scalars(select(Slot)).one()
    assert slot.slot_at == at
    assert timedelta(0) <= slot.claimed_at - at < timedelta(seconds=1)


def test_a_frozen_leader_that_thaws_doubles_nothing(study, settings, session, connection):
    with world.scheduler(settings) as first, world.scheduler(settings) as second:
        leader = wait_for(lambda: next((p for p in (first, second) if "leads" in p.output), None))
        other = second if leader is first else first
        time.sleep(1)  # within a transaction it would hold SQLite's lock: then its supervisor kills it
        leader.process.send_signal(signal.SIGSTOP)
        other.says("scheduler leads")
        projection.put(connection, make_schedule(study))
        wait_for(lambda: kinds(session) == ["fired"])
        leader.process.send_signal(signal.SIGCONT)
        time.sleep(1)
        assert leader.process.poll() is None
        assert kinds(session) == ["fired"]


def test_the_scheduler_ends_a_study_on_its_day_before_it_claims_anything(study, session, scheduler):
    schedule = make_schedule(study)
    with transaction() as writing:
        writing.get_one(Experiment, study.id).ends_at = utc_now() - timedelta(seconds=1)
    scheduler.turn()
    session.rollback()
    assert session.scalars(select(Experiment.state)).one() == ExperimentState.ended
    assert "fired" not in kinds(session, schedule)
    assert ledger(session, now=utc_now()).problems == ()


def test_the_scheduler_deletes_what_is_marked_a_little_at_a_time(study, session, scheduler):
    with transaction() as writing:
        found = writing.get_one(Experiment, study.id)
        found.state = ExperimentState.archived
        deletion.ask_for_deletion(writing, found, found.name, utc_now())
    for _ in range(20):
        scheduler.turn()
    assert session.scalars(select(Experiment)).all() == []
