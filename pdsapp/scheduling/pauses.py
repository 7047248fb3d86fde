"""Why a schedule may not fire, in sentences: what is paused, or that there is nobody to ask."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from ..attempts.obstacles import experiment_words, hold_of, paused_words
from ..domain.reasons import ASKING_STATES, UNDER_WAY
from ..models import Experiment, Installation, Schedule
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


def nobody_words(experiment_id: int | None) -> str:
    """Why no twin could be drawn, where nothing is paused."""
    if experiment_id is None:
        return "No running experiment has an active twin."
    return "The experiment has no active twin."


def last_moment(experiment: Experiment | None) -> datetime | None:
    """The last instant of an experiment under way that has an end date: no slot behind it is claimed, for
    whoever ends it closes its schedules there. None without an end."""
    if experiment is None or experiment.ends_at is None or experiment.state not in UNDER_WAY:
        return None
    return experiment.ends_at - timedelta(microseconds=1)
