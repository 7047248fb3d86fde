"""What a plan of a bulk set-up depends on: who is in the experiment, which tokens and personas there are."""

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from ..domain.reasons import ExperimentState, TokenState
from ..models import ApiToken, DigitalTwin, Experiment, Persona, PersonaVersion, UserProfile
from .bulk_files import Row
from .chunks import portions
from .fields import username_key
from .lookup import parse_uuid
from .twin_rows import TwinNow, read_twins


@dataclass(frozen=True)
class TokenNow:
    """An API token as far as a plan looks at it; never its key."""

    id: int
    uuid: UUID
    name: str
    base_url: str
    is_archived: bool


@dataclass(frozen=True)
class PersonaNow:
    """A persona with its latest version."""

    id: int
    name: str
    number: int
    version_id: int
    hash: str
    is_archived: bool


@dataclass(frozen=True)
class Facts:
    """`taken`: usernames (folded) of the experiment, and whether a twin has it; `twins`: those the rows name;
    `personas`: those the rows name, by their folded name."""

    state: ExperimentState
    taken: dict[str, bool]
    twins: dict[str, TwinNow]
    tokens: tuple[TokenNow, ...]
    personas: dict[str, PersonaNow]

    def token(self, text: str) -> TokenNow | None:
        """The token with this name or UUID."""
        uuid = parse_uuid(text)
        return next(
            (each for each in self.tokens if (each.uuid == uuid if uuid else each.name == text)), None
        )


def persona_name(row: Row) -> str:
    """The name a row's persona goes by: its own, else the first words of its text."""
    return row.persona_name.strip() or " ".join(row.persona.split()[:6])[:100]


def read_facts(session: Session, experiment: Experiment, rows: Iterable[Row]) -> Facts:
    """The facts of this moment. Reads only; the queries grow by portions of 500 names."""
    rows = list(rows)
    of_experiment = UserProfile.experiment_id == experiment.id
    taken = dict(
        session.execute(select(UserProfile.username_key, UserProfile.is_bot).where(of_experiment)).all()
    )
    asked = {username_key(row.username.strip().removeprefix("@")) for row in rows}
    twins: dict[str, TwinNow] = {}
    for part in portions(sorted(asked & taken.keys())):
        found = read_twins(
            session, DigitalTwin.experiment_id == experiment.id, UserProfile.username_key.in_(part)
        )
        twins |= {username_key(each.username): each for each in found}
    tokens = session.execute(
        select(ApiToken.id, ApiToken.uuid, ApiToken.name, ApiToken.base_url, ApiToken.state).order_by(
            ApiToken.id
        )
    )
    state = session.scalars(select(Experiment.state).where(Experiment.id == experiment.id)).one()
    return Facts(
        state,
        taken,
        twins,
        tuple(TokenNow(*row[:4], row[4] == TokenState.archived) for row in tokens),
        _personas(session, {persona_name(row).casefold() for row in rows}),
    )


def _personas(session: Session, wanted: set[str]) -> dict[str, PersonaNow]:
    # Not in SQL: databases fold letters beyond a–z differently, SQLite not at all.
    names = session.execute(select(Persona.id, Persona.name).order_by(Persona.id))
    keys = [key for key, name in names if name.casefold() in wanted]
    found: dict[str, PersonaNow] = {}
    for part in portions(keys):
        query = (
            select(
                Persona.id, Persona.name, Persona.latest_number, PersonaVersion.id, PersonaVersion.hash,
                Persona.is_archived,
            )
            .join(
                PersonaVersion,
                (PersonaVersion.persona_id == Persona.id) & (PersonaVersion.number == Persona.latest_number),
            )
            .where(Persona.id.in_(part))
            .order_by(Persona.id)
        )  # fmt: skip
        for row in session.execute(query):
            found.setdefault(row[1].casefold(), PersonaNow(*row))
    return found
