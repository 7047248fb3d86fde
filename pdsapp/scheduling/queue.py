"""Lanes on RQ: JSON jobs, an allow-list of functions, wake-ups that may all be lost without losing work."""

import math
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any
from uuid import uuid4

import redis
import structlog
from redis.backoff import NoBackoff
from redis.retry import Retry
from rq.exceptions import DeserializationError, NoSuchJobError
from rq.job import Job, JobStatus
from rq.queue import Queue
from rq.serializers import JSONSerializer
from rq.timeouts import BaseTimeoutException

from ..config import Settings
from ..errors import NotConfigured, PdsError, QueueDown

GENERATE_ATTEMPTS = "pdsapp.tasks.generate_attempts"
CLAIM_SLOT = "pdsapp.tasks.claim_slot"
SET_UP_TWINS = "pdsapp.tasks.set_up_twins"
# What a job may name. Anybody who can write to Redis can write a job: nothing else is ever imported for one.
ALLOWED = frozenset(
    {
        GENERATE_ATTEMPTS,
        CLAIM_SLOT,
        SET_UP_TWINS,
        "pdsapp.tasks.generate_digital_twin_post",
        "pdsapp.tasks.get_random_digital_twins",
    }
)
QUEUE_PREFIX = "pds:"
IMPORT_LANE = "default"
LANE = re.compile(r"[a-z0-9-]{1,40}", re.ASCII)
MAX_WAITING = 50
ATTEMPTS_PER_WAKE = 10
JOB_SECONDS = 600
RESULT_SECONDS = 60
FAILURE_SECONDS = 86_400
MAX_JOB_BYTES = 65_536
MAX_DATA_BYTES = 8_192
# What a job's hash may say. Callbacks, webhooks, dependents, repeats and groups are RQ's ways to have
# something else done besides the job; we use none, so none is read.
_READ_FIELDS = frozenset(
    b"created_at origin worker_name description enqueued_at started_at ended_at last_heartbeat "
    b"result_ttl failure_ttl status ttl meta".split()
)
log = structlog.get_logger()


class JobRefused(PdsError, NoSuchJobError):
    """A job that cannot be read, or that names something not on the allow-list. It is never run.

    To RQ it is a job that does not exist, so that no loop of its ends because of it.
    """


class LaneJob(Job):
    """A JSON job that runs functions of `pdsapp.tasks` and nothing else."""

    def __init__(self, id: str | None = None, connection: redis.Redis | None = None, serializer: Any = None):
        super().__init__(id=id, connection=connection, serializer=JSONSerializer)

    @classmethod
    def fetch(cls, id: str, connection: redis.Redis | None = None, serializer: Any = None) -> "LaneJob":
        """The stored job. Raises NoSuchJobError, JobRefused for what is stored but is no job of ours."""
        try:
            return super().fetch(id, connection=connection)
        except (ValueError, TypeError, redis.ResponseError) as error:
            raise JobRefused(f"Its id or its key cannot be used ({error}).") from error

    def restore(self, raw_data: Mapping[bytes, bytes]) -> None:
        """Reads what we use of a stored job, bounded. Raises JobRefused."""
        size = sum(len(key) + len(value) for key, value in raw_data.items())
        if size > MAX_JOB_BYTES:
            raise JobRefused(f"It has {size:,} bytes; at most {MAX_JOB_BYTES:,} are read.")
        fields = {key: value for key, value in raw_data.items() if key in _READ_FIELDS}
        fields[b"data"] = unpacked(raw_data.get(b"data"))
        try:
            super().restore(fields)
        except BaseTimeoutException:
            raise
        except Exception as error:
            raise JobRefused(f"It cannot be read ({type(error).__name__}: {error}).") from error
        self.timeout = JOB_SECONDS

    @property
    def func(self) -> Any:
        """The function to call. Raises JobRefused before anything is imported."""
        if (problem := self.problem()) is not None:
            raise JobRefused(problem)
        return super().func

    def problem(self) -> str | None:
        """Why this job is not run, in a sentence; None for a job that may."""
        try:
            name, instance, args, kwargs = self.func_name, self.instance, self.args, self.kwargs
        except DeserializationError:
            return "What it calls is not written as JSON."
        if not isinstance(name, str) or name not in ALLOWED:
            return f"It names {str(name)[:80]!r}, which is not on the list of functions that may run."
        if instance is not None or not isinstance(args, list | tuple) or not isinstance(kwargs, dict):
            return "Its arguments are not those of a plain function."
        return None


def unpacked(data: bytes | None) -> bytes:
    """A job's data as JSON bytes, never more than a few kilobytes. Raises JobRefused."""
    if data is None:
        raise JobRefused("It says nothing about what to call.")
    try:
        reader = zlib.decompressobj()
        text = reader.decompress(data, MAX_DATA_BYTES)
    except zlib.error:
        text, reader = data, None
    if len(text) >= MAX_DATA_BYTES or (reader is not None and reader.unconsumed_tail):
        raise JobRefused("Its arguments are longer than those of any function here.")
    if not text.startswith(b"["):
        raise JobRefused("What it calls is not written as JSON.")
    return text


class LaneQueue(Queue):
    """A lane as an RQ queue."""

    job_class = LaneJob

    def __init__(self, name: str, connection: redis.Redis, **others: Any):
        others.update(serializer=JSONSerializer, job_class=LaneJob, default_timeout=JOB_SECONDS)
        super().__init__(name, connection=connection, **others)

    @classmethod
    def dequeue_any(
        cls,
        queues: Iterable[Queue],
        timeout: float | None,
        connection: redis.Redis,
        **_: Any,
    ) -> tuple[LaneJob, "LaneQueue"] | None:
        """The next job that may run, and its lane. Raises DequeueTimeout after `timeout` seconds.

        Refused jobs are dropped and logged. A worker that dies with a job in hand loses it: wake-ups
        are replaced, so none is kept aside.
        """
        by_key = {queue.key: queue for queue in queues}
        while True:
            found = cls.lpop(list(by_key), timeout, connection=connection)
            if found is None:
                return None
            queue = by_key[found[0].decode()]
            if (job := _readable(connection, found[1])) is not None:
                job.origin = queue.name
                return job, queue


def _readable(connection: redis.Redis, raw_id: bytes) -> LaneJob | None:
    job_id = raw_id[:100].decode(errors="replace")
    try:
        job = LaneJob.fetch(raw_id.decode(errors="replace"), connection=connection)
        problem = job.problem()
    except JobRefused as error:
        problem = str(error)
    except NoSuchJobError:
        return None
    if problem is None:
        return job
    log.warning("job refused", job=job_id, why=problem)
    connection.expire(LaneJob.key_for(job_id), FAILURE_SECONDS)
    return None


def connection(settings: Settings, connect_seconds: float = 1.0, answer_seconds: float = 2.0) -> redis.Redis:
    """A client of the queue server, shared within the process; it connects with its first command.

    Raises NotConfigured for an address that cannot be read, QueueDown where none is known.
    """
    if settings.redis_url is None:
        raise QueueDown("No queue is known here: REDIS_URL is not set and the local stack does not run.")
    return _client(settings.redis_url.get_secret_value(), connect_seconds, answer_seconds)


@lru_cache(maxsize=16)
def _client(url: str, connect_seconds: float, answer_seconds: float) -> redis.Redis:
    try:
        return redis.Redis.from_url(
            url,
            socket_connect_timeout=connect_seconds,
            socket_timeout=answer_seconds,
            retry=once_more(),
        )
    except ValueError:  # its text may quote a part of the password
        raise NotConfigured(
            "REDIS_URL cannot be used. Write redis://:password@host:6379/0, with / and @ in the password "
            "as %2F and %40."
        ) from None


def once_more() -> Retry:
    """How a client tries again: once and at once, for a connection the server has closed meanwhile.

    redis-py's default goes on for seconds.
    """
    return Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,))


@contextmanager
def errors_as_down() -> Iterator[None]:
    """Turns the client's errors into QueueDown."""
    try:
        yield
    except redis.RedisError as error:
        raise QueueDown(f"The queue does not answer ({type(error).__name__}).") from error


def drop_impossible_keys(connection: redis.Redis, expected: Mapping[str, bytes]) -> list[str]:
    """The keys that were taken away because they hold another type than we can use.

    `expected`: types by key; those of all lanes are looked at too. Nothing in Redis is more than a
    projection, so what was in them is written anew. Raises QueueDown.
    """
    with errors_as_down():
        lanes = connection.scan_iter(
            match=f"{Queue.redis_queue_namespace_prefix}{QUEUE_PREFIX}*", count=1_000
        )
        wanted = {Queue.redis_queues_keys: b"set", **{key.decode(): b"list" for key in lanes}, **expected}
        wrong = [key for key, kind in wanted.items() if connection.type(key) not in (kind, b"none")]
        for key in wrong:
            log.warning("key refused", key=key, why="It holds another type than it should.")
            connection.delete(key)
        return wrong


def is_wrong_type(error: QueueDown) -> bool:
    """Whether it was not the server that failed, but a key of another type that was in the way."""
    return isinstance(error.__cause__, redis.ResponseError) and "WRONGTYPE" in str(error.__cause__)


def ping(connection: redis.Redis) -> None:
    """Returns if the queue server answers. Raises QueueDown."""
    with errors_as_down():
        connection.ping()


def is_lane(name: object) -> bool:
    """Whether this can be the name of a lane."""
    return isinstance(name, str) and LANE.fullmatch(name) is not None


def lane_queue(connection: redis.Redis, lane: str) -> LaneQueue:
    """The lane's queue. Raises ValueError for what cannot be a lane."""
    if not is_lane(lane):
        raise ValueError(f"{lane!r} cannot be a lane.")
    return LaneQueue(QUEUE_PREFIX + lane, connection)


def queued_count(connection: redis.Redis, lane: str) -> int:
    """How many wake-ups wait in a lane. Raises QueueDown."""
    with errors_as_down():
        return lane_queue(connection, lane).count


def wake(connection: redis.Redis, lane: str, attempts: int = 1) -> int:
    """How many wake-ups were added for this many new attempts; call it after the commit.

    One for every ten attempts, so that several workers begin, but never more than 50 wait in a lane.
    Raises QueueDown: the attempts are stored then, and the scheduler wakes the lane when it can.
    """
    with errors_as_down():
        queue = lane_queue(connection, lane)
        room = MAX_WAITING - queue.count
        count = max(0, min(math.ceil(attempts / ATTEMPTS_PER_WAKE), room))
        if count:
            _put(queue, [f"wake-{lane}-{uuid4().hex}" for _ in range(count)], lane)
        return count


def wake_idle(connection: redis.Redis, lanes: Sequence[str]) -> list[str]:
    """The lanes that were woken because nothing waited in them. Raises QueueDown.

    A replacement for lost wake-ups; its job id is fixed, so that many of them are still one job.
    """
    with errors_as_down():
        pipeline = connection.pipeline(transaction=False)
        queues = [lane_queue(connection, lane) for lane in lanes]
        for queue in queues:
            pipeline.llen(queue.key)
        idle = [
            pair
            for pair, count in zip(zip(lanes, queues, strict=True), pipeline.execute(), strict=True)
            if not count
        ]
        for lane, queue in idle:
            _put(queue, [f"wake-{lane}"], lane)
        return [lane for lane, _ in idle]


def has_others(connection: redis.Redis, lane: str, lanes: Sequence[str]) -> bool:
    """Whether anything waits in these lanes but wake-ups of one of them. Raises QueueDown."""
    with errors_as_down():
        pipeline = connection.pipeline(transaction=False)
        pipeline.lrange(lane_queue(connection, lane).key, 0, 2 * MAX_WAITING)
        for each in set(lanes) - {lane}:
            pipeline.llen(lane_queue(connection, each).key)
        own, *others = pipeline.execute()
    return any(others) or any(not job_id.startswith(b"wake-") for job_id in own)


def wake_imports(connection: redis.Redis, ids: Iterable[int]) -> None:
    """Has a worker set up these bulk imports, in the default lane; one job each, however often it is asked.

    Raises QueueDown: they are stored then, and the scheduler asks again.
    """
    with errors_as_down():
        queue = lane_queue(connection, IMPORT_LANE)
        for number in ids:
            job_id = f"import-{number}"
            if connection.lpos(queue.key, job_id) is None:
                _put(queue, [job_id], number, SET_UP_TWINS, f"set up import {number}")


def _put(
    queue: LaneQueue,
    job_ids: list[str],
    argument: str | int,
    function: str = GENERATE_ATTEMPTS,
    words: str = "",
) -> None:
    pipeline = queue.connection.pipeline()
    pipeline.sadd(queue.redis_queues_keys, queue.key)
    for job_id in job_ids:
        job = queue.create_job(
            function,
            args=(argument,),
            job_id=job_id,
            timeout=JOB_SECONDS,
            result_ttl=RESULT_SECONDS,
            failure_ttl=FAILURE_SECONDS,
            description=words or f"wake lane {argument}",
            status=JobStatus.QUEUED,
        )
        job.origin = queue.name
        job.enqueued_at = job.created_at
        pipeline.delete(job.key)
        job.save(pipeline=pipeline)
        queue.push_job_id(job.id, pipeline=pipeline)
    pipeline.execute()
