"""Hostile texts go through every field of every form there is: kept exactly, or refused with a sentence.

The forms are found by walking the application, so one that is added is tested from then on. By default each
kind of field gets at least eight of the texts, and each text meets at least eight fields;
`HOSTILE=all make test ARGS=tests/web/hostile` sends every text through every field, which takes a while.
"""

import os
import re
from collections import Counter, defaultdict

import pytest

from .forms import GIVEN, TYPED, every_form
from .sending import Lab, judge
from .texts import TEXTS

ALL = os.environ.get("HOSTILE") == "all"
SHARES = 2
TEXTS_PER_FAMILY = 8  # of those people type; of others, fewer
TEXTS_PER_CHOICE = 3
FIELDS_PER_TEXT = 8
LONGEST_ADDRESS = 4_000  # a server takes no longer ones
# Forms that are not filled in field by field, and why.
EXCEPTIONS = {
    "POST /logout": "has no field of its own, and ends the session",
}


@pytest.fixture
def lab(world, settings):
    """The world's database and browser."""
    if not settings.is_embedded:
        pytest.skip("puts a SQLite file back after every request")
    lab = Lab(world.browser, settings.data_dir / "discourse_twins.sqlite3")
    yield lab
    lab.close()


@pytest.fixture
def forms(lab, world):
    """Every form, by what tells it from others."""
    return every_form(world.app, world.browser, world.values)


def asked(forms):
    """(form, name, its field) of every field that can be sent, in an order that stays."""
    for key in sorted(forms):
        form = forms[key]
        if form.label in EXCEPTIONS:
            continue
        for name in sorted({each.name for each in form.fields} - GIVEN):
            yield form, name, next(each for each in form.fields if each.name == name)


def plan(forms):
    """(form, name, text) of what is sent."""
    families = defaultdict(list)
    for form, name, control in asked(forms):
        families[form.method, re.sub(r"\d+", "#", name), control.kind].append((form, name))
    number = 0
    for (method, _, kind), members in families.items():
        is_asked = method == "POST" and kind in TYPED and kind != "hidden"
        wanted = TEXTS_PER_FAMILY if is_asked else TEXTS_PER_CHOICE
        each_gets = len(TEXTS) if ALL else -(-wanted // len(members))
        for form, name in members:
            for _ in range(each_gets):
                hostile = TEXTS[number % len(TEXTS)]
                number += 1
                if form.method == "POST" or len(hostile.sent) < LONGEST_ADDRESS:
                    yield form, name, hostile


def test_every_form_is_found_and_tried(forms):
    labels = Counter(form.label for form in forms.values())
    assert set(EXCEPTIONS) <= set(labels), "an exception is no longer needed"
    for path in ("persona/new/", "digitaltwin/edit/", "schedule/new/", "apitoken/new/", "account/new/"):
        assert f"POST /admin/{path}" in labels
    hit = Counter(hostile.name for _, _, hostile in plan(forms))
    assert set(hit) == {each.name for each in TEXTS}
    assert min(hit.values()) >= FIELDS_PER_TEXT, hit.most_common()[-3:]


@pytest.mark.parametrize("share", range(SHARES))
def test_every_field_keeps_a_hostile_text_exactly_or_refuses_it_with_a_sentence(lab, forms, share):
    wrong = []
    for number, (form, name, hostile) in enumerate(plan(forms)):
        if number % SHARES == share:
            found = judge(lab, form, name, hostile)
            wrong += [f"{form.label}, {name}, {hostile.name}: {words}" for words in found]
    assert wrong == [], "\n".join(wrong)
