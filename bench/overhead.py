"""What an attempt costs beside the model: the same calls through attempts and through the bare client.

Both run in this process, one after the other in turns, against one model server in another process
that answers at once. The figure is the ratio of the medians; the floor knows neither database nor rule.
"""

import asyncio
import logging
import statistics
import tempfile
import time
from collections.abc import Iterator
from secrets import token_urlsafe

from cryptography.fernet import Fernet

from pdsapp import create_app
from pdsapp.attempts.batch import Batch
from pdsapp.attempts.create import Request, add_for_twin
from pdsapp.attempts.workshop import make_client, make_workshop
from pdsapp.config import read_settings
from pdsapp.database import transaction
from pdsapp.domain.reasons import Trigger
from pdsapp.dt_service import load_service
from pdsapp.llm.endpoint import Endpoint
from pdsapp.models import DigitalTwin, utc_now
from pdsapp.services import bulk, database, experiments

from . import servers

ROUNDS, ATTEMPTS, AT_ONCE = 5, 40, 8


def lines() -> Iterator[str]:
    """The table in Markdown."""
    with servers.offline_writer() as url, tempfile.TemporaryDirectory() as folder:
        yield from _measure(url, folder)


def _measure(url: str, folder: str) -> Iterator[str]:
    settings = read_settings(
        PDS_DATA_DIR=folder,
        PDS_DEMO="0",
        PDS_OFFLINE_WRITER_URL=url,
        SECRET_KEY=token_urlsafe(),
        PDS_FERNET_KEYS=Fernet.generate_key().decode(),
    )
    app = create_app(settings, with_web=False)
    database.prepare(app)
    logging.getLogger().setLevel(logging.WARNING)
    with app.app_context():
        twins = _twins()
        attempts, floors = [], []
        for number in range(ROUNDS + 1):
            calls, seconds = _attempts(settings, twins, number)
            floor = asyncio.run(_floor(settings, url, calls))
            if number:
                attempts.append(seconds)
                floors.append(floor)
    ratio = statistics.median(a / f for a, f in zip(attempts, floors, strict=True))
    yield "| what | median seconds |"
    yield "| --- | ---: |"
    yield f"| {ATTEMPTS} attempts, {AT_ONCE} at once, SQLite | {statistics.median(attempts):.3f} |"
    yield f"| the same number of calls by the bare client | {statistics.median(floors):.3f} |"
    yield f"| ratio (median of {ROUNDS} pairs) | {ratio:.2f} |"


def _twins() -> list[int]:
    with transaction() as session:
        experiment = experiments.add_experiment(session, "Bench", "UTC", utc_now(), is_demo=True)
        session.flush()
        rows = bulk.built_in_rows()
        return [twin.id for twin in bulk.set_up_twins(session, experiment, rows, ATTEMPTS, utc_now())]


def _attempts(settings, twins: list[int], number: int) -> tuple[int, float]:
    with transaction() as session:
        for twin_id in twins:
            request = Request(Trigger.cli, f"bench-{number}-{twin_id}", is_forced=True)
            add_for_twin(session, session.get_one(DigitalTwin, twin_id), request, utc_now())
    batch = Batch(make_workshop(settings, load_service(settings)), "bench", None, 10_000, AT_ONCE)
    began = time.perf_counter()
    asyncio.run(batch.drain())
    seconds = time.perf_counter() - began
    if batch.ended != {"posted": len(twins)}:
        raise RuntimeError(f"not all attempts posted: {batch.ended}")
    return len(twins), seconds


async def _floor(settings, url: str, calls: int) -> float:
    endpoint = Endpoint(url, "offline-writer", None, {}, "offline", None, None)
    messages = [
        {
            "role": "user",
            "content": "<persona>\nA baker.\n</persona>\n<length>between 20 and 79 characters</length>",
        }
    ]
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(client):
        async with gate:
            outcome = await client.complete(endpoint, messages, max_tokens=None, deadline_seconds=60)
            if outcome.reply is None:
                raise RuntimeError("the floor's call failed")

    began = time.perf_counter()
    async with make_client(settings) as client:
        await asyncio.gather(*(one(client) for _ in range(calls)))
    return time.perf_counter() - began
