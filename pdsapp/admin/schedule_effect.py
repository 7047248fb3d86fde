"""What a schedule would do: its cadence in words, its next slots, whom it would ask and how often."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from itertools import islice
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.orm import Session

from .. import grants
from ..attempts.targets import reach
from ..domain import cron
from ..domain.reasons import ASKING_STATES, ExperimentState
from ..domain.targets import Target
from ..domain.turn_words import ahead_words, mean_spacing, turn_words
from ..domain.zones import zone_of, zone_shown
from ..models import Experiment, Schedule
from ..scheduling.cadence import check_values
from ..services import schedules as service

SLOTS_SHOWN = 5
MOST_OCCURRENCES = 50  # gaps of the clocks among them
EXPERIMENTS_SHOWN = 20


@dataclass(frozen=True)
class Ahead:
    """A slot to come, or (`is_gap`) the change of clocks that swallows some; `note` flags what is unusual."""

    at: datetime
    ahead: str
    note: str = ""
    is_gap: bool = False


@dataclass(frozen=True)
class Effect:
    """What the page shows. `own_zone` is the viewer's, where the account has one that differs.

    `experiments` are those it would ask now, (name, active twins); only for a schedule of all of them.
    """

    words: str
    zone: ZoneInfo
    own_zone: ZoneInfo | None
    slots: tuple[Ahead, ...]
    asks: str
    is_enabled: bool
    experiments: tuple[tuple[str, int], ...] = ()
    more_experiments: int = 0


def effect_of(
    session: Session, schedule: Schedule, own_zone: str | None, now: datetime, count: int = SLOTS_SHOWN
) -> Effect:
    """What this schedule, stored or not, does from `now` on. Raises CadenceError if it cannot be read."""
    cadence = service.cadence_of(schedule)
    check_values(schedule)
    zone = service.zone_of(schedule)
    asked = asked_now(session, schedule)
    viewer = zone_shown(own_zone) if own_zone and own_zone != schedule.zone else None
    hit = asked if schedule.experiment_id is None else []
    return Effect(
        words=service.cadence_words(schedule),
        zone=zone,
        own_zone=viewer,
        slots=tuple(ahead(cadence, now, count)),
        asks=asks_words(session, asked, schedule, mean_spacing(cadence, now)),
        is_enabled=schedule.is_enabled,
        experiments=tuple((str(each), each.active_twin_count) for each in hit[:EXPERIMENTS_SHOWN]),
        more_experiments=max(0, len(hit) - EXPERIMENTS_SHOWN),
    )


def ahead(cadence: cron.Cadence, now: datetime, count: int) -> Iterator[Ahead]:
    """The next slots, and changes of clocks that swallow some; the first slot after a change is flagged."""
    zone, seen, was = zone_of(cadence.zone), 0, now
    for found in islice(cron.due_slots(cadence, now, cron.LATEST_AT), MOST_OCCURRENCES):
        is_gap = found.kind == "clock_change"
        note = (
            found.note if is_gap else ". ".join(filter(None, (_shift_words(zone, was, found.at), found.note)))
        )
        yield Ahead(found.at, ahead_words(found.at - now), note, is_gap)
        if not is_gap:
            was, seen = found.at, seen + 1
        if seen == count:
            return


def asked_now(session: Session, schedule: Schedule) -> list[Experiment]:
    """The experiments whose twins it asks; of all: those that run and have active twins."""
    if schedule.experiment_id is not None:
        return [session.get_one(Experiment, schedule.experiment_id)]
    query = select(Experiment).where(
        Experiment.state == ExperimentState.running, Experiment.active_twin_count > 0
    )
    return list(session.scalars(query.order_by(Experiment.id.desc())))


def asks_words(
    session: Session, asked: list[Experiment], schedule: Schedule, spacing: timedelta | None
) -> str:
    """ "It asks one of 12 active twins, about one turn per twin every 2 h." Raises TargetError.

    Of all experiments, whoever sees a part of them reads so, and no spacing: others take turns too.
    """
    is_part = schedule.experiment_id is None and grants.is_limited()
    candidates, of_all = sum(experiment.active_twin_count for experiment in asked), 0
    target = Target.from_dict(schedule.target)
    if not target.is_everybody:
        candidates, of_all = reach(session, schedule.experiment_id, target)
    words = turn_words(
        candidates, service.targets.per_slot(schedule), None if is_part else spacing, target, of_all
    )
    if is_part:
        return f"It asks {words}, of the experiments you see."
    waits = schedule.experiment_id is not None and asked[0].state not in ASKING_STATES
    return f"It asks {words}{', while the experiment is running' if waits else ''}."


def _shift_words(zone: tzinfo, was: datetime, at: datetime) -> str:
    shift = at.astimezone(zone).utcoffset() - was.astimezone(zone).utcoffset()
    if not shift:
        return ""
    return f"The clocks go {'forward' if shift > timedelta() else 'back'} before it"
