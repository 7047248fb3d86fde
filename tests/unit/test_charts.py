"""Charts keep their numbers: heights are shares of the tallest bar and every count is in the words."""

from datetime import UTC, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from pdsapp.services.reports import PERIODS, bins
from pdsapp.web.charts import Bucket, Marker, hbars, nice_ticks, outcome_strip, stacked_bars
from pdsapp.web.pages import over_time

SERIES = ("posted", "skipped", "failed")


def chart(*counts, **options):
    buckets = [Bucket(label=f"hour {i}", counts=each) for i, each in enumerate(counts)]
    return stacked_bars(buckets, SERIES, title="Attempts per hour", **options)


@pytest.mark.parametrize(
    ("top", "ticks"),
    [
        (0, (0,)),
        (1, (0, 1)),
        (3, (0, 1, 2, 3)),
        (5, (0, 2, 4)),
        (9, (0, 5)),
        (23, (0, 10, 20)),
        (37, (0, 10, 20, 30)),
        (61, (0, 20, 40, 60)),
        (999, (0, 500)),
        (1_000_000, (0, 500_000, 1_000_000)),
    ],
)
def test_ticks_are_round_whole_numbers(top, ticks):
    assert nice_ticks(top) == ticks


def test_ticks_never_pass_the_top_and_never_crowd():
    for top in [*range(1, 300), 12_345, 10**9]:
        ticks = nice_ticks(top)
        assert 2 <= len(ticks) <= 5
        assert ticks[-1] <= top < ticks[-1] + ticks[1]


def test_a_bar_is_stacked_from_the_bottom_in_the_order_of_the_series():
    bar = chart((5, 3, 2), (0, 0, 0)).bars[0]
    assert [(part.series, part.y, part.height) for part in bar.segments] == [
        ("posted", 50, 50),
        ("skipped", 20, 30),
        ("failed", 0, 20),
    ]


def test_a_single_failure_among_thousands_can_still_be_seen():
    failed = chart((5000, 5000, 1)).bars[0].segments[-1]
    assert failed.series == "failed"
    assert failed.height == 1.0


def test_every_count_is_in_the_words_and_zeros_are_not():
    view = chart((5, 3, 0), (0, 0, 0), (1000, 0, 0))
    assert [bar.words for bar in view.bars] == [
        "hour 0: 5 posted, 3 skipped",
        "hour 1: none",
        "hour 2: 1,000 posted",
    ]
    assert view.label == "Attempts per hour: 1,005 posted, 3 skipped"
    assert view.totals == (1005, 3, 0)


@pytest.mark.parametrize("counts", [(), ((0, 0, 0), (0, 0, 0))], ids=["no buckets", "all zero"])
def test_a_chart_of_nothing_says_that_it_is_empty(counts):
    view = chart(*counts)
    assert view.is_empty
    assert not any(bar.segments for bar in view.bars)
    assert [row.text for row in view.rows] == ["0"]


def test_bars_share_the_width_evenly_and_stay_inside():
    bars = chart(*[(1, 0, 0)] * 96).bars
    assert bars[0].x > 0
    assert bars[-1].x + bars[-1].width < 100
    assert len({round(right.x - left.x, 2) for left, right in pairwise(bars)}) == 1


def test_column_labels_stand_under_their_bars_and_hang_inward_at_the_edges():
    buckets = [Bucket("a", (1,), "Thu"), *[Bucket("b", (1,))] * 48, Bucket("c", (1,), "Sat", 3)]
    columns = stacked_bars(buckets, ("posted",), title="Posts").columns
    assert [(tick.text, tick.anchor, tick.is_minor) for tick in columns] == [
        ("Thu", "start", False),
        ("Sat", "end", True),
    ]


@pytest.mark.parametrize("key", PERIODS)
@pytest.mark.parametrize("zone", ["UTC", "America/Indiana/Indianapolis", "Asia/Kathmandu"])
def test_labels_below_bars_never_touch_whenever_one_looks(key, zone):
    period, zone = PERIODS[key], ZoneInfo(zone)
    for step in range(150):
        now = datetime(2026, 9, 22, 0, 3, tzinfo=UTC) + step * period.span / 143
        empty = bins((), period, now, zone)
        columns = over_time.chart(empty, over_time.words_of(empty, period, zone), period, zone).columns
        for plot_px, shown in (
            (216, [tick for tick in columns if not tick.is_minor]),
            (480, columns),
        ):
            places = [reach(tick, plot_px) for tick in shown]
            assert all(left[1] + 4 <= right[0] for left, right in pairwise(places)), (now, shown)
            assert places[0][0] >= -30 and places[-1][1] <= plot_px + 14, (now, shown)
            assert len(shown) >= 2 and any(tick.text[0].isalpha() for tick in shown), (now, shown)


def reach(tick, plot_px):
    """From where to where a label goes: 12 px type is 6.8 px wide where letters and digits mix."""
    at, width = tick.at * plot_px / 100, 6.8 * len(tick.text)
    begin = at - {"start": 0, "middle": width / 2, "end": width}[tick.anchor]
    return begin, begin + width


def test_a_protocol_change_is_a_line_before_its_bucket_and_others_are_left_out():
    markers = [Marker(3, "persona v4"), Marker(9, "late"), Marker(99, "elsewhere")]
    view = chart(*[(1, 1, 1)] * 10, markers=markers)
    assert [(line.at, line.text, line.anchor) for line in view.markers] == [
        (30, "persona v4", "start"),
        (90, "late", "end"),
    ]


def test_words_of_changes_that_would_touch_leave_the_lines_and_the_latest_keeps_its_own():
    view = chart(*[(1, 1, 1)] * 48, markers=[Marker(46, "schedule"), Marker(47, "schedule, policy")])
    assert [line.text for line in view.markers] == ["", "schedule, policy"]


def test_words_that_only_fit_a_wide_chart_are_minor_and_none_leave_the_chart():
    markers = [Marker(20, "schedule, policy"), Marker(47, "policy, prompt, persona"), Marker(26, "x" * 60)]
    view = chart(*[(1, 1, 1)] * 48, markers=markers)
    assert [(line.text, line.is_minor) for line in view.markers] == [
        ("schedule, policy", True),
        ("", False),
        ("policy, prompt, persona", False),
    ]


@pytest.mark.parametrize("counts", [(1, 2), (1, 2, -3)], ids=["a count is missing", "a negative count"])
def test_counts_that_make_no_sense_are_refused(counts):
    with pytest.raises(ValueError):
        chart(counts)


def test_the_longest_bar_of_a_ranking_is_full_and_none_above_zero_vanishes():
    rows = hbars([("recency", 198, "recency"), ("limits", 1, "due", "/x"), ("share", 0, "share")])
    assert [(row.percent, row.url) for row in rows] == [(100, ""), (1.0, "/x"), (0, "")]


def test_a_strip_counts_its_outcomes_in_its_label():
    strip = outcome_strip(["posted", "skipped", "skipped", "failed", "missed"])
    assert strip.label == "last 5 slots, oldest to newest: 1 posted, 2 skipped, 1 failed, 1 missed"
    assert [mark.x for mark in strip.marks] == [0, 7, 14, 21, 28]
    assert strip.width == 33


def test_a_strip_of_nothing_says_so():
    assert outcome_strip([]).label == "no slots yet"


def test_a_strip_refuses_an_outcome_it_cannot_draw():
    with pytest.raises(ValueError, match="overlap"):
        outcome_strip(["posted", "overlap"])
