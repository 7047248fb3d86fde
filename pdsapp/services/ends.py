"""The planned end of an experiment: a last day in its zone, stored as the first instant behind it."""

from datetime import date, datetime, timedelta

from ..attempts.obstacles import moment_words
from ..domain.days import DaysError, check_days, day_text
from ..domain.zones import beginning_of, zone_of, zone_shown
from ..errors import BadInput
from ..models import Experiment

ALMOST_NOTHING = timedelta(microseconds=1)


def clean_end(last_day: date | None, zone: str, now: datetime) -> datetime | None:
    """The instant behind a last day, None without one. Raises BadInput at `last_day` for one that is over."""
    if last_day is None:
        return None
    try:
        check_days(None, last_day)
    except DaysError as error:
        raise BadInput(str(error), "last_day") from None
    ends_at = beginning_of(zone_of(zone), last_day + timedelta(days=1))
    if ends_at <= now:
        raise BadInput(
            f"{day_text(last_day)} is over in {zone}. Choose today or a later day, or leave it empty.",
            "last_day",
        )
    return ends_at


def last_day_of(experiment: Experiment) -> date | None:
    """The last day of an experiment in its zone; None without an end date."""
    if experiment.ends_at is None:
        return None
    return (experiment.ends_at - ALMOST_NOTHING).astimezone(zone_shown(experiment.zone)).date()


def end_words(experiment: Experiment) -> str:
    """ "at the end of 20 Dec 2026 (Mon 21 Dec 2026, 00:00 CET)"; "" without an end date."""
    if (day := last_day_of(experiment)) is None:
        return ""
    return f"at the end of {day_text(day)} ({moment_words(experiment.ends_at, experiment.zone)})"
