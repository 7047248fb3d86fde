"""The draw bar says what happened, in place and in words."""

from itertools import pairwise, product

import pytest

from pdsapp.attempts.words import told_apart
from pdsapp.web.drawbar import draw_bar


@pytest.mark.parametrize(
    ("recency", "share", "draw", "words"),
    [
        pytest.param(0.5, 0.15, 0.41, "drew 0.41 < 0.65: skips", id="below the threshold"),
        pytest.param(0.3, 0.15, 0.62, "drew 0.62 ≥ 0.45: posts", id="above the threshold"),
        pytest.param(0.5, 0.0, 0.5, "drew 0.50 ≥ 0.50: posts", id="exactly the threshold"),
        pytest.param(0.5, 0.0, 0.4996, "drew 0.4996 < 0.5000: skips", id="rounding would tie"),
        pytest.param(0.8, 0.7, 0.998, "drew 0.998 < 1.000: skips", id="a draw is never shown as 1"),
        pytest.param(0.0, 0.0, 0.0, "drew 0.00 ≥ 0.00: posts", id="nothing speaks against it"),
        pytest.param(0.004, 0.0, 0.5, "drew 0.500 ≥ 0.004: posts", id="a small probability is not 0"),
    ],
)
def test_the_verdict_stands_beside_the_bar_in_words(recency, share, draw, words):
    assert draw_bar(recency, share, draw).words == words


@pytest.mark.parametrize(
    ("recency", "share", "draw"),
    [(None, 0.1, 0.5), (0.1, None, 0.5), (0.1, 0.1, None), (float("nan"), 0.1, 0.5)],
)
def test_where_nothing_was_drawn_there_is_no_bar(recency, share, draw):
    assert draw_bar(recency, share, draw) is None


def test_zones_and_tick_stand_at_their_share_of_the_width():
    bar = draw_bar(0.3, 0.15, 0.62)
    assert (bar.threshold_at, bar.recency_width, bar.share_width, bar.draw_at, bar.one_at) == (
        45,
        30,
        15,
        62,
        100,
    )
    assert not bar.is_clamped and not bar.is_hatched and not bar.skips


def test_a_sum_above_1_is_drawn_to_the_sum_with_1_inside_the_bar():
    bar = draw_bar(0.8, 0.45, 0.88)
    assert bar.is_clamped
    assert (bar.one_at, bar.threshold_at, bar.recency_width, bar.share_width) == (80, 80, 64, 36)
    assert bar.draw_at == 70.4
    assert bar.sum_words == "sum 1.25, more than 1, counts as 1"
    assert [label.text for label in bar.axis] == ["0", "0.80", "1", "1.25"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(
            {"is_forced": True}, "forced; the rule would have skipped (drew 0.41 < 0.65)", id="forced"
        ),
        pytest.param(
            {"held_back_by": "the daily limit"},
            "held back by the daily limit; the rule would have skipped (drew 0.41 < 0.65)",
            id="limit",
        ),
        pytest.param(
            {"is_forced": True, "held_back_by": "a pause"},
            "forced, but held back by a pause; the rule would have skipped (drew 0.41 < 0.65)",
            id="forced against a pause",
        ),
    ],
)
def test_where_the_rule_did_not_decide_the_bar_is_hatched_and_says_who_did(arguments, words):
    bar = draw_bar(0.5, 0.15, 0.41, **arguments)
    assert bar.is_hatched
    assert bar.words == words
    assert bar.skips


def test_a_customised_probability_moves_the_threshold_and_not_the_causes():
    bar = draw_bar(0.5, 0.1, 0.41, probability=0.25)
    assert (bar.threshold_at, bar.recency_width, bar.share_width) == (25, 50, 10)
    assert bar.words == "drew 0.41 ≥ 0.25: posts"


def test_numbers_that_differ_never_look_the_same():
    assert told_apart(0.123456789, 0.123456788) == ("0.123456789", "0.123456788")
    assert told_apart(0.1 + 0.2, 0.3)[0] != told_apart(0.1 + 0.2, 0.3)[1]


def test_labels_stay_inside_the_bar_and_apart():
    for recency, share in product([n / 50 for n in range(51)], [0.0, 0.03, 0.15, 0.7]):
        labels = draw_bar(recency, share, 0.02).axis
        assert all(right.at - left.at >= 3 for left, right in pairwise(labels))
        assert all(label.anchor == "start" for label in labels if label.at < 9)
        assert all(label.anchor == "end" for label in labels if label.at > 91)
        assert "1" in [label.text for label in labels]


def test_the_draw_hangs_inward_at_both_ends():
    assert [draw_bar(0.5, 0.0, draw).draw_anchor for draw in (0.01, 0.5, 0.99)] == ["start", "middle", "end"]
