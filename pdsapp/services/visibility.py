"""Whether posts are seen: hiding them, showing them again, and hiding one with the twin that wrote it."""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from ..domain.reasons import Visibility
from ..errors import BadInput
from ..models import Account, DigitalTwin, Post
from . import audit, rollups, twins
from .editing import require_open
from .withdrawals import has_withdrawn


def set_visibility(
    session: Session, post: Post, visibility: Visibility, now: datetime, account: Account | None = None
) -> bool:
    """Hides a post from the feed, or shows it again; False if it was so already."""
    require_open(post.experiment)
    if post.visibility == Visibility.erased or has_withdrawn(session, post.user_profile_id):
        raise BadInput("This post was erased and stays so.")
    if post.visibility == visibility:
        return False
    before = {"visibility": post.visibility.value}
    post.visibility = visibility
    post.changed_at = now
    session.flush()
    rollups.renew_posts(session, [post.created_at])
    audit.record(session, "change", post, now, account, before, {"visibility": visibility.value})
    return True


def hide_and_deactivate(
    session: Session, post: Post, now: datetime, account: Account | None = None
) -> DigitalTwin:
    """Hides a twin's post and deactivates the twin; gives the twin. The caller commits.

    What waits for the twin is cancelled, what it is writing is finished. Raises BadInput for a person's post.
    """
    twin = session.scalars(
        select(DigitalTwin).where(DigitalTwin.user_profile_id == post.user_profile_id)
    ).one_or_none()
    if twin is None:
        raise BadInput("This post is a person's: hide it, or ban its profile.")
    twins.set_twin_active(session, twin, False, now, account)
    set_visibility(session, post, Visibility.hidden, now, account)
    return twin
