"""A small world with a row of everything, and a browser of an administrator that is in nobody's way."""

from datetime import timedelta
from types import SimpleNamespace

import pytest
from sqlalchemy import select

from pdsapp.domain.reasons import ExperimentState
from pdsapp.models import Account, DigitalTwin, Experiment, Persona, TwinTag, utc_now
from pdsapp.services import accounts, bulk_imports, cloning, lifecycle, pauses, personas
from pdsapp.services.bulk_files import NamedFile, read_files
from pdsapp.services.bulk_plan import Options
from pdsapp.web import zones
from pdsapp.web.extensions import limiter
from tests.attempt_rows import put_row

TWINS = b"username,persona_name,persona\nmaya_reads,Bus driver,You drove trams.\nnew_one,Bus driver,\n"


@pytest.fixture
def calm(app, monkeypatch):
    """The application, answering as people meet it, as often as a test likes."""
    monkeypatch.setattr(limiter, "enabled", False)
    monkeypatch.setattr(zones, "_names", lambda: ("America/New_York", "Europe/Rome"))  # 400 more cost time
    app.config.update(PROPAGATE_EXCEPTIONS=False, FLASK_ADMIN_RAISE_ON_VIEW_EXCEPTION=False)
    return app


@pytest.fixture
def world(calm, rows, schedule, write, administrator):
    """Experiments in every state with people, twins, schedules and attempts; an archived persona; an import
    of twins that waits to be confirmed; an account that has to be granted what it sees."""
    now = utc_now()
    with write() as session:
        experiment = session.get_one(Experiment, rows.experiment.id)
        twin = session.get_one(DigitalTwin, rows.twin.id)
        session.add(TwinTag(digital_twin_id=twin.id, tag="pilot"))
        put_row(session, twin, "posted", at=now - timedelta(hours=2), draw=0.5, age_hours=3, own_count=1)
        put_row(session, twin, "skipped", "recency", at=now - timedelta(hours=1), draw=0.1, own_count=1)
        draft, archived = _copies(session, experiment, now)
        old = personas.add_persona(session, "Retired", "You have retired.", now)
        session.flush()
        session.get_one(Persona, old.persona_id).is_archived = True
        accounts.add_account(session, "assistant@example.org", "researcher", now, sees_all=False)
        sheet = read_files([NamedFile("twins.csv", TWINS)])
        owner = session.scalars(select(Account).where(Account.email == "administrator@example.org")).one()
        kept = bulk_imports.keep(
            session, experiment, "twins.csv", sheet, Options(rows.token.id, True), now, owner
        )
    return SimpleNamespace(
        app=calm,
        browser=administrator,
        rows=rows,
        values={
            "export_type": "csv",
            "text": rows.experiment.identifier,
            "uuid": str(kept.uuid),
            "ids": f"1 {draft.id} {archived.id}",
        },
    )


def _copies(session, experiment, now):
    """Copies of the experiment, one for each state that it has not; the draft and the archived one."""
    names = ["Paused copy", "Draft", "Ended copy", "Archived copy"]
    paused, draft, ended, archived = cloning.clone(
        session, experiment, names, now, with_twins=True, with_schedules=True
    )
    session.flush()
    for each in (paused, ended, archived):
        each.state, each.started_at = ExperimentState.running, now
    session.flush()
    pauses.pause_experiment(session, paused, now, "exam week")
    lifecycle.end(session, ended, now)
    lifecycle.end(session, archived, now)
    lifecycle.archive(session, archived, now)
    return draft, archived
