"""Who may not: every page that grants, starts, ends, deletes or changes accounts, asked by everybody else."""

import pytest
import sqlalchemy as sa

from pdsapp.database import transaction
from pdsapp.errors import BadInput
from pdsapp.models import Account, Base, Membership, utc_now
from pdsapp.services import accounts, granting
from tests.web.conftest import PASSWORD
from tests.web.looking import fields_of, words_of

FORBIDDEN_TO_ALL_BUT_ADMINISTRATORS = (
    "/admin/experiment/grants/?id={id}",
    "/admin/experiment/delete/?id={id}",
    "/admin/account/new/",
    "/admin/account/edit/?id=1",
    "/admin/account/link/",
    "/admin/account/delete/",
    "/admin/account/action/",
    "/admin/account/ajax/update/",
)
FORBIDDEN_TO_VIEWERS = (
    "/admin/experiment/start/?id={id}",
    "/admin/experiment/start-several/",
    "/admin/experiment/end/?id={id}",
    "/admin/experiment/archive/",
    "/admin/experiment/pause/",
    "/admin/experiment/resume/",
)


def contents(session):
    """Everything that is stored, but what requests count."""
    session.rollback()
    return {
        table.name: session.execute(sa.select(table)).all()
        for table in Base.metadata.sorted_tables
        if table.name not in ("heartbeat",)
    }


def _data(rows):
    return {
        "id": rows.experiment.id, "rowid": rows.experiment.id, "name": rows.experiment.name, "reason": "x",
        "email": "me@example.org", "role": "administrator", "sees": "all", "active": "y", "granted": "1",
        "edit_version": "1", "action": "delete", "accepts_warnings": "y", "rehearsal": "archive",
    }  # fmt: skip


@pytest.mark.parametrize("role", ["viewer", "researcher"])
@pytest.mark.parametrize("sees_all", [True, False])
def test_nobody_else_grants_deletes_or_changes_accounts(rows, sign_in, session, role, sees_all):
    browser = sign_in(role, sees_all=sees_all)
    before = contents(session)
    paths = FORBIDDEN_TO_ALL_BUT_ADMINISTRATORS + (FORBIDDEN_TO_VIEWERS if role == "viewer" else ())
    for path in paths:
        answer = browser.post(path.format(id=rows.experiment.id), data=_data(rows))
        assert answer.status_code in (403, 404, 405), (path, answer.status_code)
    assert contents(session) == before


def test_a_researcher_without_the_grant_starts_and_ends_nothing(rows, sign_in, session):
    browser = sign_in("researcher", sees_all=False)
    before = contents(session)
    for path in FORBIDDEN_TO_VIEWERS:
        answer = browser.post(path.format(id=rows.experiment.id), data=_data(rows))
        assert answer.status_code in (302, 404), (path, answer.status_code)
    assert contents(session) == before


def _demote(email, role="viewer"):
    with transaction() as session:
        account = accounts.find_account(session, email)
        accounts.change_account(
            session, account, account.edit_version, utc_now(), role=role, is_active=True, sees_all=True
        )


def test_an_administrator_demoted_in_another_window_changes_nothing_any_more(
    rows, sign_in, administrator, session
):
    other = sign_in("administrator", "second@example.org")
    page = f"/admin/experiment/grants/?id={rows.experiment.id}"
    form = fields_of(other.get(page), "edit_version")
    edit = fields_of(other.get("/admin/account/edit/?id=1"), "role")
    _demote("second@example.org")
    before = contents(session)
    for path, sent in ((page, form), ("/admin/account/edit/?id=1", edit | {"role": "viewer"})):
        assert other.post(path, data=sent).status_code in (302, 401, 403)
    assert contents(session) == before


def test_an_administrator_demoted_within_a_request_grants_nothing(
    rows, sign_in, administrator, session, monkeypatch
):
    """Between the guard and the writing of another's request."""
    other = sign_in("administrator", "second@example.org")
    sign_in("viewer", sees_all=False)
    page = f"/admin/experiment/grants/?id={rows.experiment.id}"
    form = fields_of(other.get(page), "edit_version")
    with transaction() as writing:
        viewer = accounts.find_account(writing, "viewer@example.org").id
    real = granting.grantable_accounts

    def demoted_meanwhile(session):
        found = real(session)
        session.rollback()
        _demote("second@example.org")
        return found

    monkeypatch.setattr(granting, "grantable_accounts", demoted_meanwhile)
    answer = other.post(page, data=form | {"granted": [viewer]})
    session.rollback()
    assert session.scalars(sa.select(Membership)).all() == [], words_of(answer)[-300:]


def test_two_administrators_who_grant_at_once_do_not_undo_each_other(rows, sign_in, administrator, session):
    sign_in("viewer", "a@example.org", sees_all=False)
    sign_in("viewer", "b@example.org", sees_all=False)
    page = f"/admin/experiment/grants/?id={rows.experiment.id}"
    first, second = (fields_of(administrator.get(page), "edit_version") for _ in range(2))
    ids = {a.email[0]: a.id for a in session.scalars(sa.select(Account)) if a.email[1] == "@"}
    assert administrator.post(page, data=first | {"granted": [ids["a"]]}).status_code == 302
    answer = administrator.post(page, data=second | {"granted": [ids["b"]]})
    session.rollback()
    granted = set(session.scalars(sa.select(Membership.account_id)))
    assert ids["a"] in granted, f"taken back unseen ({answer.status_code})"


def test_marks_of_ten_digits_are_read_and_grants_without_a_mark_refused(
    rows, sign_in, administrator, session
):
    """Three of four checksums have ten digits."""
    page = f"/admin/experiment/grants/?id={rows.experiment.id}"
    marks, ids = [], []
    for name in "abcde":
        sign_in("viewer", f"{name}@example.org", sees_all=False)
        ids.append(accounts.find_account(session, f"{name}@example.org").id)
        form = fields_of(administrator.get(page), "edit_version")
        assert administrator.post(page, data=form | {"granted": ids}).status_code == 302, name
        marks.append(form["edit_version"])
    assert max(map(len, marks)) == 10
    answer = administrator.post(page, data={"granted": ids[:1]})
    assert "Somebody else has changed who sees this" in words_of(answer)
    stale = administrator.post(page, data={"edit_version": max(marks, key=len), "granted": ids[:1]})
    assert "Somebody else has changed who sees this" in words_of(stale)
    session.rollback()
    assert len(session.scalars(sa.select(Membership)).all()) == 5


def test_the_last_administrator_is_not_demoted(administrator):
    with pytest.raises(BadInput, match="last administrator"):
        _demote("administrator@example.org")


def test_old_windows_are_shut_after_a_password_change(researcher, app):
    old = app.test_client()
    assert old.sign_in("researcher@example.org").status_code == 302
    form = fields_of(researcher.get("/account"), "password_confirm")
    form |= {"present": PASSWORD, "password": "another long one", "password_confirm": "another long one"}
    assert researcher.post("/account/password", data=form).status_code == 302
    assert old.get("/admin/").status_code in (302, 401)
    assert researcher.get("/admin/").status_code == 200
