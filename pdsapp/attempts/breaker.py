"""Circuit breakers: an endpoint that failed several times in a row is left alone but for one probe a minute.

An endpoint is scheme, host, port and path of a base URL: all tokens that lead there share its breaker. What
is known stands in SQL, written when something changes and read once a second.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID, uuid4

import sqlalchemy as sa
import structlog
from sqlalchemy import delete, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from ..database import reading, transaction
from ..domain.draft import CallFailed
from ..domain.reasons import Reason
from ..errors import NotNow
from ..llm.client import CallOutcome
from ..models import EndpointBreaker
from .words import span_words

OPENS_AFTER = 5
PROBE_EVERY = timedelta(seconds=60)
# Longer than any call may take: a probe that has not ended by then died with its worker.
PROBE_LASTS = timedelta(seconds=100)
LONGEST_WAIT = timedelta(hours=1)
# So that thousands of attempts do not all come back for the same probe.
MOST_SPREAD_SECONDS = 300.0
LOOK_AGAIN_SECONDS = 1.0
# A call that was given less was cut off by its attempt, not by its endpoint.
LEAST_PATIENCE_MS = 30_000
_DOWN = frozenset({Reason.endpoint_down})
log = structlog.get_logger()


class Health(StrEnum):
    """What a call says about its endpoint, whatever it says about the key or the text."""

    works = "works"
    down = "down"
    unclear = "unclear"


@dataclass(frozen=True)
class Known:
    """A breaker as it was read. `opened_at` None: it counts failures, and everybody may ask."""

    place: str
    failures: int
    detail: str
    opened_at: datetime | None
    next_probe_at: datetime | None
    probe_until: datetime | None

    def may_probe(self, now: datetime) -> bool:
        """Whether the next probe is due and none is under way."""
        return not _is_ahead(self.probe_until, now) and not _is_ahead(self.next_probe_at, now)


@dataclass(frozen=True)
class Pass:
    """That an endpoint may be asked; `probe_key` if the call is the probe."""

    place: str
    probe_key: UUID | None = None


def health_of(outcome: CallOutcome) -> Health:
    """What this outcome says: connecting, time-outs, 5xx and broken HTTP are the endpoint's; any other
    answer shows that it works, but for one that cannot be read, which may be anybody's."""
    bad = outcome.bad
    if bad is None:
        return Health.works
    if bad.reason == Reason.deadline:
        return Health.down if outcome.latency_ms >= LEAST_PATIENCE_MS else Health.unclear
    if bad.reason in _DOWN:
        return Health.down
    if outcome.http_status is None:
        return Health.down if bad.reason == Reason.bad_reply else Health.unclear
    return Health.unclear if bad.reason == Reason.bad_reply else Health.works


class Breakers:
    """What this process knows of endpoints that fail, and what it tells the others through SQL."""

    def __init__(self, clock: Callable[[], datetime]):
        self._clock = clock
        self._known: dict[str, Known] = {}
        self._read_at = float("-inf")
        self._next_prober: dict[str, datetime] = {}

    def look(self, session: Session) -> None:
        """Reads what all workers know, at most once a second."""
        if not self._is_old:
            return
        rows = session.scalars(select(EndpointBreaker))
        self._known = {row.place: _known(row) for row in rows}
        self._read_at = time.monotonic()

    @property
    def _is_old(self) -> bool:
        return time.monotonic() - self._read_at >= LOOK_AGAIN_SECONDS

    def obstacle(self, place: str, since: datetime, spread: float) -> NotNow | CallFailed | None:
        """Why an attempt that has been due `since` may not ask this endpoint now, by what was last looked at.

        NotNow to wait, CallFailed(endpoint_down) once it has waited for an hour. `spread`, 0–1, is the
        attempt's own: where between two probes it comes back. None also for who may try to be the probe.
        """
        known, now = self._known.get(place), self._clock()
        if known is None or known.opened_at is None:
            return None
        waited = now - max(since, known.opened_at)
        if waited >= LONGEST_WAIT:
            return CallFailed(
                Reason.endpoint_down,
                f"{place} has not worked for {span_words((now - known.opened_at).total_seconds())}, and the "
                f"attempt has waited for it for {span_words(waited.total_seconds())}. {known.detail}",
            )
        if known.may_probe(now):
            return None
        return self._wait(known, now, waited, spread)

    def needs_database(self, place: str) -> bool:
        """Whether `enter` would open a transaction: what is known is old, or the breaker is open."""
        known = self._known.get(place)
        return self._is_old or (known is not None and known.opened_at is not None)

    def enter(self, place: str, since: datetime, spread: float) -> Pass:
        """The right to ask: always, unless the breaker is open; then for one at a time, once a minute.

        In a transaction of its own, if any. Raises what `obstacle` gives.
        """
        if self._is_old:
            with reading() as session:
                self.look(session)
        if (obstacle := self.obstacle(place, since, spread)) is not None:
            raise obstacle
        known = self._known.get(place)
        if known is None or known.opened_at is None:
            return Pass(place)
        key, now = uuid4(), self._clock()
        with transaction() as session:
            taken = session.execute(
                update(EndpointBreaker)
                .where(
                    EndpointBreaker.place == place,
                    EndpointBreaker.opened_at.is_not(None),
                    _is_past(EndpointBreaker.next_probe_at, now),
                    _is_past(EndpointBreaker.probe_until, now),
                )
                .values(probe_key=key, probe_until=now + PROBE_LASTS, next_probe_at=now + PROBE_EVERY)
            ).rowcount
            self._read_at = float("-inf")
            self.look(session)
        if taken:
            log.info("endpoint is probed", place=place)
            return Pass(place, key)
        known = self._known.get(place)
        if known is None or known.opened_at is None:  # it was closed in this moment
            return Pass(place)
        raise self._wait(known, now, timedelta(0), spread)

    def is_told(self, given: Pass, outcome: CallOutcome | None) -> bool:
        """Whether `leave` would open no transaction: nothing changes."""
        health = Health.unclear if outcome is None else health_of(outcome)
        is_news = health == Health.down or (health == Health.works and given.place in self._known)
        return given.probe_key is None and not is_news

    def leave(self, given: Pass, outcome: CallOutcome | None) -> None:
        """Notes how the call went; None: it was not made, or nobody waited for its end.

        Writes only what changes: a success after failures, a failure, the end of a probe.
        """
        if self.is_told(given, outcome):
            return
        health = Health.unclear if outcome is None else health_of(outcome)
        if health == Health.works:
            self._close(given.place)
        elif health == Health.down:
            self._fail(given, _words_of(outcome))
        else:  # a probe that says nothing
            with transaction() as session:
                session.execute(
                    update(EndpointBreaker)
                    .where(EndpointBreaker.probe_key == given.probe_key)
                    .values(probe_key=None, probe_until=None)
                )

    def _wait(self, known: Known, now: datetime, waited: timedelta, spread: float) -> NotNow:
        """The first that this process sends away comes back for the next probe, the others later on."""
        probe_at = known.next_probe_at or now
        if _is_ahead(known.probe_until, now):
            probe_at = max(probe_at, now + timedelta(seconds=5))
        seconds = max(1.0, (probe_at - now).total_seconds())
        if self._next_prober.get(known.place) == probe_at:
            open_for = (now - known.opened_at).total_seconds()
            seconds += spread * min(MOST_SPREAD_SECONDS, max(PROBE_EVERY.total_seconds(), open_for))
        self._next_prober[known.place] = probe_at
        left = (LONGEST_WAIT - waited).total_seconds()
        return NotNow(
            f"{known.place} does not work; it is probed once a minute. {known.detail}",
            max(1.0, min(seconds, left)),
        )

    def _close(self, place: str) -> None:
        with transaction() as session:
            session.execute(delete(EndpointBreaker).where(EndpointBreaker.place == place))
        if (known := self._known.pop(place, None)) is not None and known.opened_at is not None:
            log.info("endpoint works again", place=place)

    def _fail(self, given: Pass, detail: str) -> None:
        now = self._clock()
        with transaction() as session:
            row = _row_of(session, given.place)
            row.failures += 1
            row.detail, row.failed_at = detail[:500], now
            if given.probe_key is not None and row.probe_key == given.probe_key:
                row.probe_key = row.probe_until = None
            if row.opened_at is None and row.failures >= OPENS_AFTER:
                row.opened_at, row.next_probe_at = now, now + PROBE_EVERY
                log.warning("endpoint does not work, it is left alone", place=given.place, why=detail[:200])
            self._known[given.place] = _known(row)


def note_answer(session: Session, place: str) -> None:
    """An endpoint has answered somebody who tested it: everybody may ask it again. The caller commits."""
    session.execute(delete(EndpointBreaker).where(EndpointBreaker.place == place))


def _words_of(outcome: CallOutcome) -> str:
    """What happened, without what the endpoint wrote: an error page may repeat what it was sent."""
    if outcome.http_status is not None:
        return f"It answered with status {outcome.http_status}."
    return outcome.bad.detail


def _row_of(session: Session, place: str) -> EndpointBreaker:
    """The endpoint's row, locked; made if there is none."""
    query = select(EndpointBreaker).where(EndpointBreaker.place == place).with_for_update()
    if (row := session.scalars(query).one_or_none()) is not None:
        return row
    try:
        with session.begin_nested():
            row = EndpointBreaker(place=place, failures=0)
            session.add(row)
        return row
    except IntegrityError:  # another worker's first failure, at the same moment
        return session.scalars(query).one()


def _known(row: EndpointBreaker) -> Known:
    return Known(row.place, row.failures, row.detail, row.opened_at, row.next_probe_at, row.probe_until)


def _is_ahead(at: datetime | None, now: datetime) -> bool:
    """Whether this is still to come. What lies too far ahead is of a clock that was set back."""
    return at is not None and now < at <= now + 2 * PROBE_LASTS


def _is_past(column, now: datetime) -> sa.ColumnElement[bool]:
    return sa.or_(column.is_(None), column <= now, column > now + 2 * PROBE_LASTS)
