"""What a twin sees and what the rule counts: the latest visible top-level posts of an experiment."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

from sqlalchemy import Select, select, tuple_
from sqlalchemy.orm import Session, contains_eager

from ..domain.decision import TwinState
from ..domain.policy import PostingPolicy
from ..domain.prompt import ContextPost
from ..models import IS_IN_FEED, AttemptContext, DigitalTwin, Post, PostRevision

ONCE = "feed read once"
Found = TypeVar("Found")


def latest_posts(experiment_id: int) -> Select[tuple[Post]]:
    """A query for the visible top-level posts of an experiment, newest first, authors loaded."""
    return (
        select(Post)
        .join(Post.user_profile)
        .options(contains_eager(Post.user_profile))
        .where(Post.experiment_id == experiment_id, IS_IN_FEED)
        .order_by(Post.created_at.desc(), Post.id.desc())
    )


@contextmanager
def read_once(session: Session) -> Iterator[None]:
    """Within it, the feed of an experiment is read once, however many of its twins look at it."""
    session.info[ONCE] = {}
    try:
        yield
    finally:
        del session.info[ONCE]


def recent_context(session: Session, twin: DigitalTwin, size: int) -> list[ContextPost]:
    """The `size` most recent posts as the twin sees them, newest last, its own marked."""
    return [_seen_by(twin.user_profile_id, *seen) for seen in _latest(session, twin.experiment_id, size)]


def stored_context(session: Session, attempt_id: int, own_profile_id: int) -> list[ContextPost]:
    """The feed an attempt was shown, with the texts as they were then, newest last."""
    return stored_contexts(session, {attempt_id: own_profile_id})[attempt_id]


def stored_contexts(session: Session, profiles: Mapping[int, int]) -> dict[int, list[ContextPost]]:
    """The same for attempts with the profiles of their twins: two queries, each text read once."""
    items = session.execute(
        select(AttemptContext.attempt_id, AttemptContext.post_id, AttemptContext.revision)
        .where(AttemptContext.attempt_id.in_(profiles))
        .order_by(AttemptContext.attempt_id, AttemptContext.position)
    ).all()
    wanted = sorted({(item.post_id, item.revision) for item in items})
    seen: dict[tuple[int, int], tuple[ContextPost, int]] = {}
    if wanted:
        rows = session.execute(
            select(Post, PostRevision.number, PostRevision.text)
            .join(PostRevision, PostRevision.post_id == Post.id)
            .where(tuple_(PostRevision.post_id, PostRevision.number).in_(wanted))
        )
        seen = {(post.id, number): _seen(post, number, text) for post, number, text in rows}
    found: dict[int, list[ContextPost]] = {attempt_id: [] for attempt_id in profiles}
    for attempt_id, post_id, revision in items:
        found[attempt_id].append(_seen_by(profiles[attempt_id], *seen[post_id, revision]))
    return found


def _seen(post: Post, revision: int, text: str) -> tuple[ContextPost, int]:
    """A post as those see it who have not written it, and the profile of who has."""
    username = post.user_profile.username
    return ContextPost(post.id, revision, username, text, post.created_at, False), post.user_profile_id


def _seen_by(own_profile_id: int, post: ContextPost, author_id: int) -> ContextPost:
    return replace(post, is_own=True) if author_id == own_profile_id else post


def twin_state(session: Session, twin: DigitalTwin, policy: PostingPolicy, now: datetime) -> TwinState:
    """What the rule looks at, read from the rows as they are."""
    window = _authors(session, twin.experiment_id, policy.share_window)
    return TwinState(
        now=now,
        last_post=twin.last_post,
        own_count=sum(1 for profile_id in window if profile_id == twin.user_profile_id),
        window_count=len(window),
    )


def _latest(session: Session, experiment_id: int, size: int) -> list[tuple[ContextPost, int]]:
    """The last `size` posts, newest last, and who wrote them."""

    def read() -> list[tuple[ContextPost, int]]:
        posts = session.scalars(latest_posts(experiment_id).limit(size)).all()
        return [_seen(post, post.revision, post.text) for post in reversed(posts)]

    return _once(session, ("posts", experiment_id, size), read)


def _authors(session: Session, experiment_id: int, size: int) -> Sequence[int]:
    """Who wrote the last `size` posts, by profile."""

    def read() -> Sequence[int]:
        query = (
            select(Post.user_profile_id)
            .where(Post.experiment_id == experiment_id, IS_IN_FEED)
            .order_by(Post.created_at.desc(), Post.id.desc())
            .limit(size)
        )
        return session.scalars(query).all()

    return _once(session, ("authors", experiment_id, size), read)


def _once(session: Session, key: tuple, read: Callable[[], Found]) -> Found:
    kept = session.info.get(ONCE)
    if kept is None:
        return read()
    if key not in kept:
        kept[key] = read()
    return kept[key]
