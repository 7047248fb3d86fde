"""Encrypting the stored keys anew, with the first of PDS_FERNET_KEYS, while everything runs."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, update

from ..database import reading, transaction
from ..errors import SecretUnreadable
from ..llm.secrets import SecretBox
from ..models import ApiToken
from . import audit


@dataclass(frozen=True)
class Rotation:
    """What was done: keys encrypted anew, keys that were so already, names of tokens nobody can read."""

    renewed: int
    kept: int
    unreadable: tuple[str, ...]


def rotate(box: SecretBox, clock: Callable[[], datetime]) -> Rotation:
    """Every stored key encrypted with the first key. A transaction each, so it may be ended anywhere and
    run again: what is done stays done, and is not done twice.

    Writes a row only while it still holds what was read: a key that somebody enters meanwhile stays.
    """
    with reading() as session:
        query = select(ApiToken.id, ApiToken.name).where(ApiToken.secret_encrypted.is_not(None))
        tokens = session.execute(query.order_by(ApiToken.id)).all()
    renewed, kept, unreadable = 0, 0, []
    for token_id, name in tokens:
        try:
            if _rotate_one(box, token_id, clock()):
                renewed += 1
            else:
                kept += 1
        except SecretUnreadable:
            unreadable.append(name)
    return Rotation(renewed, kept, tuple(unreadable))


def _rotate_one(box: SecretBox, token_id: int, now: datetime) -> bool:
    with reading() as session:
        old = session.scalar(select(ApiToken.secret_encrypted).where(ApiToken.id == token_id))
    if old is None or box.is_newest(old):
        return False
    new = box.renew(old)
    with transaction() as session:
        done = session.execute(
            update(ApiToken)
            .where(ApiToken.id == token_id, ApiToken.secret_encrypted == old)
            .values(secret_encrypted=new)
        )
        if done.rowcount:
            token = session.get_one(ApiToken, token_id)
            audit.record(session, "change", token, now, after={"secret": "encrypted with the newest key"})
    return bool(done.rowcount)
