"""Finding rows by what people type: UUIDs, identifiers, names."""

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from ..domain.quoting import quote
from ..errors import BadInput, NotFound
from ..models import ApiToken, DigitalTwin, Experiment, Schedule, UserProfile

MOST_LISTED = 5
LARGEST_KEY = 2**31 - 1  # of a column: PostgreSQL fails at a larger number, also when it is only compared


def parse_key(text: str) -> int | None:
    """The row's number that a text spells, or None where no row can have it."""
    is_key = text.isascii() and text.isdigit() and len(text) <= 12
    return int(text) if is_key and int(text) <= LARGEST_KEY else None


def parse_uuid(text: str) -> UUID | None:
    """The UUID a text spells, or None."""
    try:
        return UUID(text)
    except ValueError:
        return None


def find_experiment(session: Session, text: str) -> Experiment:
    """The experiment with this UUID or five-character identifier, unless it is being deleted.

    Raises NotFound, BadInput.
    """
    text = text.strip()
    if (uuid := parse_uuid(text)) is not None:
        found = session.scalars(select(Experiment).where(Experiment.uuid == uuid)).one_or_none()
    elif len(text) == 5 and text.isalnum():
        found = session.scalars(select(Experiment).where(Experiment.identifier == text.lower())).one_or_none()
    else:
        raise BadInput(
            f"{quote(text[:80])} is neither a UUID nor a 5-character identifier. See: flask experiments list",
            "experiment",
        )
    if found is None or found.delete_asked_at is not None:
        raise NotFound(f"There is no experiment {quote(text)}. See: flask experiments list")
    return found


def find_twin(session: Session, text: str, experiment: Experiment | None = None) -> DigitalTwin:
    """The twin with this UUID or username (with or without @). Raises NotFound, BadInput if ambiguous."""
    text = text.strip()
    query = select(DigitalTwin).join(DigitalTwin.user_profile)
    if (uuid := parse_uuid(text)) is not None:
        query = query.where(DigitalTwin.uuid == uuid)
    else:
        query = query.where(UserProfile.username_key == text.removeprefix("@").casefold())
    if experiment is not None:
        query = query.where(DigitalTwin.experiment_id == experiment.id)
    found = session.scalars(query.limit(2)).all()
    if not found:
        raise NotFound(f"There is no twin {quote(text[:80])}.")
    if len(found) > 1:
        raise BadInput(f"Several experiments have a twin {quote(text[:80])}. Add --experiment ID.", "twin")
    return found[0]


def find_profile(session: Session, text: str, experiment: Experiment) -> UserProfile:
    """The member of an experiment with this UUID or username (with or without @). Raises NotFound."""
    uuid, key = parse_uuid(text.strip()), text.strip().removeprefix("@").casefold()
    is_it = UserProfile.uuid == uuid if uuid else UserProfile.username_key == key
    query = select(UserProfile).where(UserProfile.experiment_id == experiment.id, is_it)
    found = None if "\0" in key else session.scalars(query).one_or_none()
    if found is None:
        raise NotFound(f"Nobody in {experiment.name} is called {quote(text[:80])}.")
    return found


def find_token(session: Session, text: str) -> ApiToken:
    """The API token with this name or UUID. Raises NotFound."""
    uuid = parse_uuid(text)
    query = select(ApiToken).where(ApiToken.uuid == uuid if uuid else ApiToken.name == text.strip())
    found = session.scalars(query).one_or_none()
    if found is None:
        raise NotFound(f"There is no API token {quote(text[:80])}. See: flask tokens list")
    return found


def find_schedule(session: Session, text: str) -> Schedule:
    """The schedule with this UUID or, if only one has it, name. Raises NotFound, BadInput."""
    uuid = parse_uuid(text)
    query = select(Schedule).where(Schedule.uuid == uuid if uuid else Schedule.name == text.strip())
    found = session.scalars(query.order_by(Schedule.is_archived, Schedule.id).limit(MOST_LISTED)).all()
    if not found:
        raise NotFound(f"There is no schedule {quote(text[:80])}. See: flask schedules list")
    if len(found) > 1:
        listed = "; ".join(
            f"{row.uuid} ({row.experiment or 'all experiments'}{', archived' if row.is_archived else ''})"
            for row in found
        )
        raise BadInput(f"Several schedules are named {quote(text[:80])}. Use the UUID: {listed}.", "schedule")
    return found[0]
