"""Schedules: adding, changing, enabling, firing once. Every change of intent leaves a revision.

SQL is the truth. After its commit the caller tells Redis with `scheduling.projection.project`; should Redis
be down, the scheduler's reconcile does it later.
"""

from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import update
from sqlalchemy.orm import Session

from ..attempts.create import LANE_NOW, Request, add_for_picks
from ..attempts.obstacles import as_sentence
from ..attempts.selection import installation_seed, request_key
from ..domain import cron, zones
from ..domain.cron import CadenceError
from ..domain.days import DaysError, check_days, day_text
from ..domain.jitter import check_jitter
from ..domain.reasons import ExperimentState, Trigger
from ..dt_service import DTService
from ..errors import BadInput, NobodyEligible
from ..models import (
    Account,
    Attempt,
    Cadence,
    Experiment,
    Installation,
    MissedPolicy,
    OverlapPolicy,
    Schedule,
    ScheduleRevision,
)
from ..scheduling import cadence, queue, slots
from ..scheduling.pauses import nobody_words, pause_words
from ..scheduling.slot_facts import open_revision
from . import audit
from .accounts import may_administer
from .editing import begin
from .fields import clean_line, clean_zone

MOST_TWINS = cadence.MOST_TWINS
LONGEST_REQUEST_ID = 60  # each attempt's own has its ordinal behind it
cadence_of = cadence.cadence_of
cadence_words = cadence.words_of
next_slots = cadence.next_slots
ended_on = cadence.ended_on
zone_of = cadence.zone_of


@dataclass(frozen=True)
class Wish:
    """What somebody wants of a schedule: `cron`, or `interval_seconds` counted from `anchor_at`.

    `experiment` None is every running experiment. The anchor is itself a slot; by default it is the
    present minute, or the beginning of a first day to come. `zone` None is the experiment's. Both days
    count, in that zone; None is open. Each attempt of a slot waits a random part of `jitter_seconds`.
    """

    name: str
    experiment: Experiment | None
    cron: str = ""
    interval_seconds: int | None = None
    anchor_at: datetime | None = None
    zone: str | None = None
    first_day: date | None = None
    last_day: date | None = None
    jitter_seconds: int = 0
    twins_per_slot: int = 1
    is_forced: bool = False
    lane: str = "default"
    missed_policy: MissedPolicy = MissedPolicy.skip
    overlap_policy: OverlapPolicy = OverlapPolicy.skip
    is_enabled: bool = False


def add_schedule(session: Session, wish: Wish, now: datetime, account: Account | None = None) -> Schedule:
    """A new schedule with its first revision. It never fires at once. The caller commits. Raises BadInput."""
    intent = _checked(wish, now, account)
    schedule = Schedule(name=_name(wish), created_at=now, created_by_id=account.id if account else None)
    session.add(schedule)
    with session.no_autoflush:
        _take(schedule, intent)
        _revise(session, schedule, now, account)
    audit.record(session, "create", schedule, now, account, after=shown(schedule))
    return schedule


def change_schedule(
    session: Session,
    schedule: Schedule,
    wish: Wish,
    now: datetime,
    account: Account | None = None,
    seen: int | None = None,
) -> bool:
    """Makes the schedule what is wished; True if its intent changed, so that it has a new revision.

    Slots that were due under the old one are accounted for, none of them fires. `seen` is the version the
    form was made from. The caller commits. Raises BadInput, also if somebody else has saved in between.
    """
    if schedule.is_archived:
        raise BadInput("This schedule is archived. Make a new one.")
    _check_may(schedule, account)
    intent, name = _checked(wish, now, account, keeps_anchor_of=schedule), _name(wish)
    _lock(session, schedule, seen)
    before = shown(schedule)
    changed = schedule.broken_reason != "" or any(getattr(schedule, key) != intent[key] for key in intent)
    schedule.name = name
    if changed:
        slots.settle(session, schedule, now)
        _take(schedule, intent)
        _revise(session, schedule, now, account)
    audit.record(session, "change", schedule, now, account, before, shown(schedule))
    return changed


def enable(session: Session, schedule: Schedule, now: datetime, account: Account | None = None) -> bool:
    """Switches the schedule on; its first slot is the next one. False if it was on. The caller commits.

    Raises BadInput where it cannot run: archived, its experiment or its last day over, or a cadence that
    cannot be read.
    """
    if schedule.is_archived:
        raise BadInput("This schedule is archived. Make a new one.")
    _check_experiment(schedule.experiment, account)
    try:
        found = cadence_of(schedule)
        cadence.check_values(schedule)
    except CadenceError as error:
        raise BadInput(str(error), schedule.cadence.value) from None
    _check_has_slots_ahead(found, now)
    return _switch(session, schedule, True, now, account)


def disable(session: Session, schedule: Schedule, now: datetime, account: Account | None = None) -> bool:
    """Switches the schedule off; attempts it has made go on. False if it was off. The caller commits.

    Raises BadInput for a schedule of all experiments, unless an administrator or a command does it.
    """
    _check_may(schedule, account)
    return _switch(session, schedule, False, now, account)


def archive(session: Session, schedule: Schedule, now: datetime, account: Account | None = None) -> bool:
    """Puts the schedule away for good, its history stays. False if it was. The caller commits.

    Raises BadInput for a schedule of all experiments, unless an administrator or a command does it.
    """
    if schedule.is_archived:
        return False
    disable(session, schedule, now, account)
    schedule.is_archived = True
    _close_revision(session, schedule, max(now, schedule.cursor_at or now))
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
        raise BadInput("This schedule is archived. Make a new one.")
    _check_may(schedule, account)
    if len(request_id) > LONGEST_REQUEST_ID:
        raise BadInput("The request id is too long. Go back, reload the page and try again.")
    if words := pause_words(session.get_one(Installation, 1), schedule.experiment, schedule):
        raise NobodyEligible(as_sentence(words))
    key = request_key(installation_seed(session), request_id)
    picks = service.get_random_digital_twins(session, schedule.experiment, schedule.twins_per_slot, key)
    if not picks:
        raise NobodyEligible(nobody_words(schedule.experiment_id))
    request = Request(
        trigger, request_id, schedule.is_forced, account.id if account else None, lane=schedule.lane
    )
    attempts = add_for_picks(session, picks, request, now)
    if any(attempt.created_at == now for attempt in attempts):  # not those that were there already
        audit.record(session, "fire", schedule, now, account, after={"attempts": len(attempts)})
    return attempts


def shown(schedule: Schedule) -> dict[str, object]:
    """What the audit trail keeps of a schedule."""
    words = {"name": schedule.name}
    for key in cadence.INTENT:
        value = getattr(schedule, key)
        words[key] = value.isoformat() if isinstance(value, date) else value
    return words


def _name(wish: Wish) -> str:
    return clean_line(wish.name, "name", 120)


def _checked(
    wish: Wish, now: datetime, account: Account | None, keeps_anchor_of: Schedule | None = None
) -> dict[str, object]:
    """The columns of the wish, each checked. Raises BadInput."""
    _check_experiment(wish.experiment, account)
    if not isinstance(wish.twins_per_slot, int) or not 1 <= wish.twins_per_slot <= MOST_TWINS:
        raise BadInput(f"Ask 1 to {MOST_TWINS:,} twins per slot.", "twins_per_slot")
    if not queue.is_lane(wish.lane):
        raise BadInput("Name the lane with 1 to 40 of a–z, 0–9 and -. Example: default", "lane")
    if wish.lane == LANE_NOW:
        raise BadInput(f"Lane “{LANE_NOW}” is kept for what people ask for. Example: default", "lane")
    zone = clean_zone(wish.zone or (wish.experiment.zone if wish.experiment else "UTC"))
    return {
        "experiment_id": wish.experiment.id if wish.experiment else None,
        **_checked_cadence(wish, zone, now, keeps_anchor_of),
        "twins_per_slot": wish.twins_per_slot,
        "is_forced": bool(wish.is_forced),
        "lane": wish.lane,
        "missed_policy": MissedPolicy(wish.missed_policy),
        "overlap_policy": OverlapPolicy(wish.overlap_policy),
        "is_enabled": bool(wish.is_enabled),
    }


def _check_may(schedule: Schedule, account: Account | None) -> None:
    """A schedule of all experiments is the administrators'; commands have no account and may."""
    if schedule.experiment_id is None and not may_administer(account):
        raise BadInput("Only administrators change or fire a schedule of all experiments.")


def _check_experiment(experiment: Experiment | None, account: Account | None) -> None:
    if experiment is None:
        if not may_administer(account):
            raise BadInput(
                "Only administrators schedule all experiments at once. Choose one experiment.", "experiment"
            )
    elif experiment.state in (ExperimentState.ended, ExperimentState.archived):
        raise BadInput(
            f"Experiment {experiment.identifier} is {experiment.state.value} and stays so.", "experiment"
        )


def _checked_cadence(wish: Wish, zone: str, now: datetime, present: Schedule | None) -> dict[str, object]:
    """The columns that say when it is due; `present` is the schedule that is to be changed."""
    field = "cron" if (wish.cron or "").strip() else "interval_seconds"
    if (field == "cron") == (wish.interval_seconds is not None):
        raise BadInput("Give either a cron expression or an interval. Example: */15 9-17 * * 1-5", "cron")
    try:
        if field == "cron":
            found = cron.parse_cron(wish.cron, zone)
        else:
            cron.parse_interval(wish.interval_seconds, now, zone)
            field = "anchor_at"
            found = cron.parse_interval(wish.interval_seconds, _anchor(wish, zone, now, present), zone)
        field = "last_day"
        found = cron.with_days(found, wish.first_day, wish.last_day)
        is_empty = cron.next_slot(found, cron.EARLIEST_AT) is None
        today = now.astimezone(zones.zone_of(zone)).date()
        if is_empty and (found.last_day is None or found.last_day >= today):
            raise CadenceError("No slot lies in these days. Choose more days, or other times.")
        field = "jitter_seconds"
        check_jitter(wish.jitter_seconds, found)
    except DaysError as error:
        raise BadInput(str(error), error.field) from None
    except CadenceError as error:
        raise BadInput(str(error), field) from None
    columns = {
        "cadence": Cadence.cron if isinstance(found, cron.Cron) else Cadence.interval,
        "cron": getattr(found, "expression", ""),
        "interval_seconds": getattr(found, "seconds", None),
        "anchor_at": getattr(found, "anchor_at", None),
        "zone": zone,
        "first_day": found.first_day,
        "last_day": found.last_day,
        "jitter_seconds": wish.jitter_seconds,
    }
    if present is None or any(getattr(present, name) != value for name, value in columns.items()):
        _check_has_slots_ahead(found, now)
    return columns


def _anchor(wish: Wish, zone: str, now: datetime, present: Schedule | None) -> datetime:
    if wish.anchor_at or (present is not None and present.anchor_at):
        return wish.anchor_at or present.anchor_at
    minute = now.replace(second=0, microsecond=0)
    if wish.first_day is None:
        return minute
    check_days(wish.first_day, wish.last_day)
    return max(minute, zones.beginning_of(zones.zone_of(zone), wish.first_day))


def _check_has_slots_ahead(found: cron.Cadence, now: datetime) -> None:
    if found.last_day is not None and cron.next_slot(found, now) is None:
        raise BadInput(
            f"No slot is left: its last day is {day_text(found.last_day)}. Choose a later one, or none.",
            "last_day",
        )


def _take(schedule: Schedule, intent: dict[str, object]) -> None:
    for key, value in intent.items():
        setattr(schedule, key, value)


def _switch(
    session: Session, schedule: Schedule, is_enabled: bool, now: datetime, account: Account | None
) -> bool:
    _lock(session, schedule, None)
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
