"""One's own account: password, time zone and theme, for every role."""

import pytest
from sqlalchemy import select

from pdsapp.models import Account, AuditEvent
from tests.web.conftest import PASSWORD
from tests.web.looking import words_of

NEW = "a rather new sentence"


def change(browser, **fields):
    data = {"present": PASSWORD, "password": NEW, "password_confirm": NEW} | fields
    return browser.post("/account/password", data=data)


@pytest.mark.parametrize("role", ["viewer", "researcher", "administrator"])
def test_everybody_sees_who_they_are_and_changes_their_own_password(sign_in, client, session, role):
    browser, other = sign_in(role), client
    other.sign_in(f"{role}@example.org")
    assert f"{role}@example.org" in words_of(browser.get("/account"))
    answer = change(browser)
    assert answer.status_code == 302
    assert "Your password is changed" in words_of(browser.get("/account")), "this window stays signed in"
    assert other.get("/admin/").status_code == 302, "the others are signed out"
    assert other.sign_in(f"{role}@example.org").status_code == 400
    assert other.sign_in(f"{role}@example.org", NEW).status_code == 302
    event = session.scalars(select(AuditEvent).where(AuditEvent.action == "set password")).one()
    assert event.actor == f"{role}@example.org" and NEW not in f"{event.before}{event.after}"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"present": "wrong horse"}, "This is not your present password"),
        ({"present": ""}, "Enter your present password"),
        ({"password": "short", "password_confirm": "short"}, "Use at least 10 characters"),
        ({"password_confirm": "another"}, "The two differ"),
        ({"password": "x" * 501, "password_confirm": "x" * 501}, "Use at most 500 characters"),
    ],
)
def test_what_is_no_password_is_said_and_changes_nothing(viewer, session, fields, words):
    before = session.scalars(select(Account.password)).one()
    session.rollback()
    answer = change(viewer, **fields)
    assert answer.status_code == 400 and words in words_of(answer)
    assert all(given not in answer.text for given in (PASSWORD, NEW)), "a password is never sent back"
    assert session.scalars(select(Account.password)).one() == before
    assert viewer.get("/admin/").status_code == 200


def test_guessing_the_present_password_is_slowed_down(viewer):
    answers = [change(viewer, present=f"guess {number}").status_code for number in range(11)]
    assert answers == [400] * 10 + [429]


def test_the_own_zone_is_that_of_lists_of_all_experiments_and_of_titles(viewer, rows, session):
    assert viewer.post("/account/zone", data={"zone": "Asia/Kathmandu"}).status_code == 302
    assert 'data-zone="Asia/Kathmandu"' in viewer.get("/admin/").text
    viewer.post("/switch", data={"experiment": ""})
    assert "+0545" in viewer.get("/admin/persona/").text or "Kathmandu" in viewer.get("/admin/persona/").text
    viewer.post("/account/zone", data={"zone": ""})
    assert "data-zone" not in viewer.get("/admin/").text
    changes = session.scalars(select(AuditEvent).where(AuditEvent.object_type == "account")).all()
    assert [(event.before, event.after) for event in changes[-2:]] == [
        ({"zone": None}, {"zone": "Asia/Kathmandu"}), ({"zone": "Asia/Kathmandu"}, {"zone": None}),
    ]  # fmt: skip


def test_a_zone_that_does_not_exist_is_refused_at_its_field(viewer, session):
    answer = viewer.post("/account/zone", data={"zone": "Europe/Rom"})
    assert answer.status_code == 400 and "Europe/Rome" in words_of(answer)
    assert session.scalars(select(Account.zone)).one() is None


def test_the_theme_goes_with_the_account_to_another_browser(viewer, client):
    viewer.post("/theme", data={"theme": "dark"})
    client.sign_in("viewer@example.org")
    assert 'data-theme="dark"' in client.get("/admin/").text
    client.post("/theme", data={"theme": ""})
    assert "data-theme=" not in client.get("/admin/").text, "as the system has it"
    assert "data-theme=" not in viewer.get("/admin/").text
