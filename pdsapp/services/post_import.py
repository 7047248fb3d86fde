"""Importing people's posts: a plan that somebody has seen, carried out once, all of it or nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, insert, literal, select
from sqlalchemy.orm import Session, aliased

from ..domain.protocol import NO_REASON, ProtocolPart
from ..domain.reasons import ExperimentState
from ..errors import BadInput
from ..models import Account, Experiment, Post, PostRevision, UserProfile
from . import audit, protocol, rollups
from .bulk_files import CellError
from .chunks import portions
from .editing import hold_open
from .fields import username_key
from .post_plan import Plan, PlannedPost, is_there, post_uuid, read_facts_again

ERRORS_SAID = 50
PEOPLE_SAID = 20
CHANGED_MEANWHILE = (
    "Somebody has changed what this was made from since you saw it: an author, a post that is replied to or "
    "the experiment. Nothing was imported. Look at it again and confirm once more."
)


class ImportErrors(BadInput):
    """Rows that cannot be imported; nothing was changed. `errors` lists them."""

    def __init__(self, errors: Sequence[CellError]):
        lines = [f"  {each.place}: {each.column or 'row'}: {each.message}" for each in errors[:ERRORS_SAID]]
        if len(errors) > ERRORS_SAID:
            lines.append(f"  and {len(errors) - ERRORS_SAID:,} more")
        words = "thing has" if len(errors) == 1 else "things have"
        super().__init__("\n".join([f"Nothing was imported. {len(errors):,} {words} to be mended:", *lines]))
        self.errors = errors


@dataclass(frozen=True)
class Done:
    """What an import has done: whether the posts are new, or were there already. `first_seen` is the post at
    which a feed shows them: the newest of them, or the one that a reply of them stands below."""

    is_new: bool
    first_seen: UUID


def people_words(plan: Plan) -> str:
    """Who would be added, by name: "@ann, @bob and 3 more"."""
    named = ", ".join(f"@{name}" for name in plan.new_people[:PEOPLE_SAID])
    more = len(plan.new_people) - PEOPLE_SAID
    return f"{named} and {more:,} more" if more > 0 else named


def require_ready(plan: Plan, add_people: bool) -> None:
    """Raises ImportErrors for rows to be mended, BadInput at `add_people` for authors who are not there."""
    if plan.errors:
        raise ImportErrors(plan.errors)
    if plan.new_people and not add_people:
        raise BadInput(
            f"Not here yet: {people_words(plan)}. Say that they are to be added, or correct the names.",
            "add_people",
        )


def import_posts(
    session: Session,
    experiment: Experiment,
    plan: Plan,
    now: datetime,
    account: Account | None = None,
    *,
    add_people: bool = False,
    reason: str = "",
) -> Done:
    """Carries out a plan; its posts are there once, however often it is. The caller commits, or rolls back
    on any error.

    The plan may have been made in another transaction: behind the lock of the experiment this one looks again
    at what it depends on. Raises as `require_ready` does, BadInput when something has changed meanwhile, and
    ReadOnly for an experiment that is over.
    """
    hold_open(session, experiment.id)
    session.refresh(experiment)
    if is_there(session, experiment, plan.content_hash):
        return Done(False, first_seen(session, plan))
    require_ready(plan, add_people)
    if read_facts_again(session, experiment, plan) != plan.facts:
        raise BadInput(CHANGED_MEANWHILE)
    profiles = {key: author.id for key, author in plan.facts.authors.items()}
    profiles |= _add_people(session, experiment, plan, now)
    _add_posts(session, experiment, plan, profiles, now)
    if experiment.state != ExperimentState.draft:  # rehearsals are in no tally
        rollups.renew_posts(session, {post.created_at for post in plan.posts if post.created_at is not None})
    _record(session, experiment, plan, now, account, reason)
    return Done(True, first_seen(session, plan))


def first_seen(session: Session, plan: Plan) -> UUID:
    """The post at which a feed shows what this content has brought into it."""
    newest = max(plan.posts, key=_place_in_feed, default=None)
    number = newest.number if newest is not None else 0
    top = aliased(Post)
    query = select(func.coalesce(top.uuid, Post.uuid)).select_from(Post)
    uuid = post_uuid(plan.facts.experiment_id, plan.content_hash, number)
    return session.scalars(query.outerjoin(top, top.id == Post.parent_id).where(Post.uuid == uuid)).one()


def _place_in_feed(post: PlannedPost) -> tuple[bool, bool, float, int]:
    at = post.created_at
    return not post.is_reply, at is None, at.timestamp() if at is not None else 0.0, post.number


def _add_people(session: Session, experiment: Experiment, plan: Plan, now: datetime) -> dict[str, int]:
    """The ids of the profiles that are new, by the key of their names."""
    if not plan.new_people:
        return {}
    session.execute(
        insert(UserProfile.__table__),
        [
            {
                "experiment_id": experiment.id, "username": name, "username_key": username_key(name),
                "display_name": name, "bio": "", "is_bot": False, "is_banned": False, "created_at": now,
            }
            for name in plan.new_people
        ],
    )  # fmt: skip
    found: dict[str, int] = {}
    for part in portions([username_key(name) for name in plan.new_people]):
        query = select(UserProfile.username_key, UserProfile.id).where(
            UserProfile.experiment_id == experiment.id, UserProfile.username_key.in_(part)
        )
        found |= {key: number for key, number in session.execute(query)}
    return found


def _add_posts(
    session: Session, experiment: Experiment, plan: Plan, profiles: dict[str, int], now: datetime
) -> None:
    """Top-level posts first: replies name them by their ids."""
    is_rehearsal = experiment.state == ExperimentState.draft

    def add(posts: Sequence[PlannedPost], tops: dict[UUID, int]) -> None:
        if not posts:
            return
        session.execute(
            insert(Post.__table__),
            [
                {
                    "uuid": post.uuid, "experiment_id": experiment.id, "text": post.text,
                    "user_profile_id": profiles[post.author_key], "is_rehearsal": is_rehearsal,
                    "parent_id": post.top_id if post.top_row is None else tops[uuids[post.top_row]],
                    "created_at": post.created_at or now, "changed_at": now,
                }
                for post in posts
            ],
        )  # fmt: skip

    uuids = {post.number: post.uuid for post in plan.posts}
    add([post for post in plan.posts if not post.is_reply], {})
    named = sorted({uuids[post.top_row] for post in plan.posts if post.top_row is not None})
    tops: dict[UUID, int] = {}
    for part in portions(named):
        query = select(Post.uuid, Post.id).where(Post.uuid.in_(part))
        tops |= {uuid: number for uuid, number in session.execute(query)}
    add([post for post in plan.posts if post.is_reply], tops)
    for part in portions(list(uuids.values())):
        first = select(Post.id, literal(1), Post.text, Post.created_at).where(Post.uuid.in_(part))
        columns = ["post_id", "number", "text", "created_at"]
        session.execute(insert(PostRevision.__table__).from_select(columns, first))


def _record(
    session: Session,
    experiment: Experiment,
    plan: Plan,
    now: datetime,
    account: Account | None,
    reason: str,
) -> None:
    """One audit event and one line of the protocol: how many, of whom, from when, out of which file."""
    start, end = plan.period or (now, now)
    if plan.timeless_count:
        end = now
    counts = {
        "file": plan.name,
        "posts": len(plan.posts) - plan.reply_count,
        "replies": plan.reply_count,
        "authors": plan.author_count,
        "new_people": len(plan.new_people),
        "from": start.isoformat(timespec="seconds"),
        "until": end.isoformat(timespec="seconds"),
    }
    audit.record(session, "import", experiment, now, account, after=counts)
    protocol.record(
        session, experiment, ProtocolPart.posts, f"Imported {plan.counts_words} from {plan.name}", now,
        reason=reason or (NO_REASON if protocol.needs_reason(experiment) else ""),
        before={}, after=counts, account=account,
    )  # fmt: skip
