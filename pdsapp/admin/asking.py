"""Buttons that ask twins at once, and telling the queue about it after the commit."""

from flask import flash, redirect, session, url_for
from markupsafe import Markup
from sqlalchemy.orm import Session
from werkzeug import Response

from ..attempts.create import Request, add_for_twin
from ..attempts.limits import limit_on
from ..database import set_read_only
from ..domain.policy import PolicyError, PostingPolicy
from ..domain.reasons import AttemptState
from ..extensions import db
from ..models import DigitalTwin, Schedule, utc_now
from ..scheduling import projection, queue
from ..services import heartbeats
from ..web import queue_sign
from .asked import wants_part


def ask(twin: DigitalTwin, asked: Request) -> Response:
    """Adds the attempt of this request, wakes its lane, and leads to its page, or to the part of it that the
    dialog shows. Commits. Raises ReadOnly, and BadInput for a length band the policy has not."""
    own = db.session()
    attempt = add_for_twin(own, twin, asked, utc_now())
    own.commit()
    set_read_only(True)
    uuid, is_due = attempt.uuid, attempt.state == AttemptState.due
    if is_due:
        warn_of_limit(own, twin)
    is_served = heartbeats.is_lane_served(own, asked.lane, utc_now())
    own.rollback()
    if is_due:
        wake(asked.lane, is_served)
    page = "attempt_page.progress" if wants_part("progress") else "attempt_page.show"
    return redirect(url_for(page, uuid=uuid), 303)


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
