"""What a twin is told about being taken for a human being. One rule per prompt version, in every prompt."""

from enum import StrEnum

MOST_SENTENCE = 200


class DisclosureRule(StrEnum):
    """Closed set. `persona`: nothing is added, the persona's text alone decides."""

    never_human = "never_human"
    sentence = "sentence"
    persona = "persona"


RULE_LABELS = {
    DisclosureRule.never_human: "never claims to be human",
    DisclosureRule.sentence: "discloses with a sentence",
    DisclosureRule.persona: "as the persona says",
}
NEVER_HUMAN_WORDS = "Never claim to be a human being."
_SENTENCE_WORDS = (
    "Never claim to be a human being. If somebody asks, or doubts, whether you are one, say: “{}”"
)


def disclosure_words(rule: DisclosureRule, sentence: str = "") -> str:
    """The words that end the system message under this rule; "" where the persona decides."""
    if rule == DisclosureRule.persona:
        return ""
    return _SENTENCE_WORDS.format(sentence) if rule == DisclosureRule.sentence else NEVER_HUMAN_WORDS
