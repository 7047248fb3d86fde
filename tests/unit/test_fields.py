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
from tests import stopwatch


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
        pytest.param("a\x9b2Jb", "U\\+009B", id="escape in one character"),
        pytest.param("\u200b\u2060\ufeff", "must not be empty", id="nothing to see"),
        pytest.param("\u3164\u2800", "must not be empty", id="blank letters"),
        pytest.param("a" + "\u0316\u0301" * 16, "at most 30", id="heap of accents"),
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


@pytest.mark.parametrize("control", "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
def test_a_line_holds_nothing_that_turns_the_words_around_it(control):
    with pytest.raises(BadInput, match=f"U\\+{ord(control):04X}: it turns the words around it"):
        clean_line(f"invoice {control}gpj.exe", "name", 80)
    assert clean_text(f"a {control}b", "bio", 80) == f"a {control}b"
    assert clean_line("a\u200fb\u200e", "name", 80) == "a\u200fb\u200e"


def test_a_heap_of_accents_costs_no_more_than_its_length():
    began = stopwatch.seconds()
    for limit in (20_000, 1_000_000):  # the first is refused by its length alone
        with pytest.raises(BadInput):
            clean_text("a" + "\u0316\u0301" * 400_000, "text", limit)
    assert stopwatch.seconds() - began < 3  # normalising them takes minutes


@pytest.mark.parametrize(("typed", "kept"), [("a\rb", "a\nb"), ("a\r\nb", "a\nb"), ("a\n\rb", "a\n\nb")])
def test_every_line_end_becomes_the_same(typed, kept):
    assert clean_text(typed, "text", 80) == kept
