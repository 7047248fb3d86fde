"""The activity page: the stream of attempts with its filters, and what is happening beside it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TypeVar
from zoneinfo import ZoneInfo

from flask import Blueprint, make_response, render_template, request, url_for
from sqlalchemy import select
from sqlalchemy.orm import Session

from ...attempts.words import span_words
from ...domain.quoting import quote
from ...domain.reasons import REASON_WORDS, AttemptState, Reason, ReasonClass, Trigger
from ...errors import BadInput, NotFound
from ...extensions import db
from ...models import DigitalTwin, Experiment, ProcessKind, Schedule, UserProfile, utc_now
from ...services import reports_attempts, reports_now
from ...services.lookup import parse_uuid
from ...services.reports_attempts import Filters
from .. import access, frame
from . import attention, links
from .rows import STAGE_WORDS, AttemptRow, attempt_row


class Part(StrEnum):
    """Whether an attempt is of the study or of the rehearsal before it."""

    study = "study"
    rehearsal = "rehearsal"


FIRST_INTERVAL = 5
LARGEST_ID = 2**63 - 1
MOST_CHOICES = 500
TRIGGER_WORDS = {
    Trigger.schedule: "schedule",
    Trigger.button: "button",
    Trigger.cli: "command line",
    Trigger.api: "API",
}
CLASS_WORDS = {
    ReasonClass.rule: "the rule's draw",
    ReasonClass.limit: "limits",
    ReasonClass.operational: "operational",
}
PART_WORDS = {Part.study: "the study", Part.rehearsal: "a rehearsal"}
Closed = TypeVar("Closed", bound=StrEnum)

routes = Blueprint("activity", __name__)


@dataclass(frozen=True)
class FilterField:
    """One control of the filter bar; `options` None makes it a text field."""

    label: str
    name: str
    value: str
    options: list[tuple[str, str]] | None


@dataclass(frozen=True)
class ProcessLine:
    """A worker or scheduler in words."""

    name: str
    is_alive: bool
    words: str
    beat_at: datetime


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
    search: None
    clear_url: str
    attempts: list[AttemptRow]
    with_experiment: bool
    poll_url: str
    cursor: str
    interval: int
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
    filters = _filters(session, experiment, request.args)
    before, after = _number("before"), _number("after")
    cursor = reports_attempts.change_cursor(session, filters)
    found = reports_attempts.page(session, filters, before, after)
    happening = reports_now.now_of(session, now)
    zone = _zone(experiment)
    wanted = _wanted()
    page = Activity(
        lead=_lead(experiment, zone),
        attention=attention.processes(happening),
        filters=_fields(session, experiment, filters),
        search=None,
        clear_url=url_for(".stream") if wanted else "",
        attempts=[attempt_row(line, zone) for line in found.lines],
        with_experiment=experiment is None,
        poll_url=url_for(".rows", scope=experiment.identifier if experiment else "", **wanted),
        cursor=cursor,
        interval=FIRST_INTERVAL,
        pager_words=_pager_words(found),
        earlier_url=url_for(".stream", before=found.older, **wanted) if found.older else "",
        later_url=url_for(".stream", after=found.newer, **wanted) if found.newer is not None else "",
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
    filters = _filters(session, experiment, request.args)
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


def _filters(session: Session, experiment: Experiment | None, given: Mapping[str, str]) -> Filters:
    """The filters in an address. Raises BadInput or NotFound for a value that can mean nothing."""
    return Filters(
        experiment=experiment,
        twin=_twin(session, experiment, given.get("twin", "").strip()),
        schedule=_schedule(session, given.get("schedule", "").strip()),
        trigger=_one_of(Trigger, given, "trigger"),
        state=_one_of(AttemptState, given, "state"),
        reason=_one_of(Reason, given, "reason"),
        reason_class=_one_of(ReasonClass, given, "class"),
        is_rehearsal=_is_rehearsal(given),
    )


def _is_rehearsal(given: Mapping[str, str]) -> bool | None:
    part = _one_of(Part, given, "part")
    return None if part is None else part == Part.rehearsal


def _one_of(values: type[Closed], given: Mapping[str, str], name: str) -> Closed | None:
    text = given.get(name, "").strip()
    if not text:
        return None
    try:
        return values(text)
    except ValueError:
        known = ", ".join(value.value.replace("_", " ") for value in values)
        raise BadInput(f"{quote(text[:40])} is no {name} of an attempt. Known: {known}.", name) from None


def _twin(session: Session, experiment: Experiment | None, text: str) -> DigitalTwin | None:
    if not text:
        return None
    query = select(DigitalTwin).join(DigitalTwin.user_profile)
    if (uuid := parse_uuid(text)) is not None:
        query = query.where(DigitalTwin.uuid == uuid)
    else:
        query = query.where(UserProfile.username_key == text.removeprefix("@").casefold())
    if experiment is not None:
        query = query.where(DigitalTwin.experiment_id == experiment.id)
    found = [] if "\0" in text else session.scalars(query.limit(2)).all()
    if len(found) > 1:
        raise BadInput(
            f"Several experiments have a twin @{text[:40].removeprefix('@')}. Choose the experiment first."
        )
    if not found:
        where = f" in {experiment.name}" if experiment else ""
        raise NotFound(f"There is no twin {quote(text[:40])}{where}. Check the name, or clear the filter.")
    return found[0]


def _schedule(session: Session, text: str) -> Schedule | None:
    if not text:
        return None
    uuid = parse_uuid(text)
    found = uuid and session.scalars(select(Schedule).where(Schedule.uuid == uuid)).one_or_none()
    if not found:
        raise NotFound(
            f"There is no schedule {quote(text[:40])}. Choose one from the list, or clear the filter."
        )
    return found


def _number(name: str) -> int | None:
    text = request.args.get(name, "")
    if not text:
        return None
    if not (text.isascii() and text.isdigit()) or len(text) > 19 or int(text) > LARGEST_ID:
        raise BadInput(f"{quote(text[:40])} is no place in the list. Go back to the newest attempts.", name)
    return int(text)


def _wanted() -> dict[str, str]:
    """The filters in the address as they were written, without the experiment."""
    names = ("twin", "schedule", "trigger", "state", "reason", "class", "part")
    return {name: text for name in names if (text := request.args.get(name, "").strip())}


def _fields(session: Session, experiment: Experiment | None, filters: Filters) -> list[FilterField]:
    schedules = select(Schedule.uuid, Schedule.name).order_by(Schedule.name).limit(MOST_CHOICES)
    if experiment is not None:
        schedules = schedules.where(
            (Schedule.experiment_id == experiment.id) | Schedule.experiment_id.is_(None)
        )
    known = [(str(uuid), name) for uuid, name in session.execute(schedules)]
    chosen = str(filters.schedule.uuid) if filters.schedule else ""
    if filters.schedule and chosen not in dict(known):
        known.append((chosen, filters.schedule.name))
    twin = filters.twin.user_profile.username if filters.twin else ""
    return [
        FilterField("Twin", "twin", f"@{twin}" if twin else "", None),
        _choice("State", "state", filters.state, [(s.value, s.value) for s in AttemptState]),
        _choice("Class", "class", filters.reason_class, [(c.value, CLASS_WORDS[c]) for c in ReasonClass]),
        _choice("Reason", "reason", filters.reason, [(r.value, REASON_WORDS[r]) for r in Reason]),
        _choice("Asked by", "trigger", filters.trigger, [(t.value, TRIGGER_WORDS[t]) for t in Trigger]),
        FilterField("Schedule", "schedule", chosen, [("", "any"), *known]),
        _choice("Part of", "part", _part(filters), list(PART_WORDS.items())),
    ]


def _part(filters: Filters) -> Part | None:
    if filters.is_rehearsal is None:
        return None
    return Part.rehearsal if filters.is_rehearsal else Part.study


def _choice(label: str, name: str, value: StrEnum | None, options: list[tuple[str, str]]) -> FilterField:
    return FilterField(label, name, value.value if value else "", [("", "any"), *options])


def _pager_words(found: reports_attempts.Page) -> str:
    if found.older is None and found.newer is None:
        return ""
    return f"{len(found.lines)} attempts"


def _happening(found: reports_now.Now, zone: ZoneInfo, at: datetime) -> Happening:
    return Happening(
        workers=[_process(process, at) for process in found.of_kind(ProcessKind.worker)],
        schedulers=[_process(process, at) for process in found.of_kind(ProcessKind.scheduler)],
        lanes=[_lane(lane) for lane in found.lanes],
        at_work=[
            WorkLine(links.attempt(work.uuid), work.twin, STAGE_WORDS[work.stage], work.claimed_at)
            for work in found.at_work
        ],
        at_work_count=found.at_work_count,
        zone=zone,
    )


def _process(process: reports_now.Process, at: datetime) -> ProcessLine:
    ago = span_words((at - process.beat_at).total_seconds())
    parts = []
    if process.is_leader and process.is_alive:
        parts.append("leads")
    if process.lanes:
        parts.append(
            f"lanes {', '.join(process.lanes)}" if len(process.lanes) > 1 else f"lane {process.lanes[0]}"
        )
    if process.busy_count:
        parts.append(f"{process.busy_count} at work")
    parts.append(f"stopped {ago} ago" if process.stopped_at else f"last beat {ago} ago")
    return ProcessLine(process.name, process.is_alive, ", ".join(parts), process.beat_at)


def _lane(lane: reports_now.Lane) -> LaneLine:
    parts = [
        f"{lane.due:,} due" + (f", the oldest for {span_words(lane.oldest_seconds)}" if lane.due else "")
    ]
    if lane.later:
        parts.append(f"{lane.later:,} put off")
    if not lane.is_served:
        parts.append("nobody serves it")
    is_late = lane.oldest_seconds > attention.OVERDUE_SECONDS
    return LaneLine(lane.name, ", ".join(parts), is_late or (not lane.is_served and lane.due > 0))
