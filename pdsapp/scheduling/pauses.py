"""Why a schedule may not fire, in sentences: what is paused, or that there is nobody to ask."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from ..attempts.obstacles import experiment_words, hold_of, paused_words
from ..attempts.targets import reach
from ..domain.reasons import ASKING_STATES, UNDER_WAY
from ..domain.targets import Target, nobody_of_target
from ..models import Experiment, Installation, Schedule, ScheduleRevision
from .outcomes import Pause


def pauses_of(
    installation: Installation, experiment: Experiment | None, schedule: Schedule | None = None
) -> Iterator[Pause]:
    """Why nothing may fire, what reaches furthest first: who paused it, since when and why."""
    zone = schedule.zone if schedule else experiment.zone if experiment else "UTC"
    if installation.is_paused:
        yield Pause(
            paused_words(f"Everything is {hold_of(installation)}", installation, zone), installation.paused_at
        )
    if experiment is not None and experiment.state not in ASKING_STATES:
        yield Pause(experiment_words(experiment), experiment.paused_at)
    if schedule is not None and schedule.paused_at is not None:
        yield Pause(paused_words("The schedule is paused", schedule, zone), schedule.paused_at)


def pause_words(
    installation: Installation, experiment: Experiment | None, schedule: Schedule | None = None
) -> str:
    """The first of these pauses in a sentence; "" when there is none."""
    return next((pause.words for pause in pauses_of(installation, experiment, schedule)), "")


def nobody_words(session: Session, intent: Schedule | ScheduleRevision) -> str:
    """Why no twin could be drawn, where nothing is paused: "None of the 3 chosen twins is active." """
    if intent.experiment_id is None:
        return "No running experiment has an active twin."
    target = Target.from_dict(intent.target)
    if target.is_everybody:
        return "The experiment has no active twin."
    active, of_all = reach(session, intent.experiment_id, target)
    if active:
        return "None of the twins it may ask was drawn."
    words = nobody_of_target(target, of_all)
    return f"{words[0].upper()}{words[1:]}."


def last_moment(experiment: Experiment | None) -> datetime | None:
    """The last instant of an experiment under way that has an end date: no slot behind it is claimed, for
    whoever ends it closes its schedules there. None without an end."""
    if experiment is None or experiment.ends_at is None or experiment.state not in UNDER_WAY:
        return None
    return experiment.ends_at - timedelta(microseconds=1)
