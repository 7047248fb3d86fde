"""Accounts in the browser: invited by a link, given a role, shut out; for administrators only."""

import re

import pytest
from sqlalchemy import select

from pdsapp.models import Account, AuditEvent
from tests.web.conftest import PASSWORD
from tests.web.looking import fields_of, words_of

LIST = "/admin/account/"
NEW = "correct horse battery staple"


def account(session, email):
    session.rollback()
    session.expire_all()
    return session.scalars(select(Account).where(Account.email == email)).one_or_none()


def edit(browser, row, **values):
    page = f"{LIST}edit/?id={row.id}"
    form = fields_of(browser.get(page), "role")
    for name, value in values.items():
        if value is None:
            form.pop(name, None)
        else:
            form[name] = value
    return browser.post(page, data=form, follow_redirects=True)


def test_somebody_is_invited_and_signs_in_with_their_own_password(administrator, client, session):
    answer = administrator.post(
        f"{LIST}new/", data={"email": "Ada@Example.org", "role": "viewer"}, follow_redirects=True
    )
    assert "no password yet" in words_of(administrator.get(LIST))
    row = account(session, "ada@example.org")
    assert "No password yet. Make a sign-in link and give it to them" in words_of(answer), "what comes next"
    answer = administrator.post(f"{LIST}link/", data={"id": row.id})
    link = re.search(r'value="http://[^/"]+(/first-sign-in/[^"]+)"', answer.text)[1]
    assert link.rsplit("/", 1)[1] not in administrator.get(f"{LIST}details/?id={row.id}").text, "shown once"
    form = fields_of(client.get(link), "password") | {"password": NEW, "password_confirm": NEW}
    client.post(link, data=form)
    assert account(session, "ada@example.org").password is not None
    assert client.get("/admin/").status_code == 200
    assert client.get("/admin/persona/new/").status_code == 403, "a viewer"
    assert "may sign in" in words_of(administrator.get(LIST))
    assert "No password yet" not in words_of(administrator.get(f"{LIST}details/?id={row.id}"))


def test_a_new_link_ends_the_one_before_and_is_written_down_without_itself(administrator, client, session):
    administrator.post(f"{LIST}new/", data={"email": "ada@example.org", "role": "viewer"})
    row = account(session, "ada@example.org")
    links = [
        re.search(r"(/first-sign-in/[^\"]+)", administrator.post(f"{LIST}link/", data={"id": row.id}).text)[1]
        for _ in range(2)
    ]
    assert client.get(links[0]).status_code == 404
    assert client.get(links[1]).status_code == 200
    events = session.scalars(select(AuditEvent).where(AuditEvent.action == "invite")).all()
    assert [event.actor for event in events] == ["administrator@example.org"] * 2
    assert not any(links[1].rsplit("/", 1)[1] in str(event.after) for event in events)


def test_who_is_shut_out_is_out_at_once_in_every_window(administrator, sign_in, session):
    researcher = sign_in("researcher")
    answer = edit(administrator, account(session, "researcher@example.org"), active=None)
    assert "shut" in words_of(answer)
    assert researcher.get("/admin/").status_code == 302
    assert researcher.sign_in("researcher@example.org").status_code != 302
    edit(administrator, account(session, "researcher@example.org"), active="y")
    assert researcher.sign_in("researcher@example.org").status_code == 302


def test_another_role_holds_from_the_next_request(administrator, sign_in, session):
    researcher = sign_in("researcher")
    edit(administrator, account(session, "researcher@example.org"), role="viewer")
    researcher.sign_in("researcher@example.org", PASSWORD)
    assert researcher.get("/admin/persona/new/").status_code == 403
    event = session.scalars(select(AuditEvent).where(AuditEvent.object_type == "account")).all()[-1]
    assert (event.before, event.after) == (
        {"role": "researcher", "active": True, "sees_all_experiments": True},
        {"role": "viewer", "active": True, "sees_all_experiments": True},
    )


def test_nobody_changes_their_own_account_nor_shuts_out_the_last_administrator(
    administrator, sign_in, session, write
):
    own = account(session, "administrator@example.org")
    answer = edit(administrator, own, role="viewer")
    assert answer.status_code == 400 and "another administrator has to change it" in words_of(answer)
    second = sign_in("administrator", "second@example.org")
    with write() as writing:
        writing.get_one(Account, account(session, "second@example.org").id).password = None
    answer = edit(second, own, active=None)
    assert "This is the last administrator who can sign in" in words_of(answer)
    assert account(session, "administrator@example.org").active


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"email": ""}, "must not be empty"),
        ({"email": "nobody"}, "This is not an e-mail address"),
        ({"email": "ADMINISTRATOR@example.org"}, "There is an account administrator@example.org already"),
        ({"role": "emperor"}, "Not a valid choice"),
    ],
)
def test_what_makes_no_account_is_said_and_adds_none(administrator, session, values, words):
    answer = administrator.post(f"{LIST}new/", data={"email": "x@example.org", "role": "viewer"} | values)
    assert answer.status_code == 400
    assert words in words_of(answer)
    assert len(session.scalars(select(Account)).all()) == 1


@pytest.mark.parametrize("role", ["researcher", "viewer"])
def test_it_is_closed_to_others(sign_in, role):
    browser = sign_in(role)
    for page in ("", "new/", "details/?id=1", "edit/?id=1", "export/csv/"):
        assert browser.get(f"{LIST}{page}").status_code == 403
    for page in ("new/", "edit/?id=1", "link/"):
        assert browser.post(f"{LIST}{page}", data={"id": "1", "email": "x@y.z"}).status_code == 403
    assert "Accounts" not in words_of(browser.get("/admin/"))
