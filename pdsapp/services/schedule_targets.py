"""Whom a schedule asks: from tags and usernames to a target and back, and what there is to choose from."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from ..domain.near import near_names
from ..domain.targets import (
    EVERYBODY,
    MOST_CHOSEN,
    MOST_TAGS,
    Target,
    TargetError,
    asked_words,
    whom_words,
)
from ..errors import BadInput
from ..models import DigitalTwin, Experiment, Schedule, ScheduleRevision, TwinTag, UserProfile
from .chunks import portions
from .fields import clean_tags, username_key
from .lookup import parse_uuid

ONE_EXPERIMENT = "A schedule of all experiments asks all their active twins. Choose one experiment."
UNREADABLE = "cannot be read"
TWINS_OFFERED = 50
MOST_TICKED = 2 * MOST_CHOSEN  # shown again after a refusal; no page sends more
MOST_NAMED = 5  # in a sentence about several
_BETWEEN_NAMES = re.compile(r"[\s,;]+")


@dataclass(frozen=True)
class OfferedTag:
    """A tag, how many twins of the experiment have it, and how many of these can be asked now."""

    tag: str
    twins: int
    active: int
    is_chosen: bool


@dataclass(frozen=True)
class OfferedTwin:
    """A twin to choose. `is_there` is False for a name that no twin of the experiment has."""

    username: str
    display_name: str
    is_active: bool
    is_chosen: bool
    is_there: bool = True


def usernames_in(text: str | None) -> list[str]:
    """The usernames of a text, without @, split at spaces, commas and lines."""
    return [name.lstrip("@") for name in _BETWEEN_NAMES.split(text or "") if name.strip("@")]


def target_of(
    session: Session, experiment: Experiment | None, tags: Iterable[str] = (), usernames: Iterable[str] = ()
) -> Target:
    """The target with these tags, or of twins with these usernames; everybody with neither.

    A tag that nobody has is taken: twins may get it later. Raises BadInput at `target`, `tags`, `twins`.
    """
    wanted = clean_tags(tags)
    names = {username_key(name): name for name in usernames}
    if wanted and names:
        raise BadInput("Choose twins either by tag or by hand, not both.", "target")
    if experiment is None and (wanted or names):
        raise BadInput(ONE_EXPERIMENT, "target")
    if len(wanted) > MOST_TAGS:
        raise BadInput(f"Choose at most {MOST_TAGS} tags.", "tags")
    if len(names) > MOST_CHOSEN:
        raise BadInput(
            f"These are {len(names):,} twins; at most {MOST_CHOSEN:,} are chosen by hand. Give them a tag, "
            "and choose the tag.",
            "twins",
        )
    return Target.chosen(_found(session, experiment, names)) if names else Target.tagged(wanted)


def check_twins(session: Session, experiment: Experiment | None, target: Target) -> None:
    """Raises BadInput at `twins` for chosen ones that are not the experiment's."""
    if experiment is None or not target.twins:
        return
    uuids = {parse_uuid(text) for text in target.twins}
    query = select(func.count(DigitalTwin.id)).where(
        DigitalTwin.experiment_id == experiment.id, DigitalTwin.uuid.in_(uuids - {None})
    )
    if session.scalar(query) != len(target.twins):
        raise BadInput(f"Some of the chosen twins are not of {experiment}. Choose them again.", "twins")


def readable(intent: Schedule | ScheduleRevision) -> Target:
    """Its target; everybody where somebody has written what is none."""
    try:
        return Target.from_dict(intent.target)
    except TargetError:
        return EVERYBODY


def names_of(session: Session, targets: Iterable[Target]) -> dict[str, str]:
    """The usernames of all twins chosen in these, by UUID as text; a query for each 500, none for nobody."""
    uuids = {parse_uuid(text) for target in targets for text in target.twins} - {None}
    query = select(DigitalTwin.uuid, UserProfile.username).join(DigitalTwin.user_profile)
    names: dict[str, str] = {}
    for part in portions(sorted(uuids)):
        found = session.execute(query.where(DigitalTwin.uuid.in_(part)))
        names |= {str(uuid): name for uuid, name in found}
    return names


def words_of(intent: Schedule | ScheduleRevision, names: dict[str, str]) -> str:
    """ "all active twins", "twins tagged “morning”", "@ada, @ben", from `names_of`."""
    try:
        return whom_words(Target.from_dict(intent.target), names)
    except TargetError:
        return UNREADABLE


def per_slot(intent: Schedule | ScheduleRevision) -> int | None:
    """How many twins each slot asks; None is each of them."""
    return None if intent.asks_all else intent.twins_per_slot


def asked_of(intent: Schedule | ScheduleRevision, whom: str) -> str:
    """ "3 of all active twins", or, where each is asked, "all active twins, each of them"."""
    return f"{whom}, each of them" if intent.asks_all else f"{intent.twins_per_slot:,} of {whom}"


def brief_words(intent: Schedule | ScheduleRevision) -> str:
    """ "3 twins tagged “morning”": whom each slot asks, without a query."""
    try:
        return asked_words(Target.from_dict(intent.target), per_slot(intent))
    except TargetError:
        return f"twins: {UNREADABLE}"


def offered_tags(session: Session, experiment: Experiment, chosen: Iterable[str]) -> list[OfferedTag]:
    """The tags twins of the experiment have, by name; chosen ones too that nobody has."""
    query = (
        select(TwinTag.tag, func.count(DigitalTwin.id), func.count(DigitalTwin.active_rank))
        .join(DigitalTwin, DigitalTwin.id == TwinTag.digital_twin_id)
        .where(DigitalTwin.experiment_id == experiment.id)
        .group_by(TwinTag.tag)
    )
    found = {tag: (count, active) for tag, count, active in session.execute(query)}
    ticked = set(chosen)
    return [
        OfferedTag(tag, *found.get(tag, (0, 0)), is_chosen=tag in ticked)
        for tag in sorted({*found, *ticked}, key=lambda tag: (tag.casefold(), tag))
    ]


def offered_twins(
    session: Session, experiment: Experiment, chosen: Iterable[str], text: str = ""
) -> tuple[list[OfferedTwin], int]:
    """The chosen twins first, then others whose names hold the text; and how many more there are.

    Both by username. At most TWINS_OFFERED that are not chosen, and MOST_TICKED that are.
    """
    ticked = {username_key(name): name for name in islice(chosen, MOST_TICKED)}
    known = _askable(ticked)
    key, shown = UserProfile.username_key, UserProfile.display_name
    query = (
        select(UserProfile.username, shown, DigitalTwin.active_rank.is_not(None), key.in_(known))
        .join(DigitalTwin, DigitalTwin.user_profile_id == UserProfile.id)
        .where(UserProfile.experiment_id == experiment.id)
        .order_by(key)
    )
    rows = list(session.execute(query.where(key.in_(known)))) if known else []
    others = query.where(key.not_in(known)) if known else query
    if wanted := "".join(filter(str.isprintable, text)).strip().lstrip("@").casefold():
        held = key.contains(wanted, autoescape=True)
        others = others.where(or_(held, func.lower(shown).contains(wanted, autoescape=True)))
    listed = session.execute(others.limit(TWINS_OFFERED)).all()
    more = 0
    if len(listed) == TWINS_OFFERED:
        inner = others.order_by(None).subquery()
        more = session.scalar(select(func.count()).select_from(inner)) - len(listed)
    there = {username_key(row[0]) for row in rows}
    strange = [
        OfferedTwin(name, "", False, True, is_there=False) for k, name in ticked.items() if k not in there
    ]
    return [*strange, *(OfferedTwin(*row) for row in (*rows, *listed))], more


def holder_of(session: Session, twin: DigitalTwin) -> Schedule | None:
    """A schedule that has, or in a former revision had, this twin among its chosen ones."""
    query = (
        select(Schedule, ScheduleRevision.target)
        .join(ScheduleRevision, ScheduleRevision.schedule_id == Schedule.id)
        .where(ScheduleRevision.experiment_id == twin.experiment_id)
        .order_by(ScheduleRevision.id.desc())
    )
    for found, target in session.execute(query):
        if isinstance(target, dict) and str(twin.uuid) in (target.get("twins") or ()):
            return found
    return None


def _found(session: Session, experiment: Experiment, names: dict[str, str]) -> list[object]:
    """The UUIDs of these twins. Raises BadInput at `twins` with the names that are no twin's."""
    query = (
        select(UserProfile.username_key, DigitalTwin.uuid)
        .join(DigitalTwin, DigitalTwin.user_profile_id == UserProfile.id)
        .where(UserProfile.experiment_id == experiment.id, UserProfile.username_key.in_(_askable(names)))
    )
    found = dict(session.execute(query).all())
    missing = [name for key, name in names.items() if key not in found]
    if missing:
        raise BadInput(_missing_words(session, experiment, missing), "twins")
    return list(found.values())


def _askable(keys: Iterable[str]) -> list[str]:
    """Those that a database can be asked for: no NUL, no half characters."""
    return [key for key in keys if key.isprintable()]


def _missing_words(session: Session, experiment: Experiment, missing: list[str]) -> str:
    listed = ", ".join(f"@{name[:40]}" for name in missing[:MOST_NAMED])
    if len(missing) > 1:
        more = f" and {len(missing) - MOST_NAMED:,} more" if len(missing) > MOST_NAMED else ""
        return f"{listed}{more} are no twins of {experiment}. Take them out, or choose others."
    key = username_key(missing[0])
    is_person = select(UserProfile.id).where(
        UserProfile.experiment_id == experiment.id, UserProfile.username_key.in_(_askable([key]))
    )
    if session.scalar(is_person.limit(1)) is not None:
        return f"{listed} is a person, not a twin. Take it out, or choose another."
    names = session.scalars(
        select(UserProfile.username)
        .join(DigitalTwin, DigitalTwin.user_profile_id == UserProfile.id)
        .where(UserProfile.experiment_id == experiment.id)
        .order_by(UserProfile.username_key)
        .limit(500)
    )
    near = near_names(missing[0], names.all())
    hint = f" Did you mean {' or '.join(f'@{name}' for name in near)}?" if near else ""
    return f"{experiment} has no twin {listed}.{hint or ' Take it out, or choose another.'}"
