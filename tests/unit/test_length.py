"""Bands, targets and fitting."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdsapp.domain.length import LengthTarget, draw_length, fit, is_within, whole_sentences
from pdsapp.domain.policy import LengthBand, PostingPolicy
from tests.statistics import chi_square, p_value

SHORT = LengthTarget("short", 80, 139, 100)
DRAWS = 100_000


def test_a_hundred_thousand_draws_follow_35_35_20_10():
    policy = PostingPolicy()
    counts = dict.fromkeys(("very short", "short", "medium", "long"), 0)
    bands = {band.name: band for band in policy.bands}
    for i in range(DRAWS):
        target = draw_length(policy, f"fixed|{i}")
        counts[target.band] += 1
        assert bands[target.band].minimum <= target.target <= bands[target.band].maximum
    expected = [0.35 * DRAWS, 0.35 * DRAWS, 0.20 * DRAWS, 0.10 * DRAWS]
    assert p_value(chi_square(list(counts.values()), expected), 3) > 0.001


def test_a_band_without_a_name_is_not_taken_whenever_nobody_asks_for_one():
    policy = PostingPolicy(bands=(LengthBand("", 1, 10, 1), LengthBand("other", 11, 20, 1)))
    assert {draw_length(policy, f"key {n}").band for n in range(50)} == {"", "other"}


def test_targets_are_uniform_in_their_band():
    targets = [draw_length(PostingPolicy(), f"uniform|{i}") for i in range(20_000)]
    found = [t.target for t in targets if t.band == "very short"]
    counts = [found.count(length) for length in range(20, 80)]
    assert p_value(chi_square(counts, [len(found) / 60] * 60), 59) > 0.001


def test_the_bands_are_those_of_the_document():
    bounds = {band.name: (band.minimum, band.maximum) for band in PostingPolicy().bands}
    assert bounds == {"very short": (20, 79), "short": (80, 139), "medium": (140, 199), "long": (200, 280)}


def test_a_text_in_the_band_stays_as_it_is():
    text = "x" * 100
    assert fit(text, SHORT) == fit(f"  {text}\n", SHORT)
    assert fit(text, SHORT).flags == ()


def test_a_long_text_is_cut_at_a_sentence_end_if_that_leaves_the_minimum():
    text = (
        "A sentence of some length that goes on for a while and is quite long, but ends here. " + "More " * 30
    )
    fitted = fit(text, SHORT)
    assert fitted.text.endswith("ends here.")
    assert fitted.flags == ("cut_at_sentence",)


def test_a_long_text_without_a_late_sentence_end_is_cut_at_a_word():
    fitted = fit("Short. " + "wonderful " * 30, SHORT)
    assert fitted.text.endswith("wonderful")
    assert 80 <= len(fitted.text) <= 139
    assert fitted.flags == ("cut_at_word",)


def test_a_short_text_is_kept_and_flagged():
    assert fit("Too short.", SHORT).flags == ("too_short",)


def test_lengths_are_code_points_after_nfc():
    decomposed = unicodedata.normalize("NFD", "é" * 80)
    assert len(decomposed) == 160
    assert is_within(decomposed, SHORT)


def test_a_cut_never_splits_a_joined_emoji():
    family = "👨‍👩‍👧"
    fitted = fit("x" * 137 + family * 10, SHORT)
    assert fitted.text in ("x" * 137, "x" * 137 + family)


@given(
    st.text(max_size=800),
    st.sampled_from([LengthTarget(b.name, b.minimum, b.maximum, b.minimum) for b in PostingPolicy().bands]),
)
def test_no_text_ever_exceeds_its_band_or_280(text, target):
    fitted = fit(text, target)
    assert len(fitted.text) <= min(280, target.maximum)
    if text.strip() and len(fitted.text) < target.minimum:
        assert "too_short" in fitted.flags


@pytest.mark.parametrize("unit", [".", "…", "!?", '."', ". ", ".)"])
def test_a_text_of_nothing_but_marks_is_looked_through_once(unit):
    """Else this would take hours."""
    text = unit * (1_000_000 // len(unit)) + "x"
    assert text.startswith(whole_sentences(text))
