"""What holds for every cadence: cron or interval, any zone, any days, any cut; found by Hypothesis."""

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise

from croniter import croniter
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.every_minute import reference
from pdsapp.domain.cron import (
    EARLIEST_AT,
    Interval,
    count_slots,
    due_slots,
    last_slot,
    next_slot,
    parse_cron,
    parse_interval,
    upcoming,
    with_days,
)
from pdsapp.domain.jitter import MAX_JITTER_SECONDS, delay_of, shortest_spacing
from pdsapp.domain.zones import zone_of
from tests.clock_changes import CHANGES, DAY, HOUR, MINUTE, found
from tests.conftest import EXAMPLES

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
minutes = st.one_of(st.sampled_from([1, 7, 15, 30, 60, 90, 1440]), st.integers(1, 3000))
many = settings(max_examples=EXAMPLES, deadline=None, database=None, derandomize=True)


@st.composite
def cadences_and_cuts(draw, cuts: int):
    """A cron or interval cadence, with days or without, and ascending instants around a clock change."""
    zone, at = draw(changes)
    instants = sorted(at + draw(offsets) + draw(odd_bits) for _ in range(cuts))
    if draw(st.integers(0, 3)):
        cadence = parse_cron(draw(expressions), zone)
    else:
        cadence = parse_interval(draw(minutes) * 60, at + draw(offsets), zone)
    if draw(st.booleans()):
        today = at.astimezone(zone_of(zone)).date()
        days = sorted(today + draw(st.integers(-2, 2)) * DAY for _ in range(2))
        cadence = with_days(cadence, *draw(st.sampled_from([days, (days[0], None), (None, days[1])])))
    return cadence, instants


@given(cadences_and_cuts(2))
@many
def test_occurrences_are_those_that_every_minute_tells(case):
    cadence, (after, until) = case
    assert found(cadence, after, until) == reference(cadence, after, until)


@given(cadences_and_cuts(4))
@many
def test_a_period_cut_anywhere_gives_the_same_occurrences_as_the_whole(case):
    cadence, cuts = case
    whole = list(due_slots(cadence, cuts[0], cuts[-1]))
    assert [o for a, b in pairwise(cuts) for o in due_slots(cadence, a, b)] == whole


@given(cadences_and_cuts(1))
@many
def test_stepping_from_occurrence_to_occurrence_gives_the_same_as_the_whole(case):
    cadence, (after,) = case
    until, whole, cursor = after + 2 * HOUR, [], after
    while batch := list(islice(due_slots(cadence, cursor, until), 2)):
        # Both occurrences of the instant of a gap are taken together, as a cursor has to.
        whole += batch if len(batch) == 2 and batch[0].at == batch[1].at else batch[:1]
        cursor = whole[-1].at
    assert whole == list(due_slots(cadence, after, until))


@given(cadences_and_cuts(2))
@many
def test_next_slots_strictly_increase_and_the_forecast_is_what_fires(case):
    cadence, (after, until) = case
    occurrences = list(due_slots(cadence, after, until))
    keys = [(o.at, o.kind) for o in occurrences]
    slots = [o.at for o in occurrences if o.kind == "slot"]
    assert all(a < b for a, b in pairwise(keys))
    assert all(a < b for a, b in pairwise(slots))
    assert all(after < at <= until for at, _ in keys)
    assert upcoming(cadence, after, 10_000, until) == slots
    assert upcoming(cadence, after, 3, until) == slots[:3]
    assert count_slots(cadence, after, until) == len(slots)
    assert last_slot(cadence, after, until) == (slots[-1] if slots else None)
    assert not slots or next_slot(cadence, after) == slots[0]


@given(cadences_and_cuts(2))
@many
def test_walking_by_next_slot_meets_every_slot_that_is_due(case):
    cadence, (after, until) = case
    until = min(until, after + 5 * HOUR)
    walked, at = [], next_slot(cadence, after)
    while at is not None and at <= until:
        walked.append(at)
        at = next_slot(cadence, at)
    assert walked == [o.at for o in due_slots(cadence, after, until) if o.kind == "slot"]


@given(cadences_and_cuts(2))
@many
def test_nothing_is_due_outside_the_days_and_all_of_the_open_cadence_within_them(case):
    cadence, (after, until) = case
    zone = zone_of(cadence.zone)

    def is_inside(at: datetime) -> bool:
        day = at.astimezone(zone).date()
        return (cadence.first_day or day) <= day <= (cadence.last_day or day)

    open_ended = with_days(cadence, None, None)
    limited = [o.at for o in due_slots(cadence, after, until) if o.kind == "slot"]
    assert all(is_inside(at) for at in limited)
    assert limited == [
        o.at for o in due_slots(open_ended, after, until) if o.kind == "slot" and is_inside(o.at)
    ]
    lost = sum(o.slot_count for o in due_slots(cadence, after, until) if o.kind == "clock_change")
    assert lost <= sum(o.slot_count for o in due_slots(open_ended, after, until) if o.kind == "clock_change")
    if cadence.last_day is not None and (last := last_slot(cadence, EARLIEST_AT, until + 9 * DAY)):
        assert next_slot(cadence, max(last, until + 9 * DAY)) is None


@given(cadences_and_cuts(2), st.integers(0, 10**9), st.floats(0, 1, exclude_max=True))
@many
def test_jitter_below_the_spacing_never_reaches_the_next_slot(case, key, part):
    cadence, (after, until) = case
    if isinstance(cadence, Interval) or after.year < 2000:
        cadence = with_days(cadence, (after - 2 * DAY).date(), cadence.last_day)
    spacing = shortest_spacing(cadence)
    slots = upcoming(cadence, after, 10_000, until)
    if spacing is None:
        assert len(slots) < 2
        return
    jitter = min(int(part * spacing.total_seconds()), int(spacing.total_seconds()) - 1, MAX_JITTER_SECONDS)
    delays = [delay_of(f"{key}|{at}", 0, jitter) for at in slots]
    assert all(0 <= delay < jitter or delay == jitter == 0 for delay in delays)
    for (slot, following), delay in zip(pairwise(slots), delays, strict=False):
        assert following - slot >= spacing
        assert slot + timedelta(seconds=delay) < following


@given(expressions, st.integers(0, 4000))
@many
def test_in_utc_the_slots_are_croniter_s_own(expression, days):
    start = datetime(2024, 1, 1) + days * DAY
    theirs = croniter(expression, start, ret_type=datetime)
    expected = [theirs.get_next().replace(tzinfo=UTC) for _ in range(12)]
    assert upcoming(parse_cron(expression, "UTC"), start.replace(tzinfo=UTC), 12) == expected


@given(
    st.integers(60, 200_000),
    st.integers(-500_000, 500_000),
    st.lists(st.integers(-600_000, 600_000), min_size=3, max_size=3).map(sorted),
)
@many
def test_an_interval_counts_finds_and_splits_as_it_lists(seconds, anchor, cuts):
    base = datetime(2026, 3, 8, 7, tzinfo=UTC)
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
