"""The rule of disclosure ends every system message, and never changes a version that is older than it."""

import pytest

from pdsapp.domain.disclosure import DisclosureRule
from pdsapp.domain.length import LengthTarget
from pdsapp.domain.prompt import NO_RULE, PromptTemplates, Speaker, render_messages
from tests.conftest import NOON

TARGET = LengthTarget("short", 80, 139, 100)


def system_of(templates):
    return render_messages(templates, Speaker("a", "A", "Likes trains."), (), TARGET, NOON)[0]["content"]


@pytest.mark.parametrize(
    ("rule", "sentence", "end"),
    [
        (DisclosureRule.never_human, "", "\nNever claim to be a human being."),
        (
            DisclosureRule.sentence,
            "I am an automated account.",
            "\nNever claim to be a human being. If somebody asks, or doubts, whether you are one, say: "
            "“I am an automated account.”",
        ),
        (DisclosureRule.persona, "ignored", "Write as they do."),
    ],
)
def test_it_ends_the_system_message_whatever_the_template_says(rule, sentence, end):
    templates = PromptTemplates(system="You are {username}. Write as they do.")
    assert system_of(templates.disclosing(rule, sentence)).endswith(end)


def test_braces_in_the_sentence_stay_text():
    templates = PromptTemplates().disclosing(DisclosureRule.sentence, "I am {username}.")
    assert system_of(templates).endswith("say: “I am {username}.”")


def test_by_default_it_never_claims_to_be_human():
    assert system_of(PromptTemplates()).endswith("\nNever claim to be a human being.")


def test_a_version_from_before_there_was_a_rule_keeps_its_hash_and_its_words():
    old = {name: text for name, text in PromptTemplates().to_dict().items() if name not in NO_RULE}
    templates = PromptTemplates.from_dict(old)
    assert templates.to_dict() == old
    assert system_of(templates) == old["system"]


def test_what_is_stored_gives_the_same_templates_back():
    templates = PromptTemplates().disclosing(DisclosureRule.sentence, "I am a twin.")
    assert PromptTemplates.from_dict(templates.to_dict()) == templates
    assert templates.hash != PromptTemplates().hash
