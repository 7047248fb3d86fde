"""The feed of an experiment: the discourse as its members read it, newest first."""

from dataclasses import dataclass, field
from datetime import datetime
from zoneinfo import ZoneInfo

from flask import (
    Blueprint,
    Response,
    flash,
    redirect,
    render_template,
    request,
    stream_with_context,
    url_for,
)
from markupsafe import Markup
from sqlalchemy import select
from sqlalchemy.orm import Session

from ...database import set_read_only
from ...domain.quoting import quote
from ...domain.reasons import ExperimentState, Visibility
from ...errors import BadInput, NotFound, ReadOnly
from ...extensions import db
from ...models import Attempt, Experiment, Post, UserProfile, utc_now
from ...services import exports, posts
from ...services.editing import is_open
from ...services.fields import POST_LIMIT
from ...services.lookup import parse_uuid
from ...services.visibility import hide_and_deactivate, set_visibility
from .. import access, frame
from ..request_ids import request_fields, request_id
from . import feed_export, feed_query, links
from .attempt_filters import FilterField
from .feed_query import FeedFilters

MOST_AUTHORS = 200

routes = Blueprint("feed", __name__)


@dataclass(frozen=True)
class PostView:
    """One post. `is_twin` None hides who is a twin; `why_url` leads to the attempt it came from, `ask_url` to
    asking the twin again.

    `reply_id`, `hide_id` and `show_id` are what may be replied to, hidden and shown again, else ""; `silence`
    names the twin that can be deactivated with it.
    """

    id: str
    author: str
    author_url: str
    is_twin: bool | None
    at: datetime
    text: str
    is_stand_in: bool
    is_rehearsal: bool
    is_hidden: bool
    is_erased: bool
    is_edited: bool
    why_url: str
    ask_url: str
    edit_url: str
    reply_id: str
    hide_id: str
    show_id: str
    silence: str
    replies: list["PostView"] = field(default_factory=list)


@dataclass(frozen=True)
class Refused:
    """What somebody wrote and why it was not posted; `parent` is the id of the post it replies to, or ""."""

    author: str
    text: str
    parent: str
    words: str


@dataclass(frozen=True)
class Writing:
    """Who can be written as: `author` at first; a request id makes pressing twice the same as once.

    `refused` is what was sent and not posted; `most` how many characters a post may have.
    """

    url: str
    authors: list[str]
    author: str
    refused: "Refused | None" = None
    most: int = POST_LIMIT

    def request_id(self) -> str:
        """A new one for each form."""
        return request_fields()["request_id"]


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
    writing: "Writing | None"
    back_url: str
    hide_url: str
    add_person_url: str
    import_url: str
    exports: list[tuple[str, str]]
    searched: str
    pager_words: str
    earlier_url: str
    later_url: str
    empty_words: str
    empty_url: str
    empty_button: str
    search: str


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
    return _page(text, None)


def _page(text: str, refused: Refused | None) -> str:
    session = db.session()
    experiment = frame.addressed_experiment(session, text)
    frame.speak_of(experiment)
    filters = feed_query.filters_of(session, experiment)
    found = feed_query.page_of(session, experiment, filters)
    given = filters.given
    may_write = access.may_write() and is_open(experiment)

    def address(**place) -> str:
        return url_for(".show", text=experiment.identifier, **given, **place)

    page = Feed(
        title=experiment.name,
        lead=f"The feed as its members read it, newest first · times in {experiment.zone}",
        crumbs=[("Feed", None), (experiment.identifier, None)],
        zone=ZoneInfo(experiment.zone),
        filters=filters.fields,
        clear_url=url_for(".show", text=experiment.identifier) if given else "",
        posts=_views(session, found.posts, filters),
        writing=_writing(session, experiment, refused) if may_write else None,
        back_url=access.page_address() if refused is None else address(),
        hide_url=url_for(".hide", text=experiment.identifier),
        add_person_url=links.to("userprofile.create_view"),
        import_url=url_for("feed_import.show", text=experiment.identifier) if may_write else "",
        exports=[
            (kind.upper(), url_for(".export", text=experiment.identifier, kind=kind, **given))
            for kind in feed_export.KINDS
        ],
        searched=_searched_words(found, ZoneInfo(experiment.zone)),
        pager_words="",
        earlier_url=address(before=found.older) if found.older else "",
        later_url=address(after=found.newer) if found.newer else "",
        empty_words="Nobody has posted yet. Ask a twin to post now, or write a post as a person's profile.",
        empty_url=links.to("digitaltwin.index_view") if may_write else "",
        empty_button="See the twins",
        search=filters.text,
    )
    return render_template("web/feed.html", page=page)


@routes.route("/experiments/<text>/feed.<any(csv, jsonl):kind>")
def export(text: str, kind: str):
    """The posts that fit the filters, with their replies, as a file that is written while it is sent."""
    session = db.session()
    experiment = frame.addressed_experiment(session, text)
    filters = feed_query.filters_of(session, experiment)
    if access.takes_file():
        exports.note("feed", experiment.id, utc_now(), access.account())
    lines = stream_with_context(feed_export.lines(experiment.id, filters, kind))
    answer = Response(lines, mimetype=feed_export.KINDS[kind])
    name = f"feed-{experiment.identifier}-{utc_now():%Y%m%dT%H%M%SZ}.{kind}"
    answer.headers["Content-Disposition"] = f"attachment; filename={name}"
    return answer


@routes.route("/experiments/<text>/feed/write", methods=("POST",))
def write(text: str):
    """Posts, or replies to `parent`, as a person's profile. Pressing twice makes one post."""
    session = db.session()
    experiment = frame.addressed_experiment(session, text)
    author, said = request.form.get("author", ""), request.form.get("text", "")
    parent = _addressed_post(session, experiment, given) if (given := request.form.get("parent")) else None
    try:
        profile = _profile(session, experiment, author)
        post = posts.add_post(
            session, profile, said, utc_now(), access.account(), parent=parent, request_id=request_id()
        )
        session.commit()
    except ReadOnly:  # there is no form any more that could keep the text
        raise
    except BadInput as error:
        session.rollback()
        set_read_only(True)
        return _page(text, Refused(author, said, given or "", str(error))), 400
    flash(f"{'Replied' if parent else 'Posted'} as {profile}.", "success")
    target = url_for(".show", text=experiment.identifier, **{"as": profile.username})
    return redirect(f"{access.redirect_target() or target}#post-{post.uuid}")


@routes.route("/experiments/<text>/feed/hide", methods=("POST",))
def hide(text: str):
    """Hides a post, shows one again, or hides it and deactivates the twin that wrote it."""
    session, now = db.session(), utc_now()
    experiment = frame.addressed_experiment(session, text)
    post = _addressed_post(session, experiment, request.form.get("post", ""))
    what, account = request.form.get("do", ""), access.account()
    if what == "hide and deactivate":
        twin = hide_and_deactivate(session, post, now, account)
        words = Markup('The post is hidden, and <a href="{}">{}</a> is not asked any more.').format(
            links.details("digitaltwin", twin.id), str(twin)
        )
    elif what in ("hide", "show"):
        wanted = Visibility.hidden if what == "hide" else Visibility.visible
        set_visibility(session, post, wanted, now, account)
        words = "The post is hidden: no feed shows it, no twin reads it."
        words = words if what == "hide" else "The post is in the feed again."
    else:
        raise BadInput("Say what to do with the post: hide, show, or hide and deactivate.", "do")
    session.commit()
    flash(words, "success")
    return redirect(access.redirect_target() or url_for(".show", text=experiment.identifier))


def _profile(session: Session, experiment: Experiment, text: str) -> UserProfile:
    key = text.strip().removeprefix("@").casefold()
    query = select(UserProfile).where(
        UserProfile.experiment_id == experiment.id, UserProfile.username_key == key
    )
    found = None if "\0" in key else session.scalars(query).one_or_none()
    if found is None:
        raise BadInput(
            f"Nobody in {experiment.name} is called {quote(text[:40])}. Choose a person.", "author"
        )
    return found


def _addressed_post(session: Session, experiment: Experiment, text: str) -> Post:
    uuid = parse_uuid(text)
    query = select(Post).where(Post.uuid == uuid, Post.experiment_id == experiment.id)
    found = session.scalars(query).one_or_none() if uuid else None
    if found is None:
        raise NotFound("There is no such post in this feed. Reload the page.")
    return found


def _writing(session: Session, experiment: Experiment, refused: Refused | None) -> Writing:
    """Writing as people of the experiment: as the one in the address, or the only one there is."""
    query = (
        select(UserProfile.username)
        .where(
            UserProfile.experiment_id == experiment.id,
            UserProfile.is_bot.is_(False),
            UserProfile.is_banned.is_(False),
        )
        .order_by(UserProfile.id)
        .limit(MOST_AUTHORS)
    )
    known = list(session.scalars(query))
    author = request.args.get("as", "")[:40]
    return Writing(
        url=url_for(".write", text=experiment.identifier),
        authors=known,
        author=author if author in known else (known[0] if len(known) == 1 else ""),
        refused=refused,
    )


def _searched_words(found: feed_query.FeedPage, zone: ZoneInfo) -> str:
    """How far back was looked, where that was not to the end."""
    if found.searched_to is None:
        return ""
    at = found.searched_to.astimezone(zone)
    return (
        f"Looked at {feed_query.MOST_SEARCHED:,} posts, back to {at:%a} {at.day} {at:%b %Y, %H:%M %Z}. "
        "There are older ones."
    )


def _views(session: Session, shown: list[Post], filters: FeedFilters) -> list[PostView]:
    replies = feed_query.replies_of(session, shown, filters.with_hidden)
    everything = [*shown, *(reply for of_post in replies.values() for reply in of_post)]
    keys = [post.attempt_id for post in everything if post.attempt_id is not None]
    query = select(Attempt.id, Attempt.uuid, Attempt.digital_twin_id).where(Attempt.id.in_(keys))
    attempts = {row.id: row for row in session.execute(query)}
    return [
        _view(post, attempts, filters, [_view(r, attempts, filters) for r in replies.get(post.id, ())])
        for post in shown
    ]


def _view(
    post: Post, attempts: dict, filters: FeedFilters, replies: list[PostView] | None = None
) -> PostView:
    profile, uuid, has_marks = post.user_profile, str(post.uuid), filters.has_marks
    is_ours = post.attempt_id is not None
    attempt = attempts[post.attempt_id] if is_ours and has_marks else None
    is_visible = post.visibility == Visibility.visible
    may_edit = access.may_write() and is_open(post) and post.visibility != Visibility.erased
    return PostView(
        id=uuid,
        author=profile.username,
        author_url=links.details("userprofile", profile.id),
        is_twin=profile.is_bot if has_marks else None,
        at=post.created_at,
        text=post.text,
        is_stand_in=post.is_stand_in and has_marks,
        is_rehearsal=post.is_rehearsal and has_marks,
        is_hidden=post.visibility == Visibility.hidden,
        is_erased=post.visibility == Visibility.erased,
        is_edited=post.revision > 1,
        why_url=links.attempt(attempt.uuid) if attempt else "",
        ask_url=links.to("digitaltwin.ask", id=attempt.digital_twin_id) if attempt and may_edit else "",
        edit_url=links.editing("post", post.id) if may_edit and not is_ours and has_marks else "",
        reply_id=uuid if may_edit and is_visible else "",
        hide_id=uuid if may_edit and is_visible else "",
        show_id=uuid if may_edit and post.visibility == Visibility.hidden else "",
        silence=f"@{profile.username}" if may_edit and is_visible and profile.is_bot and has_marks else "",
        replies=replies or [],
    )
