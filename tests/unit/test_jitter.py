"""Jitter: uniform, keyed, and always shorter than the way to the next slot."""

from datetime import date, timedelta
from itertools import pairwise

import pytest

from pdsapp.domain.cron import CadenceError, parse_cron, parse_interval, with_days
from pdsapp.domain.jitter import check_jitter, delay_of, jitter_words, shortest_spacing
from tests.clock_changes import utc
from tests.statistics import chi_square, p_value

DECEMBER = date(2026, 12, 1)


def test_delays_are_uniform_from_zero_to_the_jitter():
    bins = [0] * 60
    for number in range(60_000):
        bins[int(delay_of(f"seed|schedule|{number}", 0, 300) / 5)] += 1
    assert p_value(chi_square(bins, [1000] * 60), 59) > 0.01


def test_the_delays_of_one_slot_s_attempts_are_uniform_too():
    delays = [delay_of("seed|schedule|2026-12-01T09:00:00+00:00", ordinal, 60) for ordinal in range(30_000)]
    bins = [0] * 60
    for delay in delays:
        bins[int(delay)] += 1
    assert p_value(chi_square(bins, [500] * 60), 59) > 0.01
    # Neighbours have nothing to do with each other: 100 pairs of tenths, 300 each.
    pairs = [0] * 100
    for one, other in pairwise(delays):
        pairs[int(one / 6) * 10 + int(other / 6)] += 1
    assert p_value(chi_square(pairs, [29_999 / 100] * 100), 99) > 0.01


def test_the_same_key_and_ordinal_wait_equally_long_for_ever():
    assert delay_of("seed|schedule|slot", 3, 300) == delay_of("seed|schedule|slot", 3, 300)
    assert delay_of("seed|schedule|slot", 3, 300) == 257.0394604011434
    assert delay_of("seed|schedule|slot", 4, 300) != delay_of("seed|schedule|slot", 3, 300)
    assert delay_of("seed|schedule|slot", 3, 0) == 0


@pytest.mark.parametrize(
    ("expression", "zone", "hours"),
    [
        pytest.param("* * * * *", "UTC", 1 / 60, id="every-minute"),
        pytest.param("5-50/15 * * * *", "UTC", 0.25, id="quarters"),
        pytest.param("0 9 * * *", "UTC", 24, id="daily"),
        pytest.param("0 9 * * *", "Europe/Rome", 23, id="daily-with-a-spring"),
        pytest.param("0 9,18 * * *", "UTC", 9, id="twice-a-day"),
        pytest.param("0 1,20 * * *", "UTC", 5, id="over-midnight"),
        pytest.param("0 9 * * 1-5", "UTC", 24, id="working-days"),
        pytest.param("0 9 * * 1,4", "UTC", 72, id="mondays-and-thursdays"),
        pytest.param("0 9 * * 1", "Europe/Rome", 167, id="weekly-over-a-sunday"),
        pytest.param("0 9 31 * *", "UTC", 31 * 24, id="thirty-firsts"),
        pytest.param("0 9 29 2 *", "UTC", 1461 * 24, id="leap-days"),
        pytest.param("0 0 1 * 2", "UTC", 24, id="firsts-or-tuesdays"),
        pytest.param("0 1,3 * * *", "America/New_York", 1, id="the-gap-between-them"),
        pytest.param("45 * * * *", "Australia/Lord_Howe", 0.5, id="the-repeated-half-hour"),
        pytest.param("30 1 * * *", "America/New_York", 23, id="a-wall-time-that-comes-twice"),
    ],
)
def test_the_shortest_spacing_is_by_times_days_and_clock_changes(expression, zone, hours):
    assert shortest_spacing(parse_cron(expression, zone)) == timedelta(hours=hours)


def test_days_make_the_spacing_that_of_what_they_leave():
    autumn = date(2026, 10, 20), date(2026, 11, 20)
    assert shortest_spacing(with_days(parse_cron("0 9 * * *", "Europe/Rome"), *autumn)) == timedelta(hours=24)
    one_day = with_days(parse_cron("0 9,18 * * *", "UTC"), DECEMBER, DECEMBER)
    assert shortest_spacing(one_day) == timedelta(hours=9)
    assert shortest_spacing(with_days(parse_cron("0 9 * * *", "UTC"), DECEMBER, DECEMBER)) is None
    assert shortest_spacing(
        with_days(parse_cron("0 9,18 * * *", "UTC"), None, date(1971, 1, 1))
    ) == timedelta(hours=9)


def test_the_spacing_of_an_interval_is_exact():
    interval = parse_interval(900, utc("2026-12-01T09:00"), "Europe/Rome")
    assert shortest_spacing(interval) == timedelta(minutes=15)
    daily = parse_interval(86_400, utc("2026-12-01T09:00"), "UTC")
    assert shortest_spacing(with_days(daily, DECEMBER, DECEMBER)) is None


@pytest.mark.parametrize(
    ("jitter", "words"),
    [
        pytest.param(901, "Slots of it are as close as 15 min, and the jitter must not be", id="longer"),
        pytest.param(86_401, "The jitter is at most 86,400 seconds", id="more-than-a-day"),
        pytest.param(-1, "The jitter is a whole number of seconds", id="negative"),
        pytest.param(True, "The jitter is a whole number of seconds", id="no-number"),
        pytest.param(1.5, "The jitter is a whole number of seconds", id="a-fraction"),
    ],
)
def test_a_jitter_that_cannot_be_is_refused_with_what_to_do(jitter, words):
    with pytest.raises(CadenceError, match=words):
        check_jitter(jitter, parse_cron("*/15 * * * *", "UTC"))


def test_a_jitter_below_the_spacing_is_taken_and_a_single_slot_may_wait_a_day():
    check_jitter(0, parse_cron("*/15 * * * *", "UTC"))
    check_jitter(899, parse_cron("*/15 * * * *", "UTC"))
    check_jitter(86_400, with_days(parse_cron("0 9 * * *", "UTC"), DECEMBER, DECEMBER))


def test_the_words_say_how_much_later():
    assert jitter_words(0) == ""
    assert jitter_words(45) == "each attempt up to 45 s later"
    assert jitter_words(5400) == "each attempt up to 1 h 30 min later"
