"""Jitter: the keyed random delay of a slot's attempts, and how long it may be. Pure."""

from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from itertools import pairwise

from .cron import (
    EARLIEST_AT,
    Cadence,
    CadenceError,
    Cron,
    Interval,
    cron_values,
    last_slot,
    next_slot,
    upcoming,
)
from .days import EARLIEST_DAY, LATEST_DAY
from .limit_words import span_words
from .randomness import Stream, key_of
from .zones import changes, zone_of

JITTER_PURPOSE = "jitter"
MAX_JITTER_SECONDS = 86_400
_DAY = timedelta(days=1)
# In 28 years dates and weekdays meet in every way, and so do they with the changes of clocks.
_CYCLE = 28 * 365 * _DAY + 7 * _DAY
_CYCLE_FROM = date(2000, 1, 1)


def delay_of(selection_key: str, ordinal: int, jitter_seconds: int) -> float:
    """How many seconds one attempt of a slot waits: uniform in [0, jitter_seconds), the same for ever."""
    return Stream(key_of(selection_key, ordinal), JITTER_PURPOSE).uniform() * jitter_seconds


def check_jitter(jitter_seconds: int, cadence: Cadence) -> timedelta | None:
    """The shortest time between two slots, None without jitter or a second slot; the jitter may be as long.

    Raises CadenceError for a jitter that is no whole number of seconds, or goes beyond the next slot.
    """
    if not isinstance(jitter_seconds, int) or isinstance(jitter_seconds, bool) or jitter_seconds < 0:
        raise CadenceError("The jitter is a whole number of seconds, such as 300; 0 is none.")
    if jitter_seconds > MAX_JITTER_SECONDS:
        raise CadenceError(f"The jitter is at most {MAX_JITTER_SECONDS:,} seconds (24 hours).")
    spacing = shortest_spacing(cadence) if jitter_seconds else None
    if spacing is not None and jitter_seconds > spacing.total_seconds():
        raise CadenceError(
            f"Slots of it are as close as {span_words(int(spacing.total_seconds()))}, and the jitter must "
            f"not be longer: give at most {spacing.total_seconds():,.0f} seconds, or set slots further apart."
        )
    return spacing


def shortest_spacing(cadence: Cadence) -> timedelta | None:
    """The shortest time from a slot to the next one; None for a cadence that has no two slots.

    Of a cron cadence: by its times of day, from the last one to the first of the next matching day, and
    across every change of its zone's clocks; looked for in the 28 years from its first day, or from 2000.
    """
    if len(upcoming(cadence, EARLIEST_AT, 2)) < 2:
        return None
    if isinstance(cadence, Interval):
        return timedelta(seconds=cadence.seconds)
    values, (first, last) = cron_values(cadence), _searched(cadence)
    marks = [timedelta(hours=hour, minutes=minute) for hour in values.hours for minute in values.minutes]
    found = [later - earlier for earlier, later in pairwise(marks)]
    days = [day for day in _dates(first, last) if values.has_day(day)]
    found += [later - earlier - (marks[-1] - marks[0]) for earlier, later in pairwise(days)]
    shortest = min(found, default=None)
    if shortest is None:
        return None
    return min([shortest, *_across_changes(cadence, first, last, shortest)])


def jitter_words(jitter_seconds: int) -> str:
    """What a jitter does, in words."""
    return f"each attempt up to {span_words(jitter_seconds)} later" if jitter_seconds else ""


def _searched(cron: Cron) -> tuple[date, date]:
    first = cron.first_day
    if first is None:
        first = _CYCLE_FROM if cron.last_day is None else max(EARLIEST_DAY, cron.last_day - _CYCLE)
    return first, min(cron.last_day or LATEST_DAY, min(first, LATEST_DAY - _CYCLE) + _CYCLE)


def _dates(first: date, last: date) -> Iterator[date]:
    for number in range((last - first).days + 1):
        yield first + number * _DAY


def _across_changes(cron: Cron, first: date, last: date, shortest: timedelta) -> Iterator[timedelta]:
    """From the last slot before each change of clocks to the first one after it, where that is shorter."""
    zone = zone_of(cron.zone)
    start, end = (datetime.combine(day, time(), EARLIEST_AT.tzinfo) for day in (first, last + _DAY))
    for change in changes(zone, start - _DAY, end + _DAY):
        just_before = change - timedelta.resolution
        before = last_slot(cron, change - shortest, just_before)
        after = next_slot(cron, just_before) if before is not None else None
        if after is not None and after - before < shortest:
            yield after - before
