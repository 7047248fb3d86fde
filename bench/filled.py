"""An installation filled with many rows at once, and how long a page of it takes.

Server time of whole requests through the WSGI application, signed in as an administrator.
"""

import logging
import tempfile
import time
from contextlib import closing, contextmanager
from contextvars import Context
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from cryptography.fernet import Fernet

from pdsapp import collector, create_app
from pdsapp.config import read_settings
from pdsapp.database import transaction
from pdsapp.extensions import db
from pdsapp.models import (
    Attempt,
    DigitalTwin,
    Experiment,
    ModelCall,
    Post,
    PostRevision,
    Schedule,
    ScheduleRevision,
    Slot,
    TwinTag,
    UserProfile,
    utc_now,
)
from pdsapp.models.base import new_uuid
from pdsapp.services import accounts, database, experiments, personas, rollups, schedules

from .figures import Steadiness

CHUNK, MOST_AGAIN = 20_000, 8
PASSWORD, EMAIL = "a password for the bench", "bench@example.org"
TOKEN = "the figures of a bench"
ENDS = (
    ("posted", "drawn", "rule"), ("skipped", "recency", "rule"), ("skipped", "share", "rule"),
    ("posted", "drawn", "rule"), ("skipped", "daily_limit", "limit"), ("posted", "drawn", "rule"),
    ("skipped", "recency_and_share", "rule"), ("failed", "deadline", "operational"),
    ("skipped", "recency", "rule"),
)  # fmt: skip
PROBABILITIES = (0.0, 0.3, 0.35, 0.5, 0.65, 0.8, 0.95)
BANDS = (("very short", 20, 79), ("short", 80, 139), ("medium", 140, 199), ("long", 200, 280))
TEXT = "Rain over the river again, and nobody brought the right shoes for it."


@contextmanager
def installation(url: str | None = None, with_web: bool = True, **others: str):
    """An application on a database of its own, a file or `url`, which is empty; its context is pushed.

    `others` are settings by their names in the environment.
    """
    with tempfile.TemporaryDirectory() as folder:
        settings = read_settings(
            PDS_DATA_DIR=folder, PDS_DEMO="0", SECRET_KEY="bench", DATABASE_URL=url,
            PDS_FERNET_KEYS=Fernet.generate_key().decode(), PDS_METRICS_TOKEN=TOKEN, **others,
        )  # fmt: skip
        app = create_app(settings, with_web=with_web)
        app.config.update(WTF_CSRF_ENABLED=False)
        with app.app_context():
            if url:
                from flask_migrate import upgrade

                upgrade()
            database.prepare(app)
            logging.getLogger().setLevel(logging.ERROR)
            try:
                yield app
            finally:
                db.session.remove()
                db.engine.dispose()


def signed_in(app):
    """A client in which the administrator is signed in."""
    client = app.test_client()
    answer = client.post("/login", data={"email": EMAIL, "password": PASSWORD})
    assert answer.status_code == 302, answer.text
    collector.settle()  # as processes that serve pages do
    return client


def page(client, address: str, rounds: int, machine: Steadiness | None = None) -> tuple[float, float, int]:
    """The median and the 95th percentile in milliseconds, and how many statements the page sends.

    With `machine`, requests before or after which it was slow are made again, up to MOST_AGAIN times as many.
    """
    sent: list[str] = []

    def note(_connection, _cursor, statement, *_):
        if statement.lstrip().upper().startswith(("SELECT", "WITH")):
            sent.append(statement)

    took, slow = [], []
    headers = {"Authorization": f"Bearer {TOKEN}"} if address == "/metrics" else {}

    def ask() -> float:
        began = time.perf_counter()
        answer = Context().run(client.get, address, headers=headers, buffered=True)
        if answer.status_code != 200:
            raise RuntimeError(f"{address} answers {answer.status_code}")
        return 1000 * (time.perf_counter() - began)

    ask()
    while len(took) < rounds and len(took) + len(slow) < MOST_AGAIN * rounds:
        is_slow = machine is not None and machine.is_slow()
        milliseconds = ask()
        is_slow = is_slow or (machine is not None and machine.is_slow())
        (slow if is_slow else took).append(milliseconds)
    took = sorted([*took, *slow[: rounds - len(took)]])
    sa.event.listen(db.engine, "before_cursor_execute", note)
    ask()
    sa.event.remove(db.engine, "before_cursor_execute", note)
    return took[len(took) // 2], took[len(took) * 95 // 100], len(sent)


def fill(twins: int, attempts: int, days: int, with_calls: bool = False) -> None:
    """A running experiment with so many twins, attempts over so many days, a third posted, 20 schedules.

    What has happened is rolled up, as it would be had it happened by itself.
    """
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
            schedules.add_schedule(session, wish, now - timedelta(days=days))
        of = key, *_ = experiment.id, experiment.policy_id, experiment.prompt_version_id
    written = CHUNK if twins > CHUNK and twins % CHUNK == 0 else twins
    numbers = range(1, written + 1)
    insert(UserProfile, ({"id": n, "experiment_id": key, "username": f"twin_{n}",
                           "username_key": f"twin_{n}", "display_name": f"Twin {n}", "is_bot": True}
                          for n in numbers))  # fmt: skip
    insert(DigitalTwin, ({"id": n, "experiment_id": key, "user_profile_id": n, "is_active": n % 10 > 0,
                           "persona_version_id": versions[n % 50],
                           "active_rank": n - 1 - n // 10 if n % 10 else None}
                          for n in numbers))  # fmt: skip
    insert(TwinTag, ({"digital_twin_id": n, "tag": "rare" if n % 500 == 0 else "all"} for n in numbers))
    _repeat(twins // written)
    with transaction() as session:
        session.get_one(Experiment, key).active_twin_count = twins - twins // 10
    _slots(now, days)
    step = timedelta(days=days) / attempts
    # The oldest first: ids grow with time.
    turns = [(attempts - n + 1, now - n * step) for n in range(attempts, 0, -1)]
    posted = [(number, at) for number, at in turns if _end(number)[0] == "posted"]
    insert(Attempt, (_attempt(number, 1 + number % twins, of, at) for number, at in turns))
    insert(Post, ({"id": number, "experiment_id": key, "user_profile_id": 1 + number % twins,
                    "attempt_id": number, "text": TEXT, "created_at": at, "changed_at": at}
                   for number, at in posted))  # fmt: skip
    insert(PostRevision, ({"post_id": number, "number": 1, "text": TEXT, "created_at": at}
                           for number, at in posted))  # fmt: skip
    if with_calls:
        insert(ModelCall, (_call(number, key, at) for number, at in turns if _end(number)[0] != "skipped"))
    _count_on()
    with db.engine.begin() as connection:
        connection.exec_driver_sql("ANALYZE")
    while rollups.roll_up(utc_now()):
        pass
    with db.engine.begin() as connection:
        connection.exec_driver_sql("ANALYZE")


def _repeat(times: int) -> None:
    """Writes the CHUNK of twins that are there so often, each time with the next numbers, by the database."""
    is_sqlite = db.engine.dialect.name == "sqlite"
    number = f"step.n * {CHUNK}"
    uuid = "lower(hex(randomblob(16)))" if is_sqlite else "gen_random_uuid()"
    name = f"(row.id + {number})"
    changed = {
        UserProfile: {"id": name, "username": f"'twin_' || {name}", "username_key": f"'twin_' || {name}",
                      "display_name": f"'Twin ' || {name}", "uuid": uuid},
        DigitalTwin: {"id": name, "user_profile_id": f"row.user_profile_id + {number}", "uuid": uuid,
                      "active_rank": f"row.active_rank + step.n * {CHUNK - CHUNK // 10}"},
        TwinTag: {"digital_twin_id": f"row.digital_twin_id + {number}"},
    }  # fmt: skip
    steps = f"(SELECT column1 AS n FROM (VALUES {', '.join(f'({n})' for n in range(1, times))}) AS given)"
    for model, expressions in changed.items() if times > 1 else ():
        table = model.__table__
        names = [column.name for column in table.columns]
        columns = ", ".join(f'"{each}"' for each in names)
        values = ", ".join(expressions.get(each, f'row."{each}"') for each in names)
        with db.engine.begin() as connection:
            connection.exec_driver_sql(
                f"INSERT INTO {table.name} ({columns}) SELECT {values} FROM {steps} AS step "
                f"CROSS JOIN {table.name} AS row ORDER BY step.n"
            )


def _count_on() -> None:
    """PostgreSQL numbers new rows from where it was, not from the ids that were written."""
    if db.engine.dialect.name != "postgresql":
        return
    with db.engine.begin() as connection:
        for table in ("user_profile", "digital_twin", "attempt", "post"):
            top = f"(SELECT max(id) FROM {table})"
            connection.exec_driver_sql(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), {top})")


def _end(number: int) -> tuple[str, str, str]:
    return ENDS[number % len(ENDS)]


def _call(number: int, experiment: int, at: datetime) -> dict:
    is_answered = _end(number)[0] == "posted"
    return {
        "attempt_id": number, "experiment_id": experiment, "purpose": "attempt",
        "endpoint": f"https://{'ab'[number % 2]}.example.org/v1", "model_asked": "gpt-4o-mini",
        "state": "answered" if is_answered else "failed", "error": None if is_answered else "deadline",
        "latency_ms": 400 + number * 37 % 3_000, "started_at": at, "finished_at": at,
    }  # fmt: skip


def _attempt(number: int, twin: int, of: tuple[int, int, int], at: datetime) -> dict:
    experiment, policy, prompt = of
    state, reason, of_class = _end(number)
    probability = PROBABILITIES[number * 7 // 3 % len(PROBABILITIES)]
    band, minimum, maximum = BANDS[number // 3 % len(BANDS)]
    is_posted = state == "posted"
    return {
        "id": number, "experiment_id": experiment, "digital_twin_id": twin,
        "trigger": "schedule", "schedule_id": 1 + number % 20, "state": state, "reason": reason,
        "reason_class": of_class, "detail": "posted 2 h ago: 0.50", "created_at": at, "changed_at": at,
        "not_before": at, "decided_at": at, "finished_at": at, "draw": 0.41, "skip_probability": probability,
        "would_post": state != "skipped", "recency_probability": probability, "share_probability": 0.0,
        "policy_id": policy, "prompt_version_id": prompt, "model": "gpt-4o-mini" if is_posted else "",
        "length_band": band if is_posted else None, "length_minimum": minimum if is_posted else None,
        "length_maximum": maximum if is_posted else None, "length": len(TEXT) if is_posted else None,
        "prompt_tokens": 700 if is_posted else None, "completion_tokens": 40 if is_posted else None,
    }  # fmt: skip


def _slots(now: datetime, days: int) -> None:
    with transaction() as session:
        revisions = dict(session.execute(sa.select(ScheduleRevision.schedule_id, ScheduleRevision.id)).all())
        found = session.execute(sa.select(Schedule.id, Schedule.experiment_id)).all()
    insert(Slot, ({"schedule_id": key, "revision_id": revisions[key], "experiment_id": experiment,
                    "slot_at": now - timedelta(hours=hour, minutes=key), "kind": "fired"}
                   for key, experiment in found for hour in range(24 * days)))  # fmt: skip


def insert(model, rows) -> None:
    """Straight into the table, all rows with the same columns: the ORM would take ten times as long."""
    table = model.__table__
    # What is worked out for a row (now, an empty list) is the same for all; but each has a uuid of its own.
    given = {
        column.name: column.default.arg(None) if column.default.is_callable else column.default.arg
        for column in table.columns
        if column.default is not None and column.name != "uuid"
    }
    made = {column.name: new_uuid for column in table.columns if column.name == "uuid"}
    chunk: list[dict] = []
    for row in rows:
        chunk.append(given | {name: make() for name, make in made.items()} | row)
        if len(chunk) == CHUNK:
            _write(table, chunk)
            chunk = []
    if chunk:
        _write(table, chunk)


def _write(table: sa.Table, rows: list[dict]) -> None:
    """Past SQLAlchemy, but for how it has each kind of value stored: by COPY on PostgreSQL."""
    dialect = db.engine.dialect
    names = list(rows[0])
    stored = [table.c[name].type.dialect_impl(dialect).bind_processor(dialect) or _as_it_is for name in names]
    values = (tuple(store(row[name]) for store, name in zip(stored, names, strict=True)) for row in rows)
    columns = ", ".join(f'"{name}"' for name in names)
    with transaction() as session, closing(session.connection().connection.cursor()) as cursor:
        if dialect.name == "postgresql":
            with cursor.copy(f"COPY {table.name} ({columns}) FROM STDIN") as copy:
                for each in values:
                    copy.write_row(each)
        else:
            marks = ", ".join("?" * len(names))
            cursor.executemany(f"INSERT INTO {table.name} ({columns}) VALUES ({marks})", values)


def _as_it_is(value: Any) -> Any:
    return value
