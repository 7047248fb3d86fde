"""A small world with a row of everything, and a browser of an administrator that is in nobody's way."""

from datetime import timedelta
from types import SimpleNamespace

import pytest

from pdsapp.extensions import limiter
from pdsapp.models import Experiment, Persona, utc_now
from pdsapp.services import cloning, pauses, personas
from tests.attempt_rows import put_row


@pytest.fixture
def world(app, rows, schedule, write, administrator, monkeypatch):
    """One running and one paused experiment, people, twins, schedules, attempts, an archived persona."""
    monkeypatch.setattr(limiter, "enabled", False)
    app.config.update(PROPAGATE_EXCEPTIONS=False, FLASK_ADMIN_RAISE_ON_VIEW_EXCEPTION=False)
    now = utc_now()
    with write() as session:
        experiment = session.get_one(Experiment, rows.experiment.id)
        put_row(session, rows.twin, "posted", at=now - timedelta(hours=2), draw=0.5, age_hours=3, own_count=1)
        put_row(session, rows.twin, "skipped", "recency", at=now - timedelta(hours=1), draw=0.1, own_count=1)
        copy = cloning.clone(session, experiment, ["Paused copy"], now, with_twins=True, with_schedules=True)[
            0
        ]
        session.flush()
        pauses.pause_experiment(session, copy, now, "exam week")
        old = personas.add_persona(session, "Retired", "You have retired.", now)
        session.flush()
        session.get_one(Persona, old.persona_id).is_archived = True
    return SimpleNamespace(
        app=app,
        browser=administrator,
        rows=rows,
        values={"export_type": "csv", "text": rows.experiment.identifier, "uuid": ""},
    )
