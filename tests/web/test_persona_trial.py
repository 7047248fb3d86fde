""" "Try it" on a persona's form: drafts beside the text, saved nowhere."""

import pytest
from sqlalchemy import select

from pdsapp.domain.policy import PostingPolicy
from pdsapp.domain.reasons import CallPurpose
from pdsapp.models import ApiToken, DigitalTwin, ModelCall, PersonaVersion, Post
from tests import builders
from tests.model_server import text
from tests.web.looking import assert_nothing_inline, fields_of, words_of

BANDS = [band.name for band in PostingPolicy().bands]
EVIL = "<script>alert(1)</script> and <img src=x onerror=alert(1)>"


@pytest.fixture
def page(rows, settings, model_server, write):
    """The address of the form; its twin writes through the fake model."""
    token = builders.make_token(settings, model_server.base_url)
    with write() as session:
        session.get_one(DigitalTwin, rows.twin.id).api_token = session.get_one(ApiToken, token.id)
    return f"/admin/persona/edit/?id={rows.persona.id}"


def press(browser, page, rows, *bands, **values):
    fields = fields_of(browser.get(page), "text") | {"try": "1", "bands": list(bands)} | values
    return browser.post(page, data=fields)


def test_drafts_stand_side_by_side_and_the_form_keeps_what_was_typed(
    researcher, rows, page, session, model_server
):
    model_server.default = lambda _request: text("Rain again, and the bus is late as ever.")
    answer = press(researcher, page, rows, *BANDS[:2], text="You are new.")
    words = words_of(answer)
    assert answer.status_code == 200
    assert words.count("Rain again, and the bus is late as ever.") == 2
    assert fields_of(answer, "text")["text"].strip() == "You are new."
    assert answer.text.count('name="bands"') == 4
    assert 'data-guard="unsaved"' in answer.text
    assert_nothing_inline(answer)
    assert len(session.scalars(select(PersonaVersion)).all()) == 1
    assert len(session.scalars(select(Post)).all()) == 1
    made = session.scalars(select(ModelCall)).all()
    assert {call.purpose for call in made} == {CallPurpose.trial}
    assert all(call.account_id is not None for call in made)


def test_a_hostile_draft_is_inert(researcher, rows, page, model_server):
    model_server.default = lambda _request: text(EVIL)
    answer = press(researcher, page, rows, BANDS[0])
    assert "<script>alert" not in answer.text and "<img" not in answer.text
    assert "alert(1)" in words_of(answer)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "Choose at least one length to try."),
        ({"bands": "nonsense"}, "Choose at least one length to try."),
        ({"twin": "", "bands": "short"}, "Write a text and choose a twin to try it with."),
        ({"text": " ", "bands": "short"}, "Write a text and choose a twin to try it with."),
    ],
    ids=["no band", "unknown band", "no twin", "no text"],
)
def test_what_cannot_be_tried_says_why_and_asks_nobody(
    researcher, rows, page, session, model_server, values, words
):
    answer = press(researcher, page, rows, **values)
    assert answer.status_code == 400 and words in words_of(answer)
    assert model_server.history == [] and session.scalars(select(ModelCall)).all() == []


def test_a_viewer_tries_nothing(viewer, rows, page, model_server):
    assert viewer.post(page, data={"try": "1", "text": "x"}).status_code == 403
    assert model_server.history == []
