"""Real workers for a bench, ready to work."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import sqlalchemy as sa

from pdsapp.config import Settings
from pdsapp.database import reading
from pdsapp.models import Heartbeat

from . import servers

PATIENCE_SECONDS = 120


@contextmanager
def workers(settings: Settings, count: int, lanes: str, at_once: int) -> Iterator[None]:
    """So many `flask worker` processes that serve these lanes, once each of them has said that it lives."""
    with ExitStack() as stack:
        started = [
            stack.enter_context(
                servers.command(settings, "worker", "--lanes", lanes, PDS_AT_ONCE=str(at_once))
            )
            for _ in range(count)
        ]
        until = time.monotonic() + PATIENCE_SECONDS
        while _living(lanes) < count:
            if time.monotonic() > until or any(process.poll() is not None for process in started):
                raise RuntimeError(f"A worker did not start. {_said(settings)}")
            time.sleep(0.05)
        yield


def _living(lanes: str) -> int:
    with reading() as session:
        query = sa.select(sa.func.count(Heartbeat.id))
        return session.scalar(query.where(Heartbeat.lanes == lanes, Heartbeat.stopped_at.is_(None)))


def _said(settings: Settings) -> str:
    logs = sorted(settings.data_dir.glob("worker-*.log"), key=lambda path: path.stat().st_mtime)
    return logs[-1].read_text(errors="replace")[-500:] if logs else ""
