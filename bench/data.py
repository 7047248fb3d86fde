"""What the data costs: growth per 1,000 attempts, and how long a backup and a move take.

`growth` runs real attempts with the offline writer and a real Valkey; `backup` and `move` fill a database
with 200,000 attempts first. `move` needs a PostgreSQL server in `BENCH_DATABASE_URL`, on which it makes and
drops a database of its own.
"""

import asyncio
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import redis
import sqlalchemy as sa

from pdsapp import create_app
from pdsapp.attempts.batch import Batch
from pdsapp.attempts.create import Request, add_for_twin
from pdsapp.attempts.workshop import make_workshop
from pdsapp.config import read_settings
from pdsapp.database import transaction
from pdsapp.domain.reasons import Trigger
from pdsapp.dt_service import load_service
from pdsapp.extensions import db
from pdsapp.models import Attempt, AttemptContext, DigitalTwin, ModelCall, Post, PostRevision, utc_now
from pdsapp.scheduling import queue
from pdsapp.services import backups, bulk, database, disk, experiments
from pdsapp.stack.keeper import PAUSE_SECONDS

from . import servers

ROUNDS, TWINS = 10, 100
MANY, AT_ONCE, POSTED_EVERY, CONTEXT = 200_000, 5_000, 2, 10
WRITERS, SECONDS, AFTERWARDS_SECONDS = 8, 15.0, 2.0


def growth() -> Iterator[str]:
    """The table in Markdown."""
    with ExitStack() as stack:
        url = stack.enter_context(servers.offline_writer())
        settings = stack.enter_context(_installation(PDS_OFFLINE_WRITER_URL=url))
        client = stack.enter_context(redis.from_url(stack.enter_context(servers.valkey(settings.data_dir))))
        twins = _twins()
        _run(settings, twins, client, 0)
        before, rows = _sizes(settings, client), _rows()
        lines = sum(_run(settings, twins, client, number) for number in range(1, ROUNDS + 1))
        after, count = _sizes(settings, client), _rows() - rows
    yield "| what grows | per 1,000 attempts that post |"
    yield "| --- | ---: |"
    for name in before:
        yield f"| {name} | {disk.bytes_words(round((after[name] - before[name]) * 1000 / count))} |"
    yield f"| log (standard error, if you keep it) | {disk.bytes_words(round(lines * 1000 / count))} |"
    yield ""
    yield f"Measured over {count:,} attempts that posted, with context, calls, revision and post; SQLite."


def backup() -> Iterator[str]:
    """How long eight writers wait for a commit: alone, beside `flask backup`, beside the daily backup."""
    with _installation() as settings:
        _fill()
        source = settings.data_dir / backups.DATABASE_NAME
        size = source.stat().st_size
        yield (
            f"A database of {disk.bytes_words(size)}, {SECONDS:.0f} seconds a line at least. “Seconds”: of "
            "the slowest backup. “Log”: the largest write-ahead log."
        )
        yield ""
        yield "| eight writers | backups | seconds | commits | median wait | 99 % wait | longest | log |"
        yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
        yield _beside_writers("alone", source, None)
        yield _beside_writers("beside `flask backup`", source, lambda: None)
        yield _beside_writers("beside the daily backup", source, lambda: time.sleep(PAUSE_SECONDS))


def _beside_writers(name: str, source: Path, pause: Callable[[], object] | None) -> str:
    """A line of the table. Without `pause` nothing is copied; the wait is from asking to having committed.

    The writers go on after each copy: what they wrote meanwhile could not leave the write-ahead log, and one
    of them carries it over.
    """
    seconds, log = [], [0]

    def copying():
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            if pause is not None:
                target = source.with_name(f"copy-{len(seconds)}.sqlite3")
                seconds.append(backups.copy_database(source, target, pause).seconds)
                target.unlink()
            log.append(Path(f"{source}-wal").stat().st_size)
            time.sleep(AFTERWARDS_SECONDS)

    waits = _waits(source, copying)
    figures = (waits[len(waits) // 2], waits[len(waits) * 99 // 100], waits[-1])
    return (
        f"| {name} | {len(seconds)} | {max(seconds, default=0):.1f} | {len(waits):,} | "
        + " | ".join(f"{1000 * figure:.1f} ms" for figure in figures)
        + f" | {disk.bytes_words(max(log))} |"
    )


def moving() -> Iterator[str]:
    """Seconds and memory of the command that moves, there and back."""
    server = os.environ.get("BENCH_DATABASE_URL")
    if not server:
        yield "Set BENCH_DATABASE_URL to a PostgreSQL server to measure a move."
        return
    yield "| move | rows | SQLite file | seconds | processor seconds of the command | its memory at most |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: |"
    with _installation() as settings, servers.own_database(server) as url:
        _fill()
        given = {
            "PDS_DATA_DIR": str(settings.data_dir), "PDS_DEMO": "0", "SECRET_KEY": "bench",
            "PDS_FERNET_KEYS": settings.require("fernet_keys"),
        }  # fmt: skip
        size = (settings.data_dir / backups.DATABASE_NAME).stat().st_size
        db.engine.dispose()
        yield _moved("SQLite to PostgreSQL", given, url, size)
        target = settings.data_dir / "back" / backups.DATABASE_NAME
        yield _moved("PostgreSQL to SQLite", {**given, "DATABASE_URL": url}, f"sqlite:///{target}", size)


def _moved(words: str, given: dict[str, str], url: str, size: int) -> str:
    """A line of the table: the command run as a process of its own, told its settings by `given` alone."""
    folder = Path(given["PDS_DATA_DIR"])
    command = [sys.executable, "-m", "flask", "--app", str(servers.ROOT / "app.py"), "move", "--to", url]
    began = time.monotonic()
    with (folder / "said").open("w+") as said, (folder / "why").open("w+") as why:
        process = subprocess.Popen(
            command, env={**os.environ, "DATABASE_URL": "", **given, "FLASK_SKIP_DOTENV": "1"}, cwd=folder,
            stdout=said, stderr=why,
        )  # fmt: skip
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        why.seek(0)
        if process.returncode:
            raise RuntimeError(why.read())
        rows = said.read().split()[1]
    return (
        f"| {words} | {rows} | {disk.bytes_words(size)} | {time.monotonic() - began:.0f} | "
        f"{used.ru_utime + used.ru_stime:.0f} | {used.ru_maxrss / 1024:.0f} MB |"
    )


@contextmanager
def _installation(**settings: str):
    from cryptography.fernet import Fernet

    with tempfile.TemporaryDirectory() as folder:
        given = {
            "PDS_DATA_DIR": folder, "PDS_DEMO": "0", "SECRET_KEY": "bench", "DATABASE_URL": None,
            "PDS_FERNET_KEYS": Fernet.generate_key().decode(), **settings,
        }  # fmt: skip
        found = read_settings(**given)
        app = create_app(found, with_web=False)
        database.prepare(app)
        logging.getLogger().setLevel(logging.INFO)
        with app.app_context():
            try:
                yield found
            finally:
                db.session.remove()
                db.engine.dispose()


def _twins() -> list[int]:
    with transaction() as session:
        experiment = experiments.add_experiment(session, "Bench", "UTC", utc_now(), is_demo=True)
        session.flush()
        return [t.id for t in bulk.set_up_twins(session, experiment, bulk.built_in_rows(), TWINS, utc_now())]


class _Counted(logging.Handler):
    """Counts the bytes a log would take."""

    def __init__(self):
        super().__init__()
        self.bytes = 0

    def emit(self, record):
        self.bytes += len(self.format(record)) + 1


def _run(settings, twins: list[int], client: redis.Redis, number: int) -> int:
    """Asks every twin once, waking the lane as doors and workers do; the bytes of log lines."""
    root = logging.getLogger()
    counted = _Counted()
    counted.setFormatter(root.handlers[0].formatter)
    handlers, root.handlers = root.handlers, [counted]
    try:
        with transaction() as session:
            for twin_id in twins:
                request = Request(Trigger.cli, f"bench-{number}-{twin_id}", is_forced=True)
                add_for_twin(session, session.get_one(DigitalTwin, twin_id), request, utc_now())
        for _ in twins:
            queue.wake(client, "now")
        while client.lpop(queue.lane_queue(client, "now").key):
            pass
        batch = Batch(make_workshop(settings, load_service(settings)), "bench", None, 10_000, 8)
        asyncio.run(batch.drain())
    finally:
        root.handlers = handlers
    if batch.ended != {"posted": len(twins)}:
        raise RuntimeError(f"not all attempts posted: {batch.ended}")
    return counted.bytes


def _rows() -> int:
    with transaction() as session:
        return session.scalar(sa.select(sa.func.count(Attempt.id)))


def _sizes(settings, client: redis.Redis) -> dict[str, int]:
    with db.engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        size = connection.exec_driver_sql("PRAGMA page_size").scalar()
    time.sleep(1.2)
    return {
        "database": pages * size,
        "Valkey's append-only file, before it is rewritten": client.info("persistence")["aof_current_size"],
    }


def _fill() -> None:
    """200,000 attempts, half of them posted, each of those with a call and ten posts of context."""
    twins = _twins()
    with transaction() as session:
        twin = session.get_one(DigitalTwin, twins[0])
        experiment_id, profile_id = twin.experiment_id, twin.user_profile_id
    start = datetime(2026, 1, 1, tzinfo=UTC)
    text = "Rain over the river again, and nobody brought the right shoes for it. " * 2
    for first in range(1, MANY, AT_ONCE):
        attempts, posts, revisions, calls, context = [], [], [], [], []
        for number in range(first, first + AT_ONCE):
            at = start + timedelta(seconds=number)
            is_posted = number % POSTED_EVERY == 0
            attempts.append(
                {
                    "id": number, "experiment_id": experiment_id, "digital_twin_id": twins[number % TWINS],
                    "trigger": "schedule", "state": "posted" if is_posted else "skipped",
                    "reason": "drawn" if is_posted else "recency", "reason_class": "rule",
                    "detail": "It posted two hours ago; the draw fell below the skip probability.",
                    "created_at": at, "changed_at": at, "finished_at": at, "draw": number / MANY,
                    "skip_probability": 0.5, "draft": text if is_posted else None,
                }
            )  # fmt: skip
            if not is_posted:
                continue
            posts.append(
                {"id": number, "experiment_id": experiment_id, "user_profile_id": profile_id, "text": text,
                 "attempt_id": number, "created_at": at, "changed_at": at}
            )  # fmt: skip
            revisions.append({"post_id": number, "number": 1, "text": text, "created_at": at})
            calls.append(
                {"uuid": uuid4(), "attempt_id": number, "experiment_id": experiment_id, "reply": text,
                 "endpoint": "http://127.0.0.1/v1", "model_asked": "bench", "started_at": at,
                 "messages_sha256": "0" * 64}
            )  # fmt: skip
            if number > 2 * CONTEXT:
                context += [
                    {"attempt_id": number, "position": place, "post_id": number - 2 * place, "revision": 1}
                    for place in range(1, CONTEXT + 1)
                ]
        with transaction() as session:
            for model, rows in (
                (Attempt, attempts), (Post, posts), (PostRevision, revisions), (ModelCall, calls),
                (AttemptContext, context),
            ):  # fmt: skip
                session.execute(sa.insert(model), rows)


def _waits(source: Path, do: Callable[[], object]) -> list[float]:
    """How long each commit of eight writers took while something was done, in order."""
    program = str(servers.ROOT / "bench" / "writer.py")
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        go, stop = Path(folder, "go"), Path(folder, "stop")
        command = [sys.executable, "-S", program, str(source), str(go), str(stop)]
        writers = [
            stack.enter_context(servers.ended(subprocess.Popen(command, stdout=subprocess.PIPE, text=True)))
            for _ in range(WRITERS)
        ]
        for writer in writers:
            writer.stdout.readline()
        go.touch()
        do()
        stop.touch()
        return sorted(wait for writer in writers for wait in json.loads(writer.communicate()[0]))
