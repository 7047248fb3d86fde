"""The versions of a persona: who wrote each, what it changed, how many twins and posts have it."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from ..domain.diffs import Piece, word_diff
from ..domain.reasons import AttemptState
from ..models import Account, Attempt, DigitalTwin, Persona, PersonaVersion
from .audit import COMMAND_LINE
from .rehearsals import in_study

PAGE = 5


@dataclass(frozen=True)
class VersionView:
    """One version. `pieces` lead from the text before to its own; none for the first version."""

    number: int
    text: str
    at: datetime
    by: str
    twins: int
    posts: int
    is_latest: bool
    pieces: tuple[Piece, ...] = ()


@dataclass(frozen=True)
class HistoryPage:
    """Some versions, newest first. `older` is what to ask `below` for the next page, None on the last."""

    versions: tuple[VersionView, ...]
    older: int | None


def history_of(
    session: Session, persona: Persona, below: int | None = None, limit: int = PAGE
) -> HistoryPage:
    """The versions with numbers under `below`, newest first, `limit` at most. Three queries."""
    query = (
        select(PersonaVersion, Account.email)
        .outerjoin(Account, Account.id == PersonaVersion.created_by_id)
        .where(PersonaVersion.persona_id == persona.id)
        .order_by(PersonaVersion.number.desc())
        .limit(limit + 1)
    )
    if below is not None:
        query = query.where(PersonaVersion.number < below)
    found = session.execute(query).all()
    shown = found[:limit]
    keys = [version.id for version, _ in shown]
    twins, posts = _twins_by_version(session, keys), _posts_by_version(session, keys)
    texts = {version.number: version.text for version, _ in found}
    views = []
    for version, email in shown:
        before = texts.get(version.number - 1)
        views.append(
            VersionView(
                version.number, version.text, version.created_at, email or COMMAND_LINE,
                twins.get(version.id, 0), posts.get(version.id, 0),
                version.number == persona.latest_number,
                () if before is None else word_diff(before, version.text),
            )
        )  # fmt: skip
    return HistoryPage(tuple(views), shown[-1][0].number if len(found) > limit else None)


def text_of(session: Session, persona: Persona, number: int) -> str | None:
    """The text of a version, None if the persona has no such version."""
    query = select(PersonaVersion.text).where(
        PersonaVersion.persona_id == persona.id, PersonaVersion.number == number
    )
    return session.scalar(query)


def _twins_by_version(session: Session, keys: list[int]) -> dict[int, int]:
    query = select(DigitalTwin.persona_version_id, func.count(DigitalTwin.id))
    query = query.where(DigitalTwin.persona_version_id.in_(keys)).group_by(DigitalTwin.persona_version_id)
    return {key: count for key, count in session.execute(query)}


def _posts_by_version(session: Session, keys: list[int]) -> dict[int, int]:
    # An attempt that is posted has exactly one post.
    query = (
        select(Attempt.persona_version_id, func.count(Attempt.id))
        .where(Attempt.persona_version_id.in_(keys), Attempt.state == AttemptState.posted, in_study(Attempt))
        .group_by(Attempt.persona_version_id)
    )
    return {key: count for key, count in session.execute(query)}
