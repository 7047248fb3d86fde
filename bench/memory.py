"""What a worker takes: resident memory at 1, 64, 256 and 512 attempts at once, and over 10,000 of them.

A real `flask worker` with its work-horse, on a Valkey of its own. Beside it, processes that run a batch each
against a model that answers so late that as many calls as may be are on their way. By itself
(`make bench ARGS=growing`) a process that runs 10,000 attempts in one piece, which no worker does, so that
growth would show.
"""

import asyncio
import gc
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from secrets import token_urlsafe
from urllib.request import ProxyHandler, build_opener

import redis
import sqlalchemy as sa
from cryptography.fernet import Fernet

from pdsapp import collector, create_app
from pdsapp.attempts.create import Request, add_for_twin
from pdsapp.config import Settings, read_settings
from pdsapp.database import reading, transaction
from pdsapp.domain.reasons import TERMINAL_STATES, Trigger
from pdsapp.extensions import db
from pdsapp.models import Attempt, DigitalTwin, utc_now
from pdsapp.scheduling import queue
from pdsapp.services import bulk, database, experiments

from . import servers

ROOT = Path(__file__).resolve().parent.parent
AT_ONCE = (1, 64, 256, 512)
ATTEMPTS, TWINS, STEPS = 10_000, 600, 5
# The model answers after a second for each so many calls at once, or the first would be back before the last.
CALLS_PER_SECOND = 50
# What 10,000 attempts may leave behind in a process that ran them all.
MOST_GROWTH_BYTES = 30_000_000
SECONDS = 1_800
ONE_PROCESS = "import sys; from bench import memory; memory.one_process(int(sys.argv[1]), int(sys.argv[2]))"


def lines() -> Iterator[str]:
    """The tables in Markdown."""
    yield "| process | calls at once, seen by the model | resident, at most | of it its own |"
    yield "| --- | ---: | ---: | ---: |"
    with _installation(AT_ONCE[1]) as settings:
        parent, horse, own = _worker(settings, TWINS)
    yield f"| worker, {AT_ONCE[1]} at once | | {_mb(parent)} | |"
    yield f"| its work-horse | | {_mb(horse)} | {_mb(own)} |"
    for at_once in AT_ONCE:
        most, resident, own = at_peak(at_once)
        yield f"| a batch, {at_once} at once | {most} | {_mb(resident)} | {_mb(own)} |"


def growth_lines() -> Iterator[str]:
    """The table of growth in Markdown, with its bound."""
    found = grown(ATTEMPTS, STEPS)
    yield f"| attempts in one process, {AT_ONCE[1]} at once | resident |"
    yield "| ---: | ---: |"
    for count, size in found:
        yield f"| {count:,} | {_mb(size)} |"
    yield ""
    growth = found[-1][1] - found[1][1]
    yield f"Growth after the first {found[1][0]:,}: {_mb(growth)}. Bound: {_mb(MOST_GROWTH_BYTES)}."


def grown(attempts: int, steps: int, at_once: int = AT_ONCE[1]) -> list[tuple[int, int]]:
    """How many attempts a process of its own had run, and its resident bytes then; at first none."""
    with _installation(at_once) as settings:
        _twins(TWINS)
        found = subprocess.run(
            [sys.executable, "-c", ONE_PROCESS, str(attempts), str(steps)],
            cwd=ROOT, env=_environment(settings), stdout=subprocess.PIPE, text=True, check=True,
            timeout=SECONDS,
        )  # fmt: skip
    return [tuple(int(word) for word in line.split()) for line in found.stdout.splitlines()]


def at_peak(at_once: int) -> tuple[int, int, int]:
    """The most calls the model had at once, and the most resident and own bytes of a process meanwhile."""
    with _installation(at_once, slow=True) as settings:
        count = max(8, at_once)
        _twins(count)
        process = subprocess.Popen(
            [sys.executable, "-c", ONE_PROCESS, str(count), "0"],
            cwd=ROOT, env=_environment(settings), stdout=subprocess.DEVNULL,
        )  # fmt: skip
        resident = own = 0
        with servers.ended(process):
            deadline = time.monotonic() + SECONDS
            while process.poll() is None and time.monotonic() < deadline:
                found = _memory(process.pid)
                resident, own = max(resident, found[0]), max(own, found[1])
                time.sleep(0.05)
        if process.returncode != 0:
            raise RuntimeError(f"the batch ended with {process.returncode}")
        with build_opener(ProxyHandler({})).open(
            settings.offline_writer_url.replace("/v1", "/most"), timeout=10
        ) as answer:
            return int(answer.read()), resident, own


def one_process(attempts: int, steps: int) -> None:
    """What that process does; it prints how many are done, and its resident bytes. No steps: one batch."""
    import logging

    from pdsapp.attempts.batch import Batch
    from pdsapp.attempts.workshop import make_workshop, warm_up
    from pdsapp.dt_service import load_service

    settings = read_settings()
    with create_app(settings, with_web=False).app_context():
        logging.getLogger().setLevel(logging.WARNING)
        warm_up(settings)
        collector.settle()

        def drain() -> None:
            workshop = make_workshop(settings, load_service(settings))
            asyncio.run(Batch(workshop, "bench", None, attempts, settings.at_once).drain())

        if not steps:
            _ask_all(attempts, 0)
            return drain()
        print(0, _left_behind(), flush=True)
        for step in range(steps):
            _ask_all(attempts // steps, step)
            until = time.monotonic() + SECONDS
            while _left():  # an attempt of a twin that is busy, or one that was given back, waits a moment
                if time.monotonic() > until:
                    raise RuntimeError("not all attempts have ended in time")
                drain()
                time.sleep(0.05)
            print((step + 1) * (attempts // steps), _left_behind(), flush=True)


def _left_behind() -> int:
    """Resident bytes of this process without what only waits for the collector."""
    gc.collect()
    return _memory(os.getpid())[0]


def _worker(settings: Settings, attempts: int) -> tuple[int, int, int]:
    """Resident bytes of a worker, the most its work-horse had, and how much of that was its own."""
    _twins(attempts)
    _ask_all(attempts, 0)
    command = [sys.executable, "-m", "flask", "worker", "--lanes", "default"]
    environment = _environment(settings)
    worker = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
    parent = horse = own = 0
    with servers.ended(worker), redis.from_url(settings.require("redis_url")) as client:
        queue.wake(client, "default", 1)
        deadline = time.monotonic() + SECONDS
        while _left() and time.monotonic() < deadline:
            children = Path(f"/proc/{worker.pid}/task/{worker.pid}/children").read_text().split()
            parent = max(parent, _memory(worker.pid)[0])
            for child in children:
                resident, private = _memory(int(child))
                horse, own = max(horse, resident), max(own, private)
            time.sleep(0.05)
    if not horse:
        raise RuntimeError("no work-horse was seen")
    return parent, horse, own


@contextmanager
def _installation(at_once: int, slow: bool = False) -> Iterator[Settings]:
    """An installation in its context, with a model and a Valkey of its own; nothing is left.

    The model is the offline writer, or one that is slow.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        settings = read_settings(
            PDS_DATA_DIR=str(folder),
            PDS_DEMO="0",
            PDS_OFFLINE_WRITER_URL=stack.enter_context(
                _slow_model(at_once) if slow else servers.offline_writer()
            ),
            REDIS_URL=stack.enter_context(servers.valkey(folder)),
            PDS_AT_ONCE=str(at_once),
            PDS_MIN_FREE="0",
            SECRET_KEY=token_urlsafe(),
            PDS_FERNET_KEYS=Fernet.generate_key().decode(),
        )
        app = create_app(settings, with_web=False)
        database.prepare(app)
        with app.app_context():
            yield settings
            db.engine.dispose()


@contextmanager
def _slow_model(at_once: int) -> Iterator[str]:
    seconds = max(1.0, at_once / CALLS_PER_SECOND)
    command = [sys.executable, "-m", "bench.slow_model", str(seconds)]
    with servers.ended(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)) as server:
        yield server.stdout.readline().strip()


def _environment(settings: Settings) -> dict[str, str]:
    names = ("secret_key", "fernet_keys", "redis_url", "offline_writer_url")
    fields = type(settings).model_fields
    return {
        **os.environ,
        **{fields[name].alias: settings.require(name) for name in names},
        "PDS_DATA_DIR": str(settings.data_dir),
        "PDS_AT_ONCE": str(settings.at_once),
        "PDS_DEMO": "0",
        "PDS_MIN_FREE": "0",
    }


def _twins(count: int) -> None:
    with transaction() as session:
        experiment = experiments.add_experiment(session, "Bench", "UTC", utc_now(), is_demo=True)
        session.flush()
        bulk.set_up_twins(session, experiment, bulk.built_in_rows(), count, utc_now())


def _ask_all(count: int, step: int) -> None:
    """Adds so many due attempts, one after the other of each twin."""
    with transaction() as session:
        twins = session.scalars(sa.select(DigitalTwin).order_by(DigitalTwin.id)).all()
        for number in range(count):
            request = Request(Trigger.cli, f"bench-{step}-{number}", is_forced=True, lane="default")
            add_for_twin(session, twins[number % len(twins)], request, utc_now())


def _left() -> bool:
    with reading() as session:
        query = sa.select(Attempt.id).where(Attempt.state.not_in(TERMINAL_STATES)).limit(1)
        return session.scalar(query) is not None


def _memory(pid: int) -> tuple[int, int]:
    """Resident bytes of a process, and those that it shares with none; 0 once it has ended."""
    try:
        rows = dict(
            line.split(":", 1) for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
        )
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return 0, 0
    kilobytes = {name: int(value.split()[0]) for name, value in rows.items()}
    return kilobytes["Rss"] * 1024, (kilobytes["Private_Clean"] + kilobytes["Private_Dirty"]) * 1024


def _mb(size: float) -> str:
    return f"{size / 1e6:.0f} MB"
