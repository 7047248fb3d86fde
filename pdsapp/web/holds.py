"""Which pauses hold back what would run by itself, for the pills and sentences of every screen."""

from dataclasses import dataclass

from flask import g
from sqlalchemy.orm import Session

from ..attempts.obstacles import hold_of
from ..domain.reasons import ExperimentState
from ..models import Experiment, Installation, Schedule
from ..services import pauses
from ..services.pause_scopes import claim_of

UNASKED = "paused: recorded, nobody is asked"


@dataclass(frozen=True)
class Hold:
    """A pause in force: `pill` says which in two words, `words` who, since when and why."""

    pill: str
    words: str


def installation(session: Session) -> Installation:
    """The installation, read once per request."""
    if "installation" not in g:
        g.installation = session.get_one(Installation, 1)
    return g.installation


def of_everything(session: Session, zone: str) -> Hold | None:
    """The pause or stop of everything, its time in this zone."""
    row = installation(session)
    return _hold("everything", row, zone) if row.is_paused else None


def on_schedule(session: Session, schedule: Schedule) -> tuple[Hold, ...]:
    """All pauses under which the schedule's slots pass unasked, what reaches furthest first."""
    zone, experiment = schedule.zone, schedule.experiment
    found = [of_everything(session, zone)]
    if experiment is not None and experiment.state == ExperimentState.paused:
        found.append(_hold("experiment", experiment, zone))
    if schedule.paused_at is not None:
        found.append(Hold("paused", pauses.words_of(schedule, zone, "This schedule is paused")))
    return tuple(hold for hold in found if hold is not None)


def state_of(session: Session, experiment: Experiment) -> tuple[str, str]:
    """The state an experiment is in because of all pauses: one a pill knows, and its words."""
    if experiment.state == ExperimentState.running:
        hold = of_everything(session, experiment.zone)
        return ("paused", hold.pill) if hold else ("running", "running")
    if experiment.state == ExperimentState.paused and experiment.is_stopped:
        return "paused", "stopped"
    return experiment.state.value, experiment.state.value


def _hold(what: str, scope: Installation | Experiment, zone: str) -> Hold:
    return Hold(f"{what} {hold_of(scope)}", pauses.words_of(scope, zone, claim_of(scope)))
