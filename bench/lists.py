"""How long lists and pages take with 100,000 twins and 1,000,000 attempts, beside the same pages with 100.

Server time of whole requests through the WSGI application, signed in, on SQLite. The floor is the same page
with 100 rows in the same run; statements are counted too, since their number must not grow with the rows.
"""

import logging
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import Context
from datetime import timedelta
from uuid import uuid4

import sqlalchemy as sa
from cryptography.fernet import Fernet

from pdsapp import create_app
from pdsapp.config import read_settings
from pdsapp.database import transaction
from pdsapp.extensions import db
from pdsapp.models import (
    Attempt,
    DigitalTwin,
    Experiment,
    Post,
    PostRevision,
    Schedule,
    ScheduleRevision,
    Slot,
    TwinTag,
    UserProfile,
    utc_now,
)
from pdsapp.services import accounts, database, experiments, personas, schedules

SMALL = {"twins": 100, "attempts": 100}
LARGE = {"twins": 100_000, "attempts": 1_000_000}
ROUNDS, CHUNK = 20, 20_000
DAYS = 60
PASSWORD, EMAIL = "a password for the bench", "bench@example.org"
# name, address; {experiment} and {twin} are put in.
PAGES = (
    ("dashboard, 24 hours", "/admin/?period=24h"),
    ("dashboard, 30 days", "/admin/?period=30d"),
    ("activity", "/activity"),
    ("activity, skipped by the rule", "/activity?state=skipped&class=rule"),
    ("activity, one twin", "/activity?twin={twin}"),
    ("twins", "/admin/digitaltwin/"),
    ("twins, page 500", "/admin/digitaltwin/?page=500"),
    ("twins, inactive", "/admin/digitaltwin/?active=0"),
    ("twins, with a tag", "/admin/digitaltwin/?tag=rare"),
    ("twins, search", "/admin/digitaltwin/?search=twin_77"),
    ("a twin", "/admin/digitaltwin/details/?id=7"),
    ("profiles", "/admin/userprofile/"),
    ("posts", "/admin/post/"),
    ("feed", "/experiments/{experiment}/feed"),
    ("schedules", "/admin/schedule/"),
    ("experiments", "/admin/experiment/"),
    ("an experiment", "/admin/experiment/details/?id=1"),
    ("personas", "/admin/persona/"),
    ("API tokens", "/admin/apitoken/"),
    ("audit log", "/admin/audit/"),
)


def lines() -> Iterator[str]:
    """The table in Markdown."""
    small, large = _measured(**SMALL), _measured(**LARGE)
    yield f"{LARGE['twins']:,} twins and {LARGE['attempts']:,} attempts against {SMALL['twins']} of each; "
    yield f"{ROUNDS} requests a page, milliseconds of server time, SQLite."
    yield ""
    yield "| page | 100 rows, p50 | large, p50 | large, p95 | ratio of p50 | statements |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: |"
    for name, _ in PAGES:
        (few, _, few_sent), (many, late, sent) = small[name], large[name]
        same = f"{sent}" if sent == few_sent else f"{few_sent} → {sent}"
        yield f"| {name} | {few:.0f} | {many:.0f} | {late:.0f} | {many / few:.1f} | {same} |"


def _measured(twins: int, attempts: int) -> dict[str, tuple[float, float, int]]:
    """For each page p50 and p95 in milliseconds, and how many statements it sends."""
    with _installation() as app:
        _fill(twins, attempts)
        with transaction() as session:
            experiment = session.scalars(sa.select(Experiment.identifier)).first()
            twin = session.scalars(sa.select(DigitalTwin.uuid).where(DigitalTwin.id == 7)).one()
        client = app.test_client()
        answer = client.post("/login", data={"email": EMAIL, "password": PASSWORD})
        assert answer.status_code == 302, answer.text
        return {
            name: _page(client, address.format(experiment=experiment, twin=twin)) for name, address in PAGES
        }


def _page(client, address: str) -> tuple[float, float, int]:
    sent: list[str] = []

    def note(_connection, _cursor, statement, *_):
        if statement.lstrip().upper().startswith("SELECT"):
            sent.append(statement)

    took = []
    for number in range(ROUNDS + 1):
        if number == ROUNDS:
            sa.event.listen(db.engine, "before_cursor_execute", note)
        began = time.perf_counter()
        answer = Context().run(client.get, address, buffered=True)
        took.append(1000 * (time.perf_counter() - began))
        if answer.status_code != 200:
            raise RuntimeError(f"{address} answers {answer.status_code}")
    sa.event.remove(db.engine, "before_cursor_execute", note)
    took = sorted(took[1:])
    return took[len(took) // 2], took[len(took) * 95 // 100], len(sent)


@contextmanager
def _installation():
    with tempfile.TemporaryDirectory() as folder:
        settings = read_settings(
            PDS_DATA_DIR=folder, PDS_DEMO="0", SECRET_KEY="bench", DATABASE_URL=None,
            PDS_FERNET_KEYS=Fernet.generate_key().decode(),
        )  # fmt: skip
        app = create_app(settings)
        app.config.update(WTF_CSRF_ENABLED=False)
        database.prepare(app)
        logging.getLogger().setLevel(logging.ERROR)
        with app.app_context():
            try:
                yield app
            finally:
                db.session.remove()
                db.engine.dispose()


def _fill(twins: int, attempts: int) -> None:
    """A running experiment with so many twins, attempts over 60 days, a third of them posts, 20 schedules."""
    now = utc_now()
    with transaction() as session:
        accounts.add_account(session, EMAIL, "administrator", now, PASSWORD)
        experiment = experiments.add_experiment(session, "Bench", "Europe/Rome", now)
        session.flush()
        versions = [
            personas.add_persona(session, f"Persona {number}", f"You write about {number}.", now).id
            for number in range(50)
        ]
        for number in range(20):
            wish = schedules.Wish(f"Schedule {number}", experiment, cron=f"{number} * * * *", is_enabled=True)
            schedules.add_schedule(session, wish, now - timedelta(days=DAYS))
        key, policy_id, prompt_id = experiment.id, experiment.policy_id, experiment.prompt_version_id
    numbers = range(1, twins + 1)
    _insert(UserProfile, ({"id": n, "experiment_id": key, "username": f"twin_{n}",
                           "username_key": f"twin_{n}", "display_name": f"Twin {n}", "is_bot": True}
                          for n in numbers))  # fmt: skip
    _insert(DigitalTwin, ({"id": n, "experiment_id": key, "user_profile_id": n, "is_active": n % 10 > 0,
                           "persona_version_id": versions[n % 50],
                           "active_rank": n - 1 - n // 10 if n % 10 else None}
                          for n in numbers))  # fmt: skip
    _insert(
        TwinTag,
        ({"digital_twin_id": n, "tag": "rare" if n % 500 == 0 else "all"} for n in range(1, twins + 1)),
    )
    with transaction() as session:
        session.get_one(Experiment, key).active_twin_count = twins - twins // 10
    _slots(now)
    step = timedelta(days=DAYS) / attempts
    states = (
        ("posted", "drawn", "rule"),
        ("skipped", "recency", "rule"),
        ("skipped", "daily_limit", "limit"),
    )
    _insert(Attempt, (_attempt(n, 1 + n % twins, key, policy_id, prompt_id, states[n % 3], now - n * step)
                      for n in range(attempts, 0, -1)))  # fmt: skip
    posted = range(attempts - attempts % 3, 0, -3)
    text = "Rain over the river again, and nobody brought the right shoes for it."
    _insert(Post, ({"id": attempts - n + 1, "experiment_id": key, "user_profile_id": 1 + n % twins,
                    "attempt_id": attempts - n + 1, "text": text, "created_at": now - n * step,
                    "changed_at": now - n * step} for n in posted))  # fmt: skip
    _insert(PostRevision, ({"post_id": attempts - n + 1, "number": 1, "text": text, "created_at": now}
                           for n in posted))  # fmt: skip
    with db.engine.begin() as connection:
        connection.exec_driver_sql("ANALYZE")


def _attempt(n: int, twin: int, experiment: int, policy: int, prompt: int, end: tuple, at) -> dict:
    state, reason, of_class = end
    return {
        "uuid": uuid4(), "experiment_id": experiment, "digital_twin_id": twin, "trigger": "schedule",
        "schedule_id": 1 + n % 20, "state": state, "reason": reason, "reason_class": of_class,
        "detail": "posted 2 h ago: 0.50", "created_at": at, "changed_at": at, "not_before": at,
        "decided_at": at, "finished_at": at, "draw": 0.41, "skip_probability": 0.5,
        "would_post": state == "posted", "recency_probability": 0.5, "share_probability": 0.0,
        "policy_id": policy, "prompt_version_id": prompt,
    }  # fmt: skip


def _slots(now) -> None:
    with transaction() as session:
        revisions = dict(session.execute(sa.select(ScheduleRevision.schedule_id, ScheduleRevision.id)).all())
        found = session.execute(sa.select(Schedule.id, Schedule.experiment_id)).all()
    _insert(Slot, ({"schedule_id": key, "revision_id": revisions[key], "experiment_id": experiment,
                    "slot_at": now - timedelta(hours=hour, minutes=key), "kind": "fired"}
                   for key, experiment in found for hour in range(24 * DAYS)))  # fmt: skip


def _insert(model, rows) -> None:
    chunk: list[dict] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == CHUNK:
            _write(model, chunk)
            chunk = []
    if chunk:
        _write(model, chunk)


def _write(model, rows: list[dict]) -> None:
    with transaction() as session:
        session.execute(sa.insert(model), rows)
