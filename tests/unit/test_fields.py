"""What people may type."""

import pytest

from pdsapp.errors import BadInput
from pdsapp.services.fields import (
    clean_email,
    clean_line,
    clean_parameters,
    clean_text,
    clean_username,
    clean_zone,
    parameters_words,
)


@pytest.mark.parametrize(
    ("typed", "kept"),
    [("  Ada  Lovelace ", "Ada Lovelace"), ("cafe\u0301", "café"), ("👨‍👩‍👧", "👨‍👩‍👧"), ("<b>", "<b>")],
)
def test_a_line_is_trimmed_and_in_nfc(typed, kept):
    assert clean_line(typed, "name", 80) == kept


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        pytest.param("", "must not be empty", id="empty"),
        pytest.param(" \n ", "must not be empty", id="blank"),
        pytest.param(None, "must not be empty", id="none"),
        pytest.param("x" * 101, "at most 100", id="too long"),
        pytest.param("a\x00b", "U\\+0000", id="NUL"),
        pytest.param("a\ud800b", "U\\+D800", id="lone surrogate"),
    ],
)
def test_what_cannot_be_a_text_is_refused_with_a_sentence(typed, said):
    with pytest.raises(BadInput, match=said) as error:
        clean_text(typed, "bio", 100)
    assert error.value.field == "bio"


@pytest.mark.parametrize("typed", ["maya_reads", "@maya", "a", "Dr.Okafor-2", "x" * 30])
def test_usernames_that_are_accepted(typed):
    assert clean_username(typed) == typed.removeprefix("@")


@pytest.mark.parametrize("typed", ["", "_x", "a b", "ünal", "x" * 31, "a/b", "<script>", "-", "a."])
def test_usernames_that_are_refused(typed):
    with pytest.raises(BadInput):
        clean_username(typed)


@pytest.mark.parametrize("typed", ["Mars/Base", "", "europe/rome", "EST", "../../etc/passwd"])
def test_zones_that_are_refused(typed):
    with pytest.raises(BadInput):
        clean_zone(typed)


def test_a_zone_in_the_wrong_case_gets_the_right_one_proposed():
    with pytest.raises(BadInput, match="Europe/Rome"):
        clean_zone("europe/rome")


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        pytest.param("temperature=0.8, max_tokens=300", {"temperature": 0.8, "max_tokens": 300}, id="pairs"),
        pytest.param('{"top_p": 0.9}', {"top_p": 0.9}, id="JSON"),
        pytest.param("", {}, id="empty"),
        pytest.param(None, {}, id="none"),
        pytest.param("seed = 7\n", {"seed": 7}, id="a line"),
    ],
)
def test_parameters_are_read_as_they_are_typed(typed, kept):
    assert clean_parameters(typed) == kept
    assert clean_parameters(parameters_words(kept)) == kept


@pytest.mark.parametrize(
    "typed",
    ["temperature", "temperature=hot", "temperature=3", "temperature=nan", "model=x", "{", "max_tokens=0.5"],
)
def test_parameters_that_are_refused(typed):
    with pytest.raises(BadInput):
        clean_parameters(typed)


def test_an_email_is_lower_case_and_has_two_sides():
    assert clean_email(" Ada@Example.ORG ") == "ada@example.org"
    with pytest.raises(BadInput):
        clean_email("ada")
