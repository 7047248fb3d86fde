"""What a twin sees and what the rule counts: the latest visible top-level posts of an experiment."""

from datetime import datetime

from sqlalchemy import Select, select
from sqlalchemy.orm import Session, contains_eager

from ..domain.decision import TwinState
from ..domain.policy import PostingPolicy
from ..domain.prompt import ContextPost
from ..models import IS_IN_FEED, AttemptContext, DigitalTwin, Post, PostRevision, UserProfile


def latest_posts(experiment_id: int) -> Select[tuple[Post]]:
    """A query for the visible top-level posts of an experiment, newest first, authors loaded."""
    return (
        select(Post)
        .join(Post.user_profile)
        .options(contains_eager(Post.user_profile))
        .where(Post.experiment_id == experiment_id, IS_IN_FEED)
        .order_by(Post.created_at.desc(), Post.id.desc())
    )


def recent_context(session: Session, twin: DigitalTwin, size: int) -> list[ContextPost]:
    """The `size` most recent posts as the twin sees them, newest last, its own marked."""
    posts = session.scalars(latest_posts(twin.experiment_id).limit(size)).all()
    return [
        ContextPost(
            post_id=post.id,
            revision=post.revision,
            username=post.user_profile.username,
            text=post.text,
            created_at=post.created_at,
            is_own=post.user_profile_id == twin.user_profile_id,
        )
        for post in reversed(posts)
    ]


def stored_context(session: Session, attempt_id: int, own_profile_id: int) -> list[ContextPost]:
    """The feed an attempt was shown, with the texts as they were then, newest last."""
    rows = session.execute(
        select(AttemptContext, Post, PostRevision.text, UserProfile.username)
        .join(Post, Post.id == AttemptContext.post_id)
        .join(UserProfile, UserProfile.id == Post.user_profile_id)
        .join(
            PostRevision,
            (PostRevision.post_id == Post.id) & (PostRevision.number == AttemptContext.revision),
        )
        .where(AttemptContext.attempt_id == attempt_id)
        .order_by(AttemptContext.position)
    )
    return [
        ContextPost(
            post_id=post.id,
            revision=item.revision,
            username=username,
            text=text,
            created_at=post.created_at,
            is_own=post.user_profile_id == own_profile_id,
        )
        for item, post, text, username in rows
    ]


def twin_state(session: Session, twin: DigitalTwin, policy: PostingPolicy, now: datetime) -> TwinState:
    """What the rule looks at, read from the rows as they are."""
    window = session.scalars(
        select(Post.user_profile_id)
        .where(
            Post.experiment_id == twin.experiment_id,
            IS_IN_FEED,
        )
        .order_by(Post.created_at.desc(), Post.id.desc())
        .limit(policy.share_window)
    ).all()
    return TwinState(
        now=now,
        last_post=twin.last_post,
        own_count=sum(1 for profile_id in window if profile_id == twin.user_profile_id),
        window_count=len(window),
    )
