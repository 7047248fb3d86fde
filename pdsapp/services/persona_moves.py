"""Moving twins to a new version of their persona: by experiment, with a reason where a study has begun."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session, lazyload

from ..domain.protocol import ProtocolPart
from ..domain.reasons import OVER_STATES
from ..errors import BadInput
from ..models import Account, DigitalTwin, Experiment, Persona, PersonaVersion
from . import protocol

# Their policy and prompt are not looked at here, and would have to be grouped by.
_BARE = (lazyload(Experiment.policy), lazyload(Experiment.prompt_version))
NOT_THERE = "One of these experiments has no twin with this persona any more. Open the page again and choose."


@dataclass(frozen=True)
class Group:
    """The twins of one experiment that have a persona: (version number, how many), oldest version first."""

    experiment: Experiment
    counts: tuple[tuple[int, int], ...]

    @property
    def twins(self) -> int:
        return sum(count for _, count in self.counts)

    @property
    def is_over(self) -> bool:
        """Whether its experiment has ended: what it was run by stays as it is."""
        return self.experiment.state in OVER_STATES

    @property
    def needs_reason(self) -> bool:
        return protocol.needs_reason(self.experiment)

    @property
    def is_moved_by_default(self) -> bool:
        """Only where nothing has begun: a study under way stays as it is unless somebody says so."""
        return not self.is_over and not self.needs_reason


def groups_of(session: Session, persona: Persona, below: int | None = None) -> list[Group]:
    """The twins that have a persona, by experiment, in the order of names. One query.

    `below`: only those on a version with a lower number.
    """
    query = (
        select(Experiment, PersonaVersion.number, func.count(DigitalTwin.id))
        .join(DigitalTwin, DigitalTwin.experiment_id == Experiment.id)
        .join(PersonaVersion, PersonaVersion.id == DigitalTwin.persona_version_id)
        .where(PersonaVersion.persona_id == persona.id)
        .group_by(Experiment.id, PersonaVersion.number)
        .order_by(Experiment.name, Experiment.id, PersonaVersion.number)
        .options(*_BARE)
    )
    if below is not None:
        query = query.where(PersonaVersion.number < below)
    found: dict[int, tuple[Experiment, list[tuple[int, int]]]] = {}
    for experiment, number, count in session.execute(query):
        found.setdefault(experiment.id, (experiment, []))[1].append((number, count))
    return [Group(experiment, tuple(counts)) for experiment, counts in found.values()]


def hold(session: Session, experiment_ids: Iterable[int]) -> None:
    """Locks these experiments, so that none begins or ends meanwhile. Before any other lock."""
    query = (
        select(Experiment)
        .where(Experiment.id.in_(list(experiment_ids)))
        .order_by(Experiment.id)
        .options(*_BARE)
    )
    session.execute(
        query.with_for_update(of=Experiment, key_share=True).execution_options(populate_existing=True)
    ).all()


def move(
    session: Session,
    persona: Persona,
    version: PersonaVersion,
    experiment_ids: Iterable[int],
    now: datetime,
    reason: str = "",
    account: Account | None = None,
) -> int:
    """Moves the twins of these experiments from older versions to this one; how many were moved.

    Each experiment gets a protocol change. The caller has called `hold` and commits. Raises BadInput at
    `reason` when a study has begun and none is given, at `moves` for an experiment that is over or has no
    such twin.
    """
    chosen = set(experiment_ids)
    groups = {group.experiment.id: group for group in groups_of(session, persona, version.number)}
    if not chosen <= groups.keys():
        raise BadInput(NOT_THERE, "moves")
    moved = 0
    for key in sorted(chosen):
        group = groups[key]
        if group.is_over:
            name, state = group.experiment, group.experiment.state
            raise BadInput(f"{name} is {state}: what it was run by stays as it is.", "moves")
        noun = "twin" if group.twins == 1 else "twins"
        before = {str(number): count for number, count in group.counts}
        protocol.record(
            session, group.experiment, ProtocolPart.persona,
            f"Persona “{persona.name}”: {group.twins:,} {noun} to version {version.number}", now,
            reason=reason, account=account,
            before={"persona": persona.name, "twins_on_version": before},
            after={"persona": persona.name, "twins_on_version": {str(version.number): group.twins}},
        )  # fmt: skip
        moved += group.twins
    _point(session, persona, version, chosen)
    return moved


def _point(session: Session, persona: Persona, version: PersonaVersion, experiment_ids: set[int]) -> None:
    older = select(PersonaVersion.id).where(
        PersonaVersion.persona_id == persona.id, PersonaVersion.number < version.number
    )
    session.flush()
    session.execute(
        update(DigitalTwin)
        .where(DigitalTwin.persona_version_id.in_(older), DigitalTwin.experiment_id.in_(experiment_ids))
        .values(persona_version_id=version.id, edit_version=DigitalTwin.edit_version + 1)
        .execution_options(synchronize_session=False)
    )
    for row in [each for each in session if isinstance(each, DigitalTwin)]:
        session.expire(row)
