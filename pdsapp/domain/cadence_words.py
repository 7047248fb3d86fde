"""What people type for a cron cadence, checked field by field; and a cadence said back in words.

The words are short, with 24-hour times, and say what the values really do.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import NamedTuple

from cron_descriptor import ExpressionDescriptor, Options

MAX_EXPRESSION_LENGTH = 100
ALIASES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
}
ACCEPTED = (
    "Write five fields: minute, hour, day of month, month, weekday, such as “30 9 * * MON-FRI”; "
    "or @hourly, @daily, @weekly, @monthly."
)
EITHER = " (either is enough)"

_ITEM_ACCEPTED = "Use numbers, *, lists (1,15), ranges (1-5) and steps (*/2)"
_ITEM = re.compile(r"(?:(?P<star>\*)|(?P<low>\w+)(?:-(?P<high>\w+))?)(?:/(?P<step>[0-9]{1,3}))?", re.ASCII)
# fmt: off
MONTH_NAMES = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)
DAY_NAMES = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
# fmt: on
_DAYS_IN_MONTH = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_DAY_SECONDS = 86_400
_WORKING_WEEK = (1, 2, 3, 4, 5)
_WEEKEND = (6, 7)
_MOST_TIMES = 4
_MOST_NOTED = 12


class CadenceError(ValueError):
    """A cron expression, interval or time zone that cannot be used. Its text says what to write instead."""


class FieldRule(NamedTuple):
    """One field of a cron expression: its range and the names that stand for numbers in it."""

    name: str
    low: int
    high: int
    names: dict[str, int]


FIELDS = (
    FieldRule("minute", 0, 59, {}),
    FieldRule("hour", 0, 23, {}),
    FieldRule("day-of-month", 1, 31, {}),
    FieldRule("month", 1, 12, {name[:3].lower(): i for i, name in enumerate(MONTH_NAMES, 1)}),
    FieldRule("weekday", 0, 7, {name[:3].lower(): i % 7 for i, name in enumerate(DAY_NAMES, 1)}),
)


@dataclass(frozen=True)
class CronValues:
    """What each field of a cron expression stands for, in ascending order; a full field lists every value.

    `weekdays` run from 0 (Sunday) to 6. `is_either_day`: day-of-month and weekday are both restricted, and
    a day that matches one of them is enough (classic cron).
    """

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: tuple[int, ...]
    months: tuple[int, ...]
    weekdays: tuple[int, ...]
    is_either_day: bool

    def has_day(self, day: date) -> bool:
        """Whether it fires on this date."""
        on_day, on_weekday = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        is_on = (on_day or on_weekday) if self.is_either_day else (on_day and on_weekday)
        return is_on and day.month in self.months


def checked_fields(expression: str) -> list[str]:
    """The five fields of an expression or alias. Raises CadenceError for the first that is not accepted."""
    odd = next((character for character in expression if not character.isascii()), None)
    if odd is not None:
        raise CadenceError(
            f"{quoted(odd)} (U+{ord(odd):04X}) is not a plain digit, letter or sign. {ACCEPTED}"
        )
    if len(expression) > MAX_EXPRESSION_LENGTH:
        raise CadenceError(f"The cron expression is longer than {MAX_EXPRESSION_LENGTH} characters.")
    fields = ALIASES.get(expression, expression).split()
    if fields and fields[0].startswith("@"):
        raise CadenceError(f"{quoted(expression)} is not accepted. {ACCEPTED}")
    if len(fields) != len(FIELDS):
        found = "1 field" if len(fields) == 1 else f"{len(fields)} fields"
        raise CadenceError(f"{quoted(expression)} has {found}, not five (no seconds, no year). {ACCEPTED}")
    for rule, text in zip(FIELDS, fields, strict=True):
        for item in text.split(","):
            _check_item(rule, item, is_alone=item == text)
    return fields


def _check_item(rule: FieldRule, item: str, *, is_alone: bool) -> None:
    """Refuses an item that is unknown, out of range, or read by croniter in a surprising way."""
    found = _ITEM.fullmatch(item)
    if found is None:
        raise _not_accepted(rule, item)
    step = int(found["step"]) if found["step"] else None
    if found["star"]:
        low, high = rule.low, rule.high
        if step is None and not is_alone:
            raise CadenceError(f"“*” in the {rule.name} field already means every one: leave out the list.")
    else:
        low = _number(rule, found["low"])
        high = _number(rule, found["high"] or found["low"]) if found["high"] or step is None else rule.high
        if found["high"] and (low == high or (rule.name == "weekday" and (low, high) == (7, 0))):
            # croniter reads `9-9` as the whole field.
            raise CadenceError(f"{quoted(item)} holds only one {rule.name}: write {found['low']} alone.")
        if low > high and step is not None:
            # croniter loses count where a stepped range passes the end of its field.
            raise CadenceError(f"{quoted(item)} passes the end of the {rule.name} field: write a list.")
    if step == 0:
        raise CadenceError(f"The step in {quoted(item)} is 0: write 1 or more.")
    if step is not None and step > high - low:
        raise CadenceError(
            f"The step in {quoted(item)} is longer than its {rule.name} range {low}–{high}: "
            "write single values, or use an interval."
        )


def _number(rule: FieldRule, text: str) -> int:
    number = rule.names.get(text.lower())
    if number is None:
        if not re.fullmatch(r"[0-9]{1,3}", text):
            raise _not_accepted(rule, text)
        number = int(text)
    if not rule.low <= number <= rule.high:
        raise CadenceError(f"{text} in the {rule.name} field is out of range: {rule.low} to {rule.high}.")
    return number


def _not_accepted(rule: FieldRule, item: str) -> CadenceError:
    names = f", or names such as {next(iter(rule.names)).upper()}" if rule.names else ""
    return CadenceError(f"{quoted(item)} in the {rule.name} field is not accepted. {_ITEM_ACCEPTED}{names}.")


def quoted(text: str) -> str:
    """What somebody typed, cut short and without control characters, for a message."""
    shown = "".join(character if character.isprintable() else "�" for character in text[:40])
    return f"“{shown}{'…' if len(text) > 40 else ''}”"


def cron_words(values: CronValues) -> str:
    """A cron cadence in words, for example "hourly 9–17, every day" or "18:30 daily"."""
    times, is_list = _time_words(values.minutes, values.hours)
    date_ = _single_date_words(values)
    days = date_ or _day_words(values)
    months = "" if date_ else _month_words(values.months)
    if not days and is_list:
        times += " daily"
    elif not days and len(values.hours) < 24:
        days = "every day"
    return ", ".join(part for part in (times, days, months) if part)


def interval_words(seconds: int, anchor_local: datetime, clock_shifts: Sequence[int], days: str = "") -> str:
    """An interval in words, for example "every 15 min, from 09:00".

    `clock_shifts` are the seconds by which the zone's clocks jump within a year of the anchor. Intervals are
    exact: where a jump moves wall times that are otherwise the same every day, the words say so. `days` are
    the words for first and last day.
    """
    is_whole_days, keeps_wall_times = seconds % _DAY_SECONDS == 0, _DAY_SECONDS % seconds == 0
    start = f"{anchor_local:%H:%M:%S}" if anchor_local.second else f"{anchor_local:%H:%M}"
    if not keeps_wall_times:
        month = MONTH_NAMES[anchor_local.month - 1][:3]
        start = f"{anchor_local.day} {month} {anchor_local.year}, {start}"
    is_moved = (is_whole_days or keeps_wall_times) and any(shift % seconds for shift in clock_shifts)
    drift = " (exact spacing: wall times move when the clocks change)" if is_moved else ""
    return f"every {_span_words(seconds)}, from {start}{', ' if days else ''}{days}{drift}"


def gap_words(missing: Sequence[datetime], starts_local: datetime, ends_local: datetime) -> str:
    """How many due wall times a gap swallowed, which ones, and from when to when the clocks jumped."""
    style = "%H:%M" if starts_local.date() == ends_local.date() else "%Y-%m-%d %H:%M"
    times = [f"{wall:%H:%M}" for wall in missing]
    listed = ", ".join(times if len(times) <= _MOST_NOTED else [*times[:3], f"… {times[-1]}"])
    what = "1 wall time does not exist" if len(times) == 1 else f"{len(times)} wall times do not exist"
    return f"{what}: {listed} (clocks jump from {starts_local:{style}} to {ends_local:{style}})"


def repeat_words(wall: datetime, fires_again: bool) -> str:
    """Which of two equal wall times an aware time is; "" for one that comes once."""
    if wall.fold:
        return f"{wall:%H:%M} comes twice; this is the second"
    if wall.utcoffset() == wall.replace(fold=1).utcoffset():
        return ""
    return f"{wall:%H:%M} comes twice; {'this is the first' if fires_again else 'only the first fires'}"


def wall_text(wall: datetime) -> str:
    """A wall time as "2026-03-08 09:30", with seconds where it has any."""
    return wall.replace(tzinfo=None).isoformat(" ", "seconds" if wall.second else "minutes")


def _span_words(seconds: int) -> str:
    """A span of seconds in words; whole days as "2 × 24 h", because they are exact hours, not dates."""
    if seconds % _DAY_SECONDS == 0:
        count = seconds // _DAY_SECONDS
        return "24 h" if count == 1 else f"{count} × 24 h"
    if seconds == 3600:
        return "hour"
    if seconds == 60:
        return "minute"
    if seconds % 60 == 0 and seconds < 7200:
        return f"{seconds // 60} min"
    if seconds < 120:
        return f"{seconds} s"
    amounts = ((seconds // 3600, "h"), (seconds % 3600 // 60, "min"), (seconds % 60, "s"))
    return " ".join(f"{amount} {unit}" for amount, unit in amounts if amount)


def _time_words(minutes: tuple[int, ...], hours: tuple[int, ...]) -> tuple[str, bool]:
    """The times of day in words, and whether they are a plain list of times."""
    if len(minutes) == 1:
        return _one_minute_words(minutes[0], hours)
    if len(minutes) * len(hours) <= _MOST_TIMES:
        return _listed([_clock(h, m) for h in hours for m in minutes]), True
    runs = _runs(hours, 24)
    if every := _even_step(minutes, 60):
        pace = "every minute" if every == 1 else f"every {every} min"
        if len(runs) <= 3 and len(hours) < 24:
            spans = [f"{_clock(a, minutes[0])}–{_clock(b, minutes[-1])}" for a, b in runs]
            return f"{pace}, {_listed(spans)}", False
        pace += f" from :{minutes[0]:02}" if minutes[0] else ""
        return pace if len(hours) == 24 else f"{pace}, in hours {_listed([str(h) for h in hours])}", False
    if len(minutes) <= _MOST_TIMES:
        marks = _listed([f":{m:02}" for m in minutes])
        if len(hours) == 24:
            return f"hourly at {marks}", False
        if len(runs) == 1:
            return f"hourly at {marks}, {runs[0][0]}–{runs[0][1]}", False
    return _described_times(minutes, hours), False


def _one_minute_words(minute: int, hours: tuple[int, ...]) -> tuple[str, bool]:
    """The times of day in words when there is one minute in the hour."""
    at = f" at :{minute:02}" if minute else ""
    if len(hours) == 24:
        return f"hourly{at}", False
    if len(hours) <= _MOST_TIMES and not (len(hours) == _MOST_TIMES and len(_runs(hours, 24)) == 1):
        return _listed([_clock(hour, minute) for hour in hours]), True
    runs = _runs(hours, 24)
    if len(runs) <= 2:
        spans = _listed([f"{a}–{b}" if a != b else str(a) for a, b in runs])
        return f"hourly{at}, {spans}" if minute else f"hourly {spans}", False
    step = hours[1] - hours[0]
    if hours == tuple(range(hours[0], hours[-1] + 1, step)):
        return f"every {step} h, {_clock(hours[0], minute)}–{_clock(hours[-1], minute)}", False
    return _listed([_clock(hour, minute) for hour in hours]), True


def _single_date_words(values: CronValues) -> str | None:
    """A cadence of one date in the year, such as "on 29 February (leap years only)"; None for others."""
    if values.is_either_day or len(values.days) != 1 or len(values.months) != 1:
        return None
    day, month = values.days[0], values.months[0]
    leap = " (leap years only)" if (day, month) == (29, 2) else ""
    return f"on {day} {MONTH_NAMES[month - 1]}{leap}"


def _day_words(values: CronValues) -> str:
    """The days in words; "" for every day."""
    all_days, all_weekdays = len(values.days) == 31, len(values.weekdays) == 7
    if (all_days or all_weekdays) if values.is_either_day else (all_days and all_weekdays):
        return ""
    weekdays = "" if all_weekdays else _weekday_words(values.weekdays)
    dates = "" if all_days else _date_words(values)
    if not dates or not weekdays:
        return dates or weekdays
    return f"{dates} or on {'any weekday' if weekdays == 'weekdays' else weekdays}{EITHER}"


def _date_words(values: CronValues) -> str:
    """Days of the month in words, without those that no month has; "" when none is left."""
    longest = max(_DAYS_IN_MONTH[month - 1] for month in values.months)
    days = tuple(day for day in values.days if day <= longest)
    if not days:
        return ""
    if len(days) >= 3 and days[-1] - days[0] == len(days) - 1:
        return f"on the {_ordinal(days[0])}–{_ordinal(days[-1])}"
    if len(days) > _MOST_TIMES and days == tuple(range(days[0], longest + 1, step := days[1] - days[0])):
        return f"on every {_ordinal(step)} day of the month from the {_ordinal(days[0])}"
    shortest = min(28 if month == 2 else _DAYS_IN_MONTH[month - 1] for month in values.months)
    rare = " (where the month has one)" if len(days) == 1 and days[0] > shortest else ""
    return f"on the {_listed([_ordinal(day) for day in days])}{rare}"


def _weekday_words(weekdays: tuple[int, ...]) -> str:
    """Weekdays (0 is Sunday) in words, the week starting on Monday."""
    days = tuple(sorted(day or 7 for day in weekdays))
    if days == _WORKING_WEEK:
        return "weekdays"
    if days == _WEEKEND:
        return "weekends"
    if len(days) <= 2:
        return _listed([f"{DAY_NAMES[day - 1]}s" for day in days])
    runs = _runs(tuple(day - 1 for day in days), 7)
    if len(runs) == 1:
        return f"{DAY_NAMES[runs[0][0]][:3]}–{DAY_NAMES[runs[0][1]][:3]}"
    return _listed([DAY_NAMES[day - 1][:3] for day in days])


def _month_words(months: tuple[int, ...]) -> str:
    """Months in words; "" for every month."""
    if len(months) == 12:
        return ""
    if len(months) <= 2:
        return f"in {_listed([MONTH_NAMES[month - 1] for month in months])}"
    runs = _runs(tuple(month - 1 for month in months), 12)
    if len(runs) == 1:
        return f"{MONTH_NAMES[runs[0][0]]}–{MONTH_NAMES[runs[0][1]]}"
    return f"in {_listed([MONTH_NAMES[month - 1][:3] for month in months])}"


def _described_times(minutes: tuple[int, ...], hours: tuple[int, ...]) -> str:
    """cron-descriptor's English for times of day that have no short form here.

    It gets the values spelled out, because it reads `*/7` as "every 7 minutes", which cron is not; and no
    days, because it drops the "or" between a date and a range of weekdays.
    """
    expression = f"{_field(minutes, 60)} {_field(hours, 24)} * * *"
    # Without a locale it would read the machine's.
    options = Options(locale_code="en_US", use_24hour_time_format=True)
    text = ExpressionDescriptor(expression, options).get_description()
    return text[:1].lower() + text[1:]


def _field(values: tuple[int, ...], size: int) -> str:
    """One cron field for the values: `*`, a step that divides the field, ranges of three or more, a list."""
    step = _even_step(values, size) if values[0] == 0 else None
    if step:
        return "*" if step == 1 else f"*/{step}"
    parts: list[str] = []
    for first, last in _straight_runs(values):
        parts += [f"{first}-{last}"] if last - first >= 2 else [str(v) for v in range(first, last + 1)]
    return ",".join(parts)


def _even_step(values: tuple[int, ...], size: int) -> int | None:
    """The step of values that go evenly round the whole field, across its end; None if they do not."""
    if len(values) < 2:
        return None
    step = values[1] - values[0]
    goes_round = size % step == 0 and values == tuple(range(values[0], size, step)) and values[0] < step
    return step if goes_round else None


def _straight_runs(values: tuple[int, ...]) -> list[tuple[int, int]]:
    """Ascending values as (first, last) pairs of unbroken runs."""
    runs: list[tuple[int, int]] = []
    for value in values:
        if runs and runs[-1][1] == value - 1:
            runs[-1] = (runs[-1][0], value)
        else:
            runs.append((value, value))
    return runs


def _runs(values: tuple[int, ...], size: int) -> list[tuple[int, int]]:
    """Unbroken runs on a circle of `size`, so that 22, 23, 0, 1 is one run from 22 to 1."""
    runs = _straight_runs(values)
    if len(runs) > 1 and runs[0][0] == 0 and runs[-1][1] == size - 1:
        runs = [*runs[1:-1], (runs[-1][0], runs[0][1])]
    return runs


def _clock(hour: int, minute: int) -> str:
    return f"{hour:02}:{minute:02}"


def _ordinal(day: int) -> str:
    ending = "th" if 11 <= day <= 13 else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")
    return f"{day}{ending}"


def _listed(words: Sequence[str]) -> str:
    """Words as a list: "a", "a and b", "a, b and c"."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
