"""Life signs: who works and who schedules, from heartbeat rows in SQL."""

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache

from sqlalchemy import CompoundSelect, delete, or_, select, union_all
from sqlalchemy.orm import Session

from ..database import reading
from ..models import Heartbeat, ProcessKind

BEAT_SECONDS = 5.0
DEAD_AFTER = timedelta(seconds=15)
FORGET_AFTER = timedelta(days=1)


@dataclass(frozen=True)
class LifeSign:
    """Whether any process of a kind lives, and how long ago the freshest beat was (None: never)."""

    is_alive: bool
    seconds: float | None
    alive_count: int

    @property
    def words(self) -> str:
        """ "3 s ago", "none alive, last seen 4 min ago" or "none alive"."""
        if self.seconds is None:
            return "none alive"
        seconds = int(self.seconds)
        ago = f"{seconds} s ago" if seconds < 120 else f"{seconds // 60} min ago"
        return ago if self.is_alive else f"none alive, last seen {ago}"


def beat(
    session: Session, kind: ProcessKind, name: str, now: datetime, lanes: str = "", is_leader: bool = False
) -> None:
    """Writes this process's heartbeat; the caller commits."""
    row = session.scalars(select(Heartbeat).where(Heartbeat.name == name)).one_or_none()
    if row is None:
        # Of its own kind: a worker that starts first must not take away when a scheduler was last seen.
        is_old = or_(Heartbeat.beat_at < now - FORGET_AFTER, Heartbeat.beat_at > now + FORGET_AFTER)
        session.execute(delete(Heartbeat).where(Heartbeat.kind == kind, is_old))
        row = Heartbeat(kind=kind, name=name, host=socket.gethostname(), pid=os.getpid(), started_at=now)
        session.add(row)
    row.beat_at = now
    row.lanes = lanes
    row.is_leader = is_leader
    row.stopped_at = None


def is_alive_here(session: Session, kind: ProcessKind, now: datetime) -> bool:
    """Whether a process of this kind on this host has a fresh heartbeat and has not said farewell."""
    query = select(Heartbeat.beat_at).where(
        Heartbeat.kind == kind, Heartbeat.host == socket.gethostname(), Heartbeat.stopped_at.is_(None)
    )
    return any(is_fresh(beat_at, now) for beat_at in session.scalars(query))


def farewell(session: Session, name: str, now: datetime) -> None:
    """Says that this process stopped in good order; the caller commits."""
    row = session.scalars(select(Heartbeat).where(Heartbeat.name == name)).one_or_none()
    if row is not None:
        row.stopped_at = now
        row.is_leader = False


def is_fresh(beat_at: datetime, now: datetime) -> bool:
    """Whether a process that beat then counts as alive. A beat far ahead is of a clock that was set back."""
    return abs(now - beat_at) < DEAD_AFTER


def life_sign(session: Session, kind: ProcessKind, now: datetime) -> LifeSign:
    """The life sign of all workers, or of all schedulers."""
    return life_signs(session, now)[kind]


def life_signs(session: Session, now: datetime) -> dict[ProcessKind, LifeSign]:
    """The life signs of all workers and of all schedulers, in one query."""
    rows = session.execute(_freshest_beats()).all()
    return {kind: life_sign_of([row for row in rows if row.kind == kind], now) for kind in ProcessKind}


@cache
def _freshest_beats() -> CompoundSelect:
    """The freshest 100 of each kind."""
    freshest = (
        select(Heartbeat.kind, Heartbeat.beat_at, Heartbeat.stopped_at)
        .where(Heartbeat.kind == kind)
        .order_by(Heartbeat.beat_at.desc())
        .limit(100)
        .subquery()
        for kind in ProcessKind
    )
    return union_all(*(select(each) for each in freshest))


def life_sign_of(rows: Sequence, now: datetime) -> LifeSign:
    """The life sign of processes of one kind, from what has their `beat_at` and `stopped_at`."""
    if not rows:
        return LifeSign(False, None, 0)
    alive = [row.beat_at for row in rows if row.stopped_at is None and is_fresh(row.beat_at, now)]
    freshest = (now - (max(alive) if alive else max(row.beat_at for row in rows))).total_seconds()
    return LifeSign(bool(alive), max(0.0, freshest), len(alive))


def is_lane_served(session: Session, lane: str, now: datetime) -> bool:
    """Whether a live worker serves this lane."""
    lanes = session.scalars(
        select(Heartbeat.lanes).where(
            Heartbeat.kind == ProcessKind.worker,
            Heartbeat.stopped_at.is_(None),
            Heartbeat.beat_at > now - DEAD_AFTER,
            Heartbeat.beat_at < now + DEAD_AFTER,
        )
    )
    return any(lane in text.split(",") for text in lanes)


def lanes_of(session: Session, worker: str) -> list[str]:
    """The lanes a worker of this name serves; none if there is no such worker."""
    lanes = session.scalar(select(Heartbeat.lanes).where(Heartbeat.name == worker))
    return lanes.split(",") if lanes else []


def age_seconds(pid: int, now: datetime) -> float | None:
    """Seconds since the last beat of a process of this host; None if it has not beaten yet.

    Reads in a transaction of its own, within the current application.
    """
    with reading() as session:
        beat_at = session.scalars(
            select(Heartbeat.beat_at)
            .where(
                Heartbeat.host == socket.gethostname(),
                Heartbeat.pid == pid,
                Heartbeat.stopped_at.is_(None),
            )
            .order_by(Heartbeat.beat_at.desc())
            .limit(1)
        ).first()
    return None if beat_at is None else (now - beat_at).total_seconds()
