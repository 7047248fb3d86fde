"""Who says how much, and when: posts of twins and people by weekday and hour, and by author."""

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from ..models import Experiment, UserProfile
from ..models.tallies import HOUR_SECONDS, QUARTER_SECONDS
from .facets import AUTHORS, POST_KINDS
from .rollups import Marks, moment
from .tallying import BLOCK, Stretch, count, grouped

AUTHORS_SHOWN = 8


@dataclass(frozen=True)
class Author:
    """Somebody who posted, and how often."""

    profile_id: int
    username: str
    is_twin: bool
    posts: int


@dataclass(frozen=True)
class Authors:
    """The most frequent authors, how many there are, and how many twins posted, also in the period before."""

    shown: tuple[Author, ...]
    author_count: int
    twin_count: int
    twin_count_before: int


@dataclass(frozen=True)
class PostTimes:
    """Posts of a period: by (weekday from 0 for Monday, hour) of the zone's clock, and by kind of author."""

    by_hour: Counter[tuple[int, int]]
    of_twins: int
    of_people: int
    replies_of_twins: int
    replies_of_people: int

    @property
    def total(self) -> int:
        return self.by_hour.total()


def post_times(
    session: Session, experiment: Experiment | None, stretch: Stretch, zone: ZoneInfo, marks: Marks
) -> PostTimes:
    """When posts that are not hidden were made, replies too, and by whom."""
    by_block: Counter[int] = Counter()
    kinds: Counter[tuple[bool, bool]] = Counter()
    longest = HOUR_SECONDS if _has_whole_hours(stretch, zone) else QUARTER_SECONDS
    keys = (BLOCK, "is_bot", "is_reply")
    for _, block, is_bot, is_reply, posts in count(
        session, POST_KINDS, experiment, [stretch], marks, keys, longest=longest
    ):
        kinds[bool(is_bot), bool(is_reply)] += posts
        by_block[block] += posts
    local: Counter[tuple[int, int]] = Counter()
    for block, posts in by_block.items():
        at = moment(block).astimezone(zone)
        local[at.weekday(), at.hour] += posts
    return PostTimes(
        by_hour=local,
        of_twins=kinds[True, False] + kinds[True, True],
        of_people=kinds[False, False] + kinds[False, True],
        replies_of_twins=kinds[True, True],
        replies_of_people=kinds[False, True],
    )


def authors(session: Session, experiment: Experiment | None, stretch: Stretch, marks: Marks) -> Authors:
    """Who posted most, and how many did; one query."""
    counted, values = grouped(session, AUTHORS, experiment, [stretch.before, stretch], marks)
    rows = session.execute(_most_frequent(counted), values).all()
    shown = tuple(Author(row.id, row.username, row.is_bot, row.posts) for row in rows if row.posts)
    return Authors(shown, *rows[0][-3:]) if rows else Authors(shown, 0, 0, 0)


@lru_cache(maxsize=64)
def _most_frequent(counted: sa.Select) -> sa.Select:
    """The first authors of the second stretch, each row with how many there are: few rows of thousands."""
    found = counted.subquery().c
    posts, before = (
        func.sum(sa.case((found.number == number, found.post_count), else_=0)) for number in (1, 0)
    )
    each = (
        select(found.user_profile_id, posts.label("posts"), before.label("before"))
        .group_by(found.user_profile_id)
        .subquery()
    )

    def how_many(*conditions: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
        return func.count(sa.case((sa.and_(*conditions), 1))).over()

    return (
        select(
            UserProfile.id,
            UserProfile.username,
            UserProfile.is_bot,
            sa.cast(each.c.posts, sa.BigInteger).label("posts"),
            how_many(each.c.posts > 0),
            how_many(each.c.posts > 0, UserProfile.is_bot),
            how_many(each.c.before > 0, UserProfile.is_bot),
        )
        .join(each, each.c.user_profile_id == UserProfile.id)
        .order_by(each.c.posts.desc(), UserProfile.id)
        .limit(AUTHORS_SHOWN)
    )


def _has_whole_hours(stretch: Stretch, zone: ZoneInfo) -> bool:
    """Whether the hours of the zone's clock are hours of UTC: at both ends of the stretch, so within it."""
    offsets = (at.astimezone(zone).utcoffset() for at in (stretch.starts_at, stretch.ends_at))
    return all(offset.total_seconds() % HOUR_SECONDS == 0 for offset in offsets)
