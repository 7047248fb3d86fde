"""The clocks an installation hangs on: this machine’s, the database's, the queue's, and the workers'.

Slots, leases and heartbeats are compared with the clock of whichever process looks. Two seconds apart
nothing goes wrong yet; half a minute apart leases run out early and living workers count as dead.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import select
from sqlalchemy.orm import Session

from ..database import reading
from ..models import Heartbeat

WARN_SECONDS, FAIL_SECONDS = 2.0, 30.0


@dataclass(frozen=True)
class Difference:
    """How many seconds another clock shows more than this machine’s; fewer, below 0.

    What asking took is no difference: of it only what is certain is given.
    """

    name: str
    seconds: float

    @property
    def state(self) -> str:
        """`ok`, `warn` beyond 2 seconds, `fail` beyond 30."""
        apart = abs(self.seconds)
        return "fail" if apart > FAIL_SECONDS else "warn" if apart > WARN_SECONDS else "ok"

    @property
    def words(self) -> str:
        """ "PostgreSQL's is 4.0 s ahead of this machine’s"."""
        if not self.seconds:
            return f"{self.name} is this machine’s"
        side = "ahead of" if self.seconds > 0 else "behind"
        return f"{self.name} is {abs(self.seconds):.1f} s {side} this machine’s"


def of_database(seconds: Callable[[], float] = time.time) -> Difference | None:
    """The database server's clock; None with SQLite, which has this machine’s."""
    with reading() as session:
        if session.get_bind().dialect.name == "sqlite":
            return None
        session.execute(sa.text("SELECT 1"))  # a new connection takes its time
        return _measured("PostgreSQL’s", lambda: _of_server(session), seconds)


def of_queue(connection, seconds: Callable[[], float] = time.time) -> Difference:
    """The queue server's clock, over a Redis connection. Raises QueueDown."""
    from ..scheduling.queue import errors_as_down

    def ask() -> float:
        whole, millionths = connection.time()
        return whole + millionths / 1e6

    with errors_as_down():
        connection.ping()
        return _measured("the queue’s", ask, seconds)


def of_processes(seconds: Callable[[], float] = time.time) -> list[Difference]:
    """Of each machine with a worker or scheduler whose heartbeats lie in the future, by how much at least.

    A clock that is behind cannot be told from a process that has not beaten for a while, nor one that is
    ahead from one that was when its process was killed.
    """
    now = datetime.fromtimestamp(seconds()).astimezone()
    ahead: dict[str, float] = {}
    with reading() as session:
        for host, beat_at in session.execute(
            select(Heartbeat.host, Heartbeat.beat_at).where(Heartbeat.stopped_at.is_(None))
        ):
            more = (beat_at - now).total_seconds()
            if more > WARN_SECONDS:
                ahead[host] = max(more, ahead.get(host, 0.0))
    return [Difference(f"by its heartbeats, that of {host}", more) for host, more in sorted(ahead.items())]


def _of_server(session: Session) -> float:
    return session.scalar(sa.text("SELECT clock_timestamp()")).timestamp()


def _measured(name: str, ask: Callable[[], float], seconds: Callable[[], float]) -> Difference:
    before = seconds()
    told = ask()
    after = seconds()
    if told > after:
        return Difference(name, told - after)
    return Difference(name, min(0.0, told - before))
