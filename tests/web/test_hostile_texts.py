"""What people type stays what they typed: inert on every page, harmless in every export."""

import csv
import html
import io
import re

import pytest
from sqlalchemy import select

from pdsapp.models import Experiment, Persona, Post, UserProfile

TEXTS = {
    "script": "<script>alert(1)</script>",
    "handler": '"><img src=x onerror=alert(1)>',
    "attribute": "' autofocus onfocus='alert(1)",
    "template": "{{ 7*7 }}{% raw %}{{ config }}",
    "percent": "%(name)s %s {0} {name}",
    "formula": '=HYPERLINK("http://evil.example","x")',
    "plus formula": "+1+cmd|'/c calc'!A0",
    "minus formula": "-2+3",
    "at formula": "@SUM(1+1)",
    "zero width": "a\u200bb\u200dc",
    "right to left": "שלום עולם",
    "emoji": "👩\u200d👩\u200d👧 🏳️\u200d🌈",
    "sql": "'); DROP TABLE post; --",
    "link": "javascript:alert(1)",
}


def pages_of(browser, screen, key, text):
    yield browser.get(f"/admin/{screen}/").text
    yield browser.get(f"/admin/{screen}/details/?id={key}").text
    yield browser.get(f"/admin/{screen}/edit/?id={key}").text
    yield browser.get(f"/admin/{screen}/", query_string={"search": text}).text


def is_inert(page, text):
    """The text is there as text, and the page has no script, handler or address of its making."""
    assert "<script>alert" not in page
    assert not re.search(r"<[^<>]*\son(error|focus)\s*=", re.sub(r'"[^"]*"', '""', page))
    assert not re.search(r'(href|src)="javascript:', page)
    assert "7*7" in page or "49" not in page or "{{" not in text
    return text in html.unescape(page)


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_hostile_text_is_only_a_text(researcher, session, text):
    made = researcher.post(
        "/admin/experiment/new/",
        data={"name": text, "zone": "UTC", "description": text},
        follow_redirects=True,
    )
    assert is_inert(made.text, text)
    experiment = session.scalars(select(Experiment)).one()
    assert (experiment.name, experiment.description) == (text, text)
    assert all(is_inert(page, text) for page in pages_of(researcher, "experiment", experiment.id, text))

    made = researcher.post(
        "/admin/persona/new/", data={"name": text, "text": text, "notes": text}, follow_redirects=True
    )
    assert is_inert(made.text, text)
    persona = session.scalars(select(Persona)).one()
    assert persona.versions[0].text == text
    assert all(is_inert(page, text) for page in pages_of(researcher, "persona", persona.id, text))

    researcher.post(
        "/admin/userprofile/new/",
        data={"experiment": experiment.id, "username": "ada", "display_name": text, "bio": text},
    )
    person = session.scalars(select(UserProfile)).one()
    assert all(is_inert(page, text) for page in pages_of(researcher, "userprofile", person.id, text))

    researcher.post("/admin/post/new/", data={"user_profile": person.id, "text": text})
    post = session.scalars(select(Post)).one()
    assert post.text == text
    assert all(is_inert(page, text) for page in pages_of(researcher, "post", post.id, text))
    assert is_inert(researcher.get(f"/experiments/{experiment.identifier}/feed").text, text)

    data = {
        "experiment": experiment.id, "username": "twin", "display_name": text, "bio": text, "tags": text[:40],
        "persona_version": persona.versions[0].id, "llm_model": text, "is_active": "y",
    }  # fmt: skip
    made = researcher.post("/admin/digitaltwin/new/", data=data, follow_redirects=True)
    assert made.status_code == 200
    assert all(is_inert(page, text) for page in pages_of(researcher, "digitaltwin", 1, text))

    for screen in ("experiment", "persona", "userprofile", "post", "digitaltwin"):
        for row in csv.reader(io.StringIO(researcher.get(f"/admin/{screen}/export/csv/").text)):
            assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in row), row


@pytest.mark.parametrize("text", ["a\x00b", "a\x07b", "\ud800"], ids=["NUL", "bell", "lone surrogate"])
def test_characters_that_are_none_are_refused_or_replaced(researcher, session, text):
    data = {"name": text.encode("utf-8", "surrogatepass"), "text": "x", "notes": ""}
    answer = researcher.post("/admin/persona/new/", data=data)
    names = session.scalars(select(Persona.name)).all()
    assert (answer.status_code == 400 and names == []) or not set(names) & {text}


def test_a_hostile_text_in_a_message_is_only_a_text(researcher, rows, write):
    with write() as session:
        session.get(Persona, rows.persona.id).name = TEXTS["script"]
    answer = researcher.post("/admin/persona/archive/", data={"id": rows.persona.id}, follow_redirects=True)
    assert "<script>alert" not in answer.text
    assert "Archived “&lt;script&gt;alert(1)&lt;/script&gt;”." in answer.text


def test_a_hostile_address_is_only_an_address(researcher, rows):
    for path in (
        "/admin/persona/?search=<script>alert(1)</script>&archived=<script>alert(1)</script>",
        '/admin/persona/?"><script>alert(1)</script>=1',
        "/admin/persona/new/?name=<script>alert(1)</script>&url=javascript:alert(1)",
        "/admin/persona/details/?id=1&url=https://evil.example/",
        "/<script>alert(1)</script>",
    ):
        page = researcher.get(path).text
        assert "<script>alert" not in page
        assert 'href="javascript:' not in page
        assert 'href="https://evil' not in page
