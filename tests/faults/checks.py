"""What must hold after a run: sums, uniqueness, nothing lost, an intact database."""

import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from pdsapp.database import reading
from pdsapp.domain.policy import PostingPolicy
from pdsapp.domain.reasons import TERMINAL_STATES, AttemptState, CallState, Reason
from pdsapp.extensions import db
from pdsapp.models import Attempt, LostLease, ModelCall, Post, Schedule, ScheduleRevision, Slot

from . import orders
from .director import Fault
from .plan import OUTSIDE
from .stacks import FLASK, ROOT, Stack

# Lease 45 s, taken back every 5 s by whichever scheduler leads, a new leader after 5 s at most.
DUE_AGAIN_SECONDS = 75.0
AROUND = timedelta(seconds=60)


@dataclass(frozen=True)
class Tally:
    """One fault and what it did to the attempts it concerned. `recovery`: seconds from kill to due again."""

    fault: Fault
    doubles: int
    losses: int
    recovery: tuple[float, ...]


@dataclass(frozen=True)
class Facts:
    """What was read of the whole run."""

    slots: dict[str, int]
    states: dict[str, int]
    posts: int
    worker_lost: int
    twin_busy: int
    lost_leases: int
    struck_runs: int
    calls_twice: int


def ledger_output(stack: Stack) -> tuple[int, str]:
    """Exit code and words of `flask ledger` on this stack."""
    result = subprocess.run(
        [*FLASK, "ledger"], cwd=ROOT, env=stack.keeper.environment, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip
    return result.returncode, result.stdout + result.stderr


def tallies(faults: list[Fault]) -> list[Tally]:
    """Each fault with the attempts it concerned: at the point, of the same worker, or around that time."""
    with reading() as session:
        lost = session.scalars(select(LostLease).order_by(LostLease.id)).all()
        by_fault = _assign(lost, faults)
        bad = _bad_attempts(session)
        return [_tally(session, fault, by_fault.get(fault.order.number, []), bad) for fault in faults]


def facts(stack: Stack) -> Facts:
    """The figures of the whole run."""
    with reading() as session:
        slots = session.execute(select(Slot.kind, func.sum(Slot.slot_count)).group_by(Slot.kind))
        states = session.execute(select(Attempt.state, func.count()).group_by(Attempt.state))

        def count(reason: Reason) -> int:
            return session.scalar(select(func.count(Attempt.id)).where(Attempt.reason == reason))

        answered = (
            select(ModelCall.attempt_id)
            .where(ModelCall.state.in_((CallState.lost, CallState.answered)))
            .group_by(ModelCall.attempt_id)
            .having(func.count() > 1)
        )
        return Facts(
            slots={kind.value: int(number) for kind, number in slots},
            states={state.value: number for state, number in states},
            posts=session.scalar(select(func.count(Post.id))),
            worker_lost=count(Reason.worker_lost),
            twin_busy=count(Reason.twin_busy),
            lost_leases=session.scalar(select(func.count(LostLease.id))),
            struck_runs=len(orders.told(stack.orders, "struck")),
            calls_twice=session.scalar(select(func.count()).select_from(answered.subquery())),
        )


def problems(stack: Stack, faults: list[Fault], calls: Path, wait_seconds: float) -> Iterator[str]:
    """Everything that is not as promised, in sentences. `calls`: the hashes the model server saw."""
    yield from (f"Fault {f.order.number} ({f.order.point}): {f.problem}." for f in faults if f.problem)
    yield from sorted(set(orders.told(stack.orders, "violations")))
    with reading() as session:
        yield from _attempt_problems(session)
        yield from _slot_problems(session)
        yield from _decision_problems(session, faults)
        yield from _call_problems(session, calls)
        yield from _loss_problems(session, faults, wait_seconds)
        yield from _database_problems(session)


def _assign(lost: list[LostLease], faults: list[Fault]) -> dict[int, list[tuple[LostLease, float]]]:
    """Each lost lease goes to the first fault after its claim that hit its worker; with seconds until due."""
    found: dict[int, list[tuple[LostLease, float]]] = {}
    for row in lost:
        hits = [f for f in faults if f.note and _hit(f, row) and f.note.at <= row.taken_back_at.timestamp()]
        if hits:
            first = min(hits, key=lambda fault: fault.note.at)
            seconds = row.taken_back_at.timestamp() - first.note.at
            found.setdefault(first.order.number, []).append((row, seconds))
    return found


def _hit(fault: Fault, row: LostLease) -> bool:
    if fault.note.at < row.claimed_at.timestamp():
        return False
    return fault.order.victim == orders.STACK or fault.note.worker == row.worker


def _tally(session: Session, fault: Fault, lost: list, bad: dict[int, str]) -> Tally:
    concerned = {row.attempt_id for row, _ in lost}
    if fault.note:
        uuids = [UUID(text) for text in fault.note.attempts]
        concerned |= set(session.scalars(select(Attempt.id).where(Attempt.uuid.in_(uuids))))
    if fault.order.point in OUTSIDE:
        at = datetime.fromtimestamp(fault.happened_at, UTC)
        around = Attempt.created_at.between(at - AROUND / 4, at + AROUND)
        concerned |= set(session.scalars(select(Attempt.id).where(around)))
    kinds = Counter(bad.get(attempt_id) for attempt_id in concerned)
    return Tally(fault, kinds["double"], kinds["lost"], tuple(seconds for _, seconds in lost))


def _bad_attempts(session: Session) -> dict[int, str]:
    """Attempts with more than one post, and those lost: not ended, or ended as posted without a post."""
    of_attempts = select(Post.attempt_id, func.count()).where(Post.attempt_id.is_not(None))
    posts = dict(session.execute(of_attempts.group_by(Post.attempt_id)).all())
    bad = {}
    for attempt in session.scalars(select(Attempt)):
        count = posts.get(attempt.id, 0)
        if count > 1 or (count and attempt.state != AttemptState.posted):
            bad[attempt.id] = "double"
        elif (attempt.state == AttemptState.posted and not count) or not _has_ended_well(attempt):
            bad[attempt.id] = "lost"
    return bad


def _has_ended_well(attempt: Attempt) -> bool:
    """Whether it ended in a way that these faults explain; all were to post whatever the draw."""
    if attempt.state == AttemptState.failed:
        # At the third strike, or when workers that were hit have made all the calls it may make.
        most = PostingPolicy().max_model_calls
        return attempt.reason == Reason.worker_lost and (attempt.strikes >= 3 or len(attempt.calls) >= most)
    if attempt.state == AttemptState.skipped:
        return attempt.reason == Reason.twin_busy
    return attempt.state == AttemptState.posted


def _attempt_problems(session: Session) -> Iterator[str]:
    for attempt_id, kind in _bad_attempts(session).items():
        attempt = session.get_one(Attempt, attempt_id)
        yield f"Attempt {attempt.uuid} is {kind}: {attempt.state}, {attempt.reason}, {attempt.detail}"
    if left := session.scalar(select(func.count(Attempt.id)).where(Attempt.state.not_in(TERMINAL_STATES))):
        yield f"{left} attempts have not ended."
    texts = select(Post.user_profile_id, Post.created_at).group_by(Post.user_profile_id, Post.created_at)
    if twice := session.execute(texts.having(func.count() > 1)).all():
        yield f"{len(twice)} twins posted twice in one instant."


def _slot_problems(session: Session) -> Iterator[str]:
    """Every instant of every enabled stretch is told by exactly one row."""
    for schedule in session.scalars(select(Schedule).order_by(Schedule.id)):
        told = Counter()
        for slot in session.scalars(select(Slot).where(Slot.schedule_id == schedule.id)):
            at, until = slot.covers_from or slot.slot_at, slot.covers_until or slot.slot_at
            step = timedelta(seconds=schedule.interval_seconds)
            instants = [at + step * n for n in range(int((until - at) / step) + 1)]
            if len(instants) != slot.slot_count:
                yield f"A row of {schedule.name} counts {slot.slot_count} slots, but spans {len(instants)}."
            told.update(instants)
        wanted = set(_wanted(session, schedule))
        if twice := [at for at, count in told.items() if count > 1]:
            yield f"{schedule.name}: {len(twice)} slots are told twice, the first at {twice[0]}."
        if missing := sorted(wanted - told.keys()):
            yield f"{schedule.name}: {len(missing)} slots are missing, the first at {missing[0]}."
        if surplus := sorted(told.keys() - wanted):
            yield f"{schedule.name}: {len(surplus)} slots are surplus, the first at {surplus[0]}."


def _wanted(session: Session, schedule: Schedule) -> Iterator[datetime]:
    revisions = select(ScheduleRevision).where(
        ScheduleRevision.schedule_id == schedule.id, ScheduleRevision.is_enabled
    )
    for revision in session.scalars(revisions):
        step = timedelta(seconds=revision.interval_seconds)
        number = (revision.valid_from - revision.anchor_at) // step + 1
        while (at := revision.anchor_at + step * max(number, 0)) <= revision.valid_until:
            yield at
            number = max(number, 0) + 1


def _decision_problems(session: Session, faults: list[Fault]) -> Iterator[str]:
    """What was decided once is what was carried out, whoever carried it out."""
    for fault in faults:
        if fault.note and fault.note.messages_sha256:
            uuid = UUID(fault.note.attempts[0])
            kept = session.scalars(select(Attempt.messages_sha256).where(Attempt.uuid == uuid)).one()
            if kept != fault.note.messages_sha256:
                yield f"Attempt {uuid} was decided anew after fault {fault.order.number}."
    different = (
        select(ModelCall.attempt_id)
        .where(ModelCall.is_rewrite.is_(False), ModelCall.attempt_id.is_not(None))
        .group_by(ModelCall.attempt_id)
        .having(func.count(func.distinct(ModelCall.messages_sha256)) > 1)
    )
    if found := session.scalars(different).all():
        yield f"{len(found)} attempts sent different messages in different calls."


def _call_problems(session: Session, calls: Path) -> Iterator[str]:
    """Every request the model server saw was written down before it was sent, three an attempt at most."""
    seen = Counter(calls.read_text().split())
    rows = Counter(session.scalars(select(ModelCall.messages_sha256)))
    if unknown := sum((seen - rows).values()):
        yield f"The model server saw {unknown} requests that no row tells of."
    most = PostingPolicy().max_model_calls
    per_attempt = select(ModelCall.attempt_id).group_by(ModelCall.attempt_id).having(func.count() > most)
    if found := session.scalars(per_attempt).all():
        yield f"{len(found)} attempts asked the model more than {most} times."
    if open_ := session.scalar(select(func.count()).where(ModelCall.state == CallState.started)):
        yield f"{open_} calls are still told as begun."


def _loss_problems(session: Session, faults: list[Fault], wait_seconds: float) -> Iterator[str]:
    lost = _assign(session.scalars(select(LostLease)).all(), faults)
    for row, seconds in (pair for pairs in lost.values() for pair in pairs):
        until = row.taken_back_at.timestamp()
        # While the whole stack is down or starts nobody can take anything back.
        down = sum(
            max(0.0, min(until, fault.up_at) - max(until - seconds, fault.note.at))
            for fault in faults
            if fault.up_at is not None
        )
        if seconds - down > wait_seconds:
            yield f"Attempt {row.attempt_id} was due again {seconds:.0f} s after its worker was hit."
    losses = select(LostLease.attempt_id, func.count()).group_by(LostLease.attempt_id)
    strikes = dict(session.execute(losses).all())
    wrong = [a.uuid for a in session.scalars(select(Attempt)) if a.strikes != strikes.get(a.id, 0)]
    if wrong:
        yield f"{len(wrong)} attempts have other strikes than lost leases."


def _database_problems(session: Session) -> Iterator[str]:
    if db.engine.dialect.name == "sqlite":
        if (said := session.scalar(sa.text("PRAGMA integrity_check"))) != "ok":
            yield f"SQLite finds the database damaged: {said}"
        if broken := session.execute(sa.text("PRAGMA foreign_key_check")).all():
            yield f"{len(broken)} foreign keys point nowhere."
        return
    found = session.execute(sa.text("SELECT conname FROM pg_constraint WHERE NOT convalidated")).all()
    yield from (f"Constraint {name} is not validated." for (name,) in found)
    invalid = session.execute(sa.text("SELECT indexrelid::regclass FROM pg_index WHERE NOT indisvalid")).all()
    yield from (f"Index {name} is not valid." for (name,) in invalid)
    for table in db.metadata.tables.values():
        for key in table.foreign_keys:
            parent = key.column.table.alias()
            orphans = (
                select(func.count())
                .select_from(table.outerjoin(parent, key.parent == parent.c[key.column.name]))
                .where(key.parent.is_not(None), parent.c[key.column.name].is_(None))
            )
            if count := session.scalar(orphans):
                yield f"{count} rows of {table.name} point nowhere by {key.parent.name}."
