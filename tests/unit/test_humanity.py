"""Whether a text asks if somebody is a human being."""

import pytest

from pdsapp.domain.humanity import asks_if_human, mentions


@pytest.mark.parametrize(
    "text",
    [
        "Are you a bot?",
        "@ada r u an AI",
        "wait — are you really a robot?",
        "Are you a real person?",
        "are you human",
        "Am I talking to a machine here?",
        "You’re a chatbot, right?",
        "Are  you\nreal?",
    ],
)
def test_a_question_for_being_human_is_found(text):
    assert asks_if_human(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Are you a botanist?",
        "Are you aiming for the early train?",
        "Are you personally affected?",
        "The robot at the station is broken.",
        "Are you realistic about the fares?",
        "I am a real person.",
        "AI will take our jobs, are you worried?",
    ],
)
def test_other_talk_is_left_alone(text):
    assert not asks_if_human(text)


def test_mentions_are_folded_and_addresses_are_none():
    assert mentions("@Ada and @bob_2, not me@example.org") == ("ada", "bob_2")
