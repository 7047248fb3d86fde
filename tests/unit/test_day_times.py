"""Times and weekdays as they are picked: the cron expression they are, and back without loss."""

import random
from datetime import UTC, datetime, time, timedelta

import pytest

from pdsapp.domain import cron
from pdsapp.domain.cadence_words import CadenceError
from pdsapp.domain.day_times import EVERY_DAY, MOST_TIMES, DayTimes, cron_of, day_times, day_times_of

NINE, HALF_SIX = time(9), time(18, 30)


@pytest.mark.parametrize(
    ("times", "days", "expression"),
    [
        pytest.param([NINE], [], "0 9 * * *", id="once a day"),
        pytest.param([time(18), NINE, NINE], [], "0 9,18 * * *", id="twice, in any order, one given twice"),
        pytest.param([time(h) for h in range(9, 18)], [1, 2, 3, 4, 5], "0 9-17 * * 1-5", id="office hours"),
        pytest.param([time(0, 15), time(0, 45)], [7], "15,45 0 * * 0", id="Sundays"),
        pytest.param([time(h) for h in (0, 6, 12, 18)], [6, 7], "0 0,6,12,18 * * 0,6", id="no step"),
        pytest.param([NINE], list(EVERY_DAY), "0 9 * * *", id="every day ticked"),
    ],
)
def test_what_is_picked_becomes_cron(times, days, expression):
    assert cron_of(day_times(times, days)) == expression


def test_times_that_one_expression_cannot_hold_are_refused_with_what_it_would_add():
    with pytest.raises(CadenceError, match="it would be due at 09:30, 18:00 too"):
        cron_of(day_times([NINE, HALF_SIX]))
    with pytest.raises(CadenceError, match="Choose at least one time of day"):
        day_times([], [1])


@pytest.mark.parametrize(
    "expression",
    [
        "* * * * *",
        "*/15 9-17 * * 1-5",
        "0 */6 * * *",
        "0 9 1 * *",
        "0 9 * 6 *",
        "0 9 1 * 1",
        "0 0 31 2 *",
        "x",
        "",
    ],
)
def test_what_says_more_than_times_and_weekdays_is_not_picked(expression):
    assert day_times_of(expression) is None


@pytest.mark.parametrize(
    ("expression", "picked"),
    [
        ("00 09 * * MON-FRI", DayTimes((NINE,), (1, 2, 3, 4, 5))),
        ("@daily", DayTimes((time(0),))),
        ("@weekly", DayTimes((time(0),), (7,))),
        ("0,30 9-14 * * 0,7", DayTimes(tuple(time(h, m) for h in range(9, 15) for m in (0, 30)), (7,))),
    ],
)
def test_an_expression_opens_as_it_would_be_picked(expression, picked):
    assert day_times_of(expression) == picked


def test_picked_and_back_is_the_same_and_fires_at_no_other_time():
    chance = random.Random(7)
    start = datetime(2026, 3, 1, tzinfo=UTC)
    for _ in range(200):
        hours = chance.sample(range(24), chance.randint(1, 4))
        minutes = chance.sample(range(60), chance.randint(1, MOST_TIMES // len(hours)))
        picked = day_times(
            (time(hour, minute) for hour in hours for minute in minutes),
            chance.sample(EVERY_DAY, chance.randint(0, 7)),
        )
        expression = cron_of(picked)
        assert day_times_of(expression) == picked, expression
        due = cron.due_slots(cron.parse_cron(expression, "UTC"), start, start + timedelta(days=14))
        for slot in due:
            assert slot.at.time() in picked.times and slot.at.isoweekday() in picked.weekdays, expression
