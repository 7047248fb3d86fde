"""The screen of API tokens: a secret goes in and never comes out."""

import pytest
from sqlalchemy import select

from pdsapp.domain.reasons import CallPurpose, CallState, TokenState
from pdsapp.llm.secrets import SecretBox
from pdsapp.models import ApiToken, AuditEvent, ModelCall

KEY = "sk-another-secret-5678"


def form(**values):
    return {
        "name": "Ollama",
        "base_url": "https://api.example.org/v1/chat/completions",
        "secret": KEY,
        "default_model": "small",
        "parameters": "temperature=0.8, max_tokens=300",
    } | values


@pytest.fixture
def stored(session, settings):
    """`stored()` gives the only token as it is now, and its key in the clear."""

    def read():
        session.rollback()
        token = session.scalars(select(ApiToken).order_by(ApiToken.id)).first()
        box = SecretBox(settings.require("fernet_keys"))
        return token, token.secret_encrypted and box.open(token.secret_encrypted, token.base_url)

    return read


def edit(browser, rows, **values):
    data = {
        "name": "Lab",
        "base_url": "https://llm.example.org/v1",
        "secret": "",
        "default_model": "small",
        "edit_version": 1,
    } | values
    return browser.post(f"/admin/apitoken/edit/?id={rows.token.id}", data=data)


def test_a_form_that_was_refused_says_that_the_key_must_be_entered_again(researcher, session):
    answer = researcher.post("/admin/apitoken/new/", data=form(name=""))
    assert answer.status_code == 400
    assert "It is never kept in a page: enter it again." in answer.text and KEY not in answer.text
    again = researcher.post("/admin/apitoken/new/", data=form(name="", secret=""))
    assert "enter it again" not in again.text


def test_a_token_is_stored_sealed_and_its_url_in_one_spelling(researcher, stored, session):
    answer = researcher.post("/admin/apitoken/new/", data=form(), follow_redirects=True)
    token, key = stored()
    assert key == KEY
    assert token.base_url == "https://api.example.org/v1"
    assert token.parameters == {"temperature": 0.8, "max_tokens": 300}
    assert KEY not in token.secret_encrypted
    assert KEY not in answer.text
    assert "…5678" in answer.text
    assert KEY not in str([(e.before, e.after) for e in session.scalars(select(AuditEvent))])


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"base_url": "api.example.org/v1"}, "did you mean https://api.example.org/v1?"),
        ({"base_url": "https://me:pw@api.example.org"}, "must not hold a user name or password"),
        ({"secret": "two words"}, "no spaces. Paste it again."),
        ({"parameters": "warmth=1"}, "is not a parameter"),
        ({"parameters": "temperature=9"}, "must be between 0 and 2"),
        ({"name": "LAB"}, "Choose another name."),
    ],
    ids=["no scheme", "password in URL", "key with space", "unknown parameter", "out of range", "taken name"],
)
def test_what_cannot_be_used_is_said_and_nothing_is_saved(researcher, rows, session, values, words):
    answer = researcher.post("/admin/apitoken/new/", data=form(**values))
    assert answer.status_code == 400
    assert words in answer.text
    assert KEY not in answer.text
    assert session.scalars(select(ApiToken.name)).all() == ["Lab"]


def test_an_empty_key_keeps_the_stored_one(researcher, rows, stored):
    edit(researcher, rows, name="Laboratory")
    token, key = stored()
    assert (token.name, key) == ("Laboratory", "sk-very-secret-1234")


def test_a_new_key_replaces_the_stored_one(researcher, rows, stored):
    edit(researcher, rows, secret=KEY)
    token, key = stored()
    assert (key, token.last_four) == (KEY, "5678")


def test_removing_the_key_is_said_explicitly(researcher, rows, stored):
    assert edit(researcher, rows, secret=KEY, removes_secret="y").status_code == 400
    edit(researcher, rows, removes_secret="y")
    token, key = stored()
    assert (key, token.last_four, token.fingerprint) == (None, "", "")


def test_another_address_asks_for_the_key_again(researcher, rows, stored):
    answer = edit(researcher, rows, base_url="https://elsewhere.example.org/v1")
    assert answer.status_code == 400
    assert "Enter the key again for the new address, or remove it." in answer.text
    assert stored()[0].base_url == "https://llm.example.org/v1"
    edit(researcher, rows, base_url="https://elsewhere.example.org/v1", secret=KEY, reason="it moved")
    token, key = stored()
    assert (token.base_url, key) == ("https://elsewhere.example.org/v1", KEY)


def test_pausing_and_resuming_from_the_row(researcher, rows, stored):
    researcher.post("/admin/apitoken/pause/", data={"id": rows.token.id, "reason": "new key on Monday"})
    token, _ = stored()
    assert (token.state, token.paused_reason) == (TokenState.paused, "new key on Monday")
    page = researcher.get("/admin/apitoken/").text
    assert "by researcher@example.org: new key on Monday." in page
    researcher.post("/admin/apitoken/resume/", data={"id": rows.token.id})
    assert stored()[0].state == TokenState.active


def test_a_used_token_is_not_deleted(researcher, rows, stored):
    answer = researcher.post("/admin/apitoken/delete/", data={"id": rows.token.id}, follow_redirects=True)
    assert "1 twin uses this token. Archive it" in answer.text
    assert stored()[0].name == "Lab"


def test_testing_a_token_shows_each_step_and_keeps_the_outcome(researcher, session, model_server):
    researcher.post("/admin/apitoken/new/", data=form(base_url=model_server.base_url, default_model="small"))
    token = session.scalars(select(ApiToken)).one()
    answer = researcher.post("/admin/apitoken/test/", data={"id": token.id})
    assert answer.status_code == 200
    for words in ("Address allowed", "Models listed", "A tiny completion"):
        assert words in answer.text
    assert KEY not in answer.text
    session.rollback()
    assert token.last_test_at is not None
    call = session.scalars(select(ModelCall)).one()
    assert (call.purpose, call.api_token_id) == (CallPurpose.token_test, token.id)
    assert call.state == (CallState.answered if token.last_test_ok else CallState.failed)
    assert call.account_id is not None
