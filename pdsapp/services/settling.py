"""Calling a line of the attention list fine, which hides it from then on."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from ..errors import NotFound
from ..models import Account, Experiment, ModelSeen, Post, SettledLine
from . import audit
from .deletion import require_still_there

SETTLED: dict[str, type[ModelSeen] | type[Post]] = {"other_model": ModelSeen, "asked_if_human": Post}


def settle(session: Session, key: str, now: datetime, account: Account) -> bool:
    """Hides the line with this key; False if somebody has hidden it before. The caller commits.

    Raises NotFound for a key of no line that can be hidden, of what the account does not see, and while its
    experiment is being deleted.
    """
    kind, _, text = key.partition(":")
    try:
        uuid = UUID(text)
    except ValueError:
        uuid = None
    owner = SETTLED.get(kind)
    row = session.scalars(select(owner).where(owner.uuid == uuid)).first() if owner and uuid else None
    if row is None:
        raise NotFound("There is no such line that could be called fine. Go back to the dashboard.")
    require_still_there(session.get_one(Experiment, row.experiment_id))
    key = f"{kind}:{row.uuid}"
    if session.scalars(select(SettledLine.id).where(SettledLine.key == key)).first() is not None:
        return False
    line = SettledLine(experiment_id=row.experiment_id, key=key, account_id=account.id, settled_at=now)
    session.add(line)
    audit.record(session, "call fine", line, now, account)
    return True
