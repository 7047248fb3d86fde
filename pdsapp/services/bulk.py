"""Bulk set-up of twins: all of them, or none and a list of what is wrong."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import cycle, islice

from sqlalchemy import select
from sqlalchemy.orm import Session

from ..errors import BadInput, NotFound
from ..models import ApiToken, DigitalTwin, Experiment, PersonaVersion, TwinTag, UserProfile
from . import lookup, personas, twins
from .bulk_files import Row
from .demo_cast import TWINS
from .fields import clean_line, username_key

TWIN_LIMIT = 100_000


@dataclass(frozen=True)
class RowError:
    """What is wrong with one row: where, which field, and what to do."""

    place: str
    field: str
    message: str


class BulkErrors(BadInput):
    """Rows that cannot be set up; nothing was changed. `errors` lists them."""

    def __init__(self, errors: list[RowError]):
        lines = "\n".join(f"  {e.place}: {e.field}: {e.message}" for e in errors[:50])
        super().__init__(f"Nothing was set up. {len(errors)} of the rows have errors:\n{lines}")
        self.errors = errors


def built_in_rows() -> list[Row]:
    """The ten personas that come with the product."""
    return [
        Row(place=name, persona=text, persona_name=name, username=username, display_name=shown, bio=bio)
        for username, shown, bio, name, text in TWINS
    ]


def set_up_twins(
    session: Session,
    experiment: Experiment,
    rows: list[Row],
    count: int | None,
    now: datetime,
    token: ApiToken | None = None,
    is_active: bool = True,
) -> list[DigitalTwin]:
    """`count` new twins (default: one a row), rows repeated as often as needed. The caller commits.

    Usernames come from the row, else from the persona's name; a number is added to those that are
    made up or repeated. Raises BulkErrors, and then the caller must roll back.
    """
    wanted = len(rows) if count is None else count
    if not 1 <= wanted <= TWIN_LIMIT:
        raise BadInput(f"The number of twins must be between 1 and {TWIN_LIMIT:,}.", "count")
    made, errors = [], []
    versions: dict[tuple[str, str], PersonaVersion] = {}
    for row in _with_usernames(session, experiment, rows, wanted):
        try:
            made.append(_set_up(session, experiment, row, versions, now, token, is_active))
        except (BadInput, NotFound) as error:
            errors.append(RowError(row.place, getattr(error, "field", None) or "row", str(error)))
    if errors:
        raise BulkErrors(errors)
    return made


def _set_up(
    session: Session,
    experiment: Experiment,
    row: Row,
    versions: dict[tuple[str, str], PersonaVersion],
    now: datetime,
    token: ApiToken | None,
    is_active: bool,
) -> DigitalTwin:
    own_token = lookup.find_token(session, row.token) if row.token else token
    key = (row.persona_name, row.persona)
    if key not in versions:
        versions[key] = _persona_version(session, row, now)
    twin = twins.add_twin(
        session,
        experiment,
        row.username,
        versions[key],
        now,
        row.display_name,
        row.bio,
        own_token,
        row.llm_url,
        row.llm_model,
        row.parameters,
        is_active,
    )
    for tag in dict.fromkeys(part.strip() for part in row.tags.split(",") if part.strip()):
        session.add(TwinTag(digital_twin_id=twin.id, tag=clean_line(tag, "tags", 40)))
    return twin


def _persona_version(session: Session, row: Row, now: datetime) -> PersonaVersion:
    if row.persona.strip():
        name = row.persona_name.strip() or " ".join(row.persona.split()[:6])[:100]
        return personas.add_version_of(session, name, row.persona, now)
    persona = personas.find_persona(session, row.persona_name)
    found = personas.latest_version(session, persona) if persona else None
    if found is None:
        raise BadInput(f"There is no persona “{row.persona_name[:80]}” in the library.", "persona_name")
    return found


def _with_usernames(session: Session, experiment: Experiment, rows: list[Row], wanted: int) -> Iterator[Row]:
    """The rows to set up, each with a username; only made-up and repeated ones dodge those taken."""
    query = select(UserProfile.username_key).where(UserProfile.experiment_id == experiment.id)
    taken = set(session.scalars(query))
    for number, row in enumerate(islice(cycle(rows), wanted)):
        is_first_round = number < len(rows)
        username = row.username.strip()
        if not username or not is_first_round:
            username = _free(username or _slug(row.persona_name or row.persona), taken)
        taken.add(username_key(username))
        place = row.place if is_first_round else f"{row.place} (again)"
        yield replace(row, username=username, place=place)


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")[:20].strip("_") or "twin"


def _free(base: str, taken: set[str]) -> str:
    base = base.removeprefix("@")[:24]
    number, username = 1, base
    while username_key(username) in taken:
        number += 1
        username = f"{base}_{number}"
    return username
