"""Limits on rows: what a twin has published, and whether it may publish now.

Looked at when deciding, and again in the transaction that publishes, with the twin's row locked: posts of one
twin are counted one after the other, whoever writes them. Force bypasses none of it.
"""

from collections.abc import Iterable
from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy import and_, func, not_, select
from sqlalchemy.orm import Session

from ..domain import limits as rules
from ..domain.limits import Held, Limits, Published
from ..domain.policy import PostingPolicy
from ..domain.reasons import Visibility
from ..models import Attempt, DigitalTwin, Experiment, Post
from .beside import policy_of
from .obstacles import Obstacle


def limit_on(session: Session, twin: DigitalTwin, policy: PostingPolicy, now: datetime) -> Obstacle | None:
    """The limit of this policy that forbids the twin a post at `now`."""
    if policy.limits.is_empty:
        return None
    zone = ZoneInfo(twin.experiment.zone)
    return _obstacle(
        rules.held(policy.limits, _published(session, twin, policy.limits, now, zone), now, zone)
    )


def hold_twins(session: Session, attempts: Iterable[Attempt]) -> None:
    """Locks the attempts' twins until this transaction ends: nobody else publishes for them meanwhile.

    Read the clock after it. The experiments are locked first, as the inserted posts would lock them anyway:
    edits lock in this order, so none waits in a ring. On SQLite a writing transaction has locked everything.
    """
    found = list(attempts)
    for kind, keys, is_shared in (
        (Experiment, {each.experiment_id for each in found}, True),
        (DigitalTwin, {each.digital_twin_id for each in found}, False),
    ):
        query = select(kind.id).where(kind.id.in_(keys)).order_by(kind.id)
        session.execute(query.with_for_update(read=is_shared, key_share=True))


def limit_at_publishing(session: Session, attempt: Attempt, now: datetime) -> Obstacle | None:
    """The limit that forbids publishing this attempt's draft at `now`, by the policy as it is now.

    Call it after `hold_twins`, with the experiment read since.
    """
    policy = policy_of(attempt.experiment.policy)
    late = rules.too_late(policy.limits, attempt.shown_at, now)
    return _obstacle(late) or limit_on(session, attempt.digital_twin, policy, now)


def _published(
    session: Session, twin: DigitalTwin, limits: Limits, now: datetime, zone: ZoneInfo
) -> Published:
    """What the twin published: every top-level post of its profile, hidden and erased ones too, but for a
    rehearsal that was archived when the experiment was started."""
    own = [Post.user_profile_id == twin.user_profile_id, Post.parent_id.is_(None)]
    if twin.experiment.started_at is not None:
        own.append(not_(and_(Post.is_rehearsal, Post.visibility == Visibility.hidden)))
    today, last = 0, None
    if limits.posts_per_day is not None:
        start, end = rules.day_bounds(now, zone)
        query = select(func.count(Post.id)).where(*own, Post.created_at >= start, Post.created_at < end)
        today = session.scalar(query)
    if limits.min_gap_seconds is not None:
        last = session.scalar(select(func.max(Post.created_at)).where(*own))
    return Published(today, last)


def _obstacle(held: Held | None) -> Obstacle | None:
    return None if held is None else Obstacle(held.reason, held.words)
