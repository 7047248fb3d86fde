"""Which posts of a feed are shown: its filters from the address, and the page they give."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from flask import request
from sqlalchemy import Select, select, tuple_
from sqlalchemy.orm import Session, contains_eager

from ...attempts.feed import latest_posts
from ...domain.quoting import quote
from ...domain.reasons import Visibility
from ...errors import BadInput, NotFound
from ...models import Experiment, Post, UserProfile
from ...services.lookup import parse_uuid
from ...services.withdrawals import has_withdrawals
from .. import access
from .attempt_filters import FilterField

PAGE_SIZE = 30
MOST_TEXT = 200
# How many posts are looked at for a text, for twins' or people's, or with the hidden ones: some hundredths of
# a second.
MOST_SEARCHED = 20_000
AUTHORS = (("", "everybody"), ("twins", "twins"), ("people", "people"))
MARKS = (("", "shown"), ("off", "hidden"))
HIDDEN = (("", "left out"), ("shown", "shown"))


@dataclass(frozen=True)
class FeedFilters:
    """What is shown: by whom, a text that is looked for, hidden posts too, marks of twin and person."""

    who: str
    author: UserProfile | None
    text: str
    with_hidden: bool
    has_marks: bool

    @property
    def given(self) -> dict[str, str]:
        """The filters as an address holds them."""
        values = {
            "who": self.who,
            "author": self.author.username if self.author else "",
            "search": self.text,
            "hidden": "shown" if self.with_hidden else "",
            "marks": "" if self.has_marks else "off",
        }
        return {name: value for name, value in values.items() if value}

    @property
    def is_searched(self) -> bool:
        """Whether no index leads to all that fits."""
        return bool(self.text or self.who) or self.with_hidden

    @property
    def fields(self) -> list[FilterField]:
        """The controls, with what is chosen."""
        author = f"@{self.author.username}" if self.author else ""
        found = [
            FilterField("Posts by", "who", self.who, list(AUTHORS)),
            FilterField("Author", "author", author, None),
            FilterField("Twin and person marks", "marks", "" if self.has_marks else "off", list(MARKS)),
        ]
        if access.may_write():
            found.append(
                FilterField("Hidden posts", "hidden", "shown" if self.with_hidden else "", list(HIDDEN))
            )
        return found


@dataclass(frozen=True)
class FeedPage:
    """Posts, newest first, and from which posts the older and newer pages go on.

    `searched_to`: when the oldest post was made that was looked at, where there are older ones.
    """

    posts: list[Post]
    older: UUID | None
    newer: UUID | None
    searched_to: datetime | None = None


def filters_of(session: Session, experiment: Experiment) -> FeedFilters:
    """The filters in the address. Raises BadInput or NotFound for a value that can mean nothing."""
    text = request.args.get("search", "").strip()
    if "\0" in text or len(text) > MOST_TEXT:
        raise BadInput(f"Search for at most {MOST_TEXT} characters one can read.", "search")
    return FeedFilters(
        who=_option("who", AUTHORS),
        author=_author(session, experiment, request.args.get("author", "").strip()),
        text=text,
        with_hidden=bool(_option("hidden", HIDDEN)) and access.may_write(),
        has_marks=not _option("marks", MARKS),
    )


def page_of(session: Session, experiment: Experiment, filters: FeedFilters) -> FeedPage:
    """The page the address asks for: the newest, or one from a post on. Five queries at most."""
    query, place = _query(session, experiment, filters), tuple_(Post.created_at, Post.id)
    start, before, after = (_post(session, experiment, name) for name in ("start", "before", "after"))
    if after is not None:
        newer = query.where(place > (after.created_at, after.id)).order_by(None)
        posts = list(session.scalars(newer.order_by(Post.created_at, Post.id).limit(PAGE_SIZE + 1)))
        if len(posts) <= PAGE_SIZE:
            start = before = None  # little is newer: the newest page
        else:
            posts = posts[PAGE_SIZE - 1 :: -1]
            return FeedPage(posts, posts[-1].uuid, posts[0].uuid)
    if start is not None:
        query = query.where(place <= (start.created_at, start.id))
    if before is not None:
        query = query.where(place < (before.created_at, before.id))
    floor = _floor(session, experiment, start or before) if filters.is_searched else None
    if floor is not None:
        query = query.where(place >= (floor.created_at, floor.id))
    posts = list(session.scalars(query.limit(PAGE_SIZE + 1)))
    newer_from = posts[0].uuid if posts and (start or before) else None
    if len(posts) > PAGE_SIZE:
        return FeedPage(posts[:PAGE_SIZE], posts[PAGE_SIZE - 1].uuid, newer_from)
    if floor is not None:
        return FeedPage(posts, floor.uuid, newer_from, floor.created_at)
    return FeedPage(posts, None, newer_from)


def all_of(
    session: Session, experiment: Experiment, filters: FeedFilters
) -> Iterator[tuple[Post, Post | None]]:
    """Every post that fits, newest first, each followed by its visible replies with it as their parent.

    Read in pieces: as many posts as there are.
    """
    query, place = _query(session, experiment, filters), tuple_(Post.created_at, Post.id)
    last: Post | None = None
    while True:
        piece = query if last is None else query.where(place < (last.created_at, last.id))
        posts = list(session.scalars(piece.limit(500)))
        replies = replies_of(session, posts, filters.with_hidden)
        for post in posts:
            yield post, None
            for reply in replies.get(post.id, ()):
                yield reply, post
        if len(posts) < 500:
            return
        last = posts[-1]
        session.expunge_all()


def replies_of(session: Session, posts: list[Post], with_hidden: bool) -> dict[int, list[Post]]:
    """The replies below these posts, oldest first."""
    found: dict[int, list[Post]] = {}
    query = select(Post).where(Post.parent_id.in_([post.id for post in posts]))
    if not with_hidden:
        query = query.where(Post.visibility != Visibility.hidden)
    for reply in session.scalars(query.order_by(Post.created_at, Post.id)):
        found.setdefault(reply.parent_id, []).append(reply)
    return found


def _query(session: Session, experiment: Experiment, filters: FeedFilters) -> Select:
    """What twins read, and the places of erased posts: what others said below them stays readable."""
    query = latest_posts(experiment.id)
    if filters.with_hidden or has_withdrawals(session, experiment.id):
        query = (
            select(Post)
            .join(Post.user_profile)
            .options(contains_eager(Post.user_profile))
            .where(Post.experiment_id == experiment.id, Post.parent_id.is_(None))
            .order_by(Post.created_at.desc(), Post.id.desc())
        )
        if not filters.with_hidden:
            query = query.where(Post.visibility != Visibility.hidden)
    if filters.who:
        query = query.where(UserProfile.is_bot == (filters.who == "twins"))
    if filters.author is not None:
        query = query.where(Post.user_profile_id == filters.author.id)
    if filters.text:
        query = query.where(Post.text.icontains(filters.text, autoescape=True))
    return query


def _floor(session: Session, experiment: Experiment, start: Post | None) -> Post | None:
    """The post down to which is looked: so many of the feed after `start`, or None if there are fewer."""
    query = latest_posts(experiment.id)
    if start is not None:
        query = query.where(tuple_(Post.created_at, Post.id) < (start.created_at, start.id))
    key = session.scalar(query.with_only_columns(Post.id).offset(MOST_SEARCHED).limit(1))
    return None if key is None else session.get(Post, key)


def _post(session: Session, experiment: Experiment, name: str) -> Post | None:
    text = request.args.get(name, "").strip()
    if not text:
        return None
    uuid = parse_uuid(text)
    query = select(Post).where(Post.uuid == uuid, Post.experiment_id == experiment.id)
    found = session.scalars(query).one_or_none() if uuid else None
    if found is None:
        raise NotFound("There is no such post in this feed. Go back to the newest posts.")
    return found


def _author(session: Session, experiment: Experiment, text: str) -> UserProfile | None:
    if not text:
        return None
    key = text.removeprefix("@").casefold()
    query = select(UserProfile).where(
        UserProfile.experiment_id == experiment.id, UserProfile.username_key == key
    )
    found = None if "\0" in text else session.scalars(query).one_or_none()
    if found is None:
        raise NotFound(f"Nobody in {experiment.name} is called {quote(text[:40])}. Clear the filter.")
    return found


def _option(name: str, options: tuple[tuple[str, str], ...]) -> str:
    text = request.args.get(name, "").strip()
    if text not in dict(options):
        known = ", ".join(value for value, _ in options if value)
        raise BadInput(f"{quote(text[:40])} cannot be chosen for {name}. Known: {known}.", name)
    return text
