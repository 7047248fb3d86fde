"""Hostile texts go through every field of every form there is: kept exactly, or refused with a sentence.

The forms are found by walking the application, so one that is added is tested from then on. By default each
kind of field gets at least eight of the texts, and each text meets at least eight fields;
`HOSTILE=all make test ARGS=tests/web/hostile` sends every text through every kind of field, which takes a
while.
"""

import os
import re
from collections import Counter, defaultdict

import pytest

from .forms import GIVEN, TYPED, every_form
from .sending import Lab, database_of, judge
from .texts import TEXTS

ALL = os.environ.get("HOSTILE") == "all"
SHARES = 8 if ALL else 1
TEXTS_PER_FAMILY = 8  # of those people type; of others, fewer
TEXTS_PER_CHOICE = 4
FIELDS_PER_TEXT = 8
LONGEST_ADDRESS = 4_000  # a server takes no longer ones
SHORT_TEXTS = tuple(each for each in TEXTS if len(each.sent) < LONGEST_ADDRESS)
# Forms that the walk must have come to, wherever else it goes.
EXPECTED = (
    "POST /admin/persona/new/", "POST /admin/digitaltwin/edit/", "POST /admin/schedule/new/",
    "POST /admin/schedule/edit/ [find]", "POST /admin/apitoken/new/", "POST /admin/account/new/",
    "POST /admin/experiment/start/", "POST /admin/experiment/end/", "POST /admin/experiment/deletion/",
    "POST /admin/experiment/grants/", "POST /admin/digitaltwin/bulk/", "POST /admin/digitaltwin/bulk-edit/",
    "POST /admin/digitaltwin/bulk/#/set-up/", "POST /account/zone", "POST /account/password",
)  # fmt: skip
# Forms that are not filled in field by field, and why.
EXCEPTIONS = {
    "POST /logout": "has no field of its own, and ends the session",
    "POST /admin/digitaltwin/bulk/#/drop/": "a button beside another form's fields, which takes none of them",
}


@pytest.fixture
def lab(world, settings):
    """The world's database and browser."""
    if not settings.is_embedded:
        pytest.skip("puts a SQLite file back after every request")
    lab = Lab(world.browser, database_of(settings))
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
    sent = Counter()
    for members in families.values():
        form, name = members[0]
        control = next(each for each in form.fields if each.name == name)
        wanted = TEXTS_PER_FAMILY if is_asked(form, control) else TEXTS_PER_CHOICE
        if ALL:
            wanted, sent = len(TEXTS), Counter()
        each_gets = -(-wanted // len(members))
        for form, name in members[:: max(1, len(members) // wanted)]:
            fitting = TEXTS if form.method == "POST" else SHORT_TEXTS
            for _ in range(each_gets):
                hostile = min(fitting, key=lambda each: sent[each.name])
                sent[hostile.name] += 1
                yield form, name, hostile


@pytest.mark.parametrize("share", range(SHARES))
def test_every_field_keeps_a_hostile_text_exactly_or_refuses_it_with_a_sentence(lab, forms, share):
    assert_every_form_is_tried(forms)
    wrong = []
    for number, (form, name, hostile) in enumerate(plan(forms)):
        if number % SHARES == share:
            found = judge(lab, form, name, hostile)
            wrong += [f"{form.label}, {name}, {hostile.name}: {words}" for words in found]
    assert wrong == [], "\n".join(wrong)


def assert_every_form_is_tried(forms):
    labels = {form.label for form in forms.values()}
    assert set(EXCEPTIONS) <= labels, "an exception is no longer needed"
    assert [label for label in EXPECTED if label not in labels] == []
    texts, kinds = Counter(), Counter()
    for form, name, hostile in plan(forms):
        control = next(each for each in form.fields if each.name == name)
        texts[hostile.name] += 1
        if is_asked(form, control):
            kinds[re.sub(r"\d+", "#", name), control.kind] += 1
    assert set(texts) == {each.name for each in TEXTS}
    assert min(texts.values()) >= FIELDS_PER_TEXT, texts.most_common()[-3:]
    assert min(kinds.values()) >= TEXTS_PER_FAMILY, kinds.most_common()[-3:]


def is_asked(form, control):
    """Whether people type it, and it is sent to change something."""
    return form.method == "POST" and control.kind in TYPED and control.kind != "hidden"
