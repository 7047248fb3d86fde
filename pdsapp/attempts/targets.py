"""The twins of a target in SQL: who they are, and who of them can be asked."""

from uuid import UUID

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.orm import Session

from ..domain.targets import Target
from ..models import DigitalTwin, TwinTag


def is_in(target: Target) -> ColumnElement[bool]:
    """The condition that a twin belongs to a target that is not everybody.

    Tags are found by their index, so that a draw reads the tagged twins and not the whole experiment.
    """
    if target.tags:
        return DigitalTwin.id.in_(select(TwinTag.digital_twin_id).where(TwinTag.tag.in_(target.tags)))
    return DigitalTwin.uuid.in_([uuid for text in target.twins if (uuid := _uuid(text)) is not None])


def candidates(experiment_id: int, target: Target) -> Select[tuple[int]]:
    """The ids of the twins of a target that can be asked now, in the order ranks are counted in."""
    # The experiment is no reason to begin with: adding 0 keeps the planner from its index.
    return (
        select(DigitalTwin.id)
        .where(is_in(target), _aside(DigitalTwin.experiment_id) == experiment_id)
        .where(DigitalTwin.active_rank.is_not(None))
        .order_by(DigitalTwin.id)
    )


def reach(session: Session, experiment_id: int, target: Target) -> tuple[int, int]:
    """How many twins of a target can be asked now, and how many it has in all; one query."""
    query = select(func.count(DigitalTwin.active_rank), func.count(DigitalTwin.id))
    active, of_all = session.execute(
        query.where(is_in(target), _aside(DigitalTwin.experiment_id) == experiment_id)
    ).one()
    return active, of_all


def _aside(column):
    return column + 0


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
