"""What forbids asking a twin, forced or not: a pause, a ban, inactivity."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from ..domain.reasons import ExperimentState, Reason
from ..models import DigitalTwin, Installation


@dataclass(frozen=True)
class Obstacle:
    """The reason, and a sentence that says what to do."""

    reason: Reason
    words: str


def obstacle_to(session: Session, twin: DigitalTwin) -> Obstacle | None:
    """What stands in the way of this twin at the moment. Looked at when deciding and when publishing."""
    experiment = twin.experiment
    if session.get_one(Installation, 1).is_paused:
        return Obstacle(Reason.paused, "Everything is paused. Resume it to let twins post again.")
    if experiment.state != ExperimentState.running:
        words = f"The experiment is {experiment.state}. Twins are asked while it is running."
        return Obstacle(Reason.paused, words)
    if twin.user_profile.is_banned:
        return Obstacle(Reason.banned, "The twin's profile is banned in this experiment.")
    if not twin.is_active:
        return Obstacle(Reason.inactive, "The twin is not active. Activate it to let it post.")
    return None
