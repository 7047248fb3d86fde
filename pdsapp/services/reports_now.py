"""What is happening now, from SQL alone: processes, lanes, attempts at work, next slots, troubles."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import func, select
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import set_committed_value

from ..database import UNREADABLE
from ..domain.reasons import AttemptStage, AttemptState, SlotKind, SlotStage, TokenState
from ..domain.slot_words import Progress
from ..models import (
    IS_DUE,
    IS_RUNNING,
    ApiToken,
    Attempt,
    DigitalTwin,
    Experiment,
    Heartbeat,
    ProcessKind,
    Schedule,
    Slot,
    UserProfile,
)
from ..scheduling.cadence import words_of
from .downtimes import Sleep, costly_sleeps
from .heartbeats import LifeSign, is_fresh, life_sign_of
from .reports import in_scope
from .schedule_health import due_at_newest

SEEN_FOR = timedelta(hours=1)
STRIP_SLOTS = 16
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
MOST_SHOWN = 20


@dataclass(frozen=True)
class Process:
    """A worker or scheduler that beat within the last hour. `busy_count` attempts are leased to it."""

    kind: ProcessKind
    name: str
    host: str
    pid: int
    lanes: tuple[str, ...]
    is_leader: bool
    started_at: datetime
    beat_at: datetime
    stopped_at: datetime | None
    is_alive: bool
    busy_count: int = 0


@dataclass(frozen=True)
class Lane:
    """A stream of work: attempts due now, the age of the oldest, those put off, and if anybody serves it."""

    name: str
    due: int
    oldest_seconds: float
    later: int
    is_served: bool

    @property
    def is_left_alone(self) -> bool:
        """Whether something is due there and no living worker serves it."""
        return self.due > 0 and not self.is_served


@dataclass(frozen=True)
class AtWork:
    """An attempt a worker holds at this moment."""

    uuid: UUID
    twin: str
    stage: AttemptStage | None
    claimed_at: datetime | None
    claimed_by: str


@dataclass(frozen=True)
class Alive:
    """What lives and what waits, over all experiments: workers serve them together."""

    lanes: tuple[Lane, ...]
    worker: LifeSign
    scheduler: LifeSign


@dataclass(frozen=True)
class Now(Alive):
    """The same with each process, and what they are at."""

    processes: tuple[Process, ...]
    at_work: tuple[AtWork, ...]
    at_work_count: int

    def of_kind(self, kind: ProcessKind) -> tuple[Process, ...]:
        return tuple(process for process in self.processes if process.kind == kind)


@dataclass(frozen=True)
class NextSlot:
    """A schedule's next slot; `outcomes` are its last 16, oldest first, as kinds of an outcome strip.

    `progress`: how far its newest slot is, if that asks very many twins and is at work.
    """

    schedule: Schedule
    at: datetime
    experiment: str | None
    experiment_state: str | None
    cadence: str
    outcomes: tuple[str, ...]
    progress: Progress | None = None


@dataclass(frozen=True)
class Troubles:
    """What keeps twins from posting and needs a person, and what has kept them from it lately."""

    tokens: tuple[ApiToken, ...]
    schedules: tuple[Schedule, ...]
    paused_schedules: tuple[Schedule, ...] = ()
    sleeps: tuple[Sleep, ...] = ()


def alive_of(session: Session, now: datetime) -> Alive:
    """Whether workers and schedulers live, and the lanes, in two queries."""
    processes = tuple(_process(beat, now, {}) for beat in _beats(session, now))
    return Alive(**_alive(session, processes, now))


def now_of(session: Session, now: datetime) -> Now:
    """Processes, lanes and attempts at work, in four queries."""
    busy = dict(
        session.execute(
            select(Attempt.claimed_by, func.count()).where(IS_RUNNING).group_by(Attempt.claimed_by)
        ).all()
    )
    processes = tuple(_process(beat, now, busy) for beat in _beats(session, now))
    return Now(
        **_alive(session, processes, now),
        processes=processes,
        at_work=_at_work(session),
        at_work_count=sum(busy.values()),
    )


def _beats(session: Session, now: datetime) -> Sequence[Heartbeat]:
    query = select(Heartbeat).where(Heartbeat.beat_at > now - SEEN_FOR)
    return session.scalars(query.order_by(Heartbeat.kind, Heartbeat.name)).all()


def _alive(session: Session, processes: Sequence[Process], now: datetime) -> dict[str, Any]:
    return {
        "lanes": _lanes(session, processes, now),
        **{
            kind.value: life_sign_of([process for process in processes if process.kind == kind], now)
            for kind in ProcessKind
        },
    }


def next_slots(session: Session, experiment: Experiment | None, count: int) -> tuple[NextSlot, ...]:
    """The enabled schedules due next, of one experiment (with those of all) or of all; three queries."""
    query = (
        select(Schedule, Experiment)
        .outerjoin(Experiment, Experiment.id == Schedule.experiment_id)
        .where(
            Schedule.is_enabled,
            Schedule.is_archived.is_(False),
            Schedule.next_slot_at.is_not(None),
            *_of_schedules(experiment),
        )
        .order_by(Schedule.next_slot_at, Schedule.id)
        .limit(count)
    )
    rows = session.execute(query).all()
    for schedule, of in rows:  # else each would be a query of its own
        set_committed_value(schedule, "experiment", of)
    keys = [schedule.id for schedule, _ in rows]
    outcomes, at_work = _outcomes(session, keys), _at_work_of(session, keys)
    return tuple(
        NextSlot(
            schedule=schedule,
            at=schedule.next_slot_at,
            experiment=of.name if of else None,
            experiment_state=of.state.value if of else None,
            cadence=words_of(schedule),
            outcomes=outcomes.get(schedule.id, ()),
            progress=at_work.get(schedule.id),
        )
        for schedule, of in rows
    )


def schedule_counts(session: Session, experiment: Experiment | None) -> tuple[int, int]:
    """How many schedules there are in scope, and how many of them are enabled."""
    total, enabled = session.execute(
        select(func.count(Schedule.id), func.count(sa.case((Schedule.is_enabled, 1)))).where(
            Schedule.is_archived.is_(False), *_of_schedules(experiment)
        )
    ).one()
    return total, enabled


def troubles(session: Session, experiment: Experiment | None, now: datetime) -> Troubles:
    """Paused tokens in use, broken and paused schedules, costly sleeps; three queries, or four.

    A paused schedule that is broken is named as that; one that has had its last slot is not named at all.
    """
    tokens = (
        select(ApiToken)
        .where(
            ApiToken.state == TokenState.paused,
            sa.exists().where(
                DigitalTwin.api_token_id == ApiToken.id,
                DigitalTwin.is_active,
                *in_scope(DigitalTwin.experiment_id, experiment),
            ),
        )
        .order_by(ApiToken.name)
        .limit(MOST_SHOWN)
    )
    is_broken = Schedule.broken_reason != ""
    is_paused = sa.and_(Schedule.paused_at.is_not(None), Schedule.next_slot_at.is_not(None))
    schedules = (
        select(Schedule)
        .where(
            Schedule.is_enabled,
            Schedule.is_archived.is_(False),
            sa.or_(is_broken, is_paused),
            *_of_schedules(experiment),
        )
        .order_by(Schedule.name)
        .limit(2 * MOST_SHOWN)
    )
    found = session.scalars(schedules).all()
    return Troubles(
        tokens=tuple(session.scalars(tokens)),
        schedules=tuple(each for each in found if each.broken_reason),
        paused_schedules=tuple(each for each in found if not each.broken_reason),
        sleeps=costly_sleeps(session, experiment, now),
    )


def _of_schedules(experiment: Experiment | None) -> tuple:
    """Schedules of all experiments ask this one's twins too."""
    if experiment is None:
        return ()
    return (sa.or_(Schedule.experiment_id == experiment.id, Schedule.experiment_id.is_(None)),)


def _process(beat: Heartbeat, now: datetime, busy: dict[str, int]) -> Process:
    return Process(
        kind=beat.kind,
        name=beat.name,
        host=beat.host,
        pid=beat.pid,
        lanes=tuple(lane for lane in beat.lanes.split(",") if lane),
        is_leader=beat.is_leader,
        started_at=beat.started_at,
        beat_at=beat.beat_at,
        stopped_at=beat.stopped_at,
        is_alive=beat.stopped_at is None and is_fresh(beat.beat_at, now),
        busy_count=busy.get(beat.name, 0),
    )


def _lanes(session: Session, processes: Sequence[Process], now: datetime) -> tuple[Lane, ...]:
    served = {lane for process in processes if process.is_alive for lane in process.lanes}
    is_now = Attempt.not_before <= now
    rows = session.execute(
        select(
            Attempt.lane,
            func.count(sa.case((is_now, 1))),
            func.min(sa.case((is_now, Attempt.not_before))),
            func.count(sa.case((sa.not_(is_now), 1))),
        )
        .where(IS_DUE)
        .group_by(Attempt.lane)
    )
    waiting = {lane: (due, _utc(oldest), later) for lane, due, oldest, later in rows}
    lanes = []
    for name in sorted(served | waiting.keys()):
        due, oldest, later = waiting.get(name, (0, None, 0))
        age = 0.0 if oldest is None else max(0.0, (now - oldest).total_seconds())
        lanes.append(Lane(name, due, age, later, name in served))
    return tuple(lanes)


def _at_work(session: Session) -> tuple[AtWork, ...]:
    rows = session.execute(
        select(Attempt.uuid, UserProfile.username, Attempt.stage, Attempt.claimed_at, Attempt.claimed_by)
        .join(DigitalTwin, DigitalTwin.id == Attempt.digital_twin_id)
        .join(UserProfile, UserProfile.id == DigitalTwin.user_profile_id)
        .where(IS_RUNNING)
        .order_by(Attempt.claimed_at, Attempt.id)
        .limit(MOST_SHOWN)
    )
    return tuple(AtWork(*row) for row in rows)


def _outcomes(session: Session, schedule_ids: Sequence[int]) -> dict[int, tuple[str, ...]]:
    """What became of the last slots of each schedule, oldest first; one query, none for no schedules."""
    if not schedule_ids:
        return {}
    try:
        slots = session.execute(_last_slots(), {"keys": list(schedule_ids)}).all()
    except UNREADABLE:  # a row somebody has written by hand: no strip, but a page
        return {}
    found: dict[int, list[str]] = {}
    for schedule_id, kind, worst in slots:
        found.setdefault(schedule_id, []).insert(0, worst if kind == SlotKind.fired else "missed")
    return {schedule_id: tuple(kinds[-STRIP_SLOTS:]) for schedule_id, kinds in found.items()}


def _at_work_of(session: Session, schedule_ids: Sequence[int]) -> dict[int, Progress]:
    """How far the newest slot of each schedule is, among those that ask 100 twins or more and are at work."""
    is_unfinished = Attempt.state.in_((AttemptState.due, AttemptState.running))
    unfinished = select(func.count()).where(Attempt.slot_id == Slot.id, is_unfinished).correlate(Slot)
    query = (
        select(
            Slot.schedule_id, Slot.wanted_count, Slot.expanded_count, Slot.gone_count + Slot.stopped_count,
            unfinished.scalar_subquery(),
        )
        # By the index of those at work, which are few: by schedule SQLite would read all its slots.
        .where(Slot.stage.in_(list(SlotStage)), (Slot.schedule_id + 0).in_(schedule_ids))
        .order_by(Slot.slot_at)
    )  # fmt: skip
    return {
        key: Progress(wanted, asked, max(0, asked - at_work), unasked)
        for key, wanted, asked, unasked, at_work in session.execute(query)
    }


@cache
def _last_slots() -> sa.Select:
    """The last 16 slots of each schedule, newest first, each with the worst its attempts have come to."""
    sixteenth = due_at_newest(STRIP_SLOTS)

    def has(*states: AttemptState) -> sa.ColumnElement[bool]:
        return _has_attempt(Attempt.state.in_(states))

    # One look into an index for each, however many twins a slot asks. The first that fits: no trouble, and
    # nothing that was called off, hides behind a post beside it.
    worst = sa.case(
        (has(AttemptState.failed), "failed"),
        (Slot.stage == SlotStage.expanding, "waiting"),
        (has(AttemptState.due, AttemptState.running), "waiting"),
        (Slot.stopped_count > 0, "cancelled"),
        (has(AttemptState.cancelled), "cancelled"),
        (has(AttemptState.posted), "posted"),
        (sa.or_(Slot.gone_count > 0, _has_attempt()), "skipped"),
        else_="waiting",
    )
    return (
        select(Slot.schedule_id, Slot.kind, worst)
        .join(Schedule, Schedule.id == Slot.schedule_id)
        .where(
            Schedule.id.in_(sa.bindparam("keys", expanding=True)),
            Slot.slot_at >= func.coalesce(sixteenth, sa.literal(LONG_AGO, Slot.slot_at.type)),
        )
        .order_by(Slot.slot_at.desc(), Slot.id.desc())
    )


def _has_attempt(*conditions: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    # Not EXISTS: PostgreSQL may answer that by reading every attempt there is into a table of slots.
    one = select(sa.literal_column("1")).where(Attempt.slot_id == Slot.id, *conditions)
    return one.limit(1).correlate(Slot).scalar_subquery().is_not(None)


def _utc(at: datetime | str | None) -> datetime | None:
    """SQLite gives back the text of a computed time."""
    if at is None or isinstance(at, datetime):
        return at
    return Attempt.not_before.type.process_result_value(datetime.fromisoformat(at), None)
