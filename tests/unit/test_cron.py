"""When slots are due, against a reference that looks at every minute of the period."""

import time
from datetime import UTC, datetime, timedelta, timezone
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest
from croniter import croniter
from hypothesis import given, settings
from hypothesis import strategies as st

from pdsapp.domain.cron import (
    EARLIEST_AT,
    LATEST_AT,
    Cron,
    count_slots,
    due_slots,
    last_slot,
    next_slot,
    parse_cron,
    parse_interval,
    upcoming,
)

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


# The instants at which the clocks change. Some are harder than the zones that matter most: a gap and a
# repeated hour at midnight, a gap of 15 minutes, one of a whole day.
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
}
EXPRESSIONS = (
    "* * * * *",
    "*/10 * * * *",
    "0 * * * *",
    "0 */2 * * *",
    "*/15 0-23 * * *",
    "30 1 * * *",
    "30 2 * * *",
    "0,30 2-3 * * *",
    "0 0 * * *",
    "45 23 * * *",
    "5-50/15 1,2,23 * * 0",
    "0 9 1-15 * 6",
)


def field_values(text: str, low: int, high: int) -> set[int]:
    values: set[int] = set()
    for part in text.split(","):
        span, _, step = part.partition("/")
        first, _, last = span.partition("-")
        start, end = (low, high) if span == "*" else (int(first), int(last or first))
        values |= set(range(start, end + 1, int(step or 1)))
    return values


def reference(cron: Cron, after: datetime, until: datetime) -> list[tuple[datetime, str, str, int]]:
    """The occurrences, found by looking at each minute of real time. Instants on whole minutes only."""
    minute, hour, day, month, weekday = cron.expression.split()
    minutes, hours, months = (
        field_values(minute, 0, 59),
        field_values(hour, 0, 23),
        field_values(month, 1, 12),
    )
    days, weekdays = field_values(day, 1, 31), field_values(weekday, 0, 6)
    zone = ZoneInfo(cron.zone)

    def matches(wall: datetime) -> bool:
        if wall.minute not in minutes or wall.hour not in hours or wall.month not in months:
            return False
        on_day, on_weekday = wall.day in days, wall.isoweekday() % 7 in weekdays
        return (on_day or on_weekday) if day != "*" and weekday != "*" else (on_day and on_weekday)

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


def found(cadence, after: datetime, until: datetime) -> list[tuple[datetime, str, str, int]]:
    return [(o.at, o.kind, o.local, o.slot_count) for o in due_slots(cadence, after, until)]


@pytest.mark.parametrize("expression", EXPRESSIONS)
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_clock_change_and_a_day_either_side_are_as_every_minute_says(change, expression):
    zone, at = change
    cron = parse_cron(expression, zone)
    assert found(cron, at - DAY, at + DAY) == reference(cron, at - DAY, at + DAY)


@pytest.mark.parametrize(
    ("zone", "day", "slots", "missing"),
    [
        pytest.param("UTC", "2026-03-08", 1440, 0, id="utc"),
        pytest.param("America/New_York", "2026-03-07", 1440, 0, id="new-york-the-day-before"),
        pytest.param("America/New_York", "2026-03-08", 1380, 60, id="new-york-spring"),
        pytest.param("America/New_York", "2026-03-09", 1440, 0, id="new-york-the-day-after"),
        pytest.param("America/New_York", "2026-11-01", 1500, 0, id="new-york-autumn"),
        pytest.param("America/Indiana/Indianapolis", "2026-03-08", 1380, 60, id="indianapolis-spring"),
        pytest.param("America/Indiana/Indianapolis", "2005-04-03", 1440, 0, id="indianapolis-before-2006"),
        pytest.param("Europe/Rome", "2026-03-29", 1380, 60, id="rome-spring"),
        pytest.param("Europe/Rome", "2026-10-25", 1500, 0, id="rome-autumn"),
        pytest.param("Australia/Lord_Howe", "2026-10-04", 1410, 30, id="lord-howe-spring"),
        pytest.param("Australia/Lord_Howe", "2026-04-05", 1470, 0, id="lord-howe-autumn"),
        pytest.param("Asia/Kathmandu", "2026-03-29", 1440, 0, id="kathmandu"),
        pytest.param("Pacific/Apia", "2011-12-29", 1440, 0, id="apia-the-day-before"),
        pytest.param("Pacific/Apia", "2011-12-31", 1440, 1440, id="apia-skipped-day-and-the-next"),
    ],
)
def test_every_minute_fires_once_in_each_minute_of_a_local_day(zone, day, slots, missing):
    midnight = datetime.fromisoformat(day)
    tick = timedelta(microseconds=1)
    start, end = (at.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC) for at in (midnight, midnight + DAY))
    occurrences = list(due_slots(parse_cron("* * * * *", zone), start - tick, end - tick))
    assert sum(o.slot_count for o in occurrences if o.kind == "slot") == slots
    assert [o.slot_count for o in occurrences if o.kind == "clock_change"] == ([missing] if missing else [])


def test_a_star_hour_fires_through_both_repeated_hours_in_new_york():
    cron = parse_cron("*/30 * * * *", "America/New_York")
    autumn = list(due_slots(cron, utc("2026-11-01T04:45"), utc("2026-11-01T07:00")))
    assert [(f"{o.at:%H:%M}", o.local[-5:], o.note) for o in autumn] == [
        ("05:00", "01:00", "01:00 comes twice; this is the first"),
        ("05:30", "01:30", "01:30 comes twice; this is the first"),
        ("06:00", "01:00", "01:00 comes twice; this is the second"),
        ("06:30", "01:30", "01:30 comes twice; this is the second"),
        ("07:00", "02:00", ""),
    ]


def test_a_named_hour_fires_once_in_the_repeated_hour_and_says_so():
    cron = parse_cron("30 1 * * *", "America/New_York")
    autumn = list(due_slots(cron, utc("2026-11-01T00:00"), utc("2026-11-02T00:00")))
    assert [(o.at, o.note) for o in autumn] == [
        (utc("2026-11-01T05:30"), "01:30 comes twice; only the first fires")
    ]


def test_wall_times_that_do_not_exist_are_one_clock_change_at_the_instant_of_the_gap():
    cron = parse_cron("0,30 2-3 * * *", "America/New_York")
    spring = list(due_slots(cron, utc("2026-03-08"), utc("2026-03-09")))
    assert [(o.at, o.kind) for o in spring] == [
        (utc("2026-03-08T07:00"), "clock_change"),
        (utc("2026-03-08T07:00"), "slot"),
        (utc("2026-03-08T07:30"), "slot"),
    ]
    assert spring[0].slot_count == 2
    assert spring[0].local == "2026-03-08 02:00"
    assert spring[0].note == "2 wall times do not exist: 02:00, 02:30 (clocks jump from 02:00 to 03:00)"


def test_the_day_apia_skipped_is_named_with_its_dates():
    cron = parse_cron("30 9 * * *", "Pacific/Apia")
    gap = next(o for o in due_slots(cron, utc("2011-12-29"), utc("2012-01-01")) if o.kind != "slot")
    assert gap.at == utc("2011-12-30T10:00")
    assert gap.note == (
        "1 wall time does not exist: 09:30 (clocks jump from 2011-12-30 00:00 to 2011-12-31 00:00)"
    )


def test_a_long_gap_keeps_a_short_note():
    cron = parse_cron("* * * * *", "Pacific/Apia")
    gap = next(o for o in due_slots(cron, utc("2011-12-30"), utc("2011-12-31")) if o.kind != "slot")
    assert gap.slot_count == 1440
    assert gap.note.startswith("1440 wall times do not exist: 00:00, 00:01, 00:02, … 23:59 (")
    assert len(gap.note) < 200


def test_a_gap_comes_before_the_repeated_hour_that_is_the_next_match():
    # The 29th of March falls into the gap, the next match is in October's repeated hour.
    cron = parse_cron("30 2 25,29 3,10 *", "Europe/Rome")
    year = [(o.at, o.kind) for o in due_slots(cron, utc("2026-03-26T00:00"), utc("2026-10-28T00:00"))]
    assert year == [(utc("2026-03-29T01:00"), "clock_change"), (utc("2026-10-25T00:30"), "slot")]


def test_each_year_s_gap_is_its_own_clock_change():
    cron = parse_cron("30 2 8-14 3 *", "America/New_York")
    gaps = [o.at for o in due_slots(cron, utc("2025-01-01"), utc("2028-01-01")) if o.kind == "clock_change"]
    assert gaps == [utc("2025-03-09T07:00"), utc("2026-03-08T07:00"), utc("2027-03-14T07:00")]


def test_an_offset_with_seconds_keeps_the_instants_increasing():
    # Liberia was 44 minutes and 30 seconds behind until 1972.
    cron = parse_cron("*/10 * * * *", "Africa/Monrovia")
    day = list(due_slots(cron, utc("1972-01-06T12:00"), utc("1972-01-07T12:00")))
    slots = [o.at for o in day if o.kind == "slot"]
    assert slots[0] == utc("1972-01-06T12:04:30")
    assert slots[-1] == utc("1972-01-07T12:00")
    assert [(o.at, o.slot_count) for o in day if o.kind != "slot"] == [(utc("1972-01-07T00:44:30"), 5)]
    assert all(a < b for a, b in pairwise(slots))


# Properties

FIELD_CHOICES = (
    st.sampled_from(["*", "*", "0", "30", "59", "*/10", "0,30", "5-50/15"]),
    st.sampled_from(["*", "*", "*/2", "1", "2", "0-23", "1-3", "0,3", "23", "0,23"]),
    st.sampled_from(["*", "*", "*", "8", "1-15", "31"]),
    st.sampled_from(["*", "*", "*", "3,4,10-12"]),
    st.sampled_from(["*", "*", "*", "0", "1-5"]),
)
expressions = st.tuples(*FIELD_CHOICES).map(" ".join)
changes = st.sampled_from(list(CHANGES.values()))
# Near the change in whole minutes, often exactly on it, and up to a day away.
offsets = st.one_of(
    st.just(timedelta()),
    st.integers(-180, 180).map(lambda m: m * MINUTE),
    st.integers(-1500, 1500).map(lambda m: m * MINUTE),
)
odd_bits = st.sampled_from([timedelta(), timedelta(), timedelta(seconds=17), timedelta(microseconds=1)])
thousand = settings(max_examples=1000, deadline=None, database=None, derandomize=True)


@st.composite
def crons_and_cuts(draw, cuts: int):
    """A cron cadence and ascending instants around a clock change of its zone."""
    zone, at = draw(changes)
    instants = sorted(at + draw(offsets) + draw(odd_bits) for _ in range(cuts))
    return parse_cron(draw(expressions), zone), instants


@given(crons_and_cuts(2))
@settings(thousand, max_examples=500)
def test_occurrences_are_those_of_the_reference(case):
    cron, (after, until) = case
    assert found(cron, after, until) == reference(cron, after, until)


@given(crons_and_cuts(4))
@thousand
def test_a_period_cut_anywhere_gives_the_same_occurrences_as_the_whole(case):
    cron, cuts = case
    whole = list(due_slots(cron, cuts[0], cuts[-1]))
    assert [o for a, b in pairwise(cuts) for o in due_slots(cron, a, b)] == whole


@given(crons_and_cuts(1))
@settings(thousand, max_examples=50)
def test_stepping_from_occurrence_to_occurrence_gives_the_same_as_the_whole(case):
    cron, (after,) = case
    until, whole, cursor = after + 6 * HOUR, [], after
    while batch := list(islice(due_slots(cron, cursor, until), 2)):
        # Both occurrences of the instant of a gap are taken together, as a cursor has to.
        whole += batch if len(batch) == 2 and batch[0].at == batch[1].at else batch[:1]
        cursor = whole[-1].at
    assert whole == list(due_slots(cron, after, until))


@given(crons_and_cuts(2))
@thousand
def test_instants_strictly_increase_and_the_forecast_is_what_fires(case):
    cron, (after, until) = case
    occurrences = list(due_slots(cron, after, until))
    keys = [(o.at, o.kind) for o in occurrences]
    slots = [o.at for o in occurrences if o.kind == "slot"]
    assert all(a < b for a, b in pairwise(keys))
    assert all(a < b for a, b in pairwise(slots))
    assert all(after < at <= until for at, _ in keys)
    assert upcoming(cron, after, 10_000, until) == slots
    assert upcoming(cron, after, 3, until) == slots[:3]
    assert count_slots(cron, after, until) == len(slots)
    assert last_slot(cron, after, until) == (slots[-1] if slots else None)
    assert not slots or next_slot(cron, after) == slots[0]


@given(expressions, st.integers(0, 4000))
@settings(thousand, max_examples=200)
def test_in_utc_the_slots_are_croniter_s_own(expression, days):
    start = datetime(2024, 1, 1) + days * DAY
    theirs = croniter(expression, start, ret_type=datetime)
    expected = [theirs.get_next().replace(tzinfo=UTC) for _ in range(12)]
    assert upcoming(parse_cron(expression, "UTC"), start.replace(tzinfo=UTC), 12) == expected


# Intervals


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Australia/Lord_Howe"])
def test_an_interval_is_exact_across_a_clock_change_and_shows_the_wall_time_move(zone):
    interval = parse_interval(86_400, utc("2026-03-06T14:00"), zone)
    week = list(due_slots(interval, utc("2026-03-06T00:00"), utc("2026-03-10T14:00")))
    assert [o.at for o in week] == [utc(f"2026-03-{day:02}T14:00") for day in (6, 7, 8, 9, 10)]
    clocks = {"America/New_York": ["09:00", "09:00", "10:00", "10:00", "10:00"]}
    if zone in clocks:
        assert [o.local[-5:] for o in week] == clocks[zone]


def test_an_interval_has_no_slot_before_its_anchor_and_one_at_it():
    interval = parse_interval(900, utc("2026-03-03T09:00"), "UTC")
    assert upcoming(interval, utc("2026-01-01T00:00"), 2) == [
        utc("2026-03-03T09:00"),
        utc("2026-03-03T09:15"),
    ]
    assert next_slot(interval, utc("2026-03-03T09:00")) == utc("2026-03-03T09:15")
    assert last_slot(interval, utc("2026-01-01T00:00"), utc("2026-03-03T08:59")) is None
    assert count_slots(interval, utc("2026-01-01T00:00"), utc("2026-03-03T08:59")) == 0


@given(
    st.integers(60, 200_000),
    st.integers(-500_000, 500_000),
    st.lists(st.integers(-600_000, 600_000), min_size=3, max_size=3).map(sorted),
)
@settings(thousand, max_examples=300)
def test_an_interval_counts_finds_and_splits_as_it_lists(seconds, anchor, cuts):
    base = utc("2026-03-08T07:00")
    interval = parse_interval(seconds, base + timedelta(seconds=anchor), "Europe/Rome")
    after, middle, until = (base + timedelta(seconds=cut) for cut in cuts)
    whole = list(due_slots(interval, after, until))
    slots = [o.at for o in whole]
    assert [*due_slots(interval, after, middle), *due_slots(interval, middle, until)] == whole
    assert all((at - interval.anchor_at) % timedelta(seconds=seconds) == timedelta() for at in slots)
    assert all(b - a == timedelta(seconds=seconds) for a, b in pairwise(slots))
    assert count_slots(interval, after, until) == len(slots)
    assert last_slot(interval, after, until) == (slots[-1] if slots else None)
    assert upcoming(interval, after, len(slots) + 1, until) == slots


# Edges and speed


def test_naive_times_are_an_error_of_the_caller():
    with pytest.raises(ValueError, match="aware"):
        due_slots(parse_cron("0 9 * * *", "UTC"), datetime(2026, 1, 1), utc("2026-01-02"))
    with pytest.raises(ValueError, match="aware"):
        next_slot(parse_cron("0 9 * * *", "UTC"), datetime(2026, 1, 1))


def test_times_of_any_zone_are_taken_and_utc_is_given():
    after = datetime(2026, 6, 1, 11, 0, tzinfo=timezone(timedelta(hours=2)))
    assert next_slot(parse_cron("0 9 * * *", "UTC"), after) == utc("2026-06-02T09:00")
    assert next_slot(parse_cron("0 12 * * *", "Europe/Rome"), after).tzinfo is UTC


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Apia", "America/New_York"])
def test_the_ends_of_time_are_no_error(zone):
    cron, interval = parse_cron("0 0 * * *", zone), parse_interval(86_400, EARLIEST_AT, zone)
    first, last = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    for cadence in (cron, interval):
        assert next_slot(cadence, first) - EARLIEST_AT <= 2 * DAY
        assert next_slot(cadence, last) is None
        assert list(due_slots(cadence, last, first)) == []
        assert LATEST_AT - last_slot(cadence, first, last) < 2 * DAY
    assert upcoming(cron, utc("2026-01-01"), 0) == []
    assert upcoming(cron, utc("2026-01-01"), -1) == []


def test_a_leap_day_is_found_years_away_in_both_directions():
    cron = parse_cron("0 0 29 2 *", "UTC")
    assert upcoming(cron, utc("2096-03-01"), 2) == [utc("2104-02-29"), utc("2108-02-29")]
    assert last_slot(cron, EARLIEST_AT, utc("2104-02-28")) == utc("2096-02-29")


def test_a_month_of_minutely_slots_is_quick_and_a_far_after_costs_nothing():
    cron, until = parse_cron("* * * * *", "America/New_York"), utc("2026-12-31T12:00:30")
    started = time.process_time()
    assert sum(1 for _ in due_slots(cron, until - 30 * DAY, until)) == 43_200
    assert time.process_time() - started < 1
    started = time.process_time()
    assert last_slot(cron, utc("1990-01-01"), until) == utc("2026-12-31T12:00")
    assert next(due_slots(cron, utc("1990-01-01"), until)).at == utc("1990-01-01T00:01")
    assert time.process_time() - started < 0.1
