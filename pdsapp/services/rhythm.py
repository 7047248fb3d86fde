"""When a twin posts: its posts by weekday and hour."""

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.orm import Session

from ..domain.reasons import Visibility
from ..models import DigitalTwin, Post

MOST_POSTS = 5_000


@dataclass(frozen=True)
class Rhythm:
    """`counts[hour][weekday]` (Monday first) of the latest posts in one zone; `since`: the first of them."""

    counts: tuple[tuple[int, ...], ...]
    total: int
    since: datetime | None
    is_cut: bool

    @property
    def most(self) -> int:
        return max(max(row) for row in self.counts)


def rhythm_of(session: Session, twin: DigitalTwin, zone: ZoneInfo) -> Rhythm:
    """The rhythm of a twin's visible top-level posts, of the latest MOST_POSTS. One query."""
    query = (
        select(Post.created_at)
        .where(
            Post.user_profile_id == twin.user_profile_id,
            Post.parent_id.is_(None),
            Post.visibility == Visibility.visible,
        )
        .order_by(Post.created_at.desc())
        .limit(MOST_POSTS + 1)
    )
    times = session.scalars(query).all()
    shown = times[:MOST_POSTS]
    counts = [[0] * 7 for _ in range(24)]
    for at in shown:
        local = at.astimezone(zone)
        counts[local.hour][local.weekday()] += 1
    return Rhythm(
        tuple(map(tuple, counts)), len(shown), shown[-1] if shown else None, len(times) > len(shown)
    )
