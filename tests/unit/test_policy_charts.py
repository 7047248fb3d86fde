"""What a policy does, drawn: the numbers of the chart are those of the rule."""

from datetime import timedelta

import pytest

from pdsapp.domain.decision import TwinState, decide
from pdsapp.domain.policy import PostingPolicy, RecencyStep
from pdsapp.web.policy_charts import SHARES, length_chart, skip_chart
from tests.conftest import NOON

POLICY = PostingPolicy()


def test_the_table_says_what_the_rule_decides():
    ages = [0.5, 3, 7, 9]
    for age, row in zip(ages, skip_chart(POLICY).table, strict=True):
        states = [TwinState(NOON, NOON - timedelta(hours=age), round(share * 20), 20) for share in SHARES]
        assert [float(text) for text in row[1:]] == [decide(POLICY, s, 0.0).skip_probability for s in states]


def test_the_document_s_table():
    chart = skip_chart(POLICY)
    assert [row[0] for row in chart.table] == [
        "less than 1 h", "less than 4 h", "less than 8 h", "8 h or more, or none",
    ]  # fmt: skip
    assert chart.table[0][1:] == ("0.80", "1.00", "1.00", "1.00")
    assert chart.table[3][1:] == ("0.00", "0.25", "0.50", "0.70")


def test_curves_go_down_in_steps_and_end_at_the_right_edge():
    first, last = skip_chart(POLICY).curves[0], skip_chart(POLICY).curves[-1]
    assert first.path == "M0 20.0H8.333V50.0H33.333V70.0H66.667V100.0H100.0"
    assert last.path.startswith("M0 2.7H") and last.path.endswith("H100.0")


@pytest.mark.parametrize("steps", [(), (RecencyStep(60, 1.0),)], ids=["none", "a minute"])
def test_policies_with_few_steps_are_drawn_too(steps):
    chart = skip_chart(PostingPolicy(recency_steps=steps))
    assert len(chart.table) == len(steps) + 1
    assert all(curve.path.endswith("H100.0") for curve in chart.curves)


def test_lengths_of_a_thousand_posts_are_shared_out_among_the_bands():
    chart = length_chart(POLICY)
    counts = [bar.counts[0] for bar in chart.bars]
    assert abs(sum(counts) - 1000) <= len(counts) / 2
    assert counts[0] == 0, "nothing is shorter than 20 characters"
    assert abs(sum(counts[:8]) - 350) <= 8
