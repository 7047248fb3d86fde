"""The filters of the stream of attempts: read from an address, and as controls."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TypeVar
from zoneinfo import ZoneInfo

from flask import request
from sqlalchemy import select
from sqlalchemy.orm import Session

from ...domain.quoting import quote
from ...domain.reasons import REASON_WORDS, AttemptState, Reason, ReasonClass, Trigger
from ...errors import BadInput, NotFound
from ...models import DigitalTwin, Experiment, Schedule, UserProfile
from ...services.lookup import parse_key, parse_uuid
from ...services.reports_attempts import Filters


class Part(StrEnum):
    """Whether an attempt is of the study or of the rehearsal before it."""

    study = "study"
    rehearsal = "rehearsal"


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
NAMES = (
    "twin",
    "schedule",
    "trigger",
    "state",
    "reason",
    "class",
    "part",
    "model",
    "from",
    "until",
    "search",
)
MOST_TEXT = 200
# What is reckoned with a time must stay within the calendar, in any zone.
EARLIEST, LATEST = datetime(1, 1, 3, tzinfo=UTC), datetime(9999, 12, 29, tzinfo=UTC)


@dataclass(frozen=True)
class FilterField:
    """One control of a filter bar; `options` None makes it a field of this `kind` to type into."""

    label: str
    name: str
    value: str
    options: list[tuple[str, str]] | None
    kind: str = "text"


def filters_of(
    session: Session, experiment: Experiment | None, given: Mapping[str, str], zone: ZoneInfo
) -> Filters:
    """The filters in an address; times are of the zone's clock, unless they say another.

    Raises BadInput or NotFound for a value that can mean nothing.
    """
    since, until = _time(given, "from", zone), _time(given, "until", zone)
    if since and until and until <= since:
        raise BadInput("“From” has to be before “until”. Change one of them.", "until")
    return Filters(
        experiment=experiment,
        twin=_twin(session, experiment, given.get("twin", "").strip()),
        schedule=_schedule(session, given.get("schedule", "").strip()),
        trigger=_one_of(Trigger, given, "trigger"),
        state=_one_of(AttemptState, given, "state"),
        reason=_one_of(Reason, given, "reason"),
        reason_class=_one_of(ReasonClass, given, "class"),
        is_rehearsal=_is_rehearsal(given),
        model=_text(given, "model"),
        text=_text(given, "search"),
        since=since,
        until=until,
    )


def _text(given: Mapping[str, str], name: str) -> str:
    text = given.get(name, "").strip()
    if "\0" in text or len(text) > MOST_TEXT:
        raise BadInput(f"Search for at most {MOST_TEXT} characters one can read.", name)
    return text


def _time(given: Mapping[str, str], name: str, zone: ZoneInfo) -> datetime | None:
    text = given.get(name, "").strip()
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text)
        at = (at if at.tzinfo else at.replace(tzinfo=zone)).astimezone(UTC)
        return min(max(at, EARLIEST), LATEST)
    except (ValueError, OverflowError):
        raise BadInput(
            f"{quote(text[:40])} is no time. Write it like 2026-11-29T14:30, or clear the filter.", name
        ) from None


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


def place_in(name: str) -> int | None:
    text = request.args.get(name, "")
    if not text:
        return None
    if (place := parse_key(text)) is None:
        raise BadInput(f"{quote(text[:40])} is no place in the list. Go back to the newest attempts.", name)
    return place


def wanted() -> dict[str, str]:
    """The filters in the address as they were written, without the experiment."""
    return {name: text for name in NAMES if (text := request.args.get(name, "").strip())}


def fields_of(
    session: Session, experiment: Experiment | None, filters: Filters, zone: ZoneInfo
) -> list[FilterField]:
    """The controls, with what is chosen."""
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
        FilterField("Model", "model", filters.model, None),
        FilterField("From", "from", _typed(filters.since, zone), None, "datetime-local"),
        FilterField("Until", "until", _typed(filters.until, zone), None, "datetime-local"),
    ]


def _typed(at: datetime | None, zone: ZoneInfo) -> str:
    return at.astimezone(zone).replace(tzinfo=None).isoformat(timespec="minutes") if at else ""


def _part(filters: Filters) -> Part | None:
    if filters.is_rehearsal is None:
        return None
    return Part.rehearsal if filters.is_rehearsal else Part.study


def _choice(label: str, name: str, value: StrEnum | None, options: list[tuple[str, str]]) -> FilterField:
    return FilterField(label, name, value.value if value else "", [("", "any"), *options])
