"""Beginning an edit: the row is locked, and is the one the person saw."""

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from ..errors import BadInput
from ..models import Experiment

CHANGED_BY_ANOTHER = (
    "Somebody else has saved this since you opened it. Copy what you want to keep, open it again and save "
    "once more."
)


def begin(session: Session, row: Any, seen: int | None) -> None:
    """Locks the row for this edit and counts it. Raises BadInput if `seen` is not its present version."""
    kind = type(row)
    present = session.scalar(select(kind.edit_version).where(kind.id == row.id).with_for_update())
    if seen != present:
        raise BadInput(CHANGED_BY_ANOTHER)
    row.edit_version = present + 1


def hold_experiment(session: Session, experiment_id: int) -> None:
    """Locks the experiment's row: first of all locks where ranks may change, so that none wait in a ring."""
    query = select(Experiment.id).where(Experiment.id == experiment_id)
    session.execute(query.with_for_update(key_share=True))
