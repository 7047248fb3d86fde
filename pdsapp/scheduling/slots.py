"""Claiming due slots in SQL: the one place where an instant becomes a slot row and its attempts.

`schedule.cursor_at` is the newest instant that is accounted for, `next_slot_at` the first one that is not.
Whoever claims holds the schedule's row, so a slot is claimed once however many schedulers there are.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice
from typing import Any
from uuid import UUID

import structlog
from rq.timeouts import BaseTimeoutException
from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from ..attempts.big_draws import BigDraw
from ..attempts.create import FiredSlot, add_for_slots
from ..attempts.selection import Pick, slot_key
from ..database import is_outage, read_each
from ..domain import cron
from ..domain.cron import CadenceError, Occurrence
from ..domain.reasons import SlotKind
from ..dt_service import DTService, draw_for
from ..models import Experiment, Installation, MissedPolicy, Schedule, ScheduleRevision, Slot
from .cadence import cadence_of, next_instant, readable_cadence
from .outcomes import PASSED, PASSED_BEFORE_CHANGE, Facts, Outcome, outcomes
from .pauses import last_moment, nobody_words, pauses_of
from .slot_facts import (
    busy_schedules,
    current_revisions,
    fired_slot_ids,
    last_slots,
    open_revision,
    readable_schedules,
    told_since,
)
from .slot_rows import for_later, slot_row

MOST_AT_ONCE = 1_000
MOST_OCCURRENCES = 20_000
MOST_IN_ALL = 40_000
# More attempts than these are not made with one claim: the slots behind them are expanded afterwards.
MOST_ATTEMPTS = 10_000
log = structlog.get_logger()


class DrawingFailed(Exception):
    """The service raised while it drew the twins of a slot."""


@dataclass(frozen=True)
class Claimed:
    """What one claim did; nothing of it is visible before the caller's commit.

    `attempts`: how many may begin at once, by lane to wake. `slots`: how many, by kind. `next_slots`: where
    each schedule that was looked at goes on, by UUID; None where it has nothing more to wait for.
    """

    attempts: Mapping[str, int] = field(default_factory=dict)
    slots: Mapping[SlotKind, int] = field(default_factory=dict)
    next_slots: Mapping[UUID, datetime | None] = field(default_factory=dict)


@dataclass(frozen=True)
class _Plan:
    """The rows a schedule's due instants become, and where it goes on afterwards."""

    schedule: Schedule
    revision: ScheduleRevision
    cadence: cron.Cadence
    after: datetime
    rows: tuple[Outcome, ...]
    cursor_at: datetime
    next_slot_at: datetime | None


@dataclass
class _Round:
    """One claim: what it was asked, what was read for all its schedules at once, what it did."""

    session: Session
    service: DTService | None
    now: datetime
    claimed_by: str
    installation: Installation
    revisions: dict[int, ScheduleRevision]
    last: dict[int, Slot]
    mistold: set[int]
    busy: set[int]
    experiments: list[Experiment]
    may_fire: bool = True
    missed_words: str = PASSED
    occurrences: int = 0
    drawn: int = 0
    attempts: Counter = field(default_factory=Counter)
    slots: Counter = field(default_factory=Counter)


def claim_due(
    session: Session, service: DTService, uuids: Iterable[UUID] | None, now: datetime, claimed_by: str
) -> Claimed:
    """What became of all slots due at `now`, of these schedules or of all; the caller commits.

    A schedule that somebody else claims or edits at this moment is left out. One that cannot be read is
    marked as broken and does not disturb the others. At most 1,000 schedules, 20,000 slots of each and
    about 60,000 in all are done at once, so that no claim lasts longer than a moment; what is left over
    stays due.
    """
    standing = {} if uuids is None else _standing(session, list(uuids)[:MOST_AT_ONCE])
    schedules = _due_and_locked(session, now, None if uuids is None else list(standing))
    with session.no_autoflush:
        round_ = _open_round(session, service, schedules, now, claimed_by)
        _record_all(round_, list(_plans(schedules, round_)))
    session.flush()
    standing = {uuid: at for uuid, at in standing.items() if at is None or at > now}
    standing |= {schedule.uuid: schedule.next_slot_at for schedule in schedules}
    return Claimed(dict(round_.attempts), dict(round_.slots), standing)


def settle(
    session: Session, schedule: Schedule, now: datetime, missed_words: str = PASSED_BEFORE_CHANGE
) -> None:
    """Accounts for a schedule's slots up to `now` without firing any: it is about to change.

    They are those of its open revision, whatever somebody may have written into its row meanwhile, also
    while it is broken. The caller holds the schedule's row and commits.
    """
    revision = open_revision(session, schedule.id)
    if revision is None or not revision.is_enabled:
        return
    while max(schedule.cursor_at or revision.valid_from, revision.valid_from) < now:
        round_ = _open_round(session, None, [schedule], now, "")
        round_.revisions = {schedule.id: revision}
        round_.may_fire, round_.missed_words = False, missed_words
        if (plan := _plan_or_break(schedule, round_)) is None:
            return
        before = schedule.cursor_at
        _record_all(round_, [plan])
        if schedule.cursor_at == before:
            return


def is_any_due(session: Session, at: datetime) -> bool:
    """Whether any schedule has a slot at or before `at` that nobody has claimed."""
    return session.scalars(_claimable(at).with_only_columns(Schedule.id).limit(1)).first() is not None


def _claimable(until: datetime):
    return select(Schedule).where(
        Schedule.is_enabled, Schedule.is_archived.is_(False), Schedule.next_slot_at <= until
    )


def _standing(session: Session, uuids: list[UUID]) -> dict[UUID, datetime | None]:
    """When each of these schedules has its next slot; None for those that wait for none."""
    query = select(Schedule.uuid, Schedule.next_slot_at).where(
        Schedule.uuid.in_(uuids), Schedule.is_enabled, Schedule.is_archived.is_(False)
    )
    return {**dict.fromkeys(uuids), **{uuid: at for uuid, at in session.execute(query)}}


def _due_and_locked(session: Session, now: datetime, uuids: list[UUID] | None) -> list[Schedule]:
    query = _claimable(now).order_by(Schedule.next_slot_at, Schedule.id).limit(MOST_AT_ONCE)
    if uuids is not None:
        query = query.where(Schedule.uuid.in_(uuids))
    query = query.with_for_update(skip_locked=True, of=Schedule).execution_options(populate_existing=True)
    return readable_schedules(session, query)


def _open_round(
    session: Session, service: DTService | None, schedules: Sequence[Schedule], now: datetime, claimed_by: str
) -> _Round:
    ids = [schedule.id for schedule in schedules]
    last, mistold = last_slots(session, ids)
    experiment_ids = {s.experiment_id for s in schedules if s.experiment_id is not None}
    return _Round(
        session=session,
        service=service,
        now=now,
        claimed_by=claimed_by,
        installation=session.get_one(Installation, 1),
        revisions=current_revisions(session, ids),
        last=last,
        mistold=mistold,
        busy=busy_schedules(session, ids),
        # Held, so that no schedule reads its own again.
        experiments=read_each(
            session, select(Experiment).where(Experiment.id.in_(experiment_ids)), Experiment.id
        )[0],
    )


def _plans(schedules: Sequence[Schedule], round_: _Round) -> Iterator[_Plan]:
    """The plans, oldest slots first, until there is enough to do for one claim."""
    for done, schedule in enumerate(schedules):
        if round_.occurrences >= MOST_IN_ALL:
            log.info("more slots are due than are claimed at once", left=len(schedules) - done)
            return
        if (plan := _plan_or_break(schedule, round_)) is not None:
            yield plan


def _plan_or_break(schedule: Schedule, round_: _Round) -> _Plan | None:
    try:
        return _plan(schedule, round_)
    except BaseTimeoutException:
        raise
    except CadenceError as error:
        reason = str(error)
    except Exception as error:  # whatever a row edited by hand can provoke
        reason = f"Its slots cannot be told ({type(error).__name__}: {error})."
    log.warning("schedule is broken", schedule=str(schedule.uuid), why=reason)
    schedule.broken_reason = reason[:500]
    schedule.next_slot_at = None
    return None


def _plan(schedule: Schedule, round_: _Round) -> _Plan:
    if schedule.id in round_.mistold:
        raise CadenceError(
            "Its newest slot cannot be read. flask ledger names it; mend it, and save this again."
        )
    revision = round_.revisions.get(schedule.id)
    cadence = readable_cadence(schedule, revision) if round_.may_fire else cadence_of(revision)
    # No revision enumerates what was due before it, wherever somebody has set the cursor.
    after = max(schedule.cursor_at or revision.valid_from, revision.valid_from)
    upto = min(round_.now, last_moment(schedule.experiment) or round_.now)
    due = list(islice(cron.due_slots(cadence, after, upto), MOST_OCCURRENCES + 2))
    is_cut = len(due) > MOST_OCCURRENCES
    if is_cut:  # at an instant: a gap and a slot may share one
        due = [o for o in due if o.at <= due[MOST_OCCURRENCES - 1].at]
    until = due[-1].at if is_cut else max(after, upto)
    round_.occurrences += len(due)
    facts = Facts(
        now=round_.now,
        pauses=tuple(pauses_of(round_.installation, schedule.experiment, schedule)),
        is_busy=schedule.id in round_.busy,
        fires_late_once=schedule.missed_policy == MissedPolicy.fire_once,
        may_fire=round_.may_fire and not is_cut,
        missed_words=round_.missed_words,
    )
    rows = outcomes(due, facts, _is_told(schedule, due, round_))
    return _Plan(schedule, revision, cadence, after, rows, until, next_instant(cadence, until))


def _is_told(
    schedule: Schedule, due: list[Occurrence], round_: _Round
) -> Callable[[Occurrence], bool] | None:
    """Which occurrences a row tells of already: none, unless somebody has set the cursor back."""
    last = round_.last.get(schedule.id)
    if last is None or not due or (last.covers_until or last.slot_at) < due[0].at:
        return None
    log.warning("slots were claimed before", schedule=str(schedule.uuid))
    return told_since(round_.session, schedule.id, due[0].at)


def _record_all(round_: _Round, plans: list[_Plan]) -> None:
    """All plans in one go; if any of them fails, one by one, so that it fails alone."""
    if not plans:
        return
    before = (round_.attempts.copy(), round_.slots.copy())
    try:
        with round_.session.begin_nested():
            _record(round_, plans)
        return
    except BaseTimeoutException:
        raise
    except Exception as error:
        if is_outage(error):
            raise
        log.warning("slots are claimed one by one", why=f"{type(error).__name__}: {error}"[:300])
    round_.attempts, round_.slots = before
    for plan in plans:
        _record_alone(round_, plan)


def _record_alone(round_: _Round, plan: _Plan) -> None:
    """One schedule's rows; if its twins cannot be drawn, its slots are told as that, and it goes on."""
    before = (round_.attempts.copy(), round_.slots.copy())
    try:
        with round_.session.begin_nested():
            _record(round_, [plan])
        return
    except BaseTimeoutException:
        raise
    except Exception as error:
        if is_outage(error):
            raise
        log.exception("twins cannot be drawn", schedule=str(plan.schedule.uuid))
        words = f"Drawing twins failed ({type(error.__cause__ or error).__name__})."
    round_.attempts, round_.slots = before[0].copy(), before[1].copy()
    rows = tuple(
        replace(row, kind=SlotKind.nobody_eligible, detail=words) if row.kind == SlotKind.fired else row
        for row in plan.rows
    )
    try:
        with round_.session.begin_nested():
            _record(round_, [replace(plan, rows=rows)])
    except IntegrityError:  # a row of this instant is there although the cursor says otherwise
        log.exception("slot exists already", schedule=str(plan.schedule.uuid))
        round_.attempts, round_.slots = before
        plan.schedule.broken_reason = "A slot of it exists already that should not. Save it again to go on."
        plan.schedule.next_slot_at = None


def _record(round_: _Round, plans: list[_Plan]) -> None:
    rows: list[dict[str, Any]] = []
    fired: list[tuple[_Plan, datetime, list[Pick]]] = []
    for plan in plans:
        for number, planned in enumerate(plan.rows):
            row, drawn = _drawn(round_, plan, planned)
            round_.slots[row.kind] += row.count
            if number == 0 and _has_grown(round_, plan, row):
                continue
            if not isinstance(drawn, BigDraw):
                round_.drawn += len(drawn)
            later = for_later(drawn, round_.drawn > MOST_ATTEMPTS)
            picks = drawn if later is None else []
            written = slot_row(row, plan.revision, len(picks), round_.now, round_.claimed_by)
            rows.append(written | (later or {}))
            if picks:
                fired.append((plan, row.at, picks))
        plan.schedule.cursor_at = plan.cursor_at
        plan.schedule.next_slot_at = plan.next_slot_at
    round_.session.flush()
    if rows:
        # One statement for all: rows added to the session are written one by one on SQLite.
        round_.session.execute(insert(Slot), rows)
    ids = fired_slot_ids(round_.session, [(plan.schedule.id, at) for plan, at, _ in fired])
    slots = [FiredSlot(ids[plan.schedule.id, at], at, plan.revision, picks) for plan, at, picks in fired]
    round_.attempts.update(add_for_slots(round_.session, slots, round_.now))


def _drawn(round_: _Round, plan: _Plan, row: Outcome) -> tuple[Outcome, list[Pick] | BigDraw]:
    """The twins a firing slot asks, or the draw of very many; without any, the slot is `nobody_eligible`."""
    if row.kind != SlotKind.fired:
        return row, []
    key = slot_key(round_.installation.seed, plan.schedule.uuid, row.at)
    try:
        picks = draw_for(round_.service, round_.session, plan.schedule.experiment, plan.revision, key)
    except BaseTimeoutException:
        raise
    except Exception as error:
        if is_outage(error):  # the database's trouble, not the draw's: the slot stays due
            raise
        raise DrawingFailed(f"{type(error).__name__} in {round_.service.name}") from error
    if isinstance(picks, BigDraw):
        return row, picks
    most = None if plan.revision.asks_all else plan.revision.twins_per_slot
    picks = list({pick.twin_id: pick for pick in picks}.values())[:most]
    if picks:
        return row, picks
    words = nobody_words(round_.session, plan.revision)
    return replace(row, kind=SlotKind.nobody_eligible, detail=words), []


def _has_grown(round_: _Round, plan: _Plan, row: Outcome) -> bool:
    """Whether the schedule's newest row is the beginning of the same run, and has taken this one in.

    A run never reaches over an instant that is not its own. One of missed slots is one stretch in which
    nothing claimed: it grows only where a claim left off because there was too much to do at once.
    """
    last = round_.last.get(plan.schedule.id)
    if last is None or not row.is_run or last.covers_until is None:
        return False
    if (last.kind, last.revision_id, last.detail) != (row.kind, plan.revision.id, row.detail):
        return False
    if row.kind == SlotKind.missed and plan.after != last.covers_until:
        return False
    if row.at <= last.covers_until or cron.next_slot(plan.cadence, last.covers_until) != row.at:
        return False
    last.covers_until = row.until
    last.slot_count += row.count
    return True
