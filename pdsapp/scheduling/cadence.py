"""The cadence of schedules: from their rows to exact instants and words."""

from datetime import date, datetime
from zoneinfo import ZoneInfo

from ..domain import cron
from ..domain.cron import CadenceError
from ..domain.jitter import jitter_words
from ..domain.targets import Target, TargetError
from ..domain.zones import zone_shown
from ..models import Cadence, Schedule, ScheduleRevision
from ..models.schedules import Intent
from .queue import is_lane

MOST_TWINS = 100_000
INTENT = tuple(sorted(Intent.__annotations__))


def cadence_of(intent: Schedule | ScheduleRevision) -> cron.Cadence:
    """The cadence of a schedule or of one of its revisions. Raises CadenceError if it cannot be read."""
    if intent.cadence == Cadence.cron:
        found = cron.parse_cron(intent.cron, intent.zone)
    else:
        found = cron.parse_interval(intent.interval_seconds, intent.anchor_at, intent.zone)
    return cron.with_days(found, intent.first_day, intent.last_day)


def readable_cadence(schedule: Schedule, revision: ScheduleRevision | None) -> cron.Cadence:
    """The cadence slots are enumerated with, from the newest revision.

    Raises CadenceError with what to do when it cannot be read, or when the schedule's row says
    something else than its revision: somebody has edited it behind our back.
    """
    if revision is None:
        raise CadenceError("It has no revision that says what it wants. Save it again.")
    if any(getattr(schedule, name) != getattr(revision, name) for name in INTENT):
        raise CadenceError("It was changed without leaving a revision. Save it again.")
    check_values(revision)
    return cadence_of(revision)


def check_values(intent: Schedule | ScheduleRevision) -> None:
    """Raises CadenceError for what no form accepts beside a cadence: somebody has written it by hand."""
    if not 1 <= intent.twins_per_slot <= MOST_TWINS:
        raise CadenceError(f"It asks {intent.twins_per_slot:,} twins per slot; 1 to {MOST_TWINS:,} can be.")
    if intent.jitter_seconds < 0:
        raise CadenceError(f"It delays attempts by {intent.jitter_seconds:,} s; that cannot be negative.")
    if not is_lane(intent.lane):
        raise CadenceError("Its lane cannot be one. Name it with 1 to 40 of a–z, 0–9 and -.")
    try:
        target = Target.from_dict(intent.target)
    except TargetError as error:
        raise CadenceError(str(error)) from None
    if intent.experiment_id is None and not target.is_everybody:
        raise CadenceError("It asks some twins of no experiment. Choose an experiment, and save it again.")


def next_instant(cadence: cron.Cadence, after: datetime) -> datetime | None:
    """The next slot; where there is none any more, the next clock change that swallows one, or None."""
    if (slot := cron.next_slot(cadence, after)) is not None:
        return slot
    return next((occurrence.at for occurrence in cron.due_slots(cadence, after, cron.LATEST_AT)), None)


def next_slots(intent: Schedule | ScheduleRevision, after: datetime, count: int = 5) -> list[datetime]:
    """The next slots after an instant; none if the cadence cannot be read."""
    try:
        return cron.upcoming(cadence_of(intent), after, count)
    except CadenceError:
        return []


def zone_of(intent: Schedule | ScheduleRevision) -> ZoneInfo:
    """The zone its times are shown in; UTC where somebody has written one that does not exist."""
    return zone_shown(intent.zone)


def words_of(intent: Schedule | ScheduleRevision) -> str:
    """The cadence in words, with days and jitter but without its zone; "" if it cannot be read."""
    try:
        words = cron.describe(cadence_of(intent))
    except CadenceError:
        return ""
    return f"{words}, {jitter_words(intent.jitter_seconds)}" if intent.jitter_seconds else words


def ended_on(schedule: Schedule) -> date | None:
    """The last day of an enabled schedule that has had its last slot; None for all others."""
    has_ended = schedule.is_enabled and schedule.next_slot_at is None and not schedule.broken_reason
    return schedule.last_day if has_ended and not schedule.is_archived else None
