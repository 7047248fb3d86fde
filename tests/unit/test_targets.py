"""Whom a schedule asks, as it is stored and in words."""

import pytest

from pdsapp.domain.targets import (
    EVERYBODY,
    Target,
    TargetError,
    asked_words,
    nobody_of_target,
    tag_words,
    whom_words,
)

NAMES = {"u1": "maya", "u2": "Ada"}
TWO = Target.chosen(["u2", "u1", "u1"])
MORNING = Target.tagged(["morning"])


@pytest.mark.parametrize(
    "target", [EVERYBODY, TWO, Target.tagged(["b", "a", "b"])], ids=["all", "two", "tags"]
)
def test_a_target_is_stored_in_one_way_and_read_back(target):
    assert Target.from_dict(target.to_dict()) == target
    assert all(list(value) == sorted(set(value)) for value in target.to_dict().values())


@pytest.mark.parametrize(
    "value",
    [None, [], "morning", {"tags": []}, {"tags": "morning"}, {"tags": [1]}, {"tags": [""]}, {"twins": None},
     {"all": True}, {"tags": ["a"], "twins": ["u1"]}],
    ids=str,
)  # fmt: skip
def test_what_was_written_by_hand_is_no_target(value):
    with pytest.raises(TargetError, match="Save it again"):
        Target.from_dict(value)


def test_a_target_in_words():
    assert whom_words(EVERYBODY, {}) == "all active twins"
    assert whom_words(Target.tagged("abc"), {}) == "twins tagged “a”, “b” or “c”"
    assert whom_words(TWO, NAMES) == "@Ada, @maya"
    assert whom_words(TWO, {"u1": "maya"}) == "@maya, 1 that cannot be found"
    assert tag_words(["one"]) == "“one”"


@pytest.mark.parametrize(
    ("target", "per_slot", "words"),
    [
        (EVERYBODY, 1, "1 twin"),
        (EVERYBODY, 1000, "1,000 twins"),
        (MORNING, 3, "3 twins tagged “morning”"),
        (EVERYBODY, None, "each active twin"),
        (MORNING, None, "each twin tagged “morning”"),
        (TWO, None, "all 2 chosen twins"),
        (TWO, 1, "1 of 2 chosen twins"),
        (TWO, 5, "all 2 chosen twins"),
        (Target.chosen(["u1"]), 1, "the chosen twin"),
    ],
)
def test_whom_each_slot_asks_without_counting(target, per_slot, words):
    assert asked_words(target, per_slot) == words


@pytest.mark.parametrize(
    ("target", "of_all", "words"),
    [
        (MORNING, 0, "no twin has the tag “morning”"),
        (MORNING, 1, "the only twin tagged “morning” is not active"),
        (MORNING, 3, "none of the 3 twins tagged “morning” is active"),
        (Target.tagged("ab"), 0, "no twin has the tag “a” or “b”"),
        (TWO, 2, "none of the 2 chosen twins is active"),
        (Target.chosen(["u1"]), 1, "the chosen twin is not active"),
    ],
)
def test_why_nobody_of_it_can_be_asked(target, of_all, words):
    assert nobody_of_target(target, of_all) == words
