"""What a cadence asks for, in words: how many of how many, and how often each has its turn."""

from datetime import UTC, date, datetime, timedelta

import pytest

from pdsapp.domain import cron
from pdsapp.domain.targets import Target
from pdsapp.domain.turn_words import about, ahead_words, mean_spacing, turn_words

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)  # a Monday
MINUTES = timedelta(minutes=1)
MORNING, THREE = Target.tagged(["morning"]), Target.chosen("abc")


@pytest.mark.parametrize(
    ("candidates", "per_slot", "spacing", "words"),
    [
        (12, 1, 10 * MINUTES, "one of 12 active twins, about one turn per twin every 2 h"),
        (12, 3, 60 * MINUTES, "3 of 12 active twins, about one turn per twin every 4 h"),
        (1, 1, 15 * MINUTES, "the only active twin, about one turn per twin every 15 min"),
        (3, 5, 15 * MINUTES, "all 3 active twins each time, about one turn per twin every 15 min"),
        (3, None, 15 * MINUTES, "all 3 active twins each time, about one turn per twin every 15 min"),
        (0, None, 15 * MINUTES, "nobody yet: there is no active twin"),
        (0, 1, 15 * MINUTES, "nobody yet: there is no active twin"),
        (1200, 1, None, "one of 1,200 active twins, once"),
    ],
)
def test_who_is_asked_and_how_often(candidates, per_slot, spacing, words):
    assert turn_words(candidates, per_slot, spacing) == words


@pytest.mark.parametrize(
    ("target", "candidates", "of_all", "per_slot", "words"),
    [
        (MORNING, 5, 5, 2, "2 of the 5 twins tagged “morning”, about one turn per twin every 25 min"),
        (MORNING, 5, 6, 1, "one of the 5 twins tagged “morning” (1 more is not active), about one turn "
         "per twin every 50 min"),
        (MORNING, 2, 2, 9, "all 2 twins tagged “morning” each time, about one turn per twin every 10 min"),
        (MORNING, 1, 1, 1, "the only active twin tagged “morning”, about one turn per twin every 10 min"),
        (MORNING, 0, 0, 1, "nobody yet: no twin has the tag “morning”"),
        (THREE, 3, 3, 1, "one of the 3 chosen twins, about one turn per twin every 30 min"),
        (THREE, 1, 3, 1, "the only active one of the chosen twins (2 more are not active), about one turn "
         "per twin every 10 min"),
        (THREE, 0, 3, 1, "nobody yet: none of the 3 chosen twins is active"),
    ],
)  # fmt: skip
def test_who_of_a_target_is_asked_and_how_often(target, candidates, of_all, per_slot, words):
    assert turn_words(candidates, per_slot, 10 * MINUTES, target, of_all) == words


@pytest.mark.parametrize(
    ("expression", "minutes"),
    [
        ("*/10 * * * *", 10),
        ("0 9-17 * * 1-5", 7 * 24 * 60 / 45),
        ("0 9 1 1 *", 365.2 * 24 * 60),
    ],
    ids=["even", "hours of weekdays, nights included", "rarer than a week"],
)
def test_the_mean_time_between_slots(expression, minutes):
    found = mean_spacing(cron.parse_cron(expression, "UTC"), NOW)
    assert found.total_seconds() / 60 == pytest.approx(minutes, rel=0.001)


def test_a_last_day_ends_what_is_counted():
    daily = cron.parse_cron("0 9 * * *", "UTC")
    day = timedelta(days=1)
    assert mean_spacing(cron.with_days(daily, None, date(2026, 11, 26)), NOW) == day
    assert mean_spacing(cron.with_days(daily, None, date(2026, 11, 24)), NOW) is None, "one slot"
    assert mean_spacing(cron.with_days(daily, None, date(2026, 11, 23)), NOW) is None, "none"
    every = cron.parse_interval(900, NOW, "UTC")
    assert mean_spacing(every, NOW) == 15 * MINUTES
    assert mean_spacing(cron.with_days(every, None, date(2026, 11, 22)), NOW) is None


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (7200, "2 h"),
        (7310, "2 h"),
        (13_440, "3 h 45 min"),
        (50, "50 s"),
        (900, "15 min"),
        (100_000, "1 d 3 h"),
    ],
)
def test_a_span_is_rounded_to_what_one_would_say(seconds, words):
    assert about(timedelta(seconds=seconds)) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(7845, "in 2 h 10 min"), (59, "in 59 s"), (61, "in 1 min"), (0, "in 0 s"), (90_061, "in 1 d 1 h")],
)
def test_how_far_ahead_a_slot_is(seconds, words):
    assert ahead_words(timedelta(seconds=seconds)) == words
