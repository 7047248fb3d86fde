"""Erasing people again who had withdrawn after a backup was made, where it is restored."""

from datetime import datetime
from pathlib import Path

from sqlalchemy import select

from ..database import reading, transaction
from ..errors import CopyFailed
from ..models import UserProfile, Withdrawal
from . import compacting, erasing, tombstones, withdrawals

SECONDS = 600


def repeat(path: Path, now: datetime) -> int:
    """Withdraws those a file of tombstones names and the database still has; gives how many.

    What was given as another name then is not known any more. Raises CopyFailed if it cannot be finished: a
    copy that brings somebody back must not become an installation.
    """
    done = 0
    for tombstone in tombstones.read(path):
        with transaction() as session:
            profile = session.scalars(
                select(UserProfile).where(
                    UserProfile.uuid == tombstone.profile,
                    UserProfile.id.not_in(select(Withdrawal.user_profile_id)),
                )
            ).one_or_none()
            if profile is None:
                continue
            withdrawals.ask(
                session, profile, profile.username, now, only_mentions=tombstone.only_mentions,
                pseudonym=tombstone.pseudonym,
            )  # fmt: skip
        done += 1
    if not _finish():
        raise CopyFailed(
            "People who had withdrawn since that backup could not be erased from it. Nothing was restored."
        )
    if done:
        compacting.compact()
    return done


def _finish() -> bool:
    """Whether all that were begun, in the backup already or here, are finished."""
    with reading() as session:
        keys = session.scalars(
            select(Withdrawal.id).where(Withdrawal.finished_at.is_(None)).order_by(Withdrawal.id)
        ).all()
    return all(erasing.finish(key, SECONDS, is_at_rest=True) for key in keys)
