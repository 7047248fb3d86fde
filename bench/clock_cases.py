"""Which days, zones and rules the clock-change table looks at, and what is enumerated for them. Pure.

`python -m bench.clock_cases` prints the enumeration as JSON, so that other versions of Python can be asked.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from pdsapp.domain.cron import Cadence, due_slots, parse_cron, parse_interval
from pdsapp.domain.zones import zone_of

DAY = timedelta(days=1)
ANCHOR = datetime(2010, 1, 1, tzinfo=UTC)
HALF_HOURLY = 1800
AROUND = BEFORE, AFTER = "the day before", "the day after"


@dataclass(frozen=True)
class Place:
    """A zone, the days on which its clocks change (or would), and fixed times in what changes there."""

    zone: str
    spring: date
    autumn: date
    in_gap: str = "30 2 * * *"
    repeated: str = "30 1 * * *"


PLACES = (
    Place("UTC", date(2026, 3, 8), date(2026, 11, 1)),
    Place("America/New_York", date(2026, 3, 8), date(2026, 11, 1)),
    Place("America/Indiana/Indianapolis", date(2026, 3, 8), date(2026, 11, 1)),
    Place("Europe/Rome", date(2026, 3, 29), date(2026, 10, 25), repeated="15 2 * * *"),
    Place("Australia/Lord_Howe", date(2026, 10, 4), date(2026, 4, 5), "15 2 * * *", "45 1 * * *"),
    Place("Asia/Kathmandu", date(2026, 3, 8), date(2026, 11, 1)),
    Place("Pacific/Apia", date(2026, 3, 8), date(2026, 11, 1)),
)
# Apia went from the east of the date line to its west: after the 29th came the 31st.
SKIPPED = ("Pacific/Apia", date(2011, 12, 30))


@dataclass(frozen=True)
class Case:
    """One row of the table: a rule on one local day of a zone."""

    zone: str
    day: date
    what: str
    rule: str
    cadence: Cadence


def cases() -> Iterator[Case]:
    """All rows, zone by zone, day by day."""
    for place in PLACES:
        for change, words in ((place.spring, "clocks forward"), (place.autumn, "clocks back")):
            is_changing = _length(place.zone, change) != DAY
            for day, what in (
                (change - DAY, BEFORE),
                (change, words if is_changing else "no change here"),
                (change + DAY, AFTER),
            ):
                yield from _of_day(place, day, what)
    zone, skipped = SKIPPED
    apia = next(place for place in PLACES if place.zone == zone)
    yield from _of_day(apia, skipped - DAY, BEFORE)
    yield from _of_day(apia, skipped, "a day that never was")
    yield from _of_day(apia, skipped + DAY, AFTER)


def period(case: Case) -> tuple[datetime, datetime]:
    """A period that holds the case's day and a day on either side of it."""
    noon = datetime.combine(case.day, time(12), UTC)
    return noon - 2 * DAY, noon + 2 * DAY


def fired(case: Case) -> tuple[int, int]:
    """How many slots of the day are enumerated, and how many wall times of it fall into a gap."""
    found = [o for o in due_slots(case.cadence, *period(case)) if o.local[:10] == case.day.isoformat()]
    slots = sum(o.slot_count for o in found if o.kind == "slot")
    return slots, sum(o.slot_count for o in found if o.kind == "clock_change")


def _of_day(place: Place, day: date, what: str) -> Iterator[Case]:
    for rule in (place.in_gap, place.repeated, "*/30 * * * *"):
        yield Case(place.zone, day, what, f"`{rule}`", parse_cron(rule, place.zone))
    yield Case(place.zone, day, what, "every 1,800 s", parse_interval(HALF_HOURLY, ANCHOR, place.zone))


def _length(zone: str, day: date) -> timedelta:
    begin, end = (datetime.combine(d, time(), zone_of(zone)).astimezone(UTC) for d in (day, day + DAY))
    return end - begin


def rows() -> list[list]:
    """Every occurrence in the days around each case."""
    return [
        [case.zone, case.rule, o.at.isoformat(), o.kind, o.local, o.note, o.slot_count]
        for case in cases()
        for o in due_slots(case.cadence, *period(case))
    ]


def main() -> int:
    """Prints all of them, with the version of Python."""
    json.dump({"python": list(sys.version_info[:3]), "rows": rows()}, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
