"""Installations to move between SQLite and PostgreSQL, rows to move, and what is looked at afterwards."""

import json
import uuid
from contextlib import contextmanager
from datetime import date, timedelta

import pytest
import sqlalchemy as sa

from pdsapp import create_app
from pdsapp.database import transaction
from pdsapp.domain.targets import Target
from pdsapp.extensions import db
from pdsapp.models import (
    Account,
    Attempt,
    AuditEvent,
    Base,
    DigitalTwin,
    Downtime,
    Experiment,
    Installation,
    LostLease,
    Post,
    Role,
    TwinTag,
    utc_now,
)
from pdsapp.services import audit, schedules
from tests import builders
from tests.conftest import TEST_DATABASE_URL, _settings

needs_both = pytest.mark.skipif(
    TEST_DATABASE_URL is None, reason="moving needs a PostgreSQL server: TEST_DATABASE_URL"
)


@contextmanager
def installation(folder, url=None):
    """An installation's application, in its context."""
    app = create_app(_settings(folder, url), with_web=False)
    with app.app_context():
        try:
            yield app
        finally:
            db.session.remove()
            db.engine.dispose()


def furnish(app, model_server, posts=3):
    """Rows in every table that has something special about it."""
    settings = app.extensions["settings"]
    study = builders.make_experiment("Ricerca à la carte 🌧")
    token = builders.make_token(settings, model_server.base_url, parameters={"temperature": 0.1, "seed": 7})
    twin = builders.make_twin(study, "maya", token)
    person = builders.make_person(study)
    for _ in range(posts):
        builders.add_attempt(twin)
    builders.run_due(settings, at_once=1)
    builders.add_attempt(twin, request_id="waits")
    first = builders.make_post(person, "Zum ersten Mal: „ja“\nund \\N nein\t.")
    second = builders.make_post(person, "")
    now = utc_now()
    with transaction() as session:
        session.get_one(Post, first.id).parent_id = second.id  # points at a later one
        session.get_one(Post, second.id).visibility = "hidden"
        session.get_one(DigitalTwin, twin.id).tags += [
            TwinTag(tag="Öl"),
            TwinTag(tag="zebra"),
            TwinTag(tag="Z"),
        ]
        role = session.scalars(sa.select(Role).where(Role.name == "viewer")).one()
        session.add(Account(email="a@b.example", fs_uniquifier="x", roles=[role], zone="Europe/Rome"))
        odd = {"huge": 1e15, "tiny": 1e-7, "nested": {"b": [1, 2.0, None, True], "a": "é"}}
        audit.record(session, "change", session.get_one(Installation, 1), now, before=None, after=odd)
        session.add(Downtime(from_at=now - timedelta(hours=1), until_at=now, found_by="s"))
        attempt = session.scalars(sa.select(Attempt).limit(1)).one()
        session.add(
            LostLease(attempt_id=attempt.id, lease_token=uuid.uuid4(), lease_until=now, taken_back_at=now)
        )
        schedules.add_schedule(
            session,
            schedules.Wish(
                name="Hourly", experiment=None, cron="0 * * * *", zone="Europe/Rome", is_enabled=True
            ),
            now - timedelta(hours=3),
        )
        for name, target in (("By tag", Target.tagged(["Öl", "Z"])), ("Chosen", Target.chosen([twin.uuid]))):
            study = session.get_one(Experiment, twin.experiment_id)
            wish = schedules.Wish(name=name, experiment=study, cron="0 * * * *", target=target)
            schedules.add_schedule(session, wish, now)
        session.execute(sa.text("UPDATE schedule SET first_day = :day"), {"day": date(2026, 3, 29)})
    return twin


def everything():
    """All rows of the present application's database by table, but for what moves add to the audit trail."""
    with db.engine.connect() as connection:
        return {
            table.name: sorted(
                json.dumps([*row], sort_keys=True, default=repr)
                for row in connection.execute(sa.select(table))
                if (table.name, getattr(row, "actor", "")) != ("audit_event", "flask move")
            )
            for table in Base.metadata.sorted_tables
        }


def without_pause(rows):
    return {name: values for name, values in rows.items() if name != "installation"}


def pause_of(session):
    found = session.get_one(Installation, 1, populate_existing=True)
    return found.is_paused, found.paused_reason


def move(app, url):
    return app.test_cli_runner().invoke(args=["move", "--to", url])


def trail():
    """The installation's audit trail: action, who, why before, why after."""
    with db.engine.connect() as connection:
        events = sa.select(AuditEvent).where(AuditEvent.object_type == "installation").order_by(AuditEvent.id)
        return [
            (row.action, row.actor, row.before["reason"], row.after["reason"])
            for row in connection.execute(events)
            if row.before
        ]
