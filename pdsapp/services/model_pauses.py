"""Pausing the experiments that are to pause when their provider answers with another model.

The change is marked as due to pause in the transaction that stores the answer. Whoever takes the mark away,
behind gate and experiment, pauses: so each change pauses once, however many workers and schedulers look.
"""

from datetime import datetime

import structlog
from sqlalchemy import select
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.orm import Session

from ..attempts.gate import close_gate
from ..database import UNREADABLE, reading, transaction
from ..domain.reasons import ExperimentState
from ..errors import BadInput, NotFound, PdsError
from ..models import Experiment, ModelSeen
from . import database, model_changes, pauses
from .fields import clean_line

MODEL_CHANGE = "model change"
# A worker's other attempts stand still while it waits; what it does not get, the scheduler makes up for.
WORKER_WAITS_SECONDS = 2
# No slot is claimed while it waits.
SCHEDULER_WAITS_SECONDS = 5
LOCK_NOT_AVAILABLE = "55P03"
log = structlog.get_logger()


def pause_at_once(experiment_id: int, now: datetime) -> None:
    """Pauses the experiment for a change that has been committed as due; never raises for it.

    For the worker that saw the change. What it cannot do within moments is left to `pause_what_is_due`.
    """
    try:
        _pause(experiment_id, now, WORKER_WAITS_SECONDS)
    except (SQLAlchemyError, PdsError, *UNREADABLE) as error:
        log.warning("not paused at once for another model", why=type(error).__name__)


def pause_what_is_due(now: datetime) -> list[str]:
    """Pauses every experiment whose change has not been answered by a pause yet; their identifiers.

    Each in a transaction of its own. Whoever schedules calls it, as often as it likes.
    """
    with reading() as session:
        due = select(ModelSeen.experiment_id).where(ModelSeen.is_pause_due).distinct()
        keys = session.scalars(due.order_by(ModelSeen.experiment_id)).all()
    paused = [_pause_unless_held(key, now) for key in keys]
    return [identifier for identifier in paused if identifier is not None]


def _pause_unless_held(experiment_id: int, now: datetime) -> str | None:
    """As `_pause`; where somebody holds what it needs it is for the next time, and holds up no other."""
    try:
        return _pause(experiment_id, now, SCHEDULER_WAITS_SECONDS)
    except OperationalError as error:
        if getattr(error.orig, "sqlstate", None) != LOCK_NOT_AVAILABLE:
            raise
        log.warning("not paused yet for another model: somebody holds it", number=experiment_id)
        return None


def _pause(experiment_id: int, now: datetime, waits_seconds: int) -> str | None:
    """The experiment's identifier, None if there was nothing to pause."""
    with transaction() as session:
        database.require_head_still(session)
        close_gate(session, waits_seconds)
        experiment = session.get(Experiment, experiment_id)
        if experiment is None:  # deleted since it was read
            return None
        try:
            pauses.hold(session, experiment, waits_seconds)
        except NotFound:  # deleted in this moment
            return None
        changes = _due(session, experiment)
        for seen in changes:
            seen.is_pause_due = False
        # What is seen while somebody has paused it, or has taken the wish back, is told by its line alone.
        is_running = experiment.state == ExperimentState.running
        if not (changes and is_running and experiment.pauses_at_model_change):
            return None
        pauses.pause_experiment(session, experiment, now, _reason(changes[-1]), actor=MODEL_CHANGE)
        for seen in changes:
            seen.paused_at = experiment.paused_at
        log.info("experiment paused for another model", experiment=experiment.identifier)
        return experiment.identifier


def _due(session: Session, experiment: Experiment) -> list[ModelSeen]:
    query = select(ModelSeen).where(ModelSeen.experiment_id == experiment.id, ModelSeen.is_pause_due)
    return list(session.scalars(query.order_by(ModelSeen.id)))


def _reason(seen: ModelSeen) -> str:
    what, before, after = model_changes.difference(seen)
    try:
        return clean_line(f"The provider answered with {what} {after} instead of {before}.", "reason", 255)
    except BadInput:  # endpoints may call themselves what nobody may type
        return f"The provider answered with another {what}."
