"""Buttons that ask twins at once, and telling the queue about it after the commit."""

import re
from uuid import uuid4

from flask import flash, request, session
from markupsafe import Markup
from sqlalchemy.orm import Session

from ..attempts.limits import limit_on
from ..database import set_read_only
from ..domain.policy import PolicyError, PostingPolicy
from ..errors import BadInput
from ..extensions import db
from ..models import DigitalTwin, Schedule, utc_now
from ..scheduling import projection, queue
from ..web import queue_sign

_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{16,60}", re.ASCII)


def request_fields(_row: object = None) -> dict[str, str]:
    """The hidden value that makes pressing a button twice the same as pressing it once."""
    return {"request_id": f"web-{uuid4().hex}"}


def request_id() -> str:
    """The request id the pressed button sent. Raises BadInput where there is none."""
    text = request.form.get("request_id", "")
    if not _REQUEST_ID.fullmatch(text):
        raise BadInput("The button has no request id. Go back, reload the page and press it again.")
    return text


def wake(lane: str, is_served: bool, attempts: int = 1) -> None:
    """Wakes a lane after the commit; says so when the queue or a worker is not there."""
    if not queue_sign.tell(lambda connection: queue.wake(connection, lane, attempts)):
        _say_once("What was asked is stored and runs when the queue is back.", "warning")
    if not is_served:
        words = "No worker serves lane “{}”. It will run when a worker is back; start one with {}."
        command = Markup("<code>flask worker --lanes {}</code>").format(lane)
        flash(Markup(words).format(lane, command), "warning")


def warn_of_limit(session: Session, twin: DigitalTwin) -> None:
    """Says so when a limit will keep this twin silent, whatever the draw."""
    try:
        policy = PostingPolicy.from_dict(twin.experiment.policy.body)
    except PolicyError:
        return  # the attempt will say it
    if (limit := limit_on(session, twin, policy, utc_now())) is not None:
        flash(f"A limit holds it back as things are. {limit.words}", "warning")


def project(schedule: Schedule) -> None:
    """Shows a committed schedule to the queue, with no transaction open; says so when that must wait."""
    own = db.session()
    set_read_only(True)
    own.refresh(schedule)
    own.expunge(schedule)
    own.rollback()
    if not queue_sign.tell(lambda connection: projection.put(connection, schedule)):
        _say_once(
            "What you changed is saved: slots are claimed on time all the same, "
            "and what they ask runs when the queue is back.",
            "warning",
        )


def _say_once(words: str, category: str) -> None:
    """Not once for each of many rows."""
    if (category, words) not in session.get("_flashes", ()):
        flash(words, category)
