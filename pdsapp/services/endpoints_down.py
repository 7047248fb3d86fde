"""Endpoints left alone because they do not work: for the attention list, notices and `flask doctor`."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy import select
from sqlalchemy.orm import Session

from .. import grants
from ..attempts.breaker import LONGEST_WAIT
from ..attempts.endpoints import OPENAI_BASE_URL
from ..attempts.words import span_words
from ..config import Settings
from ..llm.endpoint import place_of
from ..models import ApiToken, DigitalTwin, EndpointBreaker, Experiment
from .tallying import of_scope

MOST_SHOWN = 20
MOST_ADDRESSES = 1_000
# One that nobody has asked for so long is nobody's trouble: its token may be gone.
TOLD_FOR = timedelta(days=7)


@dataclass(frozen=True)
class EndpointDown:
    """An endpoint nobody but a probe asks; `token_id` of a token that leads there, if there is one."""

    breaker: EndpointBreaker
    token_id: int | None = None

    def words(self, now: datetime) -> str:
        """Since when, what happens meanwhile, and what to do."""
        opened = span_words((now - self.breaker.opened_at).total_seconds())
        last = span_words((now - self.breaker.failed_at).total_seconds())
        detail = f" {self.breaker.detail}" if self.breaker.detail else ""
        longest = span_words(LONGEST_WAIT.total_seconds())
        return (
            f"Left alone for {opened} after {self.breaker.failures:,} failures in a row, the last {last} ago."
            f"{detail} Attempts that need it wait, up to {longest} each; one of them tries it once a minute. "
            "Start it or mend the address: all goes on by itself. Testing the token tries it at once."
        )


def down(
    session: Session, settings: Settings, experiment: Experiment | None, now: datetime
) -> list[EndpointDown]:
    """Those that are left alone and that twins of the experiment, or of any one may see, are written by.

    One query as long as all work.
    """
    query = (
        select(EndpointBreaker)
        .where(*_is_told(now))
        .order_by(EndpointBreaker.opened_at, EndpointBreaker.id)
        .limit(MOST_SHOWN)
    )
    rows = session.scalars(query).all()
    if not rows:
        return []
    places = _places(session, settings, experiment)
    sees_all = experiment is None and not grants.is_limited()
    return [EndpointDown(row, places.get(row.place)) for row in rows if sees_all or row.place in places]


def of_address(session: Session, base_url: str, now: datetime) -> EndpointDown | None:
    """The same for one address; None while it is asked as usual."""
    query = select(EndpointBreaker).where(EndpointBreaker.place == place_of(base_url), *_is_told(now))
    row = session.scalars(query).one_or_none()
    return None if row is None else EndpointDown(row)


def _is_told(now: datetime) -> tuple[sa.ColumnElement[bool], ...]:
    return EndpointBreaker.opened_at.is_not(None), EndpointBreaker.failed_at > now - TOLD_FOR


def _places(session: Session, settings: Settings, experiment: Experiment | None) -> dict[str, int | None]:
    """Where active twins lead, with a token that does."""
    scope = (DigitalTwin.is_active, *of_scope(DigitalTwin.experiment_id, experiment))
    is_used = sa.exists().where(DigitalTwin.api_token_id == ApiToken.id, *scope)
    own = select(DigitalTwin.llm_url).where(DigitalTwin.llm_url != "", *scope).distinct()
    found: dict[str, int | None] = {place_of(url): None for url in session.scalars(own.limit(MOST_ADDRESSES))}
    is_platform = sa.and_(DigitalTwin.api_token_id.is_(None), DigitalTwin.llm_url == "")
    if session.scalar(select(DigitalTwin.id).where(is_platform, *scope).limit(1)) is not None:
        urls = (settings.openai_base_url or OPENAI_BASE_URL, settings.offline_writer_url)
        found.update({place_of(url): None for url in urls if url})
    used = select(ApiToken.base_url, ApiToken.id).where(is_used).order_by(ApiToken.id.desc())
    found.update({place_of(url): number for url, number in session.execute(used.limit(MOST_ADDRESSES))})
    return found
