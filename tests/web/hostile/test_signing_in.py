"""Hostile texts in the forms of those who have not signed in: refused alike, held back like any others."""

import pytest
from sqlalchemy import select

from pdsapp.models import Account, SignInLink, utc_now
from pdsapp.services.accounts import add_account, make_link
from pdsapp.web.extensions import limiter
from tests.conftest import NOON
from tests.web.conftest import PASSWORD

from .forms import Page
from .inert import is_ours, problems_of
from .sending import COOKIE
from .texts import BY_NAME
from .texts import TEXTS as ALL_TEXTS

# A form of more than 500,000 bytes is answered before it is read (tests/web/test_errors.py).
TEXTS = tuple(each for each in ALL_TEXTS if len(each.sent) < 100_000)

EMAIL = "ada@example.org"


@pytest.fixture
def link(write):
    """Where a new administrator chooses a password, once."""
    with write() as session:
        account = add_account(session, EMAIL, "administrator", NOON)
        return f"/first-sign-in/{make_link(session, account, utc_now())}"


@pytest.fixture
def unthrottled(app, monkeypatch):
    """As many tries as a test likes, and errors as people see them."""
    monkeypatch.setattr(limiter, "enabled", False)
    app.config.update(PROPAGATE_EXCEPTIONS=False)


def assert_refused(answer, each):
    page = Page("/", answer.text)
    assert answer.status_code == 400, each.name
    assert any(words.strip() for words in page.complaints), each.name
    assert problems_of(answer.text, [each.mark] if each.mark else []) == [], each.name
    return page


@pytest.mark.parametrize("name", ["email", "password"])
def test_signing_in_with_a_hostile_text_is_refused_with_a_sentence(client, link, unthrottled, name):
    for each in TEXTS:
        page = assert_refused(
            client.post("/login", data={"email": EMAIL, "password": PASSWORD, name: each.sent}), each
        )
        assert page.values.get("password", [""]) == [""]
    assert client.get("/admin/").status_code == 302


def test_signing_in_leads_nowhere_else_whatever_next_says(write, client, unthrottled):
    with write() as session:
        add_account(session, EMAIL, "viewer", NOON, PASSWORD)
    for each in TEXTS:
        fields = {"email": EMAIL, "password": PASSWORD}
        answer = client.post("/login", data=fields | {"next": each.sent})
        assert answer.status_code == 302, each.name
        assert is_ours(answer.location), (each.name, answer.location)
        assert "Set-Cookie: evil" not in str(answer.headers)
        client.delete_cookie(COOKIE)


@pytest.mark.parametrize("name", ["password", "password_confirm"])
def test_a_first_password_that_is_hostile_is_refused_and_the_link_stays_good(
    client, link, unthrottled, session, name
):
    for each in TEXTS:
        answer = client.post(link, data={"password": PASSWORD, "password_confirm": PASSWORD, name: each.sent})
        page = assert_refused(answer, each)
        assert page.values["password"] == page.values["password_confirm"] == [""]
    assert session.scalars(select(SignInLink.used_at)).all() == [None]
    assert client.post(link, data={"password": PASSWORD, "password_confirm": PASSWORD}).status_code == 302


def test_a_first_password_may_be_any_text_that_is_long_enough_and_opens_again(
    app, client, link, unthrottled, session
):
    text = BY_NAME["script"].text
    assert client.post(link, data={"password": text, "password_confirm": text}).status_code == 302
    other = app.test_client()
    assert other.sign_in(EMAIL, text).status_code == 302
    assert session.scalars(select(Account.password)).one().startswith("$argon2")


def test_a_hostile_link_is_told_to_be_none(client, unthrottled):
    for each in TEXTS:
        if len(each.sent) < 4_000:
            answer = client.get("/first-sign-in/" + "".join(f"%{byte:02X}" for byte in each.sent))
            assert answer.status_code == 404 or is_ours(answer.location), each.name
            assert problems_of(answer.text, [each.mark] if each.mark else []) == [], each.name


def test_hostile_addresses_are_held_back_after_a_few_tries_like_any_others(app, client):
    app.config.update(PROPAGATE_EXCEPTIONS=False)
    said = [client.post("/login", data={"email": each.sent, "password": "x"}).status_code for each in TEXTS]
    assert set(said) == {400, 429}
    assert said.index(429) <= 40
    assert set(said[said.index(429) :]) == {429}
