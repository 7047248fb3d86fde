"""Ready patterns: buttons that fill the form of a schedule and leave the rest of it as it was typed.

Source: digital twin auto-posting, "Schedule Examples".
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from werkzeug.datastructures import MultiDict

from ..domain.day_times import WORKING_DAYS
from .schedule_forms import DAY_FIELDS, TIME_NAMES

JITTERS = (3600, 1800, 900, 600, 300, 120, 60, 30)
MORNING = "09:00"
OFFICE_HOURS = tuple(f"{hour:02}:00" for hour in range(9, 18))


@dataclass(frozen=True)
class Pattern:
    """A button: what it is called, what it does, and the values it puts in place of what was typed."""

    key: str
    title: str
    words: str
    fill: Callable[[MultiDict, timedelta | None], None]


def filled(key: str, typed: MultiDict, spacing: timedelta | None) -> MultiDict:
    """What was typed, with the pattern's values; as it was for a key that is none.

    `spacing` is the shortest time between two slots as typed, None if that cannot be told.
    """
    values = MultiDict(typed)
    for pattern in PATTERNS:
        if pattern.key == key:
            pattern.fill(values, spacing)
    return values


def _pick(values: MultiDict, times: tuple[str, ...]) -> None:
    values["kind"] = "times"
    for number, name in enumerate(TIME_NAMES):
        values[name] = times[number] if number < len(times) else ""


def _daily(values: MultiDict, _spacing: timedelta | None) -> None:
    _pick(values, (MORNING,))
    for name in DAY_FIELDS:
        values.pop(name, None)


def _working_hours(values: MultiDict, _spacing: timedelta | None) -> None:
    is_picking = values.get("kind") == "times"
    _pick(values, OFFICE_HOURS)
    for name in () if is_picking else DAY_FIELDS:
        values.pop(name, None)


def _weekdays(values: MultiDict, _spacing: timedelta | None) -> None:
    is_picking = values.get("kind") == "times" and any(values.get(name) for name in TIME_NAMES)
    if not is_picking:
        _pick(values, (MORNING,))
    for name, day in DAY_FIELDS.items():
        values.pop(name, None)
        if day in WORKING_DAYS:
            values[name] = "y"


def _randomised(values: MultiDict, spacing: timedelta | None) -> None:
    seconds = spacing.total_seconds() if spacing else JITTERS[0] + 1
    values["jitter_seconds"] = str(next((jitter for jitter in JITTERS if jitter < seconds), 0))


PATTERNS = (
    Pattern("daily", "Daily", "at 09:00, every day", _daily),
    Pattern("hours", "Working hours", "hourly 9–17, every day", _working_hours),
    Pattern("weekdays", "Weekdays only", "Monday to Friday", _weekdays),
    Pattern("randomised", "Randomised", "a random time later", _randomised),
)
