"""Instants at which clocks change, for the tests of what is due around them."""

from datetime import UTC, datetime, timedelta

from pdsapp.domain.cron import due_slots

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def utc(text: str) -> datetime:
    """The instant that the text names in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def found(cadence, after: datetime, until: datetime) -> list[tuple[datetime, str, str, int]]:
    """What is enumerated, as `bench.every_minute.reference` gives it."""
    return [(o.at, o.kind, o.local, o.slot_count) for o in due_slots(cadence, after, until)]


# Some are harder than the zones that matter most: a gap and a repeated hour at midnight, one that begins a
# minute after it, a gap of 15 minutes, one of a whole day.
CHANGES = {
    "utc-no-change": ("UTC", utc("2026-03-08T07:00")),
    "new-york-spring": ("America/New_York", utc("2026-03-08T07:00")),
    "new-york-autumn": ("America/New_York", utc("2026-11-01T06:00")),
    "indianapolis-spring": ("America/Indiana/Indianapolis", utc("2026-03-08T07:00")),
    "indianapolis-autumn": ("America/Indiana/Indianapolis", utc("2026-11-01T06:00")),
    "rome-spring": ("Europe/Rome", utc("2026-03-29T01:00")),
    "rome-autumn": ("Europe/Rome", utc("2026-10-25T01:00")),
    "lord-howe-autumn": ("Australia/Lord_Howe", utc("2026-04-04T15:00")),
    "lord-howe-spring": ("Australia/Lord_Howe", utc("2026-10-03T15:30")),
    "kathmandu-no-change": ("Asia/Kathmandu", utc("2026-03-08T07:00")),
    "kathmandu-quarter-hour": ("Asia/Kathmandu", utc("1985-12-31T18:30")),
    "apia-skips-a-day": ("Pacific/Apia", utc("2011-12-30T10:00")),
    "apia-autumn": ("Pacific/Apia", utc("2021-04-03T14:00")),
    "sao-paulo-spring-midnight": ("America/Sao_Paulo", utc("2018-11-04T03:00")),
    "sao-paulo-autumn-midnight": ("America/Sao_Paulo", utc("2018-02-18T02:00")),
    "st-johns-autumn-after-midnight": ("America/St_Johns", utc("2006-10-29T02:31")),
    "st-johns-spring-after-midnight": ("America/St_Johns", utc("2006-04-02T03:31")),
}
