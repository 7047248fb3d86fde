"""The first and the last day of a cadence: what lies within, where days begin oddly, in words."""

from datetime import date, datetime

import pytest

from bench.every_minute import reference
from pdsapp.domain.cron import (
    EARLIEST_AT,
    CadenceError,
    count_slots,
    describe,
    last_slot,
    next_slot,
    parse_cron,
    parse_interval,
    upcoming,
    with_days,
)
from tests.clock_changes import CHANGES, DAY, found, utc

SAT, SUN = date(2006, 10, 28), date(2006, 10, 29)


def walls(cadence, after: str, until: str) -> list[str]:
    return [local for _, kind, local, _ in found(cadence, utc(after), utc(until)) if kind == "slot"]


def test_both_days_count_and_nothing_is_due_outside_them():
    cron = with_days(parse_cron("0 9,18 * * *", "Europe/Rome"), date(2026, 12, 1), date(2026, 12, 2))
    assert walls(cron, "2026-01-01", "2027-01-01") == [
        "2026-12-01 09:00",
        "2026-12-01 18:00",
        "2026-12-02 09:00",
        "2026-12-02 18:00",
    ]
    assert next_slot(cron, utc("2026-11-25")) == utc("2026-12-01T08:00")
    assert next_slot(cron, utc("2026-12-02T17:00")) is None
    assert last_slot(cron, EARLIEST_AT, utc("2999-01-01")) == utc("2026-12-02T17:00")
    assert count_slots(cron, EARLIEST_AT, utc("2999-01-01")) == 4


def test_days_are_those_of_the_zone_not_of_utc():
    for zone, begins in (("Pacific/Apia", "2026-11-30T11:00"), ("America/New_York", "2026-12-01T05:00")):
        hourly = with_days(parse_cron("0 * * * *", zone), date(2026, 12, 1), date(2026, 12, 1))
        exact = with_days(parse_interval(3600, EARLIEST_AT, zone), date(2026, 12, 1), date(2026, 12, 1))
        for cadence in (hourly, exact):
            slots = upcoming(cadence, utc("2026-11-01"), 100)
            assert (slots[0], len(slots)) == (utc(begins), 24)


def test_an_interval_keeps_counting_from_its_anchor_whatever_the_first_day():
    interval = parse_interval(7 * 3600, utc("2026-11-30T22:00"), "UTC")
    assert upcoming(with_days(interval, date(2026, 12, 1), None), utc("2026-11-01"), 2) == [
        utc("2026-12-01T05:00"),
        utc("2026-12-01T12:00"),
    ]


@pytest.mark.parametrize("first", [-1, 0, 1])
@pytest.mark.parametrize("length", [0, 1])
@pytest.mark.parametrize("make", ["cron", "interval"])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_days_around_a_clock_change_are_as_every_minute_says(change, make, length, first):
    zone, at = change
    cadence = parse_cron("* * * * *", zone) if make == "cron" else parse_interval(60, EARLIEST_AT, zone)
    first_day = at.date() + first * DAY
    cadence = with_days(cadence, first_day, first_day + length * DAY)
    assert found(cadence, at - 2 * DAY, at + 2 * DAY) == reference(cadence, at - 2 * DAY, at + 2 * DAY)
    slots = [o for o in found(cadence, at - 5 * DAY, at + 5 * DAY) if o[1] == "slot"]
    assert count_slots(cadence, at - 5 * DAY, at + 5 * DAY) == len(slots)


def test_a_day_without_midnight_begins_where_the_clocks_jump_to():
    sunday = date(2018, 11, 4)  # from 00:00 to 01:00 in São Paulo
    every = with_days(parse_interval(1800, EARLIEST_AT, "America/Sao_Paulo"), sunday, sunday)
    assert walls(every, "2018-11-01", "2018-11-07")[0] == "2018-11-04 01:00"
    assert count_slots(every, utc("2018-11-01"), utc("2018-11-07")) == 46


def test_a_midnight_that_comes_twice_belongs_to_its_own_day_both_times():
    # At 00:01 on Sunday St. John's clocks went back to 23:01 on Saturday.
    saturday, sunday = (
        with_days(parse_interval(60, EARLIEST_AT, "America/St_Johns"), day, day) for day in (SAT, SUN)
    )
    of_saturday = walls(saturday, "2006-10-28T12:00", "2006-10-29T12:00")
    assert of_saturday[-60:-57] == ["2006-10-28 23:59", "2006-10-28 23:01", "2006-10-28 23:02"]
    assert of_saturday[-1] == "2006-10-28 23:59"
    assert walls(sunday, "2006-10-28T12:00", "2006-10-29T12:00")[:3] == [
        "2006-10-29 00:00",
        "2006-10-29 00:00",
        "2006-10-29 00:01",
    ]
    midnight = with_days(parse_cron("0 0 * * *", "America/St_Johns"), SUN, None)
    assert next_slot(midnight, EARLIEST_AT) == utc("2006-10-29T02:30")


def test_the_day_apia_skipped_has_no_slot_and_its_wall_times_are_one_clock_change():
    skipped = date(2011, 12, 30)
    cron = with_days(parse_cron("0 * * * *", "Pacific/Apia"), skipped, skipped)
    assert found(cron, utc("2011-12-28"), utc("2012-01-02")) == [
        (utc("2011-12-30T10:00"), "clock_change", "2011-12-30 00:00", 24)
    ]
    assert next_slot(cron, EARLIEST_AT) is None


@pytest.mark.parametrize(
    ("first", "last", "words"),
    [
        pytest.param(
            date(2026, 12, 3), date(2026, 12, 1), "The last day, 1 Dec 2026, is before the first", id="order"
        ),
        pytest.param(date(1969, 12, 31), None, "The first day lies between the years 1970", id="too-early"),
        pytest.param(None, date(3000, 1, 1), "The last day lies between the years 1970", id="too-late"),
        pytest.param(datetime(2026, 1, 1), None, "The first day is a date, such as", id="a-time"),
        pytest.param(None, "2026-01-01", "The last day is a date, such as", id="a-text"),
    ],
)
def test_days_that_cannot_be_are_refused_with_what_to_do(first, last, words):
    with pytest.raises(CadenceError, match=words):
        with_days(parse_cron("0 9 * * *", "UTC"), first, last)


@pytest.mark.parametrize(
    ("first", "last", "words"),
    [
        pytest.param(None, None, "09:00 daily", id="open"),
        pytest.param(date(2026, 12, 1), None, "09:00 daily, starting 1 Dec 2026", id="first"),
        pytest.param(None, date(2026, 12, 14), "09:00 daily, until 14 Dec 2026", id="last"),
        pytest.param(date(2026, 12, 1), date(2026, 12, 1), "09:00 daily, only on 1 Dec 2026", id="one"),
        pytest.param(date(2026, 12, 1), date(2026, 12, 14), "09:00 daily, 1–14 Dec 2026", id="month"),
        pytest.param(date(2026, 11, 30), date(2026, 12, 4), "09:00 daily, 30 Nov – 4 Dec 2026", id="year"),
        pytest.param(
            date(2026, 12, 30), date(2027, 1, 4), "09:00 daily, 30 Dec 2026 – 4 Jan 2027", id="years"
        ),
    ],
)
def test_the_words_name_the_days(first, last, words):
    assert describe(with_days(parse_cron("0 9 * * *", "UTC"), first, last)) == words


def test_the_words_of_an_interval_name_the_days_before_what_clocks_do():
    interval = parse_interval(86_400, utc("2026-03-01T14:00"), "America/New_York")
    assert describe(with_days(interval, None, date(2026, 12, 14))) == (
        "every 24 h, from 09:00, until 14 Dec 2026 (exact spacing: wall times move when the clocks change)"
    )
