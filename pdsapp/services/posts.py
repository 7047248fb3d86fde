"""Posts written by hand, for people in an experiment. Twins post through attempts only."""

from datetime import datetime
from uuid import UUID, uuid5

from sqlalchemy import select
from sqlalchemy.orm import Session

from ..domain.reasons import ExperimentState, Visibility
from ..errors import BadInput
from ..models import Account, Post, PostRevision, UserProfile
from ..models.base import new_uuid
from . import audit
from .editing import hold_open, require_open
from .fields import POST_LIMIT, clean_text
from .withdrawals import has_withdrawn

# A request makes the post of one id, so that the second one of a double click finds it.
BY_REQUEST = UUID("6d1f0f5e-8c1b-4f0e-9a55-0f3c5b8e2d17")


def add_post(
    session: Session,
    profile: UserProfile,
    text: str,
    now: datetime,
    account: Account | None = None,
    *,
    parent: Post | None = None,
    request_id: str = "",
) -> Post:
    """A person's post, or reply to `parent`; one to a reply stands below the same post. The caller commits.

    With a `request_id` that was used before, the post it made, which stays as it is. Raises BadInput, also
    for a twin's or a banned profile and for a parent that is not in the feed of the profile's experiment.
    """
    if profile.is_bot:
        raise BadInput("A twin posts through attempts only. Use “post now” on the twin.", "user_profile")
    hold_open(session, profile.experiment_id)
    # As it is behind the lock: somebody may have banned or withdrawn it meanwhile.
    if session.scalar(select(UserProfile.is_banned).where(UserProfile.id == profile.id)):
        raise BadInput(f"{profile} is banned. Choose another author, or lift the ban first.", "user_profile")
    uuid = uuid5(BY_REQUEST, f"{profile.experiment_id}|{request_id}") if request_id else new_uuid()
    made = session.scalars(select(Post).where(Post.uuid == uuid)).one_or_none() if request_id else None
    if made is not None:
        return made
    text = clean_text(text, "text", POST_LIMIT)
    post = Post(
        uuid=uuid, experiment_id=profile.experiment_id, user_profile=profile, text=text, created_at=now,
        changed_at=now, is_rehearsal=profile.experiment.state == ExperimentState.draft,
        parent_id=_thread_of(session, profile, parent) if parent is not None else None,
    )  # fmt: skip
    session.add(post)
    session.flush()
    session.add(PostRevision(post_id=post.id, number=1, text=text, created_at=now))
    audit.record(session, "create", post, now, account)
    return post


def _thread_of(session: Session, profile: UserProfile, parent: Post) -> int:
    """The id of the post a reply to `parent` stands below."""
    if parent.experiment_id != profile.experiment_id:
        raise BadInput("That post is of another experiment. Reply to a post of this feed.", "parent")
    top = parent if parent.parent_id is None else session.get_one(Post, parent.parent_id)
    if not parent.visibility == top.visibility == Visibility.visible:
        raise BadInput("That post is hidden, so nobody can reply to it. Show it first.", "parent")
    return top.id


def change_text(
    session: Session, post: Post, text: str, now: datetime, account: Account | None = None
) -> None:
    """A new text for a person's post; the old one stays as a revision. The caller commits."""
    if post.attempt_id is not None:
        raise BadInput("What a twin wrote stays as it was. Hide the post instead.", "text")
    require_open(post.experiment)
    if has_withdrawn(session, post.user_profile_id):
        raise BadInput("This text was erased, as its author withdrew. It stays so.", "text")
    text = clean_text(text, "text", POST_LIMIT)
    if text == post.text:
        return
    post.text = text
    post.revision += 1
    post.changed_at = now
    session.add(
        PostRevision(
            post_id=post.id,
            number=post.revision,
            text=text,
            created_at=now,
            account_id=account.id if account else None,
        )
    )
    audit.record(session, "change", post, now, account)
