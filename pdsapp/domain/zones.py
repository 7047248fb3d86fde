"""Time zones: their rules as locked with the product, when their clocks change, when their days begin.

Zones are read from the `tzdata` package and never from the machine, so that two machines that were set up
alike agree about every slot, whatever their own zone files say.
"""

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from difflib import get_close_matches
from functools import cache, lru_cache
from importlib.resources import files
from itertools import pairwise
from zoneinfo import ZoneInfo

from .cadence_words import CadenceError, quoted

_ZONE_KEY = re.compile(r"UTC|[A-Z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){1,2}")
_SECOND = timedelta(seconds=1)


def parse_zone(name: str) -> str:
    """The name of an IANA time zone, as given. Raises CadenceError with a suggestion where there is one."""
    if isinstance(name, str) and _ZONE_KEY.fullmatch(name) and name in zone_names():
        return name
    if not isinstance(name, str) or not name.strip():
        raise CadenceError("The time zone is empty. Write an IANA name such as Europe/Rome, or UTC.")
    wanted = "_".join(name[:64].split()).lower()
    by_lower = {known.lower(): known for known in zone_names() if _ZONE_KEY.fullmatch(known)}
    by_city = {low.rsplit("/", 1)[-1]: known for low, known in sorted(by_lower.items(), reverse=True)}
    guess = by_lower.get(wanted) or by_city.get(wanted)
    if guess is None:
        near = get_close_matches(wanted, by_lower, n=1, cutoff=0.75)
        guess = by_lower[near[0]] if near else None
    hint = f"Did you mean {guess}?" if guess else "Write an IANA name such as Europe/Rome, or UTC."
    case = " Upper and lower case count." if guess and guess.lower() == name.lower() else ""
    raise CadenceError(f"{quoted(name)} is not a time zone known here. {hint}{case}")


@lru_cache(maxsize=1)
def zone_names() -> frozenset[str]:
    """The names of all zones there are."""
    return frozenset(files("tzdata").joinpath("zones").read_text("utf-8").split())


@cache
def zone_of(name: str) -> ZoneInfo:
    """The zone of this name. Raises CadenceError for one that does not exist."""
    with files("tzdata").joinpath("zoneinfo", *parse_zone(name).split("/")).open("rb") as rules:
        return ZoneInfo.from_file(rules, key=name)


def zone_shown(name: str) -> ZoneInfo:
    """The zone to show times in; UTC where somebody has written one that does not exist."""
    try:
        return zone_of(name)
    except CadenceError:
        return zone_of("UTC")


def offset_at(zone: tzinfo, at: datetime) -> timedelta:
    """How far the zone's clocks are ahead of UTC at an instant."""
    return at.astimezone(zone).utcoffset() or timedelta()


def midnights(zone: tzinfo, day: date) -> tuple[datetime, datetime]:
    """Two instants: before the first, the local date is earlier than `day`; from the second on, it is not.

    They differ only where midnight is skipped or comes twice; in between each instant has to be looked at.
    """
    midnight = datetime.combine(day, time(), zone)
    both = midnight.astimezone(UTC), midnight.replace(fold=1).astimezone(UTC)
    return min(both), max(both)


def beginning_of(zone: tzinfo, day: date) -> datetime:
    """The instant of the day's midnight: the first of two, and the end of the gap for one that is skipped."""
    return datetime.combine(day, time(), zone).astimezone(UTC)


def change_between(zone: tzinfo, before: datetime, after: datetime) -> datetime:
    """The instant of the change of clocks between two instants whose offsets differ, to the second."""
    old = offset_at(zone, before)
    while after - before > _SECOND:
        middle = (before + (after - before) / 2).replace(microsecond=0)
        if offset_at(zone, middle) == old:
            before = middle
        else:
            after = middle
    return after


def clock_shifts(zone: tzinfo, at: datetime) -> tuple[int, ...]:
    """The seconds by which the zone's clocks jump in the year that begins at `at`."""
    offsets = [offset_at(zone, at + timedelta(weeks=week)) for week in range(54)]
    jumps = (int((b - a).total_seconds()) for a, b in pairwise(offsets))
    return tuple(jump for jump in jumps if jump)


@lru_cache(maxsize=64)
def changes(zone: tzinfo, after: datetime, until: datetime) -> tuple[datetime, ...]:
    """The instants after `after` at which the zone's clocks change, up to a week later than `until`.

    Looked for week by week: no zone has changed and changed back within a week since 1970.
    """
    return tuple(_changes(zone, after, until))


def _changes(zone: tzinfo, at: datetime, until: datetime) -> Iterator[datetime]:
    while at < until:
        following = at + timedelta(weeks=1)
        if offset_at(zone, at) != offset_at(zone, following):
            yield change_between(zone, at, following)
        at = following
