"""Signing in, the one-time link, signing out, throttling."""

import pytest
from sqlalchemy import select

from pdsapp.models import Account, SignInLink, utc_now
from pdsapp.services.accounts import add_account, make_link
from tests.conftest import NOON
from tests.web.conftest import PASSWORD

EMAIL = "ada@example.org"


@pytest.fixture
def account(write):
    with write() as session:
        return add_account(session, EMAIL, "researcher", NOON, PASSWORD)


@pytest.fixture
def link(write):
    """The address of an unused one-time link of a new administrator."""
    with write() as session:
        account = add_account(session, "first@localhost", "administrator", NOON)
        return f"/first-sign-in/{make_link(session, account, utc_now())}"


def test_the_right_password_leads_to_the_page_that_was_wanted(client, account):
    assert client.get("/admin/persona/?page=2").location == "/login?next=/admin/persona/?page%3D2"
    answer = client.sign_in(EMAIL, next="/admin/persona/?page=2")
    assert (answer.status_code, answer.location) == (302, "/admin/persona/?page=2")
    assert client.get("/admin/persona/").status_code == 200


def test_a_password_is_stored_as_argon2id_and_nothing_but_it_opens(client, write):
    with write() as session:
        stored = add_account(session, EMAIL, "viewer", NOON, PASSWORD).password
    assert stored.startswith("$argon2id$v=19$")
    for wrong in (f"{PASSWORD} ", PASSWORD.upper(), stored):
        assert client.sign_in(EMAIL, wrong).status_code == 400
    assert client.sign_in(EMAIL).status_code == 302


def test_the_address_may_be_typed_in_any_case(client, account):
    assert client.sign_in(" Ada@Example.ORG ").status_code == 302


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example",
        "//evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "javascript:alert(1)",
        "/a\nb",
        "",
    ],
    ids=["absolute", "no scheme", "backslash", "two backslashes", "javascript", "newline", "nothing"],
)
def test_signing_in_never_leads_to_another_site(client, account, target):
    assert client.sign_in(EMAIL, next=target).location == "/"


@pytest.mark.parametrize(
    ("email", "password"),
    [(EMAIL, "wrong password"), ("bob@example.org", PASSWORD), (EMAIL, PASSWORD + "x")],
    ids=["wrong password", "unknown account", "almost right"],
)
def test_a_wrong_name_and_a_wrong_password_look_the_same(client, account, email, password):
    answer = client.sign_in(email, password)
    assert answer.status_code == 400
    assert "E-mail address or password is wrong. Check both and try again." in answer.text
    assert password not in answer.text
    assert client.get("/admin/").status_code == 302


def test_empty_fields_are_named(client):
    answer = client.post("/login", data={})
    assert "Enter your e-mail address." in answer.text
    assert "Enter your password." in answer.text


def test_an_account_without_a_password_cannot_sign_in(client, link):
    assert client.sign_in("first@localhost", "").status_code == 400
    assert client.sign_in("first@localhost", "None").status_code == 400


def test_the_sixth_wrong_try_for_one_account_must_wait(client, account):
    for _ in range(5):
        assert client.sign_in(EMAIL, "wrong password").status_code == 400
    answer = client.sign_in(EMAIL)
    assert answer.status_code == 429
    assert "Wait a minute, then try again." in answer.text
    assert answer.headers["Retry-After"] == "60"
    assert client.get("/login").status_code == 200


def test_the_eleventh_wrong_try_from_one_address_must_wait(client):
    for number in range(10):
        assert client.sign_in(f"{number}@example.org").status_code == 400
    assert client.sign_in("another@example.org").status_code == 429


def test_a_try_counts_before_it_is_checked_so_that_parallel_ones_cannot_slip_through(client, account):
    answers = [client.sign_in(EMAIL).status_code for _ in range(7)]
    assert answers == [302] * 5 + [429] * 2


def test_cookies_cannot_be_read_by_scripts_nor_sent_from_other_sites(client, account):
    cookies = client.sign_in(EMAIL, remember="y").headers.getlist("Set-Cookie")
    names = {cookie.partition("=")[0] for cookie in cookies}
    assert names == {"discourse_twins"}
    for cookie in cookies:
        assert "Expires=" in cookie
        assert "HttpOnly" in cookie
        assert "SameSite=Lax" in cookie
        assert "Secure" not in cookie


def test_without_being_asked_to_the_browser_forgets_the_session_when_it_closes(client, account):
    (cookie,) = client.sign_in(EMAIL).headers.getlist("Set-Cookie")
    assert "Expires=" not in cookie


@pytest.fixture
def overrides(request):
    return getattr(request, "param", {})


@pytest.mark.parametrize("overrides", [{"PDS_COOKIE_SECURE": "1"}], indirect=True)
def test_cookies_are_secure_where_the_settings_say_so(client, account):
    for cookie in client.sign_in(EMAIL, remember="y").headers.getlist("Set-Cookie"):
        assert "Secure" in cookie


@pytest.mark.parametrize("overrides", [{"REDIS_URL": "redis://127.0.0.1:1/0"}], indirect=True)
def test_signing_in_works_and_is_throttled_while_the_queue_is_down(client, account):
    for _ in range(5):
        assert client.sign_in(EMAIL, "wrong password").status_code == 400
    assert client.sign_in(EMAIL).status_code == 429


def test_signing_out_is_a_post(client, account):
    client.sign_in(EMAIL)
    assert client.get("/logout").status_code == 405
    assert client.get("/admin/persona/").status_code == 200
    answer = client.post("/logout")
    assert answer.location == "/login"
    assert client.get("/admin/persona/").location.startswith("/login")


def test_looking_at_the_link_uses_nothing_up(client, link, session):
    for _ in range(3):
        answer = client.get(link)
        assert answer.status_code == 200
        assert "first@localhost" in answer.text
    assert session.scalars(select(SignInLink.used_at)).one() is None


def test_the_link_sets_a_password_and_signs_in_once(client, app, link):
    answer = client.post(link, data={"password": PASSWORD, "password_confirm": PASSWORD})
    assert answer.location == "/admin/"
    assert client.get("/admin/persona/").status_code == 200

    other = app.test_client()
    again = other.post(link, data={"password": "another password", "password_confirm": "another password"})
    assert again.status_code == 404
    assert "has been used or has expired" in again.text
    assert other.sign_in("first@localhost").status_code == 302


@pytest.mark.parametrize(
    ("password", "confirm", "words"),
    [
        ("short", "short", "Use at least 10 characters."),
        ("long enough it is", "but not the same", "The two differ."),
        ("", "", "Choose a password."),
        ("x" * 501, "x" * 501, "Use at most 500 characters."),
    ],
    ids=["short", "different", "empty", "long"],
)
def test_a_password_that_cannot_be_used_leaves_the_link_usable(
    client, link, session, password, confirm, words
):
    answer = client.post(link, data={"password": password, "password_confirm": confirm})
    assert answer.status_code == 400
    assert words in answer.text
    assert session.scalars(select(Account.password)).one() is None
    assert client.get(link).status_code == 200


def test_a_made_up_link_says_what_to_do(client):
    answer = client.get("/first-sign-in/nothing")
    assert answer.status_code == 404
    assert "Ask an administrator for a new one" in answer.text


def test_setting_a_password_ends_the_sessions_that_were_open(client, app, account, write):
    client.sign_in(EMAIL)
    with write() as session:
        token = make_link(session, session.get(Account, account.id), utc_now())
    app.test_client().post(
        f"/first-sign-in/{token}",
        data={"password": "quite another one", "password_confirm": "quite another one"},
    )
    assert client.get("/admin/persona/").location.startswith("/login")
    assert client.sign_in(EMAIL, "quite another one").status_code == 302
