"""What may be typed for a cadence, what is refused with which sentence, and the cadence in words."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pdsapp.domain.cron import (
    CadenceError,
    Cron,
    Interval,
    describe,
    due_slots,
    next_slot,
    parse_cron,
    parse_interval,
    parse_zone,
)

ANCHOR = datetime(2026, 3, 3, 8, 0, tzinfo=UTC)
many = settings(max_examples=400, deadline=None, database=None, derandomize=True)


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("* * * * *", "every minute"),
        ("* 8-22 * * *", "every minute, 08:00–22:59, every day"),
        ("* 8,9,14 * * *", "every minute, 08:00–09:59 and 14:00–14:59, every day"),
        ("*/15 * * * *", "every 15 min"),
        ("5-59/15 * * * *", "every 15 min from :05"),
        ("*/10 9-17 * * *", "every 10 min, 09:00–17:50, every day"),
        ("@hourly", "hourly"),
        ("30 * * * *", "hourly at :30"),
        ("0 9-17 * * *", "hourly 9–17, every day"),
        ("0 9-17 * 6 *", "hourly 9–17, every day, in June"),
        ("0 9-17 * * MON-FRI", "hourly 9–17, weekdays"),
        ("0 9-17 * * 1,2,3,4,5", "hourly 9–17, weekdays"),
        ("30 9-17 * * *", "hourly at :30, 9–17, every day"),
        ("0 22-2 * * *", "hourly 22–2, every day"),
        ("*/45 * * * *", "hourly at :00 and :45"),
        ("0,45 9-17 * * *", "hourly at :00 and :45, 9–17, every day"),
        ("0 */2 * * *", "every 2 h, 00:00–22:00, every day"),
        ("0 */6 * * *", "00:00, 06:00, 12:00 and 18:00 daily"),
        ("30 18 * * *", "18:30 daily"),
        ("0 9,18 * * *", "09:00 and 18:00 daily"),
        ("0,30 9 * * SAT,SUN", "09:00 and 09:30, weekends"),
        ("@daily", "00:00 daily"),
        ("@weekly", "00:00, Sundays"),
        ("@monthly", "00:00, on the 1st"),
        ("0 9 * * 7", "09:00, Sundays"),
        ("0 9 * * mon,thu", "09:00, Mondays and Thursdays"),
        ("0 9 * * 1,3,5", "09:00, Mon, Wed and Fri"),
        ("0 9 * * FRI-MON", "09:00, Fri–Mon"),
        ("0 9 * * 0-7", "09:00 daily"),
        ("0 9 1,15 6,12 *", "09:00, on the 1st and 15th, in June and December"),
        ("0 9 1-7 * *", "09:00, on the 1st–7th"),
        ("0 9 */2 * *", "09:00, on every 2nd day of the month from the 1st"),
        ("0 9 31 * *", "09:00, on the 31st (where the month has one)"),
        ("0 0 29 2 *", "00:00, on 29 February (leap years only)"),
        ("0 0 24 12 *", "00:00, on 24 December"),
        ("0 9 * NOV-FEB *", "09:00 daily, November–February"),
        ("0 9 * */2 *", "09:00 daily, in Jan, Mar, May, Jul, Sep and Nov"),
        ("0 9 13 * FRI", "09:00, on the 13th or on Fridays (either is enough)"),
        ("0 9 1-7 * MON-FRI", "09:00, on the 1st–7th or on any weekday (either is enough)"),
        ("0 9 31 2 MON", "09:00, Mondays, in February"),
        ("0 9 1-31 * MON", "09:00 daily"),
    ],
)
def test_common_cadences_have_short_words(expression, words):
    assert describe(parse_cron(expression, "Europe/Rome")) == words


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("*/7 * * * *", "at 0, 7, 14, 21, 28, 35, 42, 49, and 56 minutes past the hour"),
        ("1-5 8 * * 1", "every minute between 08:01 and 08:05, Mondays"),
        ("0 1,2,4,8,16 * * *", "01:00, 02:00, 04:00, 08:00 and 16:00 daily"),
        ("1-59/2 */4 * * *", "every 2 min from :01, in hours 0, 4, 8, 12, 16 and 20, every day"),
        (
            "0 9 2,4,8,16,31 * 0,1,3",
            "09:00, on the 2nd, 4th, 8th, 16th and 31st or on Mon, Wed and Sun (either is enough)",
        ),
        ("0 9 * 1,2,4,5,7,8,10 *", "09:00 daily, in Jan, Feb, Apr, May, Jul, Aug and Oct"),
    ],
)
def test_rare_cadences_are_listed_value_by_value(expression, words):
    assert describe(parse_cron(expression, "UTC")) == words


@pytest.mark.parametrize(
    ("seconds", "zone", "words"),
    [
        (60, "UTC", "every minute, from 08:00"),
        (90, "UTC", "every 90 s, from 08:00"),
        (900, "Europe/Rome", "every 15 min, from 09:00"),
        (3600, "Europe/Rome", "every hour, from 09:00"),
        (7200, "Asia/Kathmandu", "every 2 h, from 13:45"),
        (5415, "UTC", "every 1 h 30 min 15 s, from 3 Mar 2026, 08:00"),
        (25_200, "Europe/Rome", "every 7 h, from 3 Mar 2026, 09:00"),
        (86_400, "UTC", "every 24 h, from 08:00"),
        (
            86_400,
            "Europe/Rome",
            "every 24 h, from 09:00 (exact spacing: wall times move when the clocks change)",
        ),
        (
            172_800,
            "Europe/Rome",
            "every 2 × 24 h, from 3 Mar 2026, 09:00 (exact spacing: wall times move when the clocks change)",
        ),
        (
            3600,
            "Australia/Lord_Howe",
            "every hour, from 19:00 (exact spacing: wall times move when the clocks change)",
        ),
    ],
)
def test_intervals_say_where_they_start_and_whether_clock_changes_move_them(seconds, zone, words):
    assert describe(parse_interval(seconds, ANCHOR, zone)) == words


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("0 9 * * *", "0 9 * * *"),
        ("  0\t9  * *\n* ", "0 9 * * *"),
        ("@Daily", "@daily"),
        ("0 9 * jan,DEC Mon-FRI", "0 9 * jan,DEC Mon-FRI"),
        ("05 08 * * *", "05 08 * * *"),
        ("0 0 29 2 *", "0 0 29 2 *"),
        ("0 0 31 2 1", "0 0 31 2 1"),
    ],
)
def test_what_is_accepted_is_kept_as_typed_but_for_white_space(typed, kept):
    assert parse_cron(typed, "UTC") == Cron(kept, "UTC")


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        pytest.param("", "is empty. Write five fields", id="empty"),
        pytest.param(" \n", "is empty. Write five fields", id="white-space"),
        pytest.param(None, "is empty. Write five fields", id="none"),
        pytest.param("0 9 * *", "has 4 fields, not five", id="four-fields"),
        pytest.param("0 0 9 * * *", "has 6 fields, not five (no seconds, no year)", id="six-fields"),
        pytest.param("٥ * * * *", "“٥” (U+0665) is not a plain digit", id="arabic-digit"),
        pytest.param("０ 9 * * *", "(U+FF10) is not a plain digit", id="full-width-digit"),
        pytest.param("0\u00a09 * * *", "(U+00A0) is not a plain digit", id="no-break-space"),
        pytest.param("0 9 – * *", "(U+2013) is not a plain digit", id="en-dash"),
        pytest.param("@reboot", "“@reboot” is not accepted. Write five fields", id="reboot"),
        pytest.param("@yearly", "@hourly, @daily, @weekly, @monthly", id="yearly"),
        pytest.param("@midnight", "“@midnight” is not accepted", id="midnight"),
        pytest.param("0 0 L * *", "“L” in the day-of-month field is not accepted", id="last-day"),
        pytest.param("0 0 15W * *", "“15W” in the day-of-month field", id="nearest-weekday"),
        pytest.param("0 0 * * 5#2", "“5#2” in the weekday field", id="nth-weekday"),
        pytest.param("0 0 * * L5", "“L5” in the weekday field", id="last-weekday"),
        pytest.param("0 0 ? * *", "“?” in the day-of-month field", id="question-mark"),
        pytest.param("H * * * *", "“H” in the minute field", id="hash"),
        pytest.param("h(0-5)/2 * * * *", "in the minute field is not accepted", id="hash-range"),
        pytest.param("R R * * *", "“R” in the minute field", id="random"),
        pytest.param("60 * * * *", "60 in the minute field is out of range: 0 to 59", id="minute-60"),
        pytest.param("0 24 * * *", "out of range: 0 to 23", id="hour-24"),
        pytest.param("0 0 0 * *", "out of range: 1 to 31", id="day-0"),
        pytest.param("0 0 * 13 *", "out of range: 1 to 12", id="month-13"),
        pytest.param("0 0 * * 8", "out of range: 0 to 7", id="weekday-8"),
        pytest.param("0 0 * MON *", "or names such as JAN", id="weekday-name-as-month"),
        pytest.param("MON * * * *", "“MON” in the minute field", id="name-as-minute"),
        pytest.param("-5 * * * *", "“-5” in the minute field", id="negative"),
        pytest.param("1.5 * * * *", "“1.5” in the minute field", id="fraction"),
        pytest.param("5,,6 * * * *", "“” in the minute field", id="empty-item"),
        pytest.param("*/0 * * * *", "is 0: write 1 or more", id="step-0"),
        pytest.param("*/90 * * * *", "longer than its minute range 0–59", id="step-too-long"),
        pytest.param("0 9-17/20 * * *", "longer than its hour range 9–17", id="step-longer-than-range"),
        pytest.param("9-9 * * * *", "holds only one minute: write 9 alone", id="one-value-range"),
        pytest.param("0 0 * * 7-0", "holds only one weekday", id="sunday-to-sunday"),
        pytest.param("0 22-4/3 * * *", "passes the end of the hour field", id="wrapped-step"),
        pytest.param("* *,5 * * *", "already means every one", id="star-in-a-list"),
        pytest.param("0 0 31 2 *", "never fires: no month in it has such a day", id="31-february"),
        pytest.param("0 0 30 FEB *", "never fires", id="30-february"),
        pytest.param("0 0 31 4,6,9,11 *", "never fires", id="31st-of-short-months"),
        pytest.param("0,1 " * 40, "longer than 100 characters", id="long"),
        pytest.param("*" * 100_000, "longer than 100 characters", id="100-kB"),
        pytest.param("0\x00 * * * *", "“0�” in the minute field", id="nul"),
    ],
)
def test_what_is_refused_says_what_to_write_instead(typed, sentence):
    with pytest.raises(CadenceError) as refused:
        parse_cron(typed, "UTC")
    assert sentence in str(refused.value)
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize("name", ["UTC", "Europe/Rome", "America/Indiana/Indianapolis", "Etc/GMT+5"])
def test_iana_names_are_accepted(name):
    assert parse_zone(name) == name


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("europe/rome", "Did you mean Europe/Rome? Upper and lower case count."),
        ("utc", "Did you mean UTC? Upper and lower case count."),
        ("Europe/Roma", "Did you mean Europe/Rome?"),
        ("Europe/Rome ", "Did you mean Europe/Rome?"),
        ("Rome", "Did you mean Europe/Rome?"),
        ("new york", "Did you mean America/New_York?"),
        ("", "The time zone is empty. Write an IANA name such as Europe/Rome, or UTC."),
        (None, "The time zone is empty."),
        ("../etc/passwd", "Write an IANA name"),
        ("/etc/localtime", "Write an IANA name"),
        ("localtime", "Write an IANA name"),
        ("Factory", "Write an IANA name"),
        ("EST", "Write an IANA name"),
        ("posix/Europe/Rome", "is not a time zone known here."),
        ("Mars/Olympus\x00", "“Mars/Olympus�” is not a time zone"),
        ("x" * 100_000, "…” is not a time zone known here."),
    ],
)
def test_unknown_zones_are_refused_with_a_hint(name, hint):
    with pytest.raises(CadenceError) as refused:
        parse_cron("0 9 * * *", name)
    assert hint in str(refused.value)


@pytest.mark.parametrize(
    ("seconds", "anchor", "sentence"),
    [
        (59, ANCHOR, "at least 60 seconds"),
        (-900, ANCHOR, "at least 60 seconds"),
        (367 * 86_400, ANCHOR, "at most 366 days"),
        (900.0, ANCHOR, "whole number of seconds"),
        (True, ANCHOR, "whole number of seconds"),
        (900, ANCHOR.replace(tzinfo=None), "with its time zone"),
        (900, None, "with its time zone"),
        (900, ANCHOR.replace(year=1969), "between the years 1970 and 2999"),
    ],
)
def test_impossible_intervals_are_refused(seconds, anchor, sentence):
    with pytest.raises(CadenceError, match=sentence):
        parse_interval(seconds, anchor, "UTC")


def test_an_anchor_is_kept_in_utc_and_whole_seconds():
    anchor = datetime(2026, 3, 3, 9, 0, 1, 999_999, tzinfo=timezone(timedelta(hours=1)))
    assert parse_interval(900, anchor, "Europe/Rome").anchor_at == ANCHOR.replace(second=1)


def test_a_row_edited_into_nonsense_is_a_named_error_not_a_crash():
    with pytest.raises(CadenceError, match="not five"):
        next_slot(Cron("nonsense", "UTC"), ANCHOR)
    with pytest.raises(CadenceError, match="time zone"):
        next_slot(Cron("0 9 * * *", "../etc/passwd"), ANCHOR)
    with pytest.raises(CadenceError, match="time zone"):
        list(due_slots(Interval(60, ANCHOR, "Mars/Base"), ANCHOR, ANCHOR))


@given(st.text(max_size=120) | st.text("0123456789*,-/ @#?LWHRmonjan", max_size=40))
@many
def test_any_text_is_a_cadence_that_fires_or_a_cadence_error(text):
    try:
        cron = parse_cron(text, "Europe/Rome")
    except CadenceError as error:
        assert str(error)
    else:
        assert next_slot(cron, ANCHOR) is not None
        assert describe(cron)


def numbers(low: int, high: int):
    one = st.integers(low, high)
    item = one.map(str) | st.tuples(one, one).filter(lambda p: p[0] < p[1]).map(lambda p: f"{p[0]}-{p[1]}")
    steps = st.sampled_from(["*/2", "*/3", "*/5"])
    return st.one_of(st.just("*"), steps, st.lists(item, min_size=1, max_size=3).map(",".join))


@given(st.tuples(numbers(0, 59), numbers(0, 23), numbers(1, 28), numbers(1, 12), numbers(0, 6)))
@many
def test_every_cadence_has_words_that_start_small_and_keep_to_plain_english(fields):
    words = describe(parse_cron(" ".join(fields), "UTC"))
    assert words[0].isdigit() or words[0].islower()
    assert "  " not in words and "None" not in words
    # A weekday and a date that both count are said to be alternatives.
    assert ("either is enough" in words) == (" or on " in words)
