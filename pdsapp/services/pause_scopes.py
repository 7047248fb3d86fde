"""What can be paused, and how each kind says so: an experiment, a schedule, a token, the installation."""

from typing import Any

from sqlalchemy import ColumnElement, false, literal_column, select, true

from ..attempts.obstacles import hold_of
from ..domain.reasons import ExperimentState, TokenState
from ..models import ApiToken, Attempt, DigitalTwin, Experiment, Installation, Schedule, Slot
from ..models.base import HasStop

MOVER, MOVING = "flask move", "Being moved to "


def is_lent(scope: Any) -> bool:
    """Whether the command that paused it ends the pause by itself: `flask move`, if the move fails."""
    return is_paused(scope) and scope.paused_by == MOVER and scope.paused_reason.startswith(MOVING)


def is_paused(scope: Any) -> bool:
    """Whether this scope by itself is paused."""
    if isinstance(scope, Installation):
        return scope.is_paused
    if isinstance(scope, Experiment):
        return scope.state == ExperimentState.paused
    if isinstance(scope, ApiToken):
        return scope.state == TokenState.paused
    return scope.paused_at is not None


def set_paused(scope: Any, value: bool) -> None:
    """Makes the scope's own state say whether it is paused."""
    if isinstance(scope, Installation):
        scope.is_paused = value
    elif isinstance(scope, Experiment):
        scope.state = ExperimentState.paused if value else ExperimentState.running
    elif isinstance(scope, ApiToken):
        scope.state = TokenState.paused if value else TokenState.active


def starts_by_resuming(scope: Any) -> bool:
    """An archived token comes back."""
    return isinstance(scope, ApiToken) and scope.state != TokenState.active


def attempts_of(scope: Any) -> ColumnElement[bool]:
    """The condition for the attempts of a scope; of everything for None.

    It belongs beside IS_DUE or IS_RUNNING, and is written so that SQLite finds those few instead of reading
    all that the scope has ever had.
    """
    nothing = literal_column("0")
    if isinstance(scope, Experiment):
        return Attempt.experiment_id + nothing == scope.id
    if isinstance(scope, Schedule):
        return Attempt.schedule_id + nothing == scope.id
    if isinstance(scope, DigitalTwin):
        return Attempt.digital_twin_id + nothing == scope.id
    if isinstance(scope, ApiToken):
        users = select(DigitalTwin.id).where(DigitalTwin.api_token_id == scope.id)
        return (Attempt.digital_twin_id + nothing).in_(users)
    return true()


def slots_of(scope: Any) -> ColumnElement[bool]:
    """The condition for the slots of a scope. Those of all experiments are of none; a token has none."""
    if isinstance(scope, Experiment):
        return Slot.experiment_id == scope.id
    if isinstance(scope, Schedule):
        return Slot.schedule_id == scope.id
    return true() if isinstance(scope, Installation) else false()


def claim_of(scope: Any) -> str:
    """That this scope is paused, in words a sentence begins with."""
    if isinstance(scope, Experiment):
        return f"The experiment is {hold_of(scope)}"
    if isinstance(scope, Schedule):
        return "The schedule is paused"
    if isinstance(scope, ApiToken):
        return f"Token “{scope.name}” is paused"
    return f"Everything is {hold_of(scope)}"


def zone_of(scope: Any) -> str:
    """The zone its times are said in."""
    return getattr(scope, "zone", "UTC")


def shown(scope: Any) -> dict[str, object]:
    """What the audit trail keeps of a pause."""
    state = getattr(scope, "state", None)
    words: dict[str, object] = {
        "state": state.value if state is not None else "paused" if is_paused(scope) else "running",
        "paused_at": scope.paused_at.isoformat() if scope.paused_at else None,
        "paused_by": scope.paused_by or "",
        "reason": scope.paused_reason or "",
    }
    if isinstance(scope, HasStop):
        words["is_stopped"] = scope.is_stopped
    return words
