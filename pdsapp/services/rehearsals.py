"""What counts as the study: everything but rehearsals. The one condition of charts, counts and tables.

Lists and exports show rehearsals and mark them; the ledger counts every row, for it has to add up.
"""

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from ..models import Attempt, Experiment, Post


def in_study(model: type[Attempt] | type[Post]) -> ColumnElement[bool]:
    """The condition for rows of a study: they are of no rehearsal."""
    return model.is_rehearsal.is_(False)


def rehearsed_attempts(session: Session, experiment: Experiment | None, *conditions: object) -> int:
    """How many attempts of one experiment, or of all, are rehearsals and fulfil these conditions."""
    query = select(func.count(Attempt.id)).where(Attempt.is_rehearsal, *conditions)
    if experiment is not None:
        query = query.where(Attempt.experiment_id == experiment.id)
    return session.scalar(query)
