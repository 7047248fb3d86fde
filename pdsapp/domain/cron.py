"""When a schedule is due: cron and interval cadences as exact UTC instants, across clock changes.

croniter reads the expressions and finds the matching days on naive local time; instants are mapped to UTC
here, because croniter fires `30 1 * * *` twice in autumn and moves `30 2 * * *` in spring. The rule:

- hour field starting with `*`: every matching instant, also in the repeated hour;
- any other hour field: the first occurrence of a repeated wall time only;
- a wall time that does not exist is not fired; all those of one gap are one `clock_change` occurrence;
- what has a first or a last day fires at wall times of these days and of those between, and at no others.

Slots exist from 1970 to 2999.
"""

import re
from bisect import bisect_left
from collections import deque
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from itertools import islice
from typing import Literal

from croniter import CroniterBadDateError, CroniterError, croniter

from .cadence_words import (
    ACCEPTED,
    ALIASES,
    FIELDS,
    MAX_EXPRESSION_LENGTH,
    CadenceError,
    CronValues,
    checked_fields,
    cron_words,
    gap_words,
    interval_words,
    quoted,
    repeat_words,
    wall_text,
)
from .days import check_days, days_words
from .zones import change_between, clock_shifts, midnights, offset_at, parse_zone, zone_of

MIN_INTERVAL_SECONDS = 60
MAX_INTERVAL_SECONDS = 366 * 86_400
EARLIEST_AT = datetime(1970, 1, 1, tzinfo=UTC)
LATEST_AT = datetime(2999, 12, 31, tzinfo=UTC)
_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Cron:
    """A cron expression read in a zone. Made by `parse_cron`; days are set by `with_days`."""

    expression: str
    zone: str
    first_day: date | None = None
    last_day: date | None = None


@dataclass(frozen=True)
class Interval:
    """Exact seconds from an anchor, which is itself the first slot; `zone` is for display and for days.

    Made by `parse_interval`; days are set by `with_days`.
    """

    seconds: int
    anchor_at: datetime
    zone: str
    first_day: date | None = None
    last_day: date | None = None


Cadence = Cron | Interval


@dataclass(frozen=True, slots=True)
class Occurrence:
    """A due instant (`slot`), or the instant of a gap that swallowed due wall times (`clock_change`).

    `local` is the wall time, "2026-03-08 09:30"; of a gap, the one at which the clocks jumped. `slot_count`
    is 1, or the number of wall times that do not exist. `note` is a sentence, or empty.
    """

    at: datetime
    kind: Literal["slot", "clock_change"]
    local: str
    note: str = ""
    slot_count: int = 1


@dataclass(frozen=True)
class _Grid:
    """A compiled expression: its values, its times of day, and a croniter that finds the days."""

    values: CronValues
    times: tuple[time, ...]
    days: croniter
    fires_in_repeated_hour: bool


@dataclass
class _Gap:
    """A stretch of wall time the clocks jump over, and the due wall times in it."""

    at: datetime
    starts_local: datetime
    ends_local: datetime
    missing: list[datetime] = field(default_factory=list)


_Moment = tuple[datetime, datetime | None, _Gap | None]


def parse_cron(text: str, zone: str) -> Cron:
    """A cron cadence. Raises CadenceError for anything that is not accepted or never fires."""
    if not isinstance(text, str) or not text.strip():
        raise CadenceError(f"The cron expression is empty. {ACCEPTED}")
    if len(text) > MAX_EXPRESSION_LENGTH * 2:
        raise CadenceError(f"The cron expression is longer than {MAX_EXPRESSION_LENGTH} characters.")
    expression = " ".join(re.findall(r"\S+", text, re.ASCII))
    if expression.lower() in ALIASES:
        expression = expression.lower()
    _grid(expression)
    return Cron(expression, parse_zone(zone))


def parse_interval(seconds: int, anchor_at: datetime, zone: str) -> Interval:
    """An interval cadence; parts of a second of the anchor are dropped. Raises CadenceError.

    Seconds range from 60 to 366 days; the anchor is an aware time.
    """
    if not isinstance(seconds, int) or isinstance(seconds, bool):
        raise CadenceError("The interval is a whole number of seconds, such as 900 for 15 minutes.")
    if seconds < MIN_INTERVAL_SECONDS:
        raise CadenceError(f"The interval is at least {MIN_INTERVAL_SECONDS} seconds.")
    if seconds > MAX_INTERVAL_SECONDS:
        raise CadenceError("The interval is at most 366 days.")
    if not isinstance(anchor_at, datetime) or anchor_at.utcoffset() is None:
        raise CadenceError("The anchor is a date and time with its time zone.")
    anchor = anchor_at.astimezone(UTC).replace(microsecond=0)
    if not EARLIEST_AT <= anchor <= LATEST_AT:
        raise CadenceError("The anchor lies between the years 1970 and 2999.")
    return Interval(seconds, anchor, parse_zone(zone))


def with_days(cadence: Cadence, first_day: date | None, last_day: date | None) -> Cadence:
    """The cadence between two local dates of its zone, both included; None is open. Raises DaysError."""
    check_days(first_day, last_day)
    return replace(cadence, first_day=first_day, last_day=last_day)


def cron_values(cron: Cron) -> CronValues:
    """What the fields of the expression stand for."""
    return _grid(cron.expression).values


def describe(cadence: Cadence) -> str:
    """The cadence in words, such as "hourly 9–17, every day" or "every 15 min, from 09:00".

    Times are those of the cadence's zone, which is not named: the place that shows the words names it.
    """
    days = days_words(cadence.first_day, cadence.last_day)
    if isinstance(cadence, Cron):
        words = cron_words(cron_values(cadence))
        return f"{words}, {days}" if days else words
    zone, anchor = zone_of(cadence.zone), cadence.anchor_at
    shifts = clock_shifts(zone, anchor)
    return interval_words(cadence.seconds, anchor.astimezone(zone), shifts, days)


def due_slots(cadence: Cadence, after: datetime, until: datetime) -> Iterator[Occurrence]:
    """All occurrences with after < at <= until, one by one, in order.

    Cutting a period in two anywhere gives the same occurrences as the whole. The instants of slots strictly
    increase; a gap's occurrence may share its instant with the slot right after the gap and comes first.
    Raises ValueError for naive times.
    """
    after, until = _period(cadence, after, until)
    if isinstance(cadence, Cron):
        return _cron_occurrences(cadence, after, until)
    zone = zone_of(cadence.zone)
    return (Occurrence(at, "slot", wall_text(at.astimezone(zone))) for at in _slots(cadence, after, until))


def upcoming(
    cadence: Cadence, after: datetime, count: int = 5, until: datetime | None = None
) -> list[datetime]:
    """The next slots, at most `count`, strictly after `after` and not later than `until`."""
    return list(islice(_slots(cadence, *_period(cadence, after, until or LATEST_AT)), max(count, 0)))


def next_slot(cadence: Cadence, after: datetime) -> datetime | None:
    """The first slot strictly after `after`; None when there is none up to the last day, or before 3000."""
    return next(_slots(cadence, *_period(cadence, after, LATEST_AT)), None)


def last_slot(cadence: Cadence, after: datetime, until: datetime) -> datetime | None:
    """The newest slot with after < at <= until. Looks back from `until`, so a far `after` costs nothing."""
    after, until = _period(cadence, after, until)
    if isinstance(cadence, Interval):
        runs = _runs(cadence, after, until)
        return _slot_at(cadence, runs[-1][-1]) if runs else None
    span = timedelta(hours=1)
    while until > after:
        since = max(after, until - span)
        newest_slots = deque(_slots(cadence, since, until), maxlen=1)
        if newest_slots:
            return newest_slots[0]
        until, span = since, min(span * 4, timedelta(days=400))
    return None


def count_slots(cadence: Cadence, after: datetime, until: datetime) -> int:
    """How many slots have after < at <= until; wall times lost in a gap are not counted."""
    after, until = _period(cadence, after, until)
    if isinstance(cadence, Interval):
        return sum(len(run) for run in _runs(cadence, after, until))
    return sum(1 for _ in _slots(cadence, after, until))


def _period(cadence: Cadence, after: datetime, until: datetime) -> tuple[datetime, datetime]:
    """The period in UTC, cut to the years in which slots exist and about to the cadence's days."""
    if after.utcoffset() is None or until.utcoffset() is None:
        raise ValueError("Slots are looked up with aware times.")
    after, until = (min(max(at, EARLIEST_AT), LATEST_AT).astimezone(UTC) for at in (after, until))
    if cadence.first_day is not None:
        earliest, _ = midnights(zone_of(cadence.zone), cadence.first_day)
        after = max(after, earliest - timedelta.resolution)
    if cadence.last_day is not None:
        _, latest = midnights(zone_of(cadence.zone), cadence.last_day + _DAY)
        until = min(until, latest)
    return after, until


def _is_within_days(cadence: Cadence, day: date) -> bool:
    return (cadence.first_day is None or day >= cadence.first_day) and (
        cadence.last_day is None or day <= cadence.last_day
    )


def _runs(interval: Interval, after: datetime, until: datetime) -> list[range]:
    """The numbers of an interval's slots in a period cut to its days, in order; the anchor is number 0.

    Slots near a midnight that is skipped or comes twice are looked at one by one.
    """
    zone = zone_of(interval.zone)

    def one_by_one(numbers: range) -> list[range]:
        days = ((n, _slot_at(interval, n).astimezone(zone).date()) for n in numbers)
        return [range(n, n + 1) for n, day in days if _is_within_days(interval, day)]

    low = max(_number_from(interval, after + timedelta.resolution), 0)
    high = max(_number_from(interval, until + timedelta.resolution), low)
    begin, end = low, high
    if interval.first_day is not None:
        begin = min(max(_number_from(interval, midnights(zone, interval.first_day)[1]), low), high)
    if interval.last_day is not None:
        end = _number_from(interval, midnights(zone, interval.last_day + _DAY)[0])
        end = min(max(end, begin), high)
    runs = [*one_by_one(range(low, begin)), range(begin, end), *one_by_one(range(end, high))]
    return [run for run in runs if run]


def _number_from(interval: Interval, at: datetime) -> int:
    """The number of the first slot of an interval at or after `at`."""
    return -((interval.anchor_at - at) // timedelta(seconds=interval.seconds))


def _slot_at(interval: Interval, number: int) -> datetime:
    return interval.anchor_at + number * timedelta(seconds=interval.seconds)


def _slots(cadence: Cadence, after: datetime, until: datetime) -> Iterator[datetime]:
    """The instants of the slots alone, in a period cut to the cadence's days."""
    if isinstance(cadence, Cron):
        yield from (at for at, _, gap in _moments(cadence, after, until) if gap is None)
        return
    for run in _runs(cadence, after, until):
        yield from (_slot_at(cadence, number) for number in run)


def _cron_occurrences(cron: Cron, after: datetime, until: datetime) -> Iterator[Occurrence]:
    repeats = _grid(cron.expression).fires_in_repeated_hour
    for at, wall, gap in _moments(cron, after, until):
        if gap is not None:
            note, missing = gap_words(gap.missing, gap.starts_local, gap.ends_local), len(gap.missing)
            yield Occurrence(at, "clock_change", wall_text(gap.starts_local), note, missing)
        else:
            yield Occurrence(at, "slot", wall_text(wall), repeat_words(wall, repeats))


def _moments(cron: Cron, after: datetime, until: datetime) -> Iterator[_Moment]:
    """(instant, wall time, None) of each slot and (instant, None, gap) of each gap, in order.

    PEP 495: a wall time read with fold 0 and fold 1 has two offsets; the smaller one first means that it
    lies in a gap, the larger one first that it comes twice.
    """
    grid, zone = _grid(cron.expression), zone_of(cron.zone)
    second_pass: deque[_Moment] = deque()
    gap: _Gap | None = None
    for wall in _walls(cron, grid, zone, _first_wall(zone, after)):
        again = wall.replace(fold=1)
        offset, offset_again = wall.utcoffset(), again.utcoffset()
        at = wall.astimezone(UTC)
        while second_pass and second_pass[0][0] < at:
            moment = second_pass.popleft()
            if after < moment[0] <= until:
                yield moment
        if gap is not None and wall.replace(tzinfo=None) >= gap.ends_local:
            if after < gap.at <= until:
                yield gap.at, None, gap
            gap = None
        if offset < offset_again:
            if gap is None:
                gap = _gap_over(zone, wall)
                if gap.at > until:
                    return
            gap.missing.append(wall)
            continue
        if at > until:
            return
        if at > after:
            yield at, wall, None
        if offset > offset_again and grid.fires_in_repeated_hour:
            second_pass.append((again.astimezone(UTC), again, None))
    # The days are over before the period is: what is still open belongs to the last of them.
    if gap is not None:
        second_pass.append((gap.at, None, gap))
    yield from (moment for moment in second_pass if after < moment[0] <= until)


def _first_wall(zone: tzinfo, after: datetime) -> datetime:
    """A naive wall time not later than any that occurs after `after`.

    Ahead of a repeated hour that is earlier than `after`'s own wall time, hence the smallest offset of the
    day to come. No zone has changed twice within a day since 1970.
    """
    offsets = (offset_at(zone, after + timedelta(hours=hours)) for hours in (0, 12, 25))
    return (after + min(offsets)).replace(tzinfo=None, second=0, microsecond=0)


def _walls(cron: Cron, grid: _Grid, zone: tzinfo, start: datetime) -> Iterator[datetime]:
    """The matching wall times of the cadence's days from `start` on, aware, with fold 0, existing or not."""
    days = copy(grid.days)
    if cron.first_day is not None:
        start = max(start, datetime.combine(cron.first_day, time()))
    last_day = cron.last_day or LATEST_AT.date()
    days.set_current(datetime.combine(start, time()) - timedelta(minutes=1))
    while True:
        day: date = days.get_next(datetime).date()
        if day > last_day:
            return
        times = grid.times
        if day == start.date():
            times = times[bisect_left(times, start.time()) :]
        for moment in times:
            yield datetime.combine(day, moment, zone)


def _gap_over(zone: tzinfo, wall: datetime) -> _Gap:
    """The gap that swallows the wall time."""
    at = change_between(zone, wall.replace(fold=1).astimezone(UTC), wall.astimezone(UTC))
    naive = at.replace(tzinfo=None)
    return _Gap(at, naive + wall.utcoffset(), naive + wall.replace(fold=1).utcoffset())


@lru_cache(maxsize=1024)
def _grid(expression: str) -> _Grid:
    """The compiled expression. Raises CadenceError; this is where expressions are checked."""
    fields = checked_fields(expression)
    plain = " ".join(fields)
    try:
        expanded, _ = croniter.expand(plain)
        days = croniter(" ".join(("0", "0", *fields[2:])), datetime(2000, 1, 1), ret_type=datetime)
        days.get_next(update_current=False)
    except CroniterBadDateError:
        raise CadenceError(
            f"{quoted(expression)} never fires: no month in it has such a day. Change the day or the month."
        ) from None
    except CroniterError as error:
        raise CadenceError(f"{quoted(expression)} cannot be read. {ACCEPTED}") from error
    minutes, hours, dates, months, weekdays = (
        tuple(range(rule.low, (6 if rule.name == "weekday" else rule.high) + 1))
        if "*" in found
        else tuple(found)
        for rule, found in zip(FIELDS, expanded, strict=True)
    )
    is_either_day = expanded[2][0] != "*" and expanded[4][0] != "*"
    values = CronValues(minutes, hours, dates, months, weekdays, is_either_day)
    times = tuple(time(hour, minute) for hour in hours for minute in minutes)
    return _Grid(values, times, days, fields[1].startswith("*"))
