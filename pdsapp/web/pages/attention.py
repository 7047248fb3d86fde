"""The attention list on a page: its lines with the address of each remedy, by what the reader may do."""

from dataclasses import dataclass
from datetime import datetime

from flask import Blueprint, current_app, flash, redirect, request, url_for
from markupsafe import Markup, escape
from sqlalchemy.orm import Session

from ...extensions import db
from ...models import Experiment, Schedule, utc_now
from ...services import attention, settling
from ...services.attention import OVERDUE_SECONDS, Line, Screen, Target
from ...services.ledger import Ledger
from ...services.reports import TwinCounts
from ...services.reports_now import Alive
from .. import access
from . import links

__all__ = ["OVERDUE_SECONDS", "Attention", "attention_list", "processes"]

routes = Blueprint("attention", __name__)


@dataclass(frozen=True)
class Attention:
    """One line. `level` is bad, warn, good or info; `url` leads to the remedy and may be empty.

    `fine_key` is what "It is fine" sends, "" where nobody may say so; `pause_url` leads to pausing,
    `resume_url` to resuming.
    """

    level: str
    title: str
    words: str
    url: str = ""
    remedy: str = ""
    fine_key: str = ""
    pause_url: str = ""
    resume_url: str = ""


@routes.route("/attention/fine", methods=("POST",))
def fine():
    """Hides a line somebody has looked at."""
    session = db.session()
    if settling.settle(session, request.form.get("key", "")[:120], utc_now(), access.account()):
        flash("The line is hidden. What was decided stands in the audit trail.", "success")
    session.commit()
    return redirect(url_for("admin.index"))


def processes(now: Alive) -> list[Attention]:
    """The lines about missing workers and schedulers, and lanes nobody serves."""
    return [_shown(line, None) for line in attention.processes(now)]


def attention_list(
    session: Session,
    experiment: Experiment | None,
    now: Alive,
    twins: TwinCounts,
    books: Ledger,
    at: datetime,
) -> list[Attention]:
    """Everything that needs a person; empty when all is well."""
    settings = current_app.extensions["settings"]
    return [
        _shown(line, session)
        for line in attention.lines(session, settings, experiment, now, twins, books, at)
    ]


def _shown(line: Line, session: Session | None) -> Attention:
    url, remedy = _place(line.target, session)
    return Attention(
        line.level,
        line.title,
        _with_commands(line.words),
        url,
        remedy,
        line.key if line.can_settle and access.may_write() else "",
        links.details("experiment", line.pauses) if access.may_write() else "",
        links.details("experiment", line.resumes) if access.may_write() else "",
    )


def _with_commands(words: str) -> Markup:
    """What stands between backquotes as code; all of it escaped."""
    parts = words.split("`")
    if len(parts) % 2 == 0:  # an odd number of them: none is of a command
        return escape(words)
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if number % 2 else escape(part)
        for number, part in enumerate(parts)
    )


def _place(target: Target, session: Session | None) -> tuple[str, str]:
    """The address and the words of a remedy."""
    number = target.number
    match target.screen:
        case Screen.due_attempts:
            return links.to("activity.stream", state="due"), "See them"
        case Screen.attempts:
            return links.to("activity.stream", experiment=target.experiment), "See the attempts"
        case Screen.token:
            return links.details("apitoken", number), "See the token"
        case Screen.schedule:
            return links.details("schedule", number), "See the schedule"
        case Screen.schedules:
            return links.to("schedule.index_view"), "See the schedules"
        case Screen.broken_schedule:
            if access.may_change(session.get_one(Schedule, number)):  # read before: no query
                return links.editing("schedule", number), "Mend it"
            return links.details("schedule", number), "See it"
        case Screen.start if access.may_write():
            return links.to("experiment.start", id=number), "Start it"
        case Screen.experiment | Screen.start:
            return links.details("experiment", number), "See the experiment"
        case Screen.twin:
            return links.details("digitaltwin", number), "See the twin"
        case Screen.twins:
            return links.to("digitaltwin.index_view"), "See the twins"
        case Screen.notices if access.may_administer():
            return url_for("notices.show"), "See the notices"
        case Screen.withdrawal:
            return links.to("userprofile.withdraw", id=number), "See how far it is"
        case Screen.post:
            return links.to("feed.show", text=target.experiment, start=target.post), "See the post"
    return "", ""
