"""Limits as people write and read them: "22:00–07:00", "15 min", "3". Pure."""

import re
from datetime import datetime, tzinfo
from itertools import pairwise

UNITS = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))
_UNIT_NAMES = {
    **dict.fromkeys(("d", "day", "days"), 86_400),
    **dict.fromkeys(("h", "hour", "hours"), 3600),
    **dict.fromkeys(("m", "min", "minute", "minutes"), 60),
    **dict.fromkeys(("", "s", "sec", "second", "seconds"), 1),
}
_PART = re.compile(r"\s*([0-9]{1,8})\s*([a-z]*)\s*")
_WALL = re.compile(r"([0-9]{1,2})[:.]([0-9]{2})")
_TO = re.compile(r"\s*(?:-|–|—|\bto\b)\s*")


def read_wall(text: str) -> str:
    """A time of day as "HH:MM" from "7:00", "07.00" or "22:00". Raises ValueError."""
    found = _WALL.fullmatch(text.strip())
    if not found or int(found[1]) > 23 or int(found[2]) > 59:
        raise ValueError(text)
    return f"{int(found[1]):02d}:{found[2]}"


def read_quiet(text: str) -> tuple[str, str]:
    """Both ends of "22:00-07:00". Raises ValueError."""
    start, end = _TO.split(text.strip())
    return read_wall(start), read_wall(end)


def read_span(text: str) -> int:
    """Seconds from "90", "90 s", "15 min" or "1 h 30 min". Raises ValueError."""
    parts, at = [], 0
    lowered = text.strip().lower()
    while at < len(lowered):
        found = _PART.match(lowered, at)
        if not found or found[2] not in _UNIT_NAMES:
            raise ValueError(text)
        parts.append((int(found[1]), _UNIT_NAMES[found[2]]))
        at = found.end()
    units = [unit for _, unit in parts]
    if not parts or any(a <= b for a, b in pairwise(units)):
        raise ValueError(text)
    return sum(number * unit for number, unit in parts)


def span_words(seconds: int, most_units: int = len(UNITS)) -> str:
    """ "45 s", "1 h 30 min", "2 d": an exact span, as `read_span` reads it, or its largest units only."""
    parts = []
    for name, unit in UNITS:
        number, seconds = divmod(seconds, unit)
        if number:
            parts.append(f"{number} {name}")
    return " ".join(parts[:most_units]) or "0 s"


def quiet_words(start: str, end: str, zone: str) -> str:
    """ "22:00–07:00 in Europe/Rome"."""
    return f"{start}–{end} in {zone}"


def at_words(at: datetime, zone: tzinfo, with_seconds: bool = False) -> str:
    """ "on Thu 26 Nov, 07:00 CET": an instant as the zone's clock shows it; seconds where there are some."""
    local = at.astimezone(zone)
    clock = f"{local:%H:%M:%S}" if with_seconds or local.second else f"{local:%H:%M}"
    return f"on {local:%a} {local.day} {local:%b}, {clock} {local:%Z}"
