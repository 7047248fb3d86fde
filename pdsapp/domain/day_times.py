"""Times of day on days of the week: what people pick, the cron expression it is, and back. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import time

from .cadence_words import ALIASES, CadenceError, checked_fields
from .cron import cron_values, parse_cron

MOST_TIMES = 12
EVERY_DAY = (1, 2, 3, 4, 5, 6, 7)
WORKING_DAYS = (1, 2, 3, 4, 5)
_NONE_CHOSEN = "Choose at least one time of day. Example: 09:00"


@dataclass(frozen=True)
class DayTimes:
    """Times of day, ascending, on weekdays from 1 (Monday) to 7, ascending. Made by `day_times`."""

    times: tuple[time, ...]
    weekdays: tuple[int, ...] = EVERY_DAY


def day_times(times: Iterable[time], weekdays: Iterable[int] = ()) -> DayTimes:
    """What was picked, each once and in order; no weekday means every day. Raises CadenceError."""
    chosen = tuple(sorted({each.replace(second=0, microsecond=0) for each in times}))
    if not chosen:
        raise CadenceError(_NONE_CHOSEN)
    return DayTimes(chosen, tuple(sorted(set(weekdays))) or EVERY_DAY)


def cron_of(picked: DayTimes) -> str:
    """The cron expression. Raises CadenceError for times that one expression cannot hold.

    Cron pairs every hour with every minute, so that 09:00 and 18:30 would bring 09:30 and 18:00 too.
    """
    minutes = sorted({each.minute for each in picked.times})
    hours = sorted({each.hour for each in picked.times})
    if len(minutes) * len(hours) != len(picked.times):
        extra = sorted({time(hour, minute) for hour in hours for minute in minutes} - set(picked.times))
        listed = ", ".join(f"{each:%H:%M}" for each in extra[:3]) + (" …" if len(extra) > 3 else "")
        raise CadenceError(
            f"These times do not fit into one schedule: it would be due at {listed} too. Give all of them "
            "the same minutes past the hour, or make a schedule for each."
        )
    weekdays = sorted(day % 7 for day in picked.weekdays)
    days = "*" if len(weekdays) == 7 else _ranges(weekdays)
    return f"{_ranges(minutes)} {_ranges(hours)} * * {days}"


def day_times_of(expression: str) -> DayTimes | None:
    """What one would pick for a cron expression; None for one that says more than times and weekdays.

    An hour field that begins with `*` says more: it is due again in an hour that a clock change repeats.
    """
    try:
        values = cron_values(parse_cron(expression, "UTC"))
        fields = checked_fields(ALIASES.get(expression.strip().lower(), expression))
    except CadenceError:
        return None
    has_all_dates = len(values.days) == 31 and len(values.months) == 12 and not values.is_either_day
    if not has_all_dates or fields[1].startswith("*"):
        return None
    if len(values.minutes) * len(values.hours) > MOST_TIMES:
        return None
    times = (time(hour, minute) for hour in values.hours for minute in values.minutes)
    return day_times(times, (day or 7 for day in values.weekdays))


def _ranges(values: list[int]) -> str:
    """Ascending values as a cron field: runs of three or more as ranges, never a step: that may mean more."""
    parts: list[str] = []
    start = 0
    for at in range(1, len(values) + 1):
        if at < len(values) and values[at] == values[at - 1] + 1:
            continue
        run = values[start:at]
        parts += [f"{run[0]}-{run[-1]}"] if len(run) > 2 else [str(value) for value in run]
        start = at
    return ",".join(parts)
