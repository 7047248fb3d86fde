"""Limits: what keeps a twin silent whatever the rule says. Part of the posting policy, pure.

Wall times are what the clock of the experiment's zone shows: while it shows a time within the quiet hours
it is quiet, also when it shows that time twice; a wall time that does not exist takes no time.
"""

from dataclasses import asdict, dataclass
from datetime import UTC, datetime, time, timedelta, tzinfo
from math import ceil, floor
from typing import Any

from . import zones
from .limit_words import at_words, quiet_words, span_words
from .reasons import Reason

DAY_SECONDS = 86_400
MOST_POSTS_PER_DAY = 10_000
MOST_GAP_SECONDS = 31 * DAY_SECONDS
LEAST_DRAFT_AGE_SECONDS = 10
MOST_DRAFT_AGE_SECONDS = 7 * DAY_SECONDS


class LimitsError(ValueError):
    """A limit that cannot be used. The text says why and what to write; `field` names the limit."""

    def __init__(self, message: str, field: str):
        super().__init__(message)
        self.field = field


@dataclass(frozen=True)
class Limits:
    """An experiment's limits; None is no such limit.

    Quiet from `quiet_from` on and no longer at `quiet_until`, wall times "HH:MM"; they may lie on both sides
    of midnight. `posts_per_day` and `min_gap_seconds` are for each twin. `max_draft_age_seconds` is counted
    from the decision, because that is when the feed was read.
    """

    quiet_from: str | None = None
    quiet_until: str | None = None
    posts_per_day: int | None = None
    min_gap_seconds: int | None = None
    max_draft_age_seconds: int | None = None

    def __post_init__(self) -> None:
        _check(self)

    def to_dict(self) -> dict[str, Any]:
        """The limits that are set, as plain JSON data."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @property
    def is_empty(self) -> bool:
        return all(value is None for value in vars(self).values())


@dataclass(frozen=True)
class Published:
    """What limits look at of one twin: its published top-level posts, whatever trigger they came by."""

    posts_today: int = 0
    last_post_at: datetime | None = None


@dataclass(frozen=True)
class Held:
    """Which limit holds a post back, and a sentence with its numbers and when it ends."""

    reason: Reason
    words: str


def held(limits: Limits, published: Published, now: datetime, zone: tzinfo) -> Held | None:
    """The limit that forbids this twin a post at `now`: quiet hours, then the day, then the gap."""
    if is_quiet(limits, now, zone):
        hours = quiet_words(limits.quiet_from, limits.quiet_until, str(zone))
        ends = at_words(quiet_ends_at(limits, now, zone), zone)
        return Held(Reason.quiet_hours, f"Quiet hours are {hours}. They end {ends}.")
    if limits.posts_per_day is not None and published.posts_today >= limits.posts_per_day:
        posts = "once" if published.posts_today == 1 else f"{published.posts_today:,} times"
        most = f"{limits.posts_per_day:,} a day is the most"
        next_day = at_words(day_bounds(now, zone)[1], zone)
        return Held(
            Reason.daily_limit, f"It has posted {posts} today, and {most}. The next day begins {next_day}."
        )
    free_at = gap_ends_at(limits, published.last_post_at)
    if free_at is not None and now < free_at:
        age = span_words(max(0, floor((now - published.last_post_at).total_seconds())), most_units=2)
        gap = span_words(limits.min_gap_seconds)
        words = f"Its last post is {age} old, and {gap} is the least between two. It may post again"
        return Held(Reason.min_gap, f"{words} {at_words(free_at, zone, with_seconds=True)}.")
    return None


def too_late(limits: Limits, shown_at: datetime, now: datetime) -> Held | None:
    """Whether what was written from the feed as it was at `shown_at` is too old to be published at `now`."""
    most = limits.max_draft_age_seconds
    if most is None or (now - shown_at).total_seconds() <= most:
        return None
    age = span_words(ceil((now - shown_at).total_seconds()))
    return Held(
        Reason.too_late,
        f"It read the feed {age} ago, and no draft older than {span_words(most)} is published.",
    )


def is_quiet(limits: Limits, at: datetime, zone: tzinfo) -> bool:
    """Whether the zone's clock shows a time within the quiet hours."""
    if limits.quiet_from is None or limits.quiet_until is None:
        return False
    shown = at.astimezone(zone).time()
    start, end = time.fromisoformat(limits.quiet_from), time.fromisoformat(limits.quiet_until)
    return start <= shown < end if start < end else shown >= start or shown < end


def quiet_ends_at(limits: Limits, at: datetime, zone: tzinfo) -> datetime:
    """The first instant after `at` that is not quiet. It is quiet at `at`."""
    at = at.astimezone(UTC)
    day, end = at.astimezone(zone).date(), time.fromisoformat(limits.quiet_until)
    walls = [datetime.combine(day + timedelta(days=days), end, zone) for days in range(3)]
    found = {wall.replace(fold=fold).astimezone(UTC) for wall in walls for fold in (0, 1)}
    found.update(zones.changes(zone, at, at + timedelta(days=2)))
    return min(each for each in found if each > at and not is_quiet(limits, each, zone))


def day_bounds(at: datetime, zone: tzinfo) -> tuple[datetime, datetime]:
    """The local day `at` lies in: its first instant, and that of the day after.

    23, 24 or 25 hours apart, and elsewhere half an hour less or more. A day whose midnight does not exist
    begins when the clocks have jumped; one whose midnight comes twice begins with the first.
    """
    at = at.astimezone(UTC)
    day = at.astimezone(zone).date()
    start, end, after = (zones.beginning_of(zone, day + timedelta(days=days)) for days in range(3))
    if at >= end:  # the clocks went back over midnight: the day before does not come again
        return end, after
    return start, end


def gap_ends_at(limits: Limits, last_post_at: datetime | None) -> datetime | None:
    """When the least gap after the last post is over; None without a gap or a post."""
    if limits.min_gap_seconds is None or last_post_at is None:
        return None
    return last_post_at + timedelta(seconds=limits.min_gap_seconds)


def _check(limits: Limits) -> None:
    start, end = limits.quiet_from, limits.quiet_until
    for name, value in (("quiet_from", start), ("quiet_until", end)):
        if value is not None and not _is_wall_time(value):
            raise LimitsError("Write a time of day as HH:MM, 00:00 to 23:59. For example: 22:00", name)
    if (start is None) != (end is None):
        missing = "quiet_until" if end is None else "quiet_from"
        raise LimitsError(
            "Quiet hours have a beginning and an end: fill in both, or neither. For example: 22:00 and 07:00",
            missing,
        )
    if start is not None and start == end:
        raise LimitsError(
            "Quiet hours that begin and end at the same time are none, or all day. Choose another end, or "
            "pause the experiment.",
            "quiet_until",
        )
    _check_whole(
        limits.posts_per_day, "posts_per_day", 1, MOST_POSTS_PER_DAY,
        f"Posts a day are a whole number from 1 to {MOST_POSTS_PER_DAY:,}. For none at all, pause the "
        "experiment.",
    )  # fmt: skip
    _check_whole(
        limits.min_gap_seconds, "min_gap_seconds", 1, MOST_GAP_SECONDS,
        "The least gap is between 1 second and 31 days. For example: 15 min",
    )  # fmt: skip
    _check_whole(
        limits.max_draft_age_seconds, "max_draft_age_seconds",
        LEAST_DRAFT_AGE_SECONDS, MOST_DRAFT_AGE_SECONDS,
        f"A draft's greatest age is between {LEAST_DRAFT_AGE_SECONDS} seconds and 7 days; a model needs some "
        "of it to write. For example: 10 min",
    )  # fmt: skip


def _check_whole(value: Any, name: str, least: int, most: int, words: str) -> None:
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    if value is not None and not (is_whole and least <= value <= most):
        raise LimitsError(words, name)


def _is_wall_time(value: Any) -> bool:
    if not isinstance(value, str) or len(value) != 5 or not value.isascii():
        return False
    try:
        return time.fromisoformat(value).strftime("%H:%M") == value
    except ValueError:
        return False
