"""A posting policy as people type it."""

import pytest

from pdsapp.domain.policy import LengthBand, PostingPolicy, RecencyStep, demo_pace
from pdsapp.errors import BadInput
from pdsapp.services.policy_texts import policy_texts, read_policy

POLICY = PostingPolicy()


@pytest.mark.parametrize(
    "policy",
    [
        POLICY,
        demo_pace(POLICY),
        PostingPolicy(recency_steps=(), share_cap=0.125, share_window=1, context_size=0, max_model_calls=1),
        PostingPolicy(bands=(LengthBand("one", 1, 280, 100),)),
        PostingPolicy(recency_steps=(RecencyStep(90, 0.333333),)),
    ],
    ids=["the document's", "demo pace", "no steps", "one band", "odd numbers"],
)
def test_what_is_shown_is_read_back_as_the_same_policy(policy):
    assert read_policy(policy_texts(policy), policy) == policy


def test_the_document_s_numbers_are_shown_as_the_document_has_them():
    texts = policy_texts(POLICY)
    assert [(texts[f"under_{n}"], texts[f"skip_{n}"]) for n in (1, 2, 3, 4)] == [
        ("1 h", "80"), ("4 h", "50"), ("8 h", "30"), ("", ""),
    ]  # fmt: skip
    assert [texts[f"band_percent_{n}"] for n in (1, 2, 3, 4)] == ["35", "35", "20", "10"]
    assert (texts["share_window"], texts["share_cap"], texts["context_size"]) == ("20", "70", "10")


def test_a_row_that_is_emptied_is_left_out():
    texts = policy_texts(POLICY) | {"under_2": "", "skip_2": " "}
    assert [step.under_seconds for step in read_policy(texts, POLICY).recency_steps] == [3600, 28800]


@pytest.mark.parametrize(
    ("field", "text", "words"),
    [
        ("under_1", "soon", "Write a span of time"),
        ("under_2", "30 min", "more than the 1 h above"),
        ("skip_1", "101", "percentage from 0 to 100"),
        ("skip_1", "", "percentage from 0 to 100"),
        ("skip_1", "nan", "percentage from 0 to 100"),
        ("skip_1", "٣", "percentage from 0 to 100"),
        ("share_window", "0", "whole number from 1 to 1,000"),
        ("share_window", "2.5", "whole number from 1 to 1,000"),
        ("context_size", "101", "whole number from 0 to 100"),
        ("max_model_calls", "4", "whole number from 1 to 3"),
        ("band_to_4", "281", "whole number from 1 to 280"),
        ("band_to_1", "5", "must not be less than 20"),
        ("band_name_1", "", "must not be empty"),
        ("band_name_2", "very short", "called “very short” already"),
        ("band_percent_1", "0", "more than 0 %"),
        ("posts_per_day", "many", "whole number of posts"),
    ],
)
def test_what_cannot_be_used_is_said_at_its_field(field, text, words):
    with pytest.raises(BadInput, match=words) as refused:
        read_policy(policy_texts(POLICY) | {field: text}, POLICY)
    assert refused.value.field == field


def test_bands_that_do_not_sum_to_a_hundred_say_what_they_sum_to():
    with pytest.raises(BadInput, match=r"The bands sum to 105 %\. They must sum to 100 %\.") as refused:
        read_policy(policy_texts(POLICY) | {"band_percent_4": "15"}, POLICY)
    assert refused.value.field == "band_percent_1"


def test_a_policy_needs_a_band():
    texts = {name: "" if name.startswith("band_") else text for name, text in policy_texts(POLICY).items()}
    with pytest.raises(BadInput, match="At least one band"):
        read_policy(texts, POLICY)
