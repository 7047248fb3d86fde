"""The feed of an experiment: the discourse as its members read it, newest first."""

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID
from zoneinfo import ZoneInfo

from flask import Blueprint, redirect, render_template, request, url_for
from sqlalchemy import Select, select, tuple_
from sqlalchemy.orm import Session

from ...attempts.feed import latest_posts
from ...domain.quoting import quote
from ...domain.reasons import ExperimentState, Visibility
from ...errors import BadInput, NotFound
from ...extensions import db
from ...models import Attempt, Experiment, Post, UserProfile
from ...services.editing import is_open
from ...services.lookup import parse_uuid
from .. import access, frame
from . import links
from .activity import FilterField

PAGE_SIZE = 30
AUTHORS = (("", "everybody"), ("twins", "twins"), ("people", "people"))
MARKS = (("", "shown"), ("off", "hidden"))

routes = Blueprint("feed", __name__)


@dataclass(frozen=True)
class PostView:
    """One post. `is_twin` None hides who is a twin; `why_url` leads to the attempt it came from."""

    id: str
    author: str
    author_url: str
    is_twin: bool | None
    at: datetime
    text: str
    is_stand_in: bool
    is_rehearsal: bool
    is_hidden: bool
    is_edited: bool
    why_url: str
    edit_url: str
    replies: list["PostView"] = field(default_factory=list)


@dataclass(frozen=True)
class Feed:
    """What templates/web/feed.html draws; its top comment says what each part is."""

    title: str
    lead: str
    crumbs: list[tuple[str, str | None]]
    zone: ZoneInfo
    filters: list[FilterField]
    clear_url: str
    posts: list[PostView]
    write_url: str
    pager_words: str
    earlier_url: str
    later_url: str
    empty_words: str
    empty_url: str
    empty_button: str
    search: None = None


@routes.route("/feed")
def current():
    """Leads to the feed of the experiment the screens show, or of the newest one."""
    experiment = (
        frame.current_experiment()
        or db.session.scalars(
            select(Experiment)
            .where(Experiment.state != ExperimentState.archived)
            .order_by(Experiment.id.desc())
            .limit(1)
        ).first()
    )
    if experiment is None:
        return redirect(url_for("admin.index"))
    return redirect(url_for(".show", text=experiment.identifier))


@routes.route("/experiments/<text>/feed")
def show(text: str):
    """A page of an experiment's visible posts with their replies; the address holds filter and place."""
    session = db.session()
    experiment = frame.addressed_experiment(session, text)
    frame.speak_of(experiment)
    who, has_marks = _option("who", AUTHORS), not _option("marks", MARKS)
    query = _of(latest_posts(experiment.id), who)
    posts, older, newer = _page(session, experiment, query)
    wanted = {name: value for name, value in (("who", who), ("marks", "" if has_marks else "off")) if value}

    def address(**place) -> str:
        return url_for(".show", text=experiment.identifier, **wanted, **place)

    page = Feed(
        title=experiment.name,
        lead=f"The feed as its members read it, newest first · times in {experiment.zone}",
        crumbs=[("Feed", None), (experiment.identifier, None)],
        zone=ZoneInfo(experiment.zone),
        filters=[
            FilterField("Posts by", "who", who, list(AUTHORS)),
            FilterField("Twin and person marks", "marks", "" if has_marks else "off", list(MARKS)),
        ],
        clear_url=url_for(".show", text=experiment.identifier) if wanted else "",
        posts=_views(session, posts, has_marks),
        write_url=links.to("post.create_view") if access.may_write() and is_open(experiment) else "",
        pager_words="",
        earlier_url=address(before=older) if older else "",
        later_url=address(after=newer) if newer else "",
        empty_words="Nobody has posted yet. Ask a twin to post now, or write a post as a person's profile.",
        empty_url=links.to("digitaltwin.index_view") if access.may_write() and is_open(experiment) else "",
        empty_button="See the twins",
    )
    return render_template("web/feed.html", page=page)


def _option(name: str, options: tuple[tuple[str, str], ...]) -> str:
    text = request.args.get(name, "").strip()
    if text not in dict(options):
        known = ", ".join(value for value, _ in options if value)
        raise BadInput(f"{quote(text[:40])} cannot be chosen for {name}. Known: {known}.", name)
    return text


def _of(query: Select, who: str) -> Select:
    return query if not who else query.where(UserProfile.is_bot == (who == "twins"))


def _page(
    session: Session, experiment: Experiment, query: Select
) -> tuple[list[Post], UUID | None, UUID | None]:
    """The posts to show, newest first, and the posts that the older and newer pages go on from."""
    place = tuple_(Post.created_at, Post.id)
    start, before, after = (_post(session, experiment, name) for name in ("start", "before", "after"))
    if after is not None:
        newer = query.where(place > (after.created_at, after.id)).order_by(None)
        posts = list(session.scalars(newer.order_by(Post.created_at, Post.id).limit(PAGE_SIZE + 1)))
        if len(posts) <= PAGE_SIZE:
            start = before = None  # little is newer: the newest page
        else:
            posts = posts[PAGE_SIZE - 1 :: -1]
            return posts, posts[-1].uuid, posts[0].uuid
    if start is not None:
        query = query.where(place <= (start.created_at, start.id))
    if before is not None:
        query = query.where(place < (before.created_at, before.id))
    posts = list(session.scalars(query.limit(PAGE_SIZE + 1)))
    older = posts[PAGE_SIZE - 1].uuid if len(posts) > PAGE_SIZE else None
    newer_from = posts[0].uuid if posts and (start or before) else None
    return posts[:PAGE_SIZE], older, newer_from


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


def _views(session: Session, posts: list[Post], has_marks: bool) -> list[PostView]:
    replies = _replies(session, posts)
    shown = [*posts, *(reply for of_post in replies.values() for reply in of_post)]
    attempts = dict(
        session.execute(
            select(Attempt.id, Attempt.uuid).where(
                Attempt.id.in_([post.attempt_id for post in shown if post.attempt_id is not None])
            )
        ).all()
    )
    return [
        _view(post, attempts, has_marks, [_view(r, attempts, has_marks) for r in replies.get(post.id, ())])
        for post in posts
    ]


def _replies(session: Session, posts: list[Post]) -> dict[int, list[Post]]:
    """The visible replies below these posts, oldest first."""
    found: dict[int, list[Post]] = {}
    query = (
        select(Post)
        .where(Post.parent_id.in_([post.id for post in posts]), Post.visibility == Visibility.visible)
        .order_by(Post.created_at, Post.id)
    )
    for reply in session.scalars(query):
        found.setdefault(reply.parent_id, []).append(reply)
    return found


def _view(post: Post, attempts: dict, has_marks: bool, replies: list[PostView] | None = None) -> PostView:
    profile = post.user_profile
    is_ours = post.attempt_id is not None
    may_edit = access.may_write() and is_open(post)
    return PostView(
        id=str(post.uuid),
        author=profile.username,
        author_url=links.details("userprofile", profile.id),
        is_twin=profile.is_bot if has_marks else None,
        at=post.created_at,
        text=post.text,
        is_stand_in=post.is_stand_in and has_marks,
        is_rehearsal=post.is_rehearsal and has_marks,
        is_hidden=post.visibility != Visibility.visible,
        is_edited=post.revision > 1,
        why_url=links.attempt(attempts[post.attempt_id]) if is_ours and has_marks else "",
        edit_url=links.editing("post", post.id) if may_edit and not is_ours and has_marks else "",
        replies=replies or [],
    )
