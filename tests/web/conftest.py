"""Fixtures of the web tests: a browser that signs in through the real form, and rows to look at."""

from contextvars import Context
from types import SimpleNamespace

import pytest
from flask.testing import FlaskClient

from pdsapp.llm.secrets import SecretBox
from pdsapp.models import Experiment, utc_now
from pdsapp.services import experiments, personas, posts, schedules, tokens, twins
from pdsapp.services.accounts import add_account
from tests.conftest import NOON

PASSWORD = "correct horse battery"


class Browser(FlaskClient):
    """A client whose every request has contexts of its own, as on a server."""

    def open(self, *args, **kwargs):
        kwargs.setdefault("buffered", True)
        return Context().run(super().open, *args, **kwargs)

    def sign_in(self, email, password=PASSWORD, **fields):
        return self.post("/login", data={"email": email, "password": password, **fields})


@pytest.fixture
def client(app):
    """A browser without an account."""
    app.test_client_class = Browser
    return app.test_client()


@pytest.fixture
def sign_in(app, write):
    """`sign_in("viewer")` gives a browser that has signed in through the form with that role.

    It sees all experiments, unless `sees_all=False`.
    """
    app.test_client_class = Browser

    def signed_in(role="researcher", email=None, sees_all=True):
        email = email or f"{role}@example.org"
        with write() as session:
            add_account(session, email, role, NOON, PASSWORD, sees_all=sees_all)
        browser = app.test_client()
        answer = browser.sign_in(email)
        assert answer.status_code == 302, answer.text
        return browser

    return signed_in


@pytest.fixture
def researcher(sign_in):
    """A browser of a researcher."""
    return sign_in("researcher")


@pytest.fixture
def administrator(sign_in):
    """A browser of an administrator."""
    return sign_in("administrator")


@pytest.fixture
def viewer(sign_in):
    """A browser of a viewer."""
    return sign_in("viewer")


@pytest.fixture
def rows(app, settings, write):
    """One row of everything, by name: experiment, persona, version, token, twin, person, post."""
    with write() as session:
        experiment = experiments.add_experiment(session, "Campus climate", "Europe/Rome", NOON)
        session.flush()
        version = personas.add_persona(session, "Bus driver", "You drove buses for thirty years.", NOON)
        box = SecretBox(settings.require("fernet_keys"))
        token = tokens.add_token(
            session, box, "Lab", "https://llm.example.org/v1", "sk-very-secret-1234", "small", NOON
        )
        session.flush()
        twin = twins.add_twin(
            session, experiment, "maya_reads", version, NOON, display_name="Maya", token=token
        )
        person = twins.add_profile(session, experiment, "ada", NOON, "Ada", "Reads a lot.")
        post = posts.add_post(session, person, "Third bus in a row.", NOON)
        session.flush()
        return SimpleNamespace(
            experiment=experiment,
            persona=version.persona,
            version=version,
            token=token,
            twin=twin,
            person=person,
            post=post,
        )


@pytest.fixture
def count_queries(app):
    """`with count_queries() as statements:` collects the SELECTs sent meanwhile."""
    from contextlib import contextmanager

    import sqlalchemy as sa

    from pdsapp.extensions import db

    @contextmanager
    def counting():
        statements = []

        def listen(_connection, _cursor, statement, *_):
            if statement.lstrip().upper().startswith("SELECT"):
                statements.append(statement)

        sa.event.listen(db.engine, "before_cursor_execute", listen)
        try:
            yield statements
        finally:
            sa.event.remove(db.engine, "before_cursor_execute", listen)

    return counting


@pytest.fixture
def schedule(rows, write):
    """An enabled schedule of the experiment."""
    with write() as session:
        found = session.get_one(Experiment, rows.experiment.id)
        wish = schedules.Wish("Daytime", found, cron="0 9 * * *", is_enabled=True)
        return schedules.add_schedule(session, wish, utc_now())
