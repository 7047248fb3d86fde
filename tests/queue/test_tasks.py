"""What RQ may run: wake-ups, the original's task, and nothing that is not on the list."""

import json
import pickle
import zlib
from datetime import timedelta

import pytest
import redis
from pydantic import SecretStr
from rq import SimpleWorker
from rq.exceptions import DequeueTimeout, NoSuchJobError
from rq.job import JobStatus
from rq.serializers import JSONSerializer
from sqlalchemy import func, select

from pdsapp import tasks
from pdsapp.attempts import claim
from pdsapp.database import transaction
from pdsapp.domain.reasons import AttemptState, SlotKind, Trigger
from pdsapp.errors import BadInput, NotFound, QueueDown
from pdsapp.models import Attempt, DigitalTwin, Post, ProcessKind, Slot, utc_now
from pdsapp.scheduling import queue
from pdsapp.scheduling.queue import JobRefused, LaneJob, LaneQueue
from pdsapp.services import heartbeats
from tests import builders

from .world import make_schedule

pytestmark = pytest.mark.queue


def dequeued(connection, lane="default"):
    """The job a worker of this lane would get, None if there is none."""
    try:
        found = LaneQueue.dequeue_any([queue.lane_queue(connection, lane)], 0.05, connection=connection)
    except DequeueTimeout:
        return None
    return found and found[0]


def put_by_hand(connection, job_id="poison", lane="default", **fields):
    """A job as somebody with access to Redis might write it."""
    given = {"created_at": "2026-11-21T12:00:00Z", "origin": f"pds:{lane}", "status": "queued", **fields}
    connection.hset(f"rq:job:{job_id}", mapping=given)
    connection.rpush(f"rq:queue:pds:{lane}", job_id)


def calls(name, *args, **kwargs):
    return zlib.compress(json.dumps([name, None, args, kwargs]).encode())


def test_a_wake_up_names_a_lane_and_nothing_else(connection):
    assert queue.wake(connection, "evening", 3) == 1
    job = dequeued(connection, "evening")
    assert (job.func_name, job.args, job.kwargs) == ("pdsapp.tasks.generate_attempts", ["evening"], {})
    assert (job.timeout, job.result_ttl, job.failure_ttl) == (600, 60, 86_400)
    assert job.get_status() == JobStatus.QUEUED
    assert job.func is tasks.generate_attempts


def test_many_attempts_wake_several_workers_but_wake_ups_do_not_pile_up(connection):
    assert queue.wake(connection, "default", 25) == 3
    assert queue.wake(connection, "default", 10_000) == 47
    assert queue.wake(connection, "default", 1) == 0
    assert queue.queued_count(connection, "default") == 50


def test_whoever_else_waits_for_a_worker_is_seen(connection):
    lanes = ["now", "default"]
    queue.wake(connection, "default", 500)
    queue.wake_idle(connection, ["default"])
    assert not queue.has_others(connection, "default", lanes)
    queue.wake(connection, "now")
    assert queue.has_others(connection, "default", lanes)
    assert not queue.has_others(connection, "default", ["default"])
    assert not queue.has_others(connection, "now", ["now"])
    queue.wake_imports(connection, [7])
    assert queue.has_others(connection, "default", ["default"])


def test_a_worker_is_wanted_by_attempts_that_lost_one_and_while_the_queue_is_away(
    study, settings, session, connection
):
    twin = builders.make_twin(study)
    attempt_id = builders.add_attempt(twin)
    with transaction() as writing:
        heartbeats.beat(writing, ProcessKind.worker, "w", utc_now(), lanes="now,default")
    assert not tasks._others_wait(settings, "w", "now")
    queue.wake(connection, "default")
    assert tasks._others_wait(settings, "w", "now")
    connection.flushdb()
    with transaction() as writing:
        (lease,) = claim.claim(writing, "w", utc_now(), 1)
        claim.strike(writing, lease, utc_now(), timedelta(0), "It broke.")
    assert tasks._others_wait(settings, "w", builders.load_attempt(session, attempt_id).lane)
    nowhere = settings.model_copy(update={"redis_url": SecretStr("redis://127.0.0.1:1/0")})
    assert tasks._others_wait(nowhere, "w", "another-lane")


def test_a_replacement_is_one_job_however_often_it_is_asked_for(connection):
    queue.wake(connection, "busy")
    assert queue.wake_idle(connection, ["busy", "idle"]) == ["idle"]
    assert queue.wake_idle(connection, ["busy", "idle"]) == []
    assert dequeued(connection, "idle").id == "wake-idle"
    assert queue.wake_idle(connection, ["idle"]) == ["idle"]


@pytest.mark.parametrize("lane", ["", "Two Words", "x" * 41, "lane\n", "ünter", None, 7])
def test_what_is_no_lane_is_refused(connection, lane):
    with pytest.raises(ValueError, match="cannot be a lane"):
        queue.wake(connection, lane)


def test_a_queue_that_is_away_raises_one_error(settings):
    nowhere = settings.model_copy(update={"redis_url": type(settings.redis_url)("unix:///nowhere/socket")})
    connection = queue.connection(nowhere)
    for ask in (
        lambda: queue.ping(connection),
        lambda: queue.wake(connection, "default"),
        lambda: queue.wake_idle(connection, ["default"]),
        lambda: queue.queued_count(connection, "default"),
        lambda: queue.connection(settings.model_copy(update={"redis_url": None})),
    ):
        with pytest.raises(QueueDown):
            ask()


POISON = {
    "a pickle": {"data": pickle.dumps(("os.system", None, ("true",), {}))},
    "a compressed pickle": {"data": zlib.compress(pickle.dumps(("os.system", None, ("true",), {})))},
    "os.system": {"data": calls("os.system", "true")},
    "eval": {"data": calls("builtins.eval", "1")},
    "another function of the module": {"data": calls("pdsapp.tasks.asyncio.run")},
    "a near miss": {"data": calls("pdsapp.tasks.generate_attempts ", "default")},
    "no name": {"data": calls(None)},
    "a method": {"data": json.dumps(["pdsapp.tasks.claim_slot", "text", [], {}]).encode()},
    "arguments of another kind": {"data": json.dumps(["pdsapp.tasks.claim_slot", None, "x", 3]).encode()},
    "not JSON": {"data": b"[[["},
    "nested without end": {"data": b"[" * 8_000},
    "no data": {},
    "long arguments": {"data": calls("pdsapp.tasks.generate_attempts", "x" * 10_000)},
    "a zip bomb": {"data": zlib.compress(b"[" + b" " * 50_000_000)},
    "10 MB": {"data": calls("pdsapp.tasks.generate_attempts", "default"), "description": "x" * 10_000_000},
    "a bad time": {"data": calls("pdsapp.tasks.generate_attempts", "default"), "created_at": "yesterday"},
    "a bad status": {"data": calls("pdsapp.tasks.generate_attempts", "default"), "status": "sleeping"},
}


@pytest.mark.parametrize("fields", POISON.values(), ids=POISON.keys())
def test_a_poisoned_job_is_dropped_and_the_next_one_runs(connection, fields):
    put_by_hand(connection, **fields)
    queue.wake(connection, "default")
    assert dequeued(connection).id.startswith("wake-default-")
    assert dequeued(connection) is None
    assert connection.ttl("rq:job:poison") > 0


@pytest.mark.parametrize("job_id", [b"\xff\xfe", b"a b", b"", b"x" * 5000, b"rq:job:other"])
def test_an_impossible_job_id_is_dropped(connection, job_id):
    connection.rpush("rq:queue:pds:default", job_id)
    connection.set("rq:job:other", "of another type")
    queue.wake(connection, "default")
    assert dequeued(connection).id.startswith("wake-default-")


def test_a_job_that_slipped_through_is_still_not_run(connection):
    put_by_hand(connection, data=calls("os.system", "true"))
    job = LaneJob.fetch("poison", connection=connection)
    with pytest.raises(JobRefused, match=r"os\.system"):
        job.perform()
    assert issubclass(JobRefused, NoSuchJobError)


def test_nothing_beside_the_function_is_read_from_a_job(connection):
    extras = {
        "success_callback_name": "os.getpid", "failure_callback_name": "os.getpid", "retries_left": "3",
        "stopped_callback_name": "os.getpid", "dependency_ids": '["other"]', "group_id": "group",
        "webhooks": '[{"url": "http://127.0.0.1:1", "job_status": "finished"}]', "repeats_left": "5",
        "rate_limit_key": "x", "timeout": "-1",
    }  # fmt: skip
    put_by_hand(connection, data=calls("pdsapp.tasks.generate_attempts", "default"), **extras)
    job = dequeued(connection)
    assert (job.success_callback, job.failure_callback, job.stopped_callback) == (None, None, None)
    assert (job.webhooks, job.dependency_ids, job.group_id, job.rate_limit_key) == ([], [], None, None)
    assert (job.retries_left, job.repeats_left, job.timeout) == (None, None, 600)


def test_a_wake_up_runs_what_is_due_in_its_lane(study, session):
    twin = session.scalars(select(DigitalTwin)).first()
    attempt_id = builders.add_attempt(twin)
    assert tasks.generate_attempts("default") == {}
    assert tasks.generate_attempts("now") == {"posted": 1}
    assert builders.load_attempt(session, attempt_id).state == AttemptState.posted
    assert tasks.generate_attempts("now") == {}


def test_a_wake_up_that_reached_its_limit_wakes_the_lane_again(study, session, connection):
    for twin in session.scalars(select(DigitalTwin)):
        builders.add_attempt(twin)
    assert tasks.generate_attempts("now", limit=2) == {"posted": 2}
    assert queue.queued_count(connection, "now") == 1
    assert tasks.generate_attempts("now", limit=2) == {"posted": 1}


def test_the_original_task_asks_one_twin_through_the_same_path(study, session):
    result = tasks.generate_digital_twin_post(study.identifier, force=True)
    attempt = session.scalars(select(Attempt)).one()
    assert result == {
        "attempt": str(attempt.uuid),
        "twin": str(attempt.digital_twin.uuid),
        "state": "posted",
        "reason": "forced",
        "detail": attempt.detail,
    }
    assert (attempt.trigger, attempt.is_forced, attempt.candidate_count) == (Trigger.api, True, 3)
    assert session.scalars(select(Post.attempt_id)).one() == attempt.id
    assert json.dumps(result)


def test_the_original_task_says_when_nobody_is_eligible(app):
    empty = builders.make_experiment()
    assert tasks.generate_digital_twin_post(str(empty.uuid))["state"] == "nobody_eligible"
    assert tasks.get_random_digital_twins(5) == []


@pytest.mark.parametrize(
    ("experiment_id", "error"),
    [
        pytest.param("019f0000-0000-7000-8000-000000000000", NotFound, id="unknown"),
        pytest.param("not-a-uuid", BadInput, id="malformed"),
    ],
)
def test_an_unknown_experiment_is_a_named_error(study, session, experiment_id, error):
    with pytest.raises(error):
        tasks.generate_digital_twin_post(experiment_id)
    assert session.scalar(select(func.count(Attempt.id))) == 0


def test_random_twins_come_from_the_configured_service(study, session):
    uuids = {str(uuid) for uuid in session.scalars(select(DigitalTwin.uuid))}
    assert set(tasks.get_random_digital_twins(9, study.identifier)) == uuids
    assert len(tasks.get_random_digital_twins(2)) == 2


def test_claiming_a_slot_by_its_entrys_function_fires_it_once(study, session, connection):
    schedule = make_schedule(study)
    assert tasks.claim_slot(str(schedule.uuid)) == {"fired": 1}
    assert queue.queued_count(connection, "default") == 1
    assert tasks.claim_slot(str(schedule.uuid)) == {}
    assert session.scalars(select(Slot.kind)).all() == [SlotKind.fired]


def test_a_plain_rq_worker_with_our_job_class_can_run_a_wake_up(study, session, connection):
    twin = session.scalars(select(DigitalTwin)).first()
    builders.add_attempt(twin)
    queue.wake(connection, "now")
    connection.connection_pool.connection_kwargs["socket_timeout"] = 500
    worker = SimpleWorker(
        ["pds:now"], connection=redis.Redis(connection_pool=connection.connection_pool),
        job_class=LaneJob, serializer=JSONSerializer,
    )  # fmt: skip
    worker.work(burst=True, logging_level="ERROR")
    assert session.scalars(select(Attempt.state)).one() == AttemptState.posted
