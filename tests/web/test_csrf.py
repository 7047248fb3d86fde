"""Every POST needs its token, on every page, and a missing one changes nothing and says what to do."""

import re

import pytest
from sqlalchemy import func, select

from pdsapp.models import Experiment, Persona
from pdsapp.web import access
from tests.web.conftest import PASSWORD

TOKEN = re.compile(r'name="csrf_token"[^>]*value="([^"]+)"')


@pytest.fixture
def guarded(app, sign_in):
    """A researcher's browser, with the CSRF check on."""
    browser = sign_in("researcher")
    app.config["WTF_CSRF_ENABLED"] = True
    return browser


def test_every_post_of_the_application_needs_the_token(app, guarded, rows, session):
    from tests.web.test_strangers import rules

    before = session.scalar(select(func.count(Experiment.id)))
    seen = 0
    for _, path, method in rules(app):
        if method in ("GET", "HEAD", "OPTIONS"):
            continue
        answer = guarded.open(path, method=method, data={"id": 1, "name": "New", "zone": "UTC"})
        assert answer.status_code == 400, (method, path, answer.status_code)
        assert "Nothing was changed." in answer.text
        seen += 1
    assert seen > 40
    session.rollback()
    assert session.scalar(select(func.count(Experiment.id))) == before
    assert not access.PUBLIC_RULES & {"/logout", "/theme", "/switch"}


def test_a_form_with_its_token_is_saved(guarded, session):
    token = TOKEN.search(guarded.get("/admin/persona/new/").text)[1]
    data = {"name": "Nurse", "text": "You work nights.", "csrf_token": token}
    assert guarded.post("/admin/persona/new/", data=data).status_code == 302
    assert session.scalars(select(Persona.name)).all() == ["Nurse"]


def test_the_token_of_another_session_is_no_token(app, guarded, session):
    other = app.test_client()
    token = TOKEN.search(other.get("/login").text)[1]
    data = {"name": "Nurse", "text": "You work nights.", "csrf_token": token}
    assert guarded.post("/admin/persona/new/", data=data).status_code == 400
    assert session.scalars(select(Persona.name)).all() == []


def test_signing_in_needs_the_token_of_its_form(app, guarded):
    browser = app.test_client()
    assert browser.sign_in("researcher@example.org").status_code == 400
    token = TOKEN.search(browser.get("/login").text)[1]
    answer = browser.post(
        "/login", data={"email": "researcher@example.org", "password": PASSWORD, "csrf_token": token}
    )
    assert answer.status_code == 302


def test_the_buttons_of_rows_and_frame_carry_the_token(guarded, rows):
    for path in ("/admin/digitaltwin/", "/admin/digitaltwin/details/?id=1", "/admin/apitoken/"):
        page = guarded.get(path).text
        forms = re.findall(r'<form[^>]*method="post".*?</form>', page, re.S)
        assert len(forms) >= 3
        assert all(TOKEN.search(form) for form in forms), path
