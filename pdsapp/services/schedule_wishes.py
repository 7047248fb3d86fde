"""What somebody wants of a schedule, and whether that can be: checked before anything is written."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from ..attempts.create import LANE_NOW
from ..domain import cron, zones
from ..domain.cron import CadenceError
from ..domain.days import DaysError, check_days, day_text
from ..domain.jitter import check_jitter
from ..domain.reasons import ExperimentState
from ..domain.targets import EVERYBODY, Target, TargetError
from ..errors import BadInput
from ..models import Account, Cadence, Experiment, MissedPolicy, OverlapPolicy, Schedule
from ..scheduling import cadence, queue
from .accounts import may_administer
from .fields import clean_line, clean_zone
from .schedule_targets import ONE_EXPERIMENT

MOST_TWINS = cadence.MOST_TWINS
ALWAYS_AT_WORK = (
    "With a jitter as long as the time between two slots, the slot before is still at work when the next one "
    "comes, and every second one would be skipped. Choose to fire it too, or a shorter jitter."
)


@dataclass(frozen=True)
class Wish:
    """What somebody wants of a schedule: `cron`, or `interval_seconds` counted from `anchor_at`.

    `experiment` None is every running experiment. The anchor is itself a slot; by default it is the
    present minute, or the beginning of a first day to come. `zone` None is the experiment's. Both days
    count, in that zone; None is open. Each attempt of a slot waits a random part of `jitter_seconds`.
    `target` narrows the experiment's twins (services/schedule_targets.py makes one of names). Each slot asks
    `twins_per_slot` of them, or each active one where it `asks_all`.
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
    asks_all: bool = False
    target: Target = EVERYBODY
    is_forced: bool = False
    lane: str = "default"
    missed_policy: MissedPolicy = MissedPolicy.skip
    overlap_policy: OverlapPolicy = OverlapPolicy.skip
    is_enabled: bool = False


def wish_of(schedule: Schedule, **changes: Any) -> Wish:
    """What a schedule wants, but for the changes. Raises BadInput where its target cannot be read."""
    try:
        if "target" not in changes:
            changes["target"] = Target.from_dict(schedule.target)
    except TargetError as error:
        raise BadInput(str(error), "target") from None
    return Wish(
        **{
            "name": schedule.name, "experiment": schedule.experiment, "cron": schedule.cron or "",
            "interval_seconds": schedule.interval_seconds, "anchor_at": schedule.anchor_at,
            "zone": schedule.zone, "first_day": schedule.first_day, "last_day": schedule.last_day,
            "jitter_seconds": schedule.jitter_seconds, "twins_per_slot": schedule.twins_per_slot,
            "asks_all": schedule.asks_all, "is_forced": schedule.is_forced, "lane": schedule.lane,
            "missed_policy": schedule.missed_policy, "overlap_policy": schedule.overlap_policy,
            "is_enabled": schedule.is_enabled, **changes,
        }
    )  # fmt: skip


def wished(
    wish: Wish, now: datetime, account: Account | None = None, present: Schedule | None = None
) -> Schedule:
    """The schedule it would be, in no session: to be looked at, not stored. Raises BadInput.

    `present` is the schedule that would be changed.
    """
    return Schedule(name=wish.name, **checked(wish, now, account, present))


def checked_name(wish: Wish) -> str:
    """Its name in one line. Raises BadInput."""
    return clean_line(wish.name, "name", 120)


def checked(
    wish: Wish, now: datetime, account: Account | None, present: Schedule | None = None
) -> dict[str, object]:
    """The columns of the wish, each checked. `present`, a schedule to be changed, keeps its anchor.

    Raises BadInput at the field that is to blame.
    """
    check_experiment(wish.experiment, account)
    if wish.experiment is None and not wish.target.is_everybody:
        raise BadInput(ONE_EXPERIMENT, "target")
    if not isinstance(wish.twins_per_slot, int) or not 1 <= wish.twins_per_slot <= MOST_TWINS:
        raise BadInput(f"Ask 1 to {MOST_TWINS:,} twins per slot.", "twins_per_slot")
    if not queue.is_lane(wish.lane):
        raise BadInput("Name the lane with 1 to 40 of a–z, 0–9 and -. Example: default", "lane")
    if wish.lane == LANE_NOW:
        raise BadInput(f"Lane “{LANE_NOW}” is kept for what people ask for. Example: default", "lane")
    zone = clean_zone(wish.zone or (wish.experiment.zone if wish.experiment else "UTC"))
    return {
        "experiment_id": wish.experiment.id if wish.experiment else None,
        **_checked_cadence(wish, zone, now, present),
        # One way to say it: the number means nothing where all are asked.
        "twins_per_slot": 1 if wish.asks_all else wish.twins_per_slot,
        "asks_all": bool(wish.asks_all),
        "target": wish.target.to_dict(),
        "is_forced": bool(wish.is_forced),
        "lane": wish.lane,
        "missed_policy": MissedPolicy(wish.missed_policy),
        "overlap_policy": OverlapPolicy(wish.overlap_policy),
        "is_enabled": bool(wish.is_enabled),
    }


def check_experiment(experiment: Experiment | None, account: Account | None) -> None:
    """Raises BadInput for one that is over, and for all of them unless an administrator or a command asks."""
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
        spacing = check_jitter(wish.jitter_seconds, found)
        field = "overlap_policy"
        is_whole = spacing is not None and wish.jitter_seconds >= spacing.total_seconds()
        if is_whole and wish.overlap_policy == OverlapPolicy.skip:
            raise CadenceError(ALWAYS_AT_WORK)
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
        check_has_slots_ahead(found, now)
    return columns


def _anchor(wish: Wish, zone: str, now: datetime, present: Schedule | None) -> datetime:
    if wish.anchor_at or (present is not None and present.anchor_at):
        return wish.anchor_at or present.anchor_at
    minute = now.replace(second=0, microsecond=0)
    if wish.first_day is None:
        return minute
    check_days(wish.first_day, wish.last_day)
    return max(minute, zones.beginning_of(zones.zone_of(zone), wish.first_day))


def check_has_slots_ahead(found: cron.Cadence, now: datetime) -> None:
    """Raises BadInput at `last_day` when the last slot is over."""
    if found.last_day is not None and cron.next_slot(found, now) is None:
        raise BadInput(
            f"No slot is left: its last day is {day_text(found.last_day)}. Choose a later one, or none.",
            "last_day",
        )
