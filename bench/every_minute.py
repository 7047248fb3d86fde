"""Which instants a cadence is due at, found by looking at each minute of real time.

A reference for `pdsapp.domain.cron` that shares nothing with it but the zones' rules: no croniter, no
mapping of wall times to instants, only each minute's own wall time. Instants on whole minutes.
"""

from datetime import datetime, timedelta

from pdsapp.domain.cron import Cadence, Cron, Interval
from pdsapp.domain.zones import zone_of

MINUTE = timedelta(minutes=1)
Found = tuple[datetime, str, str, int]


def reference(cadence: Cadence, after: datetime, until: datetime) -> list[Found]:
    """(instant, kind, wall time, how many) of each occurrence with after < instant <= until."""
    if isinstance(cadence, Interval):
        return _of_interval(cadence, after, until)
    return _of_cron(cadence, after, until)


def _of_interval(interval: Interval, after: datetime, until: datetime) -> list[Found]:
    zone, found = zone_of(interval.zone), []
    at = after.replace(second=0, microsecond=0) + MINUTE
    while at <= until:
        wall = at.astimezone(zone)
        is_due = (
            at >= interval.anchor_at and (at - interval.anchor_at).total_seconds() % interval.seconds == 0
        )
        if is_due and _is_on_a_day(interval, wall):
            found.append((at, "slot", f"{wall:%Y-%m-%d %H:%M}", 1))
        at += MINUTE
    return found


def _of_cron(cron: Cron, after: datetime, until: datetime) -> list[Found]:
    minute, hour, day, month, weekday = cron.expression.split()
    minutes, hours, months = _values(minute, 0, 59), _values(hour, 0, 23), _values(month, 1, 12)
    days, weekdays = _values(day, 1, 31), _values(weekday, 0, 6)
    zone = zone_of(cron.zone)

    def matches(wall: datetime) -> bool:
        if wall.minute not in minutes or wall.hour not in hours or wall.month not in months:
            return False
        on_day, on_weekday = wall.day in days, wall.isoweekday() % 7 in weekdays
        is_on = (on_day or on_weekday) if day != "*" and weekday != "*" else (on_day and on_weekday)
        return is_on and _is_on_a_day(cron, wall)

    found = []
    at = after.replace(second=0, microsecond=0) + MINUTE
    offset = (at - MINUTE).astimezone(zone).utcoffset()
    while at <= until:
        wall, before = at.astimezone(zone), offset
        offset = wall.utcoffset()
        if offset > before:
            start = (at + before).replace(tzinfo=None)
            skipped = [start + i * MINUTE for i in range((offset - before) // MINUTE)]
            if missing := sum(map(matches, skipped)):
                found.append((at, "clock_change", f"{start:%Y-%m-%d %H:%M}", missing))
        if matches(wall) and (hour.startswith("*") or not wall.fold):
            found.append((at, "slot", f"{wall:%Y-%m-%d %H:%M}", 1))
        at += MINUTE
    return found


def _is_on_a_day(cadence: Cadence, wall: datetime) -> bool:
    first, last = cadence.first_day, cadence.last_day
    return (first is None or wall.date() >= first) and (last is None or wall.date() <= last)


def _values(text: str, low: int, high: int) -> set[int]:
    values: set[int] = set()
    for part in text.split(","):
        span, _, step = part.partition("/")
        first, _, last = span.partition("-")
        start, end = (low, high) if span == "*" else (int(first), int(last or first))
        values |= set(range(start, end + 1, int(step or 1)))
    return values
