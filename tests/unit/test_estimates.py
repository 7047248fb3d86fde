"""The estimate of what a text costs a model."""

import pytest

from pdsapp.domain.estimates import estimated_tokens


@pytest.mark.parametrize(
    ("text", "tokens"), [("", 0), ("a", 1), ("abcd", 1), ("abcde", 2), ("é\U0001f469ab", 1), ("x" * 400, 100)]
)
def test_four_characters_are_a_token_and_a_begun_one_counts(text, tokens):
    assert estimated_tokens(text) == tokens
