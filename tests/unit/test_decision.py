"""The rule against the document's probabilities."""

from datetime import UTC, datetime, timedelta

import pytest

from pdsapp.domain.decision import TwinState, decide, draw_for, recency_probability, share_probability
from pdsapp.domain.policy import PolicyError, PostingPolicy, RecencyStep, demo_pace
from pdsapp.domain.reasons import Reason
from tests.statistics import chi_square, p_value

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
POLICY = PostingPolicy()
DRAWS = 20_000


def _hours_ago(hours):
    return None if hours is None else NOW - timedelta(hours=hours)


@pytest.mark.parametrize(
    ("hours", "probability"),
    [
        pytest.param(0.5, 0.80, id="half an hour"),
        pytest.param(0.999, 0.80, id="just under an hour"),
        pytest.param(1, 0.50, id="an hour is past the first step"),
        pytest.param(3.999, 0.50, id="just under four hours"),
        pytest.param(4, 0.30, id="four hours"),
        pytest.param(7.999, 0.30, id="just under eight hours"),
        pytest.param(8, 0.0, id="eight hours"),
        pytest.param(1000, 0.0, id="long ago"),
        pytest.param(None, 0.0, id="never posted"),
        pytest.param(-5, 0.80, id="a last post in the future counts as age 0"),
    ],
)
def test_the_last_post_s_age_gives_the_document_s_probability(hours, probability):
    assert recency_probability(POLICY, NOW, _hours_ago(hours)) == probability


@pytest.mark.parametrize(
    ("own", "window", "probability"),
    [
        pytest.param(0, 0, 0.0, id="no posts yet"),
        pytest.param(0, 20, 0.0, id="none of twenty"),
        pytest.param(3, 20, 0.15, id="three of twenty"),
        pytest.param(14, 20, 0.70, id="the cap"),
        pytest.param(20, 20, 0.70, id="all of twenty is capped"),
        pytest.param(1, 1, 0.70, id="one of one is capped"),
        pytest.param(1, 4, 0.25, id="a short window counts what is there"),
    ],
)
def test_the_share_of_recent_posts_is_capped(own, window, probability):
    assert share_probability(POLICY, own, window) == pytest.approx(probability)


CASES = [
    pytest.param(hours, own, id=f"{hours if hours is not None else 'never'} h, {own * 5} percent")
    for hours in (0.5, 2, 6, 10, None)
    for own in (0, 3, 10)
]


@pytest.mark.parametrize(("hours", "own"), CASES)
def test_twenty_thousand_decisions_follow_the_stated_probability(hours, own):
    state = TwinState(NOW, _hours_ago(hours), own, 20)
    verdicts = [decide(POLICY, state, draw_for(f"fixed|{hours}|{own}|{i}")) for i in range(DRAWS)]
    probability = verdicts[0].skip_probability
    skipped = sum(not verdict.posts for verdict in verdicts)
    document = {0.5: 0.8, 2: 0.5, 6: 0.3, 10: 0.0, None: 0.0}[hours] + min(own / 20, 0.7)
    assert probability == pytest.approx(min(1.0, document))
    if probability in (0.0, 1.0):
        assert skipped == probability * DRAWS
        return
    expected = (probability * DRAWS, (1 - probability) * DRAWS)
    assert p_value(chi_square((skipped, DRAWS - skipped), expected), 1) > 0.001


def test_a_sum_above_one_is_kept_and_clamped():
    verdict = decide(POLICY, TwinState(NOW, _hours_ago(0.1), 10, 20), 0.999999)
    assert (verdict.probability_sum, verdict.skip_probability, verdict.posts) == (1.3, 1.0, False)


@pytest.mark.parametrize(
    ("hours", "own", "draw", "forced", "reason"),
    [
        pytest.param(0.5, 0, 0.1, False, Reason.recency, id="recency alone"),
        pytest.param(10, 5, 0.1, False, Reason.share, id="share alone"),
        pytest.param(0.5, 5, 0.1, False, Reason.recency_and_share, id="both"),
        pytest.param(0.5, 0, 0.9, False, Reason.drawn, id="drawn"),
        pytest.param(0.5, 0, 0.1, True, Reason.forced, id="forced"),
    ],
)
def test_the_reason_names_what_decided(hours, own, draw, forced, reason):
    assert decide(POLICY, TwinState(NOW, _hours_ago(hours), own, 20), draw, forced).reason == reason


def test_force_bypasses_only_the_draw_and_keeps_what_the_rule_would_have_said():
    verdict = decide(POLICY, TwinState(NOW, _hours_ago(0.5), 2, 20), 0.1, forced=True)
    assert verdict.posts
    assert not verdict.would_post
    assert verdict.skip_probability == pytest.approx(0.9)


def test_a_draw_equal_to_the_probability_posts():
    assert decide(POLICY, TwinState(NOW, _hours_ago(2), 0, 20), 0.5).posts


def test_the_demo_pace_has_minutes_for_hours():
    pace = demo_pace(POLICY)
    assert [step.under_seconds for step in pace.recency_steps] == [60, 240, 480]
    assert "demo pace" in pace.label
    assert pace.hash != POLICY.hash


def test_a_policy_survives_json_and_keeps_its_hash():
    again = PostingPolicy.from_dict(POLICY.to_dict())
    assert (again, again.hash) == (POLICY, POLICY.hash)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"share_cap": 1.5}, id="a probability above one"),
        pytest.param({"share_window": 0}, id="an empty window"),
        pytest.param({"recency_steps": (RecencyStep(4, 0.1), RecencyStep(1, 0.1))}, id="falling steps"),
        pytest.param({"bands": ()}, id="no band"),
        pytest.param({"max_model_calls": 4}, id="too many calls"),
    ],
)
def test_numbers_that_make_no_policy_are_refused(changes):
    with pytest.raises(PolicyError):
        PostingPolicy(**changes)
