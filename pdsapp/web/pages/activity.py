"""The activity page: the stream of attempts with its filters, and what is happening beside it."""

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from flask import Blueprint, make_response, render_template, request, url_for
from sqlalchemy.orm import Session

from ...attempts.words import span_words
from ...extensions import db
from ...models import Experiment, ProcessKind, utc_now
from ...services import reports_attempts, reports_now
from .. import access, frame
from . import attention, links
from .attempt_filters import FilterField, fields_of, filters_of, place_in, wanted
from .processes import ProcessLine, process_line
from .rows import STAGE_WORDS, AttemptRow, attempt_row

FIRST_INTERVAL = 1

routes = Blueprint("activity", __name__)


@dataclass(frozen=True)
class LaneLine:
    """A lane in words."""

    name: str
    words: str
    is_bad: bool


@dataclass(frozen=True)
class WorkLine:
    """An attempt at work."""

    url: str
    twin: str
    words: str
    since: datetime | None


@dataclass(frozen=True)
class Happening:
    """What is beside the stream: over all experiments, since workers serve them together."""

    workers: list[ProcessLine]
    schedulers: list[ProcessLine]
    lanes: list[LaneLine]
    at_work: list[WorkLine]
    at_work_count: int
    zone: ZoneInfo


@dataclass(frozen=True)
class Activity:
    """What templates/web/activity.html draws; its top comment says what each part is."""

    lead: str
    attention: list[attention.Attention]
    filters: list[FilterField]
    search: str
    clear_url: str
    attempts: list[AttemptRow]
    with_experiment: bool
    poll_url: str
    cursor: str
    interval: int
    searched: str
    pager_words: str
    earlier_url: str
    later_url: str
    empty_words: str
    empty_url: str
    empty_button: str
    happening: Happening
    now_url: str


@routes.route("/activity")
def stream():
    """The newest attempts that fit the filters in the address, or a page of older ones."""
    session, now = db.session(), utc_now()
    experiment = _experiment_in_address(session) or frame.current_experiment()
    filters = filters_of(session, experiment, request.args, _zone(experiment))
    before, after = place_in("before"), place_in("after")
    cursor = reports_attempts.change_cursor(session, filters)
    found = reports_attempts.page(session, filters, before, after)
    happening = reports_now.now_of(session, now)
    zone = _zone(experiment)
    given = wanted()
    page = Activity(
        lead=_lead(experiment, zone),
        attention=attention.processes(happening),
        filters=fields_of(session, experiment, filters, zone),
        search=filters.text,
        clear_url=url_for(".stream") if given else "",
        attempts=[attempt_row(line, zone) for line in found.lines],
        with_experiment=experiment is None,
        poll_url=url_for(".rows", scope=experiment.identifier if experiment else "", **given),
        cursor=cursor,
        interval=FIRST_INTERVAL,
        searched=_searched_words(found, zone),
        pager_words=_pager_words(found),
        earlier_url=url_for(".stream", before=found.older, **given) if found.older else "",
        later_url=url_for(".stream", after=found.newer, **given) if found.newer is not None else "",
        empty_words="No twin has been asked yet. A schedule asks by itself; a twin's page asks at once.",
        empty_url=links.to("digitaltwin.index_view") if access.may_write() else "",
        empty_button="See the twins",
        happening=_happening(happening, zone, now),
        now_url=url_for(".now"),
    )
    return render_template("web/activity.html", page=page)


@routes.route("/activity/rows")
def rows():
    """The rows that are new or different since `since`, 204 when there are none.

    `scope` says which experiment; it is not the `experiment` of the page's address, which would choose it for
    all of the viewer's screens.
    """
    session = db.session()
    scope = request.args.get("scope", "")
    experiment = frame.addressed_experiment(session, scope) if scope else None
    filters = filters_of(session, experiment, request.args, _zone(experiment))
    changes = reports_attempts.changes(session, filters, request.args.get("since", ""))
    if changes is None:
        return "", 204
    zone = _zone(experiment)
    answer = make_response(
        render_template(
            "web/activity_rows.html",
            attempts=[attempt_row(line, zone) for line in changes.lines],
            gone=changes.gone,
            with_experiment=experiment is None,
        )
    )
    answer.headers["X-Cursor"] = changes.cursor
    return answer


@routes.route("/activity/now")
def now():
    """What is happening, by itself: the part of the page that renews."""
    at = utc_now()
    happening = _happening(reports_now.now_of(db.session(), at), _zone(frame.current_experiment()), at)
    return render_template("web/activity_now.html", happening=happening, now_url=url_for(".now"))


def _zone(experiment: Experiment | None) -> ZoneInfo:
    return ZoneInfo(experiment.zone if experiment else "UTC")


def _lead(experiment: Experiment | None, zone: ZoneInfo) -> str:
    whose = experiment.name if experiment else "All experiments"
    return f"{whose} · every attempt, newest first · times in {zone.key}"


def _experiment_in_address(session: Session) -> Experiment | None:
    text = request.args.get("experiment", "").strip()
    return frame.addressed_experiment(session, text) if text else None


def _pager_words(found: reports_attempts.Page) -> str:
    if found.older is None and found.newer is None:
        return ""
    return f"{len(found.lines)} attempts"


def _searched_words(found: reports_attempts.Page, zone: ZoneInfo) -> str:
    """How far back was looked, where that was not to the end."""
    if found.searched_to is None:
        return ""
    local = found.searched_to.astimezone(zone)
    return (
        f"Looked at {reports_attempts.MOST_SEARCHED:,} attempts, back to {local:%a} {local.day} "
        f"{local:%b %Y, %H:%M %Z}. There are older ones."
    )


def _happening(found: reports_now.Now, zone: ZoneInfo, at: datetime) -> Happening:
    return Happening(
        workers=[process_line(process, at) for process in found.of_kind(ProcessKind.worker)],
        schedulers=[process_line(process, at) for process in found.of_kind(ProcessKind.scheduler)],
        lanes=[_lane(lane) for lane in found.lanes],
        at_work=[
            WorkLine(links.attempt(work.uuid), work.twin, STAGE_WORDS[work.stage], work.claimed_at)
            for work in found.at_work
        ],
        at_work_count=found.at_work_count,
        zone=zone,
    )


def _lane(lane: reports_now.Lane) -> LaneLine:
    parts = [
        f"{lane.due:,} due" + (f", the oldest for {span_words(lane.oldest_seconds)}" if lane.due else "")
    ]
    if lane.later:
        parts.append(f"{lane.later:,} put off")
    if not lane.is_served:
        parts.append("nobody serves it")
    is_late = lane.oldest_seconds > attention.OVERDUE_SECONDS
    return LaneLine(lane.name, ", ".join(parts), is_late or lane.is_left_alone)
