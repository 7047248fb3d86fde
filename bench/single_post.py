"""One twin, asked by the button: from the click until its post is committed, at a model that answers at once.

The click is the button's own request, signed in; a real worker serves lane `now`, another `default`, over
a real queue server. Idle, and while the other worker goes through 10,000 attempts. The floor is a bare call.
"""

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from contextvars import Context
from uuid import UUID, uuid4

import sqlalchemy as sa

from pdsapp.database import reading, transaction
from pdsapp.domain.reasons import TERMINAL_STATES, AttemptState
from pdsapp.models import Attempt, DigitalTwin, utc_now
from pdsapp.scheduling import queue
from pdsapp.services import accounts

from . import due, floor
from .figures import Figure
from .filled import EMAIL, PASSWORD, signed_in
from .workers import workers

CLICKS, FLOOD, AT_ONCE = 20, 10_000, 256
BARE_CALLS = 50
LOOK_SECONDS, PATIENCE_SECONDS, PAUSE_SECONDS = 0.005, 60, 0.2


def figures() -> Iterator[Figure]:
    """p50 and p95, idle and behind the flood, on SQLite or on the server BENCH_DATABASE_URL names."""
    url = os.environ.get("BENCH_DATABASE_URL")
    with due.town(FLOOD + 2 * CLICKS, url, with_web=True) as town, ExitStack() as stack:
        where = "PostgreSQL" if url else "SQLite"
        messages = due.prompts(town.settings, town.experiment)
        bare = floor.one_by_one(town.base_url(0), messages, BARE_CALLS)
        with transaction() as session:
            accounts.add_account(session, EMAIL, "administrator", utc_now(), PASSWORD)
        client = Context().run(signed_in, town.app)
        for lane in ("now", "default"):
            stack.enter_context(workers(town.settings, 1, lane, AT_ONCE))
        twins = _last_twins(2 * CLICKS)
        yield from _rows(f"idle, {where}", _clicks(client, twins[:CLICKS]), bare)
        due.add(town.experiment, FLOOD)
        queue.wake(queue.connection(town.settings), "default", FLOOD)
        found = _clicks(client, twins[CLICKS:])
        left = due.left()
        yield from _rows(f"behind {FLOOD:,} attempts, {left:,} left at the end, {where}", found, bare)
    # The workers have ended, and with them what they had begun.


def _rows(words: str, found: list[float], bare: list[float]) -> Iterator[Figure]:
    found, bare = sorted(found), sorted(bare)
    for name, share in (("p50", 0.5), ("p95", 0.95)):
        measured, least = (1000 * each[int(share * (len(each) - 1))] for each in (found, bare))
        yield Figure(
            f"click to saved, {name} of {len(found)}, {words}", measured, "ms", least, f"a bare call, {name}",
            raw={"seconds": found},
        )  # fmt: skip


def _clicks(client, twins: list[int]) -> list[float]:
    """Seconds from each click to its post. Raises RuntimeError where one does not post."""
    found = []
    for twin in twins:
        began = time.perf_counter()
        data = {"id": twin, "request_id": f"web-{uuid4().hex}"}
        answer = Context().run(client.post, "/admin/digitaltwin/post-now/", data=data)
        if answer.status_code != 303:
            raise RuntimeError(f"The button answers {answer.status_code}.")
        uuid = UUID(answer.location.rpartition("/")[2])
        while (state := _state(uuid)) not in TERMINAL_STATES:
            if time.perf_counter() - began > PATIENCE_SECONDS:
                raise RuntimeError(f"A single post was not there after {PATIENCE_SECONDS} s.")
            time.sleep(LOOK_SECONDS)
        found.append(time.perf_counter() - began)
        if state != AttemptState.posted:
            raise RuntimeError(f"A single post ended as {state}.")
        time.sleep(PAUSE_SECONDS)
    return found


def _state(uuid: UUID) -> AttemptState:
    with reading() as session:
        return session.scalar(sa.select(Attempt.state).where(Attempt.uuid == uuid))


def _last_twins(count: int) -> list[int]:
    """Twins that the flood does not ask: they would be at work."""
    with reading() as session:
        return list(session.scalars(sa.select(DigitalTwin.id).order_by(DigitalTwin.id.desc()).limit(count)))
