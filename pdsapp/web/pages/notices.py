"""Notices to an address outside, for administrators: whether they are on, what was sent, and a test."""

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from flask import Blueprint, abort, current_app, flash, redirect, render_template, url_for
from sqlalchemy.orm import Session

from ...config import Settings
from ...errors import BadInput
from ...extensions import db
from ...models import Notice, NoticeLine, utc_now
from ...scheduling.notifier import HEARTBEAT_TAKEN, LOOK
from ...services import notices
from .. import access

routes = Blueprint("notices", __name__)


@dataclass(frozen=True)
class NoticeRow:
    """A notice of the outbox; `state` is delivered, waiting or given up."""

    title: str
    event: str
    at: datetime
    state: str
    glyph: str
    words: str


@dataclass(frozen=True)
class NoticesPage:
    """What templates/web/notices.html draws."""

    zone: ZoneInfo
    is_on: bool
    has_heartbeat: bool
    looked_at: datetime | None
    beat_at: datetime | None
    rows: list[NoticeRow]
    lines: list[NoticeLine]


@routes.before_request
def _only_administrators() -> None:
    if not access.may_administer():
        abort(403)


@routes.route("/admin/notices/")
def show():
    """The page."""
    return render_template("web/notices.html", page=_page(db.session()))


@routes.route("/admin/notices/test", methods=("POST",))
def test():
    """Writes a notice that only says that notices arrive; the scheduler sends it."""
    if _settings().notice_url is None:
        raise BadInput("Notices are off. Set PDS_NOTICE_URL and PDS_NOTICE_SECRET first.")
    session = db.session()
    notices.add_test(session, utc_now(), access.account())
    session.commit()
    flash(
        "A test is on its way: the scheduler sends it within seconds. Look again to see how it went.",
        "success",
    )
    return redirect(url_for(".show"))


def _page(session: Session) -> NoticesPage:
    settings = _settings()
    return NoticesPage(
        zone=ZoneInfo(access.account().zone or "UTC"),
        is_on=settings.notice_url is not None,
        has_heartbeat=settings.heartbeat_url is not None,
        looked_at=notices.marked_at(session, LOOK),
        beat_at=notices.marked_at(session, HEARTBEAT_TAKEN),
        rows=[_row(notice) for notice in notices.latest(session)],
        lines=notices.told_lines(session),
    )


def _row(notice: Notice) -> NoticeRow:
    tries = f"{notice.tries} {'try' if notice.tries == 1 else 'tries'}"
    if notice.delivered_at is not None:
        state, glyph, words = "delivered", "check", f"status {notice.status}, {tries}"
    elif notice.given_up_at is not None:
        state, glyph, words = "given up", "cross", f"{tries}. {notice.problem}"
    else:
        state, glyph = "waiting", "warn"
        words = f"{tries}. {notice.problem}" if notice.tries else "not tried yet"
    return NoticeRow(notice.title, notice.event, notice.created_at, state, glyph, words)


def _settings() -> Settings:
    return current_app.extensions["settings"]
