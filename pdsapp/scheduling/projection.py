"""Schedules in Redis: one rq-scheduler entry each, a projection of their rows that may be lost at any time.

An entry is a job `schedule-<uuid>` in rq-scheduler's sorted set, its score the unix time of the next slot.
Tools that read rq-scheduler's sets see our schedules in them.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

import redis
import structlog
from rq.job import JobStatus
from rq_scheduler.scheduler import Scheduler
from sqlalchemy import Row, select
from sqlalchemy.orm import Session

from ..config import Settings
from ..errors import PdsError
from ..models import Schedule
from . import queue
from .queue import CLAIM_SLOT, QUEUE_PREFIX, JobRefused, LaneJob, errors_as_down

ENTRIES = Scheduler.scheduled_jobs_key
ENTRY_PREFIX = "schedule-"
CHUNK = 500
_COLUMNS = (
    Schedule.uuid, Schedule.name, Schedule.next_slot_at, Schedule.cron, Schedule.interval_seconds,
    Schedule.zone, Schedule.lane,
)  # fmt: skip
log = structlog.get_logger()


@dataclass(frozen=True)
class Reconciled:
    """How many entries a reconcile added, moved, rewrote, took away, and found to be right."""

    added: int = 0
    moved: int = 0
    repaired: int = 0
    removed: int = 0
    kept: int = 0


@dataclass(frozen=True)
class DueEntries:
    """Entries whose time has come: of schedules, damaged ones with the reason, and those of nobody."""

    schedules: tuple[UUID, ...] = ()
    damaged: Mapping[UUID, str] = field(default_factory=dict)
    foreign: tuple[bytes, ...] = ()


def project(settings: Settings, schedule: Schedule) -> bool:
    """Shows a changed schedule to Redis: adds, moves or removes its entry. Call it after the commit.

    False if the queue does not answer; the scheduler's next reconcile does it then.
    """
    try:
        put(queue.connection(settings), schedule)
    except PdsError as error:
        log.warning("schedule not in the queue yet", schedule=str(schedule.uuid), why=str(error))
        return False
    return True


def put(connection: redis.Redis, schedule: Schedule) -> None:
    """Makes the schedule's entry what its row says. Raises QueueDown."""
    with errors_as_down():
        pipeline = connection.pipeline()
        if is_wanted(schedule):
            _write(pipeline, connection, schedule)
            pipeline.zadd(ENTRIES, {entry_id(schedule.uuid): score(schedule.next_slot_at)})
        else:
            _remove(pipeline, [entry_id(schedule.uuid)])
        pipeline.execute()


def remove(connection: redis.Redis, uuid: UUID) -> None:
    """Takes a schedule's entry away. Raises QueueDown."""
    with errors_as_down():
        pipeline = connection.pipeline()
        _remove(pipeline, [entry_id(uuid)])
        pipeline.execute()


def move(connection: redis.Redis, next_slots: Mapping[UUID, datetime | None]) -> None:
    """Moves entries forward to where their schedules go on; None takes an entry away. Raises QueueDown.

    An entry that is not there stays away: the reconcile decides.
    """
    scores = {entry_id(uuid): score(at) for uuid, at in next_slots.items() if at is not None}
    gone = [entry_id(uuid) for uuid, at in next_slots.items() if at is None]
    with errors_as_down():
        pipeline = connection.pipeline()
        if scores:
            pipeline.zadd(ENTRIES, scores, xx=True)
        _remove(pipeline, gone)
        pipeline.execute()


def due_entries(connection: redis.Redis, now: datetime, limit: int = 1_000) -> DueEntries:
    """The entries due at `now`, oldest first, each looked at. Raises QueueDown."""
    with errors_as_down():
        members = connection.zrangebyscore(ENTRIES, "-inf", now.timestamp(), start=0, num=limit)
        ours = {uuid: member for member in members if (uuid := uuid_of(member)) is not None}
        found = _problems(connection, list(ours))
    damaged = {uuid: problem for uuid, problem in found.items() if problem}
    known = set(ours.values())
    foreign = tuple(member for member in members if member not in known)
    return DueEntries(tuple(uuid for uuid in ours if uuid not in damaged), damaged, foreign)


def drop(connection: redis.Redis, members: Sequence[bytes]) -> None:
    """Takes entries away that belong to no schedule. Raises QueueDown."""
    with errors_as_down():
        connection.zrem(ENTRIES, *members)


def first_score(connection: redis.Redis) -> float | None:
    """The unix time of the next entry, None if there is none. Raises QueueDown."""
    with errors_as_down():
        first = connection.zrange(ENTRIES, 0, 0, withscores=True)
    return first[0][1] if first else None


def reconcile(connection: redis.Redis, session: Session) -> Reconciled:
    """Makes the entries what the rows say: adds, moves, repairs, removes. Reads SQL, writes Redis.

    Raises QueueDown. Redis is read first: what appears in it afterwards is never taken for superfluous.
    """
    with errors_as_down():
        have = dict(connection.zrange(ENTRIES, 0, -1, withscores=True))
        rows = {
            entry_id(row.uuid).encode(): row
            for row in session.execute(
                select(*_COLUMNS).where(
                    Schedule.is_enabled, Schedule.is_archived.is_(False), Schedule.next_slot_at.is_not(None)
                )
            )
        }
        problems = _problems(connection, [row.uuid for row in rows.values()])
        missing = [row for member, row in rows.items() if member not in have]
        moved = [r for member, r in rows.items() if member in have and have[member] != score(r.next_slot_at)]
        broken = [r for member, r in rows.items() if member in have and problems[r.uuid]]
        _write_all(connection, [*missing, *broken], [*missing, *moved])
        gone = [member for member in have if member not in rows]
        for start in range(0, len(gone), CHUNK):
            pipeline = connection.pipeline(transaction=False)
            _remove(pipeline, gone[start : start + CHUNK])
            pipeline.execute()
    touched = {row.uuid for row in (*missing, *moved, *broken)}
    return Reconciled(len(missing), len(moved), len(broken), len(gone), len(rows) - len(touched))


def is_wanted(schedule: Schedule) -> bool:
    """Whether the schedule has an entry: it is enabled and has a slot to wait for."""
    return schedule.is_enabled and not schedule.is_archived and schedule.next_slot_at is not None


def score(at: datetime) -> float:
    """The unix time of a slot in whole seconds, rounded up: an entry is never due before its slot."""
    return float(math.ceil(at.timestamp()))


def entry_id(uuid: UUID) -> str:
    """The job id of a schedule's entry."""
    return f"{ENTRY_PREFIX}{uuid}"


def uuid_of(member: bytes) -> UUID | None:
    """The schedule an entry belongs to; None for an entry that is none of ours."""
    text = member.decode("ascii", errors="replace")
    try:
        uuid = UUID(text.removeprefix(ENTRY_PREFIX))
    except ValueError:
        return None
    return uuid if text == entry_id(uuid) else None


def _problems(connection: redis.Redis, uuids: Sequence[UUID]) -> dict[UUID, str]:
    """What is wrong with each entry's job, "" for those that are as they should be."""
    found: dict[UUID, str] = {}
    for start in range(0, len(uuids), CHUNK):
        chunk = uuids[start : start + CHUNK]
        pipeline = connection.pipeline(transaction=False)
        for uuid in chunk:
            pipeline.hgetall(LaneJob.key_for(entry_id(uuid)))
        answers = pipeline.execute(raise_on_error=False)
        found.update(
            (uuid, _problem(connection, uuid, raw)) for uuid, raw in zip(chunk, answers, strict=True)
        )
    return found


def _problem(connection: redis.Redis, uuid: UUID, raw: dict[bytes, bytes] | Exception) -> str:
    if isinstance(raw, redis.ResponseError):
        return "Its key holds something else than a job."
    if isinstance(raw, Exception):
        raise raw
    if not raw:
        return "Its job is gone."
    job = LaneJob(entry_id(uuid), connection=connection)
    try:
        job.restore(raw)
        problem = job.problem()
    except JobRefused as error:
        problem = str(error)
    if problem is None and (job.func_name, list(job.args), job.kwargs) != (CLAIM_SLOT, [str(uuid)], {}):
        problem = "It calls something else than this schedule."
    if problem is None and (not isinstance(job.meta, dict) or "unserialized" in job.meta):
        problem = "Its notes are not written as JSON."
    return problem or ""


def _write_all(connection: redis.Redis, jobs: Sequence[Row], scores: Sequence[Row]) -> None:
    for start in range(0, max(len(jobs), len(scores)), CHUNK):
        pipeline = connection.pipeline(transaction=False)
        for row in jobs[start : start + CHUNK]:
            _write(pipeline, connection, row)
        part = {entry_id(row.uuid): score(row.next_slot_at) for row in scores[start : start + CHUNK]}
        if part:
            pipeline.zadd(ENTRIES, part)
        pipeline.execute()


def _write(pipeline: redis.client.Pipeline, connection: redis.Redis, row: Schedule | Row) -> None:
    """The job of an entry. Its `meta` is for readers of rq-scheduler's sets; nothing here reads it."""
    rhythm = {"cron_string": row.cron} if row.cron else {"interval": row.interval_seconds}
    job = LaneJob.create(
        CLAIM_SLOT,
        args=[str(row.uuid)],
        connection=connection,
        id=entry_id(row.uuid),
        origin=f"{QUEUE_PREFIX}{row.lane}",
        description=f"schedule “{row.name[:60]}”",
        meta={**rhythm, "zone": row.zone},
        result_ttl=-1,
        status=JobStatus.SCHEDULED,
    )
    pipeline.delete(job.key)
    job.save(pipeline=pipeline)


def _remove(pipeline: redis.client.Pipeline, members: Iterable[str | bytes]) -> None:
    for member in members:
        pipeline.zrem(ENTRIES, member)
        if uuid_of(member if isinstance(member, bytes) else member.encode()) is not None:
            pipeline.delete(LaneJob.key_for(member if isinstance(member, str) else member.decode()))
