"""Schedules: adding, changing, enabling, firing once. Every change of intent leaves a revision.

While an experiment a schedule asks is running or paused, it is a change of its protocol too, with its reason:
whoever is signed in must give one (BadInput at `reason`), commands and the program itself may leave it out.

SQL is the truth. After its commit the caller tells Redis with `scheduling.projection.project`; should Redis
be down, the scheduler's reconcile does it later.
"""

from collections.abc import Iterable
from datetime import date, datetime
from typing import Any

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from ..attempts.big_draws import BigDraw
from ..attempts.create import Request, add_for_picks
from ..attempts.obstacles import as_sentence
from ..attempts.selection import installation_seed, request_key
from ..domain.cron import CadenceError
from ..domain.protocol import NO_REASON, ProtocolPart
from ..domain.reasons import ExperimentState, Trigger
from ..domain.targets import TargetError
from ..dt_service import LARGEST_DRAW, DTService, draw_for
from ..errors import BadInput, NobodyEligible
from ..models import Account, Attempt, Experiment, Installation, Schedule, ScheduleRevision
from ..scheduling import cadence, slots
from ..scheduling.pauses import nobody_words, pause_words
from ..scheduling.slot_facts import open_revision
from . import audit, protocol
from . import schedule_targets as targets
from .accounts import may_administer
from .editing import begin, hold_open, require_open
from .schedule_wishes import Wish, check_experiment, check_has_slots_ahead, checked, checked_name

MOST_TWINS = cadence.MOST_TWINS
ALL = "all"
BEFORE_THE_END = "Not claimed yet when the experiment was over."
IS_ARCHIVED = "This schedule is archived. Make a new one."
LONGEST_REQUEST_ID = 60  # each attempt's own has its ordinal behind it
cadence_of = cadence.cadence_of
cadence_words = cadence.words_of
next_slots = cadence.next_slots
ended_on = cadence.ended_on
zone_of = cadence.zone_of


def add_schedule(
    session: Session, wish: Wish, now: datetime, account: Account | None = None, reason: str = ""
) -> Schedule:
    """A new schedule with its first revision. It never fires at once. The caller commits. Raises BadInput."""
    intent = checked(wish, now, account)
    targets.check_twins(session, wish.experiment, wish.target)
    _hold_asked(session, wish)
    schedule = Schedule(
        name=checked_name(wish), created_at=now, created_by_id=account.id if account else None
    )
    session.add(schedule)
    with session.no_autoflush:
        _take(schedule, intent)
        _revise(session, schedule, now, account)
    _note_change(session, schedule, {}, now, account, reason)
    audit.record(session, "create", schedule, now, account, after=shown(session, schedule))
    return schedule


def change_schedule(
    session: Session,
    schedule: Schedule,
    wish: Wish,
    now: datetime,
    account: Account | None = None,
    seen: int | None = None,
    reason: str = "",
) -> bool:
    """Makes the schedule what is wished; True if its intent changed, so that it has a new revision.

    Slots that were due under the old one are accounted for, none of them fires. `seen` is the version the
    form was made from. Another name alone needs no reason. The caller commits. Raises BadInput, also if
    somebody else has saved in between.
    """
    if schedule.is_archived:
        raise BadInput(IS_ARCHIVED)
    _check_may(schedule, account)
    intent, name = checked(wish, now, account, schedule), checked_name(wish)
    targets.check_twins(session, wish.experiment, wish.target)
    _hold_asked(session, wish)
    _lock(session, schedule, seen)
    if schedule.is_archived:  # in this moment, by somebody else
        raise BadInput(IS_ARCHIVED)
    before, protocol_before = shown(session, schedule), _protocol_values(session, schedule)
    changed = schedule.broken_reason != "" or any(getattr(schedule, key) != intent[key] for key in intent)
    schedule.name = name
    if changed:
        slots.settle(session, schedule, now)
        _take(schedule, intent)
        _revise(session, schedule, now, account)
    _note_change(session, schedule, protocol_before, now, account, reason)
    audit.record(session, "change", schedule, now, account, before, shown(session, schedule))
    return changed


def enable(
    session: Session, schedule: Schedule, now: datetime, account: Account | None = None, reason: str = ""
) -> bool:
    """Switches the schedule on; its first slot is the next one. False if it was on. The caller commits.

    Raises BadInput where it cannot run: archived, its experiment or its last day over, or a cadence that
    cannot be read.
    """
    check_can_run(schedule, now, account)
    return _switch(session, schedule, True, now, account, reason)


def check_can_run(schedule: Schedule, now: datetime, account: Account | None = None) -> None:
    """Raises BadInput for one that `enable` refuses."""
    if schedule.is_archived:
        raise BadInput(IS_ARCHIVED)
    check_experiment(schedule.experiment, account)
    try:
        found = cadence_of(schedule)
        cadence.check_values(schedule)
    except CadenceError as error:
        raise BadInput(str(error), schedule.cadence.value) from None
    check_has_slots_ahead(found, now)


def disable(
    session: Session, schedule: Schedule, now: datetime, account: Account | None = None, reason: str = ""
) -> bool:
    """Switches the schedule off; attempts it has made go on. False if it was off. The caller commits.

    Raises BadInput for a schedule of all experiments, unless an administrator or a command does it.
    """
    _check_may(schedule, account)
    return _switch(session, schedule, False, now, account, reason)


def close(
    session: Session,
    schedule: Schedule,
    at: datetime,
    now: datetime,
    account: Account | None = None,
    actor: str | None = None,
) -> bool:
    """Switches off, as of `at`, the schedule of an experiment that was over then. False if it was off.

    Slots until then that nobody has claimed are accounted for, those behind it are not due. One that was
    claimed behind it already moves the instant to there. The caller has locked the schedule's row, writes the
    protocol and commits.
    """
    revision = open_revision(session, schedule.id)
    if not schedule.is_enabled and (revision is None or not revision.is_enabled):
        return False
    schedule.edit_version += 1
    slots.settle(session, schedule, at, BEFORE_THE_END)
    schedule.is_enabled = False
    _revise(session, schedule, at, account)
    audit.record(
        session, "change", schedule, now, account, {"is_enabled": True}, {"is_enabled": False}, actor
    )
    return True


def archive(
    session: Session, schedule: Schedule, now: datetime, account: Account | None = None, reason: str = ""
) -> bool:
    """Puts the schedule away for good, its history stays. False if it was. The caller commits.

    Raises BadInput for a schedule of all experiments, unless an administrator or a command does it.
    """
    if schedule.is_archived:
        return False
    _check_may(schedule, account)
    _lock(session, schedule, None)
    if schedule.is_archived:  # in this moment, by somebody else
        return False
    before = _protocol_values(session, schedule)
    _turn(session, schedule, False, now, account)
    schedule.is_archived = True
    _close_revision(session, schedule, max(now, schedule.cursor_at or now))
    _note_change(session, schedule, before, now, account, reason)
    audit.record(session, "archive", schedule, now, account)
    return True


def fire_once(
    session: Session,
    schedule: Schedule,
    service: DTService,
    request_id: str,
    now: datetime,
    account: Account | None = None,
    trigger: Trigger = Trigger.button,
) -> list[Attempt]:
    """One round of attempts, at once and beside the slots; those already there if it was asked before.

    The caller commits, then wakes the schedule's lane. `request_id` has at most 60 characters. Raises
    BadInput for an archived schedule, NobodyEligible with the reason.
    """
    if schedule.is_archived:
        raise BadInput(IS_ARCHIVED)
    _check_may(schedule, account)
    if schedule.experiment is not None:
        require_open(schedule.experiment)
    if len(request_id) > LONGEST_REQUEST_ID:
        raise BadInput("The request id is too long. Go back, reload the page and try again.")
    if words := pause_words(session.get_one(Installation, 1), schedule.experiment, schedule):
        raise NobodyEligible(as_sentence(words))
    key = request_key(installation_seed(session), request_id)
    try:
        picks = draw_for(service, session, schedule.experiment, schedule, key)
    except TargetError as error:
        raise BadInput(str(error)) from None
    many = picks.wanted if isinstance(picks, BigDraw) else len(picks)
    if many > LARGEST_DRAW:
        raise BadInput(
            f"It asks {many:,} twins; by hand at most {LARGEST_DRAW:,} are asked at once. Let its next slot "
            "ask them, or give it a slot that is due sooner."
        )
    if not picks:
        raise NobodyEligible(nobody_words(session, schedule))
    request = Request(
        trigger, request_id, schedule.is_forced, account.id if account else None, lane=schedule.lane
    )
    attempts = add_for_picks(session, picks, request, now)
    if any(attempt.created_at == now for attempt in attempts):  # not those that were there already
        audit.record(session, "fire", schedule, now, account, after={"attempts": len(attempts)})
    return attempts


def shown(session: Session, schedule: Schedule) -> dict[str, object]:
    """What the audit trail keeps of a schedule."""
    words = {"name": schedule.name}
    for key in cadence.INTENT:
        value = getattr(schedule, key)
        words[key] = value.isoformat() if isinstance(value, date) else value
    return words | {"target": target_words(session, [schedule])[schedule.id]}


def target_words(session: Session, schedules: Iterable[Schedule]) -> dict[int, str]:
    """Which twins each of these asks, in words, by its id; one query at most."""
    schedules = list(schedules)
    names = targets.names_of(session, [targets.readable(schedule) for schedule in schedules])
    return {schedule.id: targets.words_of(schedule, names) for schedule in schedules}


def needs_reason(session: Session, experiment_id: int | None) -> bool:
    """Whether a change of a schedule of this experiment (None: of all) is one of a study under way."""
    query = select(Experiment.id).where(Experiment.state.in_(protocol.GUARDED))
    if experiment_id is not None:
        query = query.where(Experiment.id == experiment_id)
    return session.scalar(query.limit(1)) is not None


def _note_change(
    session: Session,
    schedule: Schedule,
    before: dict[str, Any],
    now: datetime,
    account: Account | None,
    reason: str,
) -> None:
    """Writes the change down in the protocol of every experiment that it asks, or has asked until now.

    Raises BadInput at `reason` when somebody is to be asked for one and gave none.
    """
    after = _protocol_values(session, schedule)
    identifiers = {after["experiment"], before.get("experiment", after["experiment"])}
    is_asked = Experiment.identifier.in_(identifiers) & (Experiment.state == ExperimentState.draft)
    is_under_way = Experiment.state.in_(protocol.GUARDED)
    if ALL not in identifiers:
        is_under_way &= Experiment.identifier.in_(identifiers)
    query = select(Experiment).where(or_(is_asked, is_under_way)).order_by(Experiment.id)
    for experiment in session.scalars(query).all():
        is_command = account is None and protocol.needs_reason(experiment)
        protocol.record_values(
            session, [experiment], ProtocolPart.schedule, f"Schedule “{schedule.name}”", before, after, now,
            reason=reason or (NO_REASON if is_command else ""), account=account,
        )  # fmt: skip


def _protocol_values(session: Session, schedule: Schedule) -> dict[str, Any]:
    """What counts as its protocol: all it wants, without its name and what it leaves open."""
    values = shown(session, schedule)
    experiment = session.get(Experiment, values.pop("experiment_id") or 0)
    state = "archived" if schedule.is_archived else "enabled" if schedule.is_enabled else "disabled"
    for name in ("name", "is_enabled"):
        del values[name]
    given = {name: value for name, value in values.items() if value not in (None, "")}
    return {"experiment": experiment.identifier if experiment else ALL, "state": state, **given}


def _check_may(schedule: Schedule, account: Account | None) -> None:
    """A schedule of all experiments is the administrators'; commands have no account and may."""
    if schedule.experiment_id is None and not may_administer(account):
        raise BadInput("Only administrators change or fire a schedule of all experiments.")


def _take(schedule: Schedule, intent: dict[str, object]) -> None:
    for key, value in intent.items():
        setattr(schedule, key, value)


def _switch(
    session: Session,
    schedule: Schedule,
    is_enabled: bool,
    now: datetime,
    account: Account | None,
    reason: str,
) -> bool:
    _lock(session, schedule, None)
    if is_enabled and schedule.is_archived:  # in this moment, by somebody else
        raise BadInput(IS_ARCHIVED)
    before = _protocol_values(session, schedule)
    if not _turn(session, schedule, is_enabled, now, account):
        return False
    _note_change(session, schedule, before, now, account, reason)
    return True


def _turn(
    session: Session, schedule: Schedule, is_enabled: bool, now: datetime, account: Account | None
) -> bool:
    """Another state of the locked schedule; False if it has it."""
    revision = open_revision(session, schedule.id)
    # Somebody may have written into the row: what the open revision wants is due until it is closed.
    if schedule.is_enabled == is_enabled and (revision is None or revision.is_enabled == is_enabled):
        return False
    slots.settle(session, schedule, now)
    schedule.is_enabled = is_enabled
    _revise(session, schedule, now, account)
    audit.record(
        session, "change", schedule, now, account, {"is_enabled": not is_enabled}, {"is_enabled": is_enabled}
    )
    return True


def _lock(session: Session, schedule: Schedule, seen: int | None) -> None:
    """The schedule's row for this transaction, as it is stored, so that no scheduler claims meanwhile.

    What a form has written into the object is dropped: the wish says what shall be.
    """
    with session.no_autoflush:
        session.refresh(schedule, with_for_update={"of": Schedule})
    begin(session, schedule, schedule.edit_version if seen is None else seen)


def _hold_asked(session: Session, wish: Wish) -> None:
    """Before the schedule's own lock: who ends an experiment takes them in this order, and closes all."""
    if wish.experiment is not None:
        with session.no_autoflush:
            hold_open(session, wish.experiment.id)


def _revise(session: Session, schedule: Schedule, now: datetime, account: Account | None) -> None:
    """Closes the open revision and opens one with the present intent. What is due begins after `now`."""
    at = max(now, schedule.cursor_at or now)
    _close_revision(session, schedule, at)
    schedule.revision_number = (schedule.revision_number or 0) + 1
    schedule.cursor_at = at
    schedule.next_slot_at = cadence.next_instant(cadence_of(schedule), at) if schedule.is_enabled else None
    schedule.broken_reason = ""
    session.flush()
    session.add(
        ScheduleRevision(
            schedule_id=schedule.id,
            number=schedule.revision_number,
            valid_from=at,
            created_at=now,
            created_by_id=account.id if account else None,
            **{key: getattr(schedule, key) for key in cadence.INTENT},
        )
    )
    session.flush()


def _close_revision(session: Session, schedule: Schedule, at: datetime) -> None:
    if schedule.id is None:
        return
    session.execute(
        update(ScheduleRevision)
        .where(ScheduleRevision.schedule_id == schedule.id, ScheduleRevision.valid_until.is_(None))
        .values(valid_until=at)
    )
