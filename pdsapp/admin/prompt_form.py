"""The form of an experiment's prompt, and of how its twins disclose what they are."""

from wtforms import RadioField, StringField, TextAreaField

from ..domain.disclosure import MOST_SENTENCE, DisclosureRule
from ..domain.prompt import PLACEHOLDERS
from ..services.fields import clean_line, clean_text
from .forms import Clean, Form, Needed, ReasonForm, RowField

MOST_WORDS = 8000
PARTS = {
    "system": ("System message", "Who the model is to be, and what it must never do."),
    "user": ("Instructions", "Persona, feed and what is asked for."),
    "rewrite": ("When a post is too long or too short", "The one request to write it again."),
    "feed_line": ("A post of the feed", "One line for each post somebody else wrote."),
    "own_feed_line": (
        "One of the twin's own posts",
        "So that it does not say the same again.",
    ),
    "empty_feed": ("When nobody has posted yet", "Instead of the feed."),
}
RULES = {
    DisclosureRule.never_human.value: "never claim to be a human being",
    DisclosureRule.sentence.value: "never claim to be one, and disclose with the sentence below when asked",
    DisclosureRule.persona.value: "as the persona says: nothing is added",
}


def placeholder_words(part: str) -> str:
    """The names a part may hold: "{username}, {display_name}"."""
    return ", ".join("{" + name + "}" for name in sorted(PLACEHOLDERS[part])) or "none"


def _parts() -> dict[str, TextAreaField]:
    fields = {}
    for name, (label, help_text) in PARTS.items():
        rows = {"system": 7, "user": 12, "rewrite": 4}.get(name, 2)
        fields[name] = TextAreaField(
            label,
            validators=[Needed(), Clean(lambda text, name=name: clean_text(text, name, MOST_WORDS))],
            render_kw={"rows": rows, "spellcheck": "true", "class": "words"},
            description=f"{help_text} Placeholders: {placeholder_words(name)}.",
        )
    return fields


class _Disclosure(Form, ReasonForm):
    disclosure_rule = RadioField("What twins say of themselves", choices=RULES, validate_choice=False)
    disclosure_sentence = StringField(
        "Sentence of disclosure",
        validators=[Clean(lambda text: clean_line(text, "disclosure_sentence", MOST_SENTENCE))],
        render_kw={"maxlength": str(MOST_SENTENCE)},
        description="Only for the second rule. For example: I am an automated account of a university study.",
    )
    twin = RowField("Show what would be sent for", empty="no twin")


PromptForm = type(
    "PromptForm", (_Disclosure,), _parts() | {"__doc__": "Everything people type about a prompt."}
)
