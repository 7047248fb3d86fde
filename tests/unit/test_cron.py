"""When slots are due, against a reference that looks at every minute of the period."""

import time
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from bench.every_minute import reference
from pdsapp.domain.cron import (
    EARLIEST_AT,
    LATEST_AT,
    count_slots,
    due_slots,
    last_slot,
    next_slot,
    parse_cron,
    parse_interval,
    upcoming,
)
from tests.clock_changes import CHANGES, DAY, found, utc

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
