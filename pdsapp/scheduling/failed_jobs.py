"""The queue server seen from a page: its size, what is queued in each lane, jobs that failed and why.

A job is a wake-up without content: one that is lost or discarded costs nothing but a moment, since SQL knows
what is due. One that failed says that something outside an attempt is wrong.
"""

import zlib
from base64 import b64decode
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import redis
from rq.exceptions import InvalidJobOperation, NoSuchJobError
from rq.registry import FailedJobRegistry
from rq.results import Result

from ..errors import BadInput, NotFound
from . import queue

MOST_SHOWN = 50
MOST_CAUSE, MOST_TRACEBACK, MOST_PACKED = 300, 100_000, 100_000


@dataclass(frozen=True)
class FailedJob:
    """A job in RQ's registry of failed ones. `cause` is the last line of what was raised, "" if unknown."""

    id: str
    lane: str
    what: str
    ended_at: datetime | None
    cause: str
    can_retry: bool


@dataclass(frozen=True)
class QueueState:
    """What the queue server says of itself: version, bytes in use, keys; jobs queued by lane."""

    version: str
    used_bytes: int
    keys: int
    queued: dict[str, int]
    failed: tuple[FailedJob, ...]
    failed_count: int


def state_of(connection: redis.Redis) -> QueueState:
    """The state of the queue server, at most 50 failed jobs. Raises QueueDown."""
    with queue.errors_as_down():
        server, memory = connection.info("server"), connection.info("memory")
        lanes = _lanes(connection)
        registries = {lane: _registry(connection, lane) for lane in lanes}
        failed = tuple(_failed(connection, registries))
        return QueueState(
            version=str(server.get("valkey_version") or server.get("redis_version") or "unknown"),
            used_bytes=int(memory.get("used_memory", 0)),
            keys=connection.dbsize(),
            queued={lane: queue.queued_count(connection, lane) for lane in lanes},
            failed=failed[:MOST_SHOWN],
            # Not `registry.count`, which also cleans up.
            failed_count=sum(connection.zcard(registry.key) for registry in registries.values()),
        )


def retry(connection: redis.Redis, lane: str, job_id: str) -> None:
    """Puts a failed job back into its lane. Raises QueueDown, NotFound, BadInput for one that may not run."""
    with queue.errors_as_down():
        job = _one(connection, lane, job_id)
        if (problem := job.problem()) is not None:
            raise BadInput(f"This job is never run: {problem} Discard it.")
        with suppress(InvalidJobOperation):  # somebody else was faster
            _registry(connection, lane).requeue(job)


def discard(connection: redis.Redis, lane: str, job_id: str) -> None:
    """Forgets a failed job, also one that cannot be read. Raises QueueDown, NotFound."""
    with queue.errors_as_down():
        registry = _registry(connection, lane)
        if not connection.zrem(registry.key, job_id):
            raise _gone()
        connection.delete(queue.LaneJob.key_for(job_id))


def _one(connection: redis.Redis, lane: str, job_id: str) -> queue.LaneJob:
    registry = _registry(connection, lane)
    if connection.zscore(registry.key, job_id) is None:
        raise _gone()
    try:
        return queue.LaneJob.fetch(job_id, connection=connection)
    except queue.JobRefused as error:
        raise BadInput(f"This job is never run: {error} Discard it.") from None
    except NoSuchJobError:
        raise _gone() from None


def _gone() -> NotFound:
    return NotFound("This job is not among the failed ones any more. Reload the page.")


def _registry(connection: redis.Redis, lane: str) -> FailedJobRegistry:
    if not queue.is_lane(lane):
        raise NotFound("There is no such lane. Reload the page.")
    name = queue.lane_queue(connection, lane).name
    return FailedJobRegistry(name, connection=connection, job_class=queue.LaneJob)


def _lanes(connection: redis.Redis) -> list[str]:
    """The lanes there have been jobs in; other queues on the server are not ours."""
    names = (each.name for each in queue.LaneQueue.all(connection=connection))
    ours = (name.removeprefix(queue.QUEUE_PREFIX) for name in names if name.startswith(queue.QUEUE_PREFIX))
    return sorted(lane for lane in ours if queue.is_lane(lane))


def _failed(connection: redis.Redis, registries: dict[str, FailedJobRegistry]) -> Iterator[FailedJob]:
    for lane, registry in registries.items():
        for raw in connection.zrange(registry.key, 0, MOST_SHOWN - 1):
            yield _described(connection, lane, raw.decode("utf-8", "replace"))


def _described(connection: redis.Redis, lane: str, job_id: str) -> FailedJob:
    try:
        job = queue.LaneJob.fetch(job_id, connection=connection)
    except NoSuchJobError as error:
        cause = str(error) if isinstance(error, queue.JobRefused) else "It is not stored any more."
        return FailedJob(job_id, lane, "a job that cannot be read", None, cause[:MOST_CAUSE], False)
    problem = job.problem()
    if problem is not None:
        return FailedJob(job_id, lane, "a job that is not ours", job.ended_at, problem, False)
    ended_at = job.ended_at and (job.ended_at if job.ended_at.tzinfo else job.ended_at.replace(tzinfo=UTC))
    what = f"{job.func_name.rpartition('.')[2]}({', '.join(str(each) for each in job.args)})"
    return FailedJob(job_id, lane, what, ended_at, _cause(connection, job), True)


def _cause(connection: redis.Redis, job: queue.LaneJob) -> str:
    """The last line of what was raised. Read here, not by RQ, which unpacks as much as somebody stored."""
    text = ""
    with suppress(ValueError, zlib.error, redis.ResponseError):
        for _, fields in connection.xrevrange(Result.get_key(job.id), count=1):
            packed = b64decode(fields.get(b"exc_string", b"")[:MOST_PACKED])
            text = zlib.decompressobj().decompress(packed, MOST_TRACEBACK).decode("utf-8", "replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:MOST_CAUSE] if lines else ""
