"""Limits on the clock: quiet hours, local days, gaps and the age of drafts, across clock changes."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pdsapp.domain.limit_words import read_quiet, read_span, read_wall, span_words
from pdsapp.domain.limits import (
    Limits,
    LimitsError,
    Published,
    day_bounds,
    gap_ends_at,
    held,
    is_quiet,
    quiet_ends_at,
    too_late,
)
from pdsapp.domain.policy import PolicyError, PostingPolicy
from pdsapp.domain.reasons import Reason

NEW_YORK, LORD_HOWE = ZoneInfo("America/New_York"), ZoneInfo("Australia/Lord_Howe")
NIGHT = Limits(quiet_from="22:00", quiet_until="07:00")
# Offsets of all kinds, and zones whose clocks change at midnight.
ZONES = (
    *("UTC", "America/New_York", "America/Indiana/Indianapolis", "Europe/Rome", "Australia/Lord_Howe"),
    *("Asia/Kathmandu", "Pacific/Apia", "America/Sao_Paulo", "Asia/Beirut", "America/Havana"),
    *("America/St_Johns", "Africa/Cairo", "America/Nuuk", "Atlantic/Azores"),
)
HASH_BEFORE_LIMITS = "820f9e1d64ef96bf0bf6e62ba8ab3f5bd42d72096072b8648cf58d9013675fb5"


def utc(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


# New York leaves daylight saving on 1 November 2026 at 02:00 EDT (06:00 UTC) and enters it on 8 March 2026
# at 02:00 EST (07:00 UTC). Lord Howe goes back half an hour on 5 April 2026 at 02:00 (15:00 UTC the day
# before) and forward half an hour on 4 October 2026 at 02:00 (15:30 UTC the day before).
QUIET = {
    "an evening": (NEW_YORK, NIGHT, "2026-11-21 03:00", True),
    "its first instant": (NEW_YORK, NIGHT, "2026-11-22 03:00", True),
    "the instant before": (NEW_YORK, NIGHT, "2026-11-22 02:59:59.999", False),
    "its end": (NEW_YORK, NIGHT, "2026-11-22 12:00", False),
    "just before its end": (NEW_YORK, NIGHT, "2026-11-22 11:59:59.999", True),
    "noon": (NEW_YORK, NIGHT, "2026-11-21 17:00", False),
    "within one day": (NEW_YORK, Limits("09:00", "17:00"), "2026-11-21 17:00", True),
    "01:15 the first time": (NEW_YORK, Limits("01:00", "01:30"), "2026-11-01 05:15", True),
    "01:45 between both": (NEW_YORK, Limits("01:00", "01:30"), "2026-11-01 05:45", False),
    "01:15 the second time": (NEW_YORK, Limits("01:00", "01:30"), "2026-11-01 06:15", True),
    "01:45 after both": (NEW_YORK, Limits("01:00", "01:30"), "2026-11-01 06:45", False),
    "01:59 before a gap": (NEW_YORK, Limits("02:00", "03:00"), "2026-03-08 06:59", False),
    "03:00 after a gap that was all of it": (NEW_YORK, Limits("02:00", "03:00"), "2026-03-08 07:00", False),
    "03:10 where 02:30 did not exist": (NEW_YORK, Limits("02:30", "04:00"), "2026-03-08 07:10", True),
    "Lord Howe, 01:45 the first time": (LORD_HOWE, Limits("01:40", "01:50"), "2026-04-04 14:45", True),
    "Lord Howe, 01:45 the second time": (LORD_HOWE, Limits("01:40", "01:50"), "2026-04-04 15:15", True),
    "Lord Howe, 02:30 after the gap": (LORD_HOWE, Limits("02:10", "03:00"), "2026-10-03 15:30", True),
}


@pytest.mark.parametrize(("zone", "limits", "at", "quiet"), QUIET.values(), ids=QUIET)
def test_it_is_quiet_while_the_clock_of_the_zone_shows_quiet_hours(zone, limits, at, quiet):
    assert is_quiet(limits, utc(at), zone) is quiet


ENDS = {
    "the next morning": (NEW_YORK, NIGHT, "2026-11-21 03:00", "2026-11-21 12:00"),
    "the same morning": (NEW_YORK, NIGHT, "2026-11-21 11:59:59", "2026-11-21 12:00"),
    "an hour later by UTC after the change": (NEW_YORK, NIGHT, "2026-11-01 03:00", "2026-11-01 12:00"),
    "an hour earlier by UTC in spring": (NEW_YORK, NIGHT, "2026-03-08 04:00", "2026-03-08 11:00"),
    "the first 01:30": (NEW_YORK, Limits("22:00", "01:30"), "2026-11-01 03:00", "2026-11-01 05:30"),
    "the second 01:30": (NEW_YORK, Limits("22:00", "01:30"), "2026-11-01 06:00", "2026-11-01 06:30"),
    "02:30 does not exist: the jump": (
        NEW_YORK, Limits("22:00", "02:30"), "2026-03-08 05:00", "2026-03-08 07:00"
    ),
    "a jump out of a quiet hour that is missing": (
        NEW_YORK, Limits("01:00", "02:59"), "2026-03-08 06:30", "2026-03-08 07:00"
    ),
    "clocks that go back out of the quiet hours": (
        NEW_YORK, Limits("01:30", "02:30"), "2026-11-01 05:45", "2026-11-01 06:00"
    ),
    "Lord Howe, back half an hour": (
        LORD_HOWE, Limits("01:45", "02:30"), "2026-04-04 14:50", "2026-04-04 15:00"
    ),
    "Lord Howe, 02:15 does not exist": (
        LORD_HOWE, Limits("22:00", "02:15"), "2026-10-03 15:00", "2026-10-03 15:30"
    ),
}  # fmt: skip


@pytest.mark.parametrize(("zone", "limits", "at", "end"), ENDS.values(), ids=ENDS)
def test_quiet_hours_end_when_the_clock_first_shows_another_time(zone, limits, at, end):
    assert is_quiet(limits, utc(at), zone)
    assert quiet_ends_at(limits, utc(at), zone) == utc(end)


DAYS = {
    "24 hours": ("Europe/Rome", "2026-11-21 12:00", "2026-11-20 23:00", 24),
    "23 hours": ("America/New_York", "2026-03-08 12:00", "2026-03-08 05:00", 23),
    "25 hours": ("America/New_York", "2026-11-01 12:00", "2026-11-01 04:00", 25),
    "24 and a half": ("Australia/Lord_Howe", "2026-04-04 16:00", "2026-04-04 13:00", 24.5),
    "23 and a half": ("Australia/Lord_Howe", "2026-10-03 16:00", "2026-10-03 13:30", 23.5),
    "no midnight in São Paulo": ("America/Sao_Paulo", "2018-11-04 12:00", "2018-11-04 03:00", 23),
    "the day before has all its hours": ("America/Sao_Paulo", "2018-11-03 12:00", "2018-11-03 03:00", 24),
    "23:00 twice in São Paulo": ("America/Sao_Paulo", "2018-02-18 02:30", "2018-02-17 02:00", 25),
    "no midnight in Beirut": ("Asia/Beirut", "2026-03-29 12:00", "2026-03-28 22:00", 23),
    "23:00 twice in Beirut": ("Asia/Beirut", "2026-10-24 21:30", "2026-10-23 21:00", 25),
    "midnight twice in Havana": ("America/Havana", "2025-11-02 05:30", "2025-11-02 04:00", 25),
    "clocks that went back over midnight": ("America/St_Johns", "2010-11-07 03:00", "2010-11-07 02:30", 25),
    "a day that was left out": ("Pacific/Apia", "2011-12-30 10:30", "2011-12-30 10:00", 24),
    "a quarter past": ("Asia/Kathmandu", "2026-11-21 12:00", "2026-11-20 18:15", 24),
}


@pytest.mark.parametrize(("zone", "at", "start", "hours"), DAYS.values(), ids=DAYS)
def test_a_local_day_begins_with_its_first_instant(zone, at, start, hours):
    begins, ends = day_bounds(utc(at), ZoneInfo(zone))
    assert begins == utc(start)
    assert ends - begins == timedelta(hours=hours)


INSTANTS = st.datetimes(datetime(2009, 1, 1), datetime(2029, 1, 1)).map(lambda at: at.replace(tzinfo=UTC))
WALLS = st.times().map(lambda at: f"{at:%H:%M}")


@settings(max_examples=1000, deadline=None)
@given(INSTANTS, st.sampled_from(ZONES))
def test_every_instant_lies_in_one_local_day_and_the_days_join(at, name):
    zone = ZoneInfo(name)
    start, end = day_bounds(at, zone)
    assert start <= at < end
    assert timedelta(hours=22) < end - start < timedelta(hours=26)
    assert day_bounds(end, zone)[0] == end
    assert day_bounds(start, zone) == (start, end)
    assert day_bounds(end - timedelta(microseconds=1), zone) == (start, end)
    assert start.astimezone(zone).date() > (start - timedelta(microseconds=1)).astimezone(zone).date()


@settings(max_examples=1000, deadline=None)
@given(INSTANTS, WALLS, WALLS, st.sampled_from(ZONES))
def test_quiet_hours_end_at_the_first_instant_that_is_not_quiet(at, start, end, name):
    zone = ZoneInfo(name)
    if start == end:
        return
    limits = Limits(start, end)
    if not is_quiet(limits, at, zone):
        return
    free_at = quiet_ends_at(limits, at, zone)
    assert at < free_at
    assert not is_quiet(limits, free_at, zone)
    span = (free_at - at) / 48
    assert all(is_quiet(limits, at + step * span, zone) for step in range(48))
    assert is_quiet(limits, free_at - timedelta(microseconds=1), zone)


def test_a_limit_says_its_numbers_and_when_it_ends():
    at = utc("2026-11-21 22:30")
    rome = ZoneInfo("Europe/Rome")
    found = held(NIGHT, Published(), at, rome)
    assert (found.reason, found.words) == (
        Reason.quiet_hours,
        "Quiet hours are 22:00–07:00 in Europe/Rome. They end on Sun 22 Nov, 07:00 CET.",
    )
    found = held(Limits(posts_per_day=3), Published(3), at, rome)
    assert (found.reason, found.words) == (
        Reason.daily_limit,
        "It has posted 3 times today, and 3 a day is the most. The next day begins on Sun 22 Nov, 00:00 CET.",
    )
    found = held(Limits(min_gap_seconds=900), Published(1, utc("2026-11-21 22:20:10")), at, rome)
    assert (found.reason, found.words) == (
        Reason.min_gap,
        "Its last post is 9 min 50 s old, and 15 min is the least between two. "
        "It may post again on Sat 21 Nov, 23:35:10 CET.",
    )
    found = too_late(Limits(max_draft_age_seconds=600), utc("2026-11-21 22:19:59.5"), at)
    assert (found.reason, found.words) == (
        Reason.too_late,
        "It read the feed 10 min 1 s ago, and no draft older than 10 min is published.",
    )


def test_without_limits_nothing_is_held():
    published = Published(10_000, utc("2026-11-21 22:30"))
    assert held(Limits(), published, utc("2026-11-21 22:30"), UTC) is None
    assert too_late(Limits(), utc("2020-01-01"), utc("2026-01-01")) is None
    assert gap_ends_at(Limits(min_gap_seconds=60), None) is None


def test_limits_hold_up_to_their_border_and_no_further():
    last = utc("2026-11-21 12:00")
    gap = Limits(min_gap_seconds=60)
    assert held(gap, Published(1, last), last + timedelta(seconds=59.999), UTC)
    assert held(gap, Published(1, last), last + timedelta(seconds=60), UTC) is None
    assert held(gap, Published(1, last), last - timedelta(seconds=30), UTC), "a last post in the future"
    assert held(Limits(posts_per_day=2), Published(1), last, UTC) is None
    age = Limits(max_draft_age_seconds=60)
    assert too_late(age, last, last + timedelta(seconds=60)) is None
    assert too_late(age, last, last + timedelta(seconds=60.001))


WRONG = {
    "half of quiet hours": ({"quiet_from": "22:00"}, "quiet_until", "fill in both"),
    "the other half": ({"quiet_until": "07:00"}, "quiet_from", "fill in both"),
    "equal ends": ({"quiet_from": "07:00", "quiet_until": "07:00"}, "quiet_until", "are none, or all day"),
    "24:00": ({"quiet_from": "22:00", "quiet_until": "24:00"}, "quiet_until", "00:00 to 23:59"),
    "an hour alone": ({"quiet_from": "22", "quiet_until": "07:00"}, "quiet_from", "HH:MM"),
    "an offset": ({"quiet_from": "22Z00", "quiet_until": "07:00"}, "quiet_from", "HH:MM"),
    "a number": ({"quiet_from": 22, "quiet_until": "07:00"}, "quiet_from", "HH:MM"),
    "no posts": ({"posts_per_day": 0}, "posts_per_day", "pause the experiment"),
    "true": ({"posts_per_day": True}, "posts_per_day", "whole number"),
    "half a post": ({"posts_per_day": 1.5}, "posts_per_day", "whole number"),
    "too many": ({"posts_per_day": 10_001}, "posts_per_day", "1 to 10,000"),
    "no gap": ({"min_gap_seconds": 0}, "min_gap_seconds", "1 second and 31 days"),
    "a long gap": ({"min_gap_seconds": 31 * 86_400 + 1}, "min_gap_seconds", "31 days"),
    "no time to write": ({"max_draft_age_seconds": 9}, "max_draft_age_seconds", "10 seconds and 7 days"),
}


@pytest.mark.parametrize(("values", "field", "words"), WRONG.values(), ids=WRONG)
def test_limits_that_cannot_be_used_are_refused_with_a_sentence(values, field, words):
    with pytest.raises(LimitsError, match=words) as refused:
        Limits(**values)
    assert refused.value.field == field
    with pytest.raises(PolicyError):
        PostingPolicy.from_dict(PostingPolicy().to_dict() | {"limits": values})


def test_policies_without_limits_keep_the_hash_they_had_before_there_were_any():
    policy = PostingPolicy()
    assert policy.hash == HASH_BEFORE_LIMITS
    assert "limits" not in policy.to_dict()
    assert PostingPolicy.from_dict(policy.to_dict()) == policy


def test_limits_are_part_of_the_policy_and_of_its_hash():
    limited = PostingPolicy(limits=Limits("22:00", "07:00", 3, 900, 600))
    assert PostingPolicy.from_dict(limited.to_dict()) == limited
    assert limited.to_dict()["limits"]["posts_per_day"] == 3
    hashes = {limited.hash, PostingPolicy().hash, PostingPolicy(limits=Limits(posts_per_day=3)).hash}
    assert len(hashes) == 3
    assert PostingPolicy(limits=Limits(posts_per_day=3)).to_dict()["limits"] == {"posts_per_day": 3}


def test_an_unknown_limit_makes_no_policy():
    with pytest.raises(PolicyError):
        PostingPolicy.from_dict(PostingPolicy().to_dict() | {"limits": {"posts_per_week": 3}})


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90), ("90 s", 90), ("15 min", 900), ("15min", 900), ("2 h", 7200), ("1 h 30 min", 5400),
        ("1h30m", 5400), ("2 days", 172_800), (" 1 Hour ", 3600),
    ],
)  # fmt: skip
def test_spans_are_read_with_their_units(text, seconds):
    assert read_span(text) == seconds


@pytest.mark.parametrize(
    "text", ["", " ", "soon", "1.5 h", "-3", "5 min 1 h", "3 3", "٣", "1 h 1 h", "1" * 9]
)
def test_what_is_no_span_is_refused(text):
    with pytest.raises(ValueError):
        read_span(text)


@settings(max_examples=1000, deadline=None)
@given(st.integers(1, 31 * 86_400))
def test_the_words_of_a_span_are_read_back_as_the_same(seconds):
    assert read_span(span_words(seconds)) == seconds


@pytest.mark.parametrize("text", ["22:00-07:00", "22:00 – 7:00", "22.00 to 07.00"])
def test_quiet_hours_are_read_in_one_line(text):
    assert read_quiet(text) == ("22:00", "07:00")


@pytest.mark.parametrize("text", ["", "22:00", "22-7", "22:00-07:00-08:00", "22:60-07:00", "24:00-07:00"])
def test_what_is_no_span_of_the_day_is_refused(text):
    with pytest.raises(ValueError):
        read_quiet(text)


@settings(max_examples=1000, deadline=None)
@given(st.text(max_size=12))
def test_reading_is_total_a_value_or_a_value_error(text):
    for read in (read_wall, read_quiet, read_span):
        try:
            read(text)
        except ValueError:
            continue
