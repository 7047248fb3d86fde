"""Who says how much, and when: posts of twins and people by weekday and hour, and by author."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.orm import Session

from ..models import Experiment, UserProfile
from ..models.tallies import HOUR_SECONDS, QUARTER_SECONDS
from .facets import AUTHORS, POST_KINDS
from .rollups import Marks, moment
from .tallying import BLOCK, Stretch, count

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
    """Who posted most, and how many did."""
    posts: Counter[int] = Counter()
    before: set[int] = set()
    for number, profile_id, of_author in count(
        session, AUTHORS, experiment, [stretch.before, stretch], marks
    ):
        if number:
            posts[profile_id] += of_author
        else:
            before.add(profile_id)
    people = _people(session, experiment)
    shown = posts.most_common(AUTHORS_SHOWN)
    named = _named(session, [profile_id for profile_id, _ in shown])
    return Authors(
        shown=tuple(Author(key, *named[key], number) for key, number in shown if key in named),
        author_count=len(posts),
        twin_count=len(posts.keys() - people),
        twin_count_before=len(before - people),
    )


def _named(session: Session, keys: Sequence[int]) -> dict[int, tuple[str, bool]]:
    query = select(UserProfile.id, UserProfile.username, UserProfile.is_bot).where(UserProfile.id.in_(keys))
    return {key: (username, is_bot) for key, username, is_bot in session.execute(query)}


def _people(session: Session, experiment: Experiment | None) -> set[int]:
    """The profiles of people: they are fewer than twins."""
    query = select(UserProfile.id).where(UserProfile.is_bot.is_(False))
    if experiment is not None:
        query = query.where(UserProfile.experiment_id == experiment.id)
    return set(session.scalars(query))


def _has_whole_hours(stretch: Stretch, zone: ZoneInfo) -> bool:
    """Whether the hours of the zone's clock are hours of UTC: at both ends of the stretch, so within it."""
    offsets = (at.astimezone(zone).utcoffset() for at in (stretch.starts_at, stretch.ends_at))
    return all(offset.total_seconds() % HOUR_SECONDS == 0 for offset in offsets)
