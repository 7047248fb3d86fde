"""Entries in Redis are what the rows say, and become so again whatever happened to them."""

import pickle
import time
import zlib
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
import redis
from rq.job import Job
from rq.serializers import JSONSerializer
from rq_scheduler.scheduler import Scheduler

from pdsapp.database import reading, transaction
from pdsapp.errors import QueueDown
from pdsapp.models import Experiment, Schedule, utc_now
from pdsapp.scheduling import projection, queue
from pdsapp.scheduling.projection import ENTRIES, Reconciled, entry_id
from pdsapp.services import schedules

from .world import make_schedule

pytestmark = pytest.mark.queue


def reconcile(connection):
    with reading() as session:
        return projection.reconcile(connection, session)


def entries(connection):
    return {member.decode(): at for member, at in connection.zrange(ENTRIES, 0, -1, withscores=True)}


def expected(*made):
    return {entry_id(schedule.uuid): schedule.next_slot_at.timestamp() for schedule in made}


def job_key(schedule):
    return f"rq:job:{entry_id(schedule.uuid)}"


def test_it_schedules_new(study, connection):
    daily, often = make_schedule(study, cron="30 9 * * *"), make_schedule(study)
    make_schedule(study, is_enabled=False)
    assert reconcile(connection) == Reconciled(added=2)
    assert entries(connection) == expected(daily, often)


def test_it_leaves_existing(study, connection):
    schedule = make_schedule(study)
    reconcile(connection)
    before = connection.hgetall(job_key(schedule))
    assert reconcile(connection) == Reconciled(kept=1)
    assert connection.hgetall(job_key(schedule)) == before


def test_it_reschedules_modified(study, connection):
    schedule = make_schedule(study)
    reconcile(connection)
    connection.zadd(ENTRIES, {entry_id(schedule.uuid): 4e9})
    assert reconcile(connection) == Reconciled(moved=1)
    assert entries(connection) == expected(schedule)


def test_it_removes_undefined(study, connection):
    connection.zadd(ENTRIES, {f"schedule-{UUID(int=1)}": 1, "somebody-else": 2, b"\xff\xfe": 3})
    connection.hset(f"rq:job:schedule-{UUID(int=1)}", "data", "x")
    assert reconcile(connection) == Reconciled(removed=3)
    assert entries(connection) == {}
    assert connection.keys("rq:job:*") == []


DAMAGES = {
    "gone": lambda c, key: c.delete(key),
    "another type": lambda c, key: (c.delete(key), c.set(key, "x")),
    "no data": lambda c, key: c.hdel(key, "data"),
    "garbage": lambda c, key: c.hset(key, "data", b"\x00\xff garbage"),
    "a pickle": lambda c, key: c.hset(key, "data", pickle.dumps(("os.system", None, ("true",), {}))),
    "a zip bomb": lambda c, key: c.hset(key, "data", zlib.compress(b"[" + b" " * 50_000_000)),
    "10 MB": lambda c, key: c.hset(key, "description", b"x" * 10_000_000),
    "another function": lambda c, key: c.hset(key, "data", b'["os.system", null, ["true"], {}]'),
    "another schedule": lambda c, key: c.hset(
        key, "data", f'["{queue.CLAIM_SLOT}", null, ["{UUID(int=1)}"], {{}}]'
    ),
    "bad notes": lambda c, key: c.hset(key, "meta", pickle.dumps({})),
    "a bad status": lambda c, key: c.hset(key, "status", "sleeping"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_it_repairs_damaged_jobs(study, connection, damage):
    schedule, other = make_schedule(study), make_schedule(study)
    reconcile(connection)
    damage(connection, job_key(schedule))
    due = projection.due_entries(connection, utc_now() + timedelta(hours=1))
    assert (due.schedules, list(due.damaged)) == ((other.uuid,), [schedule.uuid])
    assert reconcile(connection) == Reconciled(repaired=1, kept=1)
    assert projection.due_entries(connection, utc_now() + timedelta(hours=1)).damaged == {}


def test_everything_is_back_after_redis_was_emptied(study, connection):
    made = [make_schedule(study, cron=f"{minute} * * * *") for minute in range(5)]
    reconcile(connection)
    connection.flushdb()
    assert reconcile(connection) == Reconciled(added=5)
    assert entries(connection) == expected(*made)


def test_readers_of_rq_scheduler_see_our_schedules(study, connection):
    cron, interval = make_schedule(study, cron="30 9 * * *", zone="Europe/Rome"), make_schedule(study)
    reconcile(connection)
    scheduler = Scheduler(connection=connection, job_class=queue.LaneJob)
    jobs = {job.id: job for job in scheduler.get_jobs()}
    assert jobs[entry_id(cron.uuid)].meta == {"cron_string": "30 9 * * *", "zone": "Europe/Rome"}
    assert jobs[entry_id(interval.uuid)].meta == {"interval": 60, "zone": "UTC"}
    plain = Job.fetch(entry_id(cron.uuid), connection=connection, serializer=JSONSerializer)
    assert (plain.func_name, plain.args) == ("pdsapp.tasks.claim_slot", [str(cron.uuid)])


@pytest.mark.parametrize(
    ("microsecond", "seconds_later"), [pytest.param(0, 0, id="exact"), pytest.param(1, 1, id="rounded up")]
)
def test_an_entry_is_never_due_before_its_slot(microsecond, seconds_later):
    at = datetime(2026, 11, 21, 12, 0, 0, microsecond, tzinfo=UTC)
    score = projection.score(at)
    assert score == int(at.timestamp()) + seconds_later
    assert score >= at.timestamp()


def test_a_changed_schedule_is_projected_after_its_commit(study, settings, connection):
    schedule = make_schedule(study)
    assert projection.project(settings, schedule) is True
    assert entries(connection) == expected(schedule)
    with transaction() as session:
        changed = session.get_one(Schedule, schedule.id)
        schedules.disable(session, changed, utc_now())
    assert projection.project(settings, changed) is True
    assert entries(connection) == {}
    assert connection.keys("rq:job:*") == []


def test_moving_forward_never_brings_a_removed_entry_back(study, connection):
    schedule, removed = make_schedule(study), make_schedule(study)
    reconcile(connection)
    projection.remove(connection, removed.uuid)
    later = utc_now() + timedelta(hours=1)
    projection.move(connection, {schedule.uuid: later, removed.uuid: later})
    assert list(entries(connection)) == [entry_id(schedule.uuid)]
    projection.move(connection, {schedule.uuid: None})
    assert entries(connection) == {}


def test_a_queue_that_is_down_is_reported_not_raised(study, settings):
    nowhere = settings.model_copy(update={"redis_url": type(settings.redis_url)("unix:///nowhere/socket")})
    schedule = make_schedule(study)
    assert projection.project(nowhere, schedule) is False
    with pytest.raises(QueueDown):
        reconcile(redis.Redis(unix_socket_path="/nowhere/socket", retry=None))


def test_a_thousand_schedules_are_reconciled_quickly(study, connection):
    with transaction() as session:
        experiment = session.get_one(Experiment, study.id)
        for number in range(1000):
            wish = schedules.Wish(f"Test {number}", experiment, "30 9 * * *", is_enabled=True)
            schedules.add_schedule(session, wish, utc_now())
    began = time.process_time()
    assert reconcile(connection) == Reconciled(added=1000)
    assert reconcile(connection) == Reconciled(kept=1000)
    assert time.process_time() - began < 5
