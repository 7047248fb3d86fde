"""Attempts that are put off because of a token: by its limits, or by a rest that its endpoint asked for."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.orm import Session

from ..models import BY_ID, IS_DUE, Attempt, DigitalTwin
from .chunks import portions

# So many are counted, and so many tried again at once.
MOST_COUNTED, MOST_ASKED_AGAIN = 5_000, 10_000


@dataclass(frozen=True)
class Waiting:
    """How many attempts wait, and what most of them wait for."""

    attempts: int
    waits_for: str

    @property
    def words(self) -> str:
        """How many, in a sentence."""
        if self.attempts > MOST_COUNTED:
            return f"More than {MOST_COUNTED:,} attempts are put off."
        return "1 attempt is put off." if self.attempts == 1 else f"{self.attempts:,} attempts are put off."


def waiting(session: Session, token_id: int, now: datetime) -> Waiting | None:
    """What is put off now, without those that could not be run; None for nothing.

    MOST_COUNTED and one more are looked at, at most.
    """
    found = (
        select(Attempt.waits_for)
        .where(*_put_off(token_id, now), Attempt.strikes == 0)
        .limit(MOST_COUNTED + 1)
        .subquery()
    )
    query = select(found.c.waits_for, func.count().label("attempts")).group_by(found.c.waits_for)
    rows = session.execute(query.order_by(func.count().desc(), found.c.waits_for)).all()
    return Waiting(sum(row.attempts for row in rows), rows[0].waits_for) if rows else None


def ask_again(session: Session, token_id: int, now: datetime) -> None:
    """Has them tried at once, MOST_ASKED_AGAIN at most; the others' time comes within minutes.

    Those the token still cannot serve are put off anew. The caller commits, and waits for nobody here.
    """
    due = select(Attempt.id).where(*_put_off(token_id, now)).order_by(BY_ID).limit(MOST_ASKED_AGAIN)
    keys = session.scalars(due.with_for_update(skip_locked=True, of=Attempt)).all()
    for part in portions(keys):
        session.execute(
            update(Attempt)
            .where(Attempt.id.in_(part))
            .values(not_before=now, waits_for="", changed_at=now)
            .execution_options(synchronize_session=False)
        )


def _put_off(token_id: int, now: datetime) -> tuple[ColumnElement[bool], ...]:
    twins = select(DigitalTwin.id).where(DigitalTwin.api_token_id == token_id)
    # By what is due: by the twin SQLite would read all its attempts there ever were.
    return IS_DUE, Attempt.not_before > now, Attempt.waits_for != "", (Attempt.digital_twin_id + 0).in_(twins)
