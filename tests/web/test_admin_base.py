"""What holds for every management screen."""

import re

import pytest
from flask_admin.contrib.sqla import ModelView
from wtforms import HiddenField, PasswordField

from pdsapp.services import personas, posts, twins
from tests.conftest import NOON

FORMS = ["experiment", "persona", "apitoken", "userprofile", "digitaltwin", "schedule", "post"]
SCREENS = [*FORMS, "account", "attempt", "audit"]
UNSHOWN = {"secret_encrypted", "password", "fs_uniquifier", "token_sha256", "lease_token", "seed"}


def screens(app):
    """All Flask-Admin screens over a table, by endpoint."""
    views = app.extensions["admin"][0]._views
    return {view.endpoint: view for view in views if isinstance(view, ModelView)}


def test_the_screens_are_the_agreed_ones_at_the_agreed_addresses(app):
    assert {view.endpoint: view.url for view in screens(app).values()} == {
        name: f"/admin/{name}" for name in SCREENS
    }


@pytest.mark.parametrize("name", SCREENS)
def test_every_screen_lists_what_it_shows_exports_and_takes(app, name):
    view = screens(app)[name]
    for attribute in ("column_list", "column_details_list", "column_export_list", "form_columns"):
        assert attribute in vars(type(view)), f"{name} inherits {attribute}: it would show whatever there is"
        listed = {column if isinstance(column, str) else column[0] for column in getattr(view, attribute)}
        assert not listed & UNSHOWN
    for form in (view.get_create_form(), view.get_edit_form()):
        fields = {field.short_name for field in form(None) if not isinstance(field, HiddenField)}
        assert fields <= set(view.form_columns)


@pytest.mark.parametrize("name", FORMS)
def test_every_field_has_a_help_text_with_an_example(app, name):
    view = screens(app)[name]
    for form in (view.get_create_form(), view.get_edit_form()):
        for field in form(None):
            if not isinstance(field, HiddenField):
                assert "or example" in field.description, f"{name}: {field.short_name}"


@pytest.mark.parametrize("name", [name for name in SCREENS if name not in ("account", "audit")])
def test_every_screen_says_why_it_is_empty_and_what_to_do(app, administrator, name):
    """But for accounts and their audit log: who looks is in them."""
    page = administrator.get(f"/admin/{name}/")
    assert page.status_code == 200
    assert screens(app)[name].empty_words in page.text.replace("&#39;", "'")
    assert (f'href="/admin/{name}/new/' in page.text) == (name != "attempt")


@pytest.mark.parametrize("name", SCREENS)
def test_no_address_of_a_list_breaks_it(administrator, rows, name):
    for query in (
        "page=-3",
        "page=99999999999999999999",
        "page_size=1000000",
        "sort=99&desc=7",
        "sort=0",
        "search=%00%25_%27%22",
        "search=" + "x" * 3000,
        "state=nonsense&kind=7&archived=%00&persona=abc&token=1e9&tag=%27&author=%40&twin=%00&class=x",
        "experiment=zzzzz",
    ):
        assert administrator.get(f"/admin/{name}/?{query}").status_code == 200, query


@pytest.mark.parametrize("name", SCREENS)
def test_every_filter_and_every_order_of_a_list_works(app, administrator, rows, name):
    view = screens(app)[name]
    queries = [f"sort={index}&desc={desc}" for index in range(len(view.column_list)) for desc in ("", "1")]
    with app.test_request_context():
        for each in view.list_filters:
            values = [value for value, _ in each.options()] if each.options else ["maya_reads"]
            queries += [f"{each.name}={value}" for value in values]
    for query in queries:
        assert administrator.get(f"/admin/{name}/?{query}").status_code == 200, query


@pytest.fixture
def many(write):
    """`many(n)` adds n rows to every screen that can have them."""
    from pdsapp.attempts.create import Request, add_for_twin
    from pdsapp.domain.reasons import Trigger
    from pdsapp.models import Experiment
    from pdsapp.services import experiments, schedules, tokens

    def add(settings_box, count, start):
        with write() as session:
            experiment = session.query(Experiment).order_by(Experiment.id).first()
            for number in range(start, start + count):
                version = personas.add_persona(session, f"Persona {number}", f"Text {number}", NOON)
                token = tokens.add_token(
                    session,
                    settings_box,
                    f"Token {number}",
                    "https://llm.example.org/v1",
                    "sk-12345678901",
                    "m",
                    NOON,
                )
                twin = twins.add_twin(session, experiment, f"twin{number}", version, NOON, token=token)
                person = twins.add_profile(session, experiment, f"person{number}", NOON)
                posts.add_post(session, person, f"Post {number}", NOON)
                schedules.add_schedule(
                    session,
                    schedules.Wish(f"Schedule {number}", experiment, cron="@daily", is_enabled=True),
                    NOON,
                )
                experiments.add_experiment(session, f"Experiment {number}", "UTC", NOON)
                session.flush()
                add_for_twin(session, twin, Request(Trigger.cli, f"request-of-{number}"), NOON)

    return add


def test_lists_and_exports_ask_as_often_for_fifty_rows_as_for_five(
    app, settings, administrator, rows, many, count_queries
):
    from pdsapp.llm.secrets import SecretBox

    box = SecretBox(settings.require("fernet_keys"))
    many(box, 4, 0)
    asked = {}
    for start, count in ((4, 0), (4, 46)):
        many(box, count, start)
        for name in SCREENS:
            for path in (f"/admin/{name}/", f"/admin/{name}/export/csv/"):
                administrator.get(path)
                with count_queries() as statements:
                    page = administrator.get(path)
                assert page.status_code == 200
                asked.setdefault(path, []).append(len(statements))
    assert all(few == more <= 16 for few, more in asked.values()), asked
    assert len(re.findall("<tr>", administrator.get("/admin/digitaltwin/").text)) == 51


def test_secrets_are_in_no_page_and_no_export(researcher, rows, session):
    from pdsapp.models import ApiToken

    sealed = session.get(ApiToken, rows.token.id).secret_encrypted
    paths = [f"/admin/{name}/" for name in SCREENS]
    paths += [f"/admin/{name}/export/csv/" for name in SCREENS]
    paths += [
        f"/admin/{name}/{page}/?id=1" for name in FORMS for page in ("details", "edit") if name != "schedule"
    ]
    for path in paths:
        text = researcher.get(path, follow_redirects=True).text
        assert "sk-very-secret" not in text, path
        assert sealed not in text, path
        assert rows.experiment.seed not in text, path


def test_password_fields_are_never_filled_in(app):
    for name, view in screens(app).items():
        for field in view.get_edit_form()(None, data={"secret": "sk-very-secret-1234"}):
            if isinstance(field, PasswordField):
                assert "sk-very-secret" not in str(field()), name


@pytest.mark.parametrize("name", FORMS)
def test_saving_an_empty_form_names_the_fields(researcher, rows, name):
    answer = researcher.post(f"/admin/{name}/new/", data={})
    assert answer.status_code == 400
    assert "This could not be saved" in answer.text
    assert "This must not be empty." in answer.text


def test_bulk_deleting_is_for_nobody(researcher, rows, session):
    from pdsapp.models import Persona

    researcher.post("/admin/persona/action/", data={"action": "delete", "rowid": rows.persona.id})
    assert session.get(Persona, rows.persona.id) is not None


@pytest.mark.parametrize("name", ["endpoint", "export_type", "_external", "_scheme", "_method", "_anchor"])
def test_an_address_with_the_names_of_addresses_leads_nowhere_else(researcher, rows, name):
    answer = researcher.get(f"/admin/digitaltwin/?{name}=javascript")
    assert answer.status_code == 200
    assert not re.search(r'href="(?:javascript|http)', answer.text)
