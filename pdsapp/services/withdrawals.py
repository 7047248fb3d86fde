"""Withdrawing a participant: what asking for it does at once, and what is known of it afterwards.

Asking erases the person's own texts and names in one transaction: from its commit on no screen, feed or
export holds them. What others said with their words, and the trail of changes, is erased by
services/erasing.py, piece by piece; the experiment's twins wait until then. No row goes, no sum changes.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from ..attempts.gate import close_gate
from ..domain.erasure import ERASED
from ..domain.reasons import Visibility
from ..errors import BadInput
from ..models import Account, AttemptContext, AuditEvent, Post, PostRevision, UserProfile, Withdrawal
from . import audit
from .editing import hold_experiment

DISPLAY_NAME = "Withdrawn participant"
MOST_NAMES, LONGEST_NAME = 20, 80
NAMED = ("username", "display_name")


@dataclass(frozen=True)
class Outlook:
    """What withdrawing somebody touches: their posts, replies among them, the texts these had before, other
    people's replies below, and how many attempts were shown any of it."""

    posts: int
    replies: int
    revisions: int
    answers: int
    attempts: int
    names: tuple[str, ...]


def outlook(session: Session, profile: UserProfile) -> Outlook:
    """The counts as they are now; five queries."""
    own = select(Post.id).where(Post.user_profile_id == profile.id)
    posts, replies = session.execute(
        select(func.count(Post.id), func.count(Post.parent_id)).where(Post.user_profile_id == profile.id)
    ).one()
    return Outlook(
        posts=posts,
        replies=replies,
        revisions=_count(session, PostRevision.post_id, PostRevision.post_id.in_(own)) - posts,
        answers=_count(session, Post.id, Post.parent_id.in_(own), Post.user_profile_id != profile.id),
        attempts=session.scalar(
            select(func.count(AttemptContext.attempt_id.distinct())).where(AttemptContext.post_id.in_(own))
        ),
        names=_names(session, profile),
    )


def ask(
    session: Session,
    profile: UserProfile,
    typed: str,
    now: datetime,
    account: Account | None = None,
    *,
    other_names: Sequence[str] = (),
    only_mentions: bool = False,
) -> Withdrawal:
    """Withdraws a person; it cannot be undone. Also where the experiment is over. The caller commits.

    `typed` is the username as somebody typed it. `other_names` are erased in texts like username and display
    name, `only_mentions` all of them only behind an @. Raises BadInput, at `username` for another one.
    """
    close_gate(session)  # first of all locks: what decides from now on does not read these texts any more
    hold_experiment(session, profile.experiment_id)
    session.refresh(profile)
    _require_withdrawable(session, profile, typed)
    # Whoever is changing one of the texts is waited for.
    session.execute(select(Post.id).where(Post.user_profile_id == profile.id).with_for_update())
    names = (*_names(session, profile), *_clean_names(other_names))
    texts = session.execute(
        select(PostRevision.created_at, PostRevision.text)
        .join(Post, Post.id == PostRevision.post_id)
        .where(Post.user_profile_id == profile.id, PostRevision.text != ERASED)
        .order_by(PostRevision.created_at)
    ).all()
    made = Withdrawal(
        experiment_id=profile.experiment_id,
        user_profile_id=profile.id,
        account_id=account.id if account else None,
        pseudonym=f"withdrawn_{secrets.token_hex(4)}",
        texts=[[at.isoformat(), text] for at, text in texts],
        names=list(dict.fromkeys(names)),
        only_mentions=only_mentions,
        progress={},
        counts={},
        asked_at=now,
    )
    session.add(made)
    _erase_own(session, profile)
    profile.username = profile.username_key = made.pseudonym
    profile.display_name, profile.bio, profile.is_banned = DISPLAY_NAME, "", True
    profile.edit_version += 1
    audit.record(session, "withdraw", profile, now, account)
    return made


def of_profile(session: Session, profile: UserProfile) -> Withdrawal | None:
    """The withdrawal of a profile, if it was withdrawn."""
    return session.scalars(select(Withdrawal).where(Withdrawal.user_profile_id == profile.id)).one_or_none()


def has_withdrawn(session: Session, profile_id: int) -> bool:
    """Whether the profile is of somebody who withdrew: nothing of it changes any more."""
    return bool(session.scalar(select(Withdrawal.id).where(Withdrawal.user_profile_id == profile_id)))


def has_withdrawals(session: Session, experiment_id: int) -> bool:
    """Whether anybody has withdrawn from the experiment."""
    query = select(Withdrawal.id).where(Withdrawal.experiment_id == experiment_id)
    return session.scalars(query.limit(1)).first() is not None


def open_one(session: Session, experiment_id: int) -> Withdrawal | None:
    """A withdrawal of the experiment that is not finished, if there is one: its twins wait for it."""
    query = select(Withdrawal).where(
        Withdrawal.experiment_id == experiment_id, Withdrawal.finished_at.is_(None)
    )
    return session.scalars(query.limit(1)).first()


def require_there(session: Session, profile: UserProfile) -> None:
    """Raises BadInput for a profile of somebody who withdrew."""
    if has_withdrawn(session, profile.id):
        raise BadInput(f"{profile} has withdrawn from the experiment: nothing of this profile changes.")


def _require_withdrawable(session: Session, profile: UserProfile, typed: str) -> None:
    if profile.is_bot:
        raise BadInput("A twin is no participant. Deactivate it instead.", "username")
    require_there(session, profile)
    if typed.strip().removeprefix("@") != profile.username:
        raise BadInput(f"Type the username exactly as it is: {profile.username}", "username")


def _erase_own(session: Session, profile: UserProfile) -> None:
    """Hidden posts stay hidden, so that what was counted before is what is counted after."""
    own = select(Post.id).where(Post.user_profile_id == profile.id).scalar_subquery()
    session.flush()
    session.execute(
        update(PostRevision)
        .where(PostRevision.post_id.in_(own))
        .values(text=ERASED)
        .execution_options(synchronize_session=False)
    )
    mine = update(Post).where(Post.user_profile_id == profile.id)
    mine = mine.execution_options(synchronize_session=False)
    session.execute(mine.values(text=ERASED))
    session.execute(mine.where(Post.visibility == Visibility.visible).values(visibility=Visibility.erased))
    session.expire_all()


def _names(session: Session, profile: UserProfile) -> tuple[str, ...]:
    """What the person is and was called here: username and display name, and those before."""
    events = session.execute(
        select(AuditEvent.before, AuditEvent.after)
        .where(
            AuditEvent.object_type == UserProfile.__tablename__,
            AuditEvent.object_id == profile.id,
            # Events outlive the experiment of their profile, whose number the database may give again.
            AuditEvent.experiment_id == profile.experiment_id,
        )
        .order_by(AuditEvent.id.desc())
    )
    former = (str(each.get(name) or "") for pair in events for each in pair if each for name in NAMED)
    return tuple(dict.fromkeys(name for name in (profile.username, profile.display_name, *former) if name))


def _clean_names(names: Sequence[str]) -> list[str]:
    found = [" ".join(name.split()) for name in names if name.strip()]
    if len(found) > MOST_NAMES or any(len(name) > LONGEST_NAME for name in found):
        raise BadInput(
            f"Give at most {MOST_NAMES} names of at most {LONGEST_NAME} characters, one on each line.",
            "other_names",
        )
    return found


def _count(session: Session, column, *conditions) -> int:
    return session.scalar(select(func.count(column)).where(*conditions))
