"""Nothing is open but what stands on the list: walks over every rule of the application."""

import re

import pytest

from pdsapp.web import access

PUBLIC = {"/login", "/first-sign-in/<token>", "/healthz", "/readyz", "/metrics", "/static/<path:filename>"}
VALUES = {
    "token": "x" * 43,
    "filename": "css/base.css",
    "export_type": "csv",
    "text": "a2b3c",
    "uuid": "01a20335-e259-7d6e-af8a-f787d9f18d21",
}


def rules(app):
    """(path, method) of every rule, with values put in."""
    for rule in app.url_map.iter_rules():
        path = re.sub(r"<(?:[^:<>]+:)?([^<>]+)>", lambda found: VALUES.get(found[1], "1"), rule.rule)
        for method in sorted(rule.methods):
            yield rule.rule, path, method


def test_the_public_list_is_the_one_that_was_agreed():
    assert access.PUBLIC_RULES == PUBLIC


def test_a_stranger_gets_nowhere_but_to_the_public_list(app, client, rows):
    seen = 0
    for rule, path, method in rules(app):
        if rule in PUBLIC:
            continue
        answer = client.open(path, method=method, headers={"Accept": "text/html"})
        if method in ("GET", "HEAD"):
            assert answer.status_code == 302, (method, path)
            assert answer.location.startswith("/login"), (method, path)
        else:
            assert answer.status_code in (401, 403), (method, path, answer.status_code)
        seen += 1
    assert seen > 100


def test_a_stranger_learns_nothing_of_addresses_that_do_not_exist(client):
    assert client.get("/admin/nothing/here").location.startswith("/login")
    assert client.delete("/admin/").status_code == 401


def test_a_script_without_a_session_is_told_so(client):
    answer = client.get("/activity", headers={"Accept": "application/json"})
    assert answer.status_code == 401


def test_flask_admins_own_files_are_not_served(app):
    assert {rule.rule for rule in app.url_map.iter_rules() if "static" in rule.endpoint} == {
        "/static/<path:filename>"
    }


def test_nothing_of_flask_security_registers_recovers_or_hands_out_tokens(app):
    paths = " ".join(rule.rule for rule in app.url_map.iter_rules())
    for word in (
        "register",
        "reset",
        "recover",
        "change",
        "confirm",
        "verify",
        "tf-",
        "us-",
        "wan-",
        "fs-static",
    ):
        assert word not in paths


def test_a_token_of_flask_security_opens_nothing(app, client, write):
    from pdsapp.services.accounts import add_account
    from tests.conftest import NOON

    with write() as session:
        account = add_account(session, "ada@example.org", "administrator", NOON, "correct horse battery")
        token = account.get_auth_token()
    assert client.get("/admin/", headers={"Authentication-Token": token}).status_code == 302
    assert client.get(f"/admin/?auth_token={token}").location.startswith("/login")


@pytest.fixture
def untouched(session):
    """Asserts at the end that no row was added, changed or removed but the viewer's own account."""
    from sqlalchemy import select

    from pdsapp.models import Base

    def contents():
        session.rollback()
        return {
            table.name: session.execute(select(table)).all()
            for table in Base.metadata.sorted_tables
            if not table.name.startswith("account")
        }

    before = contents()
    yield
    assert contents() == before


def test_a_viewer_changes_nothing_anywhere(app, rows, viewer, untouched):
    for rule, path, method in rules(app):
        if method in ("GET", "HEAD", "OPTIONS") or rule in PUBLIC or rule in access.PERSONAL_RULES:
            continue
        answer = viewer.open(path, method=method, data={"id": 1, "rowid": 1, "action": "activate"})
        assert answer.status_code == 403, (method, path, answer.status_code)


@pytest.mark.parametrize(
    "screen", ["experiment", "persona", "apitoken", "userprofile", "digitaltwin", "schedule", "post"]
)
def test_a_viewer_reads_lists_and_pages_but_no_forms(viewer, rows, screen):
    listed = viewer.get(f"/admin/{screen}/")
    assert listed.status_code == 200
    assert f"/admin/{screen}/new/" not in listed.text
    assert f"/admin/{screen}/edit/" not in listed.text
    assert 'method="post" action="/admin/' not in listed.text
    assert "With the selected" not in listed.text
    assert viewer.get(f"/admin/{screen}/new/").status_code == 403
    assert viewer.get(f"/admin/{screen}/edit/?id=1").status_code == 403


def test_an_account_without_a_role_sees_nothing(app, write, client):
    from pdsapp.services.accounts import add_account
    from tests.conftest import NOON
    from tests.web.conftest import PASSWORD

    with write() as session:
        add_account(session, "nobody@example.org", "viewer", NOON, PASSWORD).roles = []
    client.sign_in("nobody@example.org")
    assert client.get("/admin/").status_code == 403


def test_an_account_that_was_switched_off_is_out_at_once(app, write, viewer):
    from sqlalchemy import update

    from pdsapp.models import Account

    assert viewer.get("/admin/persona/").status_code == 200
    with write() as session:
        session.execute(update(Account).values(active=False))
    assert viewer.get("/admin/persona/").location.startswith("/login")
