"""Posts written by hand, for people in an experiment. Twins post through attempts only."""

from datetime import datetime

from sqlalchemy.orm import Session

from ..domain.reasons import ExperimentState
from ..errors import BadInput
from ..models import Account, Post, PostRevision, UserProfile
from . import audit
from .editing import require_open
from .fields import POST_LIMIT, clean_text


def add_post(
    session: Session, profile: UserProfile, text: str, now: datetime, account: Account | None = None
) -> Post:
    """A person's top-level post. The caller commits. Raises BadInput, also for a twin's profile."""
    if profile.is_bot:
        raise BadInput("A twin posts through attempts only. Use “post now” on the twin.", "user_profile")
    require_open(profile.experiment)
    text = clean_text(text, "text", POST_LIMIT)
    post = Post(
        experiment_id=profile.experiment_id, user_profile=profile, text=text, created_at=now, changed_at=now,
        is_rehearsal=profile.experiment.state == ExperimentState.draft,
    )  # fmt: skip
    session.add(post)
    session.flush()
    session.add(PostRevision(post_id=post.id, number=1, text=text, created_at=now))
    audit.record(session, "create", post, now, account)
    return post


def change_text(
    session: Session, post: Post, text: str, now: datetime, account: Account | None = None
) -> None:
    """A new text for a person's post; the old one stays as a revision. The caller commits."""
    if post.attempt_id is not None:
        raise BadInput("What a twin wrote stays as it was. Hide the post instead.", "text")
    require_open(post.experiment)
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
