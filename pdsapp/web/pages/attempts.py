"""The attempt page: one attempt from due to its end; whether it has changed since; and it in short."""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import structlog
from flask import Blueprint, current_app, render_template, request
from jinja2 import UndefinedError
from sqlalchemy import func, select
from sqlalchemy.orm import Session, joinedload, selectinload

from ...config import Settings
from ...database import UNREADABLE
from ...domain.reasons import TERMINAL_STATES
from ...dt_service import DTService, load_service
from ...errors import NotConfigured, NotFound, RowUnreadable
from ...extensions import db
from ...models import Attempt, DigitalTwin, ModelCall, ProcessKind, utc_now
from ...services import heartbeats
from ...services.deletion import require_still_there
from ...services.lookup import parse_uuid
from .. import frame
from .attempt_brief import attempt_brief
from .attempt_progress import attempt_progress
from .attempt_view import attempt_page

log = structlog.get_logger(__name__)
routes = Blueprint("attempt_page", __name__)


@routes.route("/attempts/<uuid>")
def show(uuid: str):
    """Everything about one attempt."""
    session = db.session()
    with _told_if_unreadable(uuid):
        attempt = _find(session, uuid)
        frame.speak_of(attempt.experiment)
        is_served = _is_served(session, attempt)
        page = attempt_page(session, attempt, _service(), is_served, _cursor(session, attempt, is_served))
        return render_template("web/attempt.html", page=page)


@routes.route("/attempts/<uuid>/state")
def state(uuid: str):
    """Where the attempt stands as JSON; 204 if that is what `since` says."""
    session = db.session()
    with _told_if_unreadable(uuid):
        attempt = _find(session, uuid)
        cursor = _cursor(session, attempt, _is_served(session, attempt))
        if request.args.get("since") == cursor:
            return "", 204
        return {
            "state": attempt.state.value,
            "stage": attempt.stage.value if attempt.stage else None,
            "reason": attempt.reason.value if attempt.reason else None,
            "detail": attempt.detail,
            "is_over": attempt.state in TERMINAL_STATES,
            "cursor": cursor,
        }


@routes.route("/attempts/<uuid>/brief")
def brief(uuid: str):
    """The attempt in short, as a part of another page."""
    session = db.session()
    with _told_if_unreadable(uuid):
        return render_template("web/attempt_brief.html", brief=attempt_brief(session, _find(session, uuid)))


@routes.route("/attempts/<uuid>/progress")
def progress(uuid: str):
    """How far the attempt has come, as the part of the dialog it was asked in."""
    session = db.session()
    with _told_if_unreadable(uuid):
        attempt = _find(session, uuid)
        page = attempt_progress(session, attempt, _is_served(session, attempt))
        return render_template("web/attempt_progress.html", page=page)


@contextmanager
def _told_if_unreadable(uuid: str) -> Iterator[None]:
    """Raises RowUnreadable where the rows of the attempt hold what their columns are not for."""
    try:
        yield
    except (*UNREADABLE, AttributeError, UndefinedError) as error:
        log.exception("attempt cannot be read", attempt=uuid[:40])
        raise RowUnreadable(
            f"The row of this attempt cannot be read ({type(error).__name__}): it holds what is never stored "
            "there, as after an edit in the database itself. flask ledger names rows that do not add up; a "
            "backup has the row as it was."
        ) from error


def _find(session: Session, text: str) -> Attempt:
    """The attempt with all that its page shows. Raises NotFound."""
    uuid: UUID | None = parse_uuid(text)
    query = (
        select(Attempt)
        .where(Attempt.uuid == uuid)
        .options(
            joinedload(Attempt.digital_twin).joinedload(DigitalTwin.user_profile),
            joinedload(Attempt.experiment),
            joinedload(Attempt.schedule),
            joinedload(Attempt.slot),
            joinedload(Attempt.policy),
            joinedload(Attempt.prompt_version),
            joinedload(Attempt.persona_version),
            joinedload(Attempt.post),
            selectinload(Attempt.calls),
            selectinload(Attempt.lost_leases),
        )
    )
    found = session.scalars(query).one_or_none() if uuid else None
    if found is None:
        raise NotFound(
            "There is no such attempt. The address may be mistyped, or belong to another installation."
        )
    require_still_there(found)
    return found


def _is_served(session: Session, attempt: Attempt) -> bool:
    """Whether somebody is there to work on it."""
    now = utc_now()
    if attempt.state in TERMINAL_STATES:
        return True
    if attempt.lane:
        return heartbeats.is_lane_served(session, attempt.lane, now)
    return heartbeats.life_sign(session, ProcessKind.worker, now).is_alive


def _cursor(session: Session, attempt: Attempt, is_served: bool) -> str:
    """Changes with anything the page shows."""
    answered = session.scalar(
        select(func.count(ModelCall.finished_at)).where(ModelCall.attempt_id == attempt.id)
    )
    return f"{attempt.changed_at.timestamp():.6f}.{attempt.state}.{answered}.{int(is_served)}"


def _service() -> DTService | None:
    """The customised or own service; None when it cannot be loaded, which the page then says."""
    settings: Settings = current_app.extensions["settings"]
    try:
        return load_service(settings)
    except NotConfigured:
        return None
