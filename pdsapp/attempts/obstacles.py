"""What forbids asking a twin or publishing its post, forced or not: a pause, a stop, a ban, inactivity."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from ..domain.reasons import (
    ASKING_STATES,
    OVER_STATES,
    UNDER_WAY,
    AttemptState,
    ExperimentState,
    Reason,
    SlotStage,
    TokenState,
)
from ..domain.zones import zone_shown
from ..models import ApiToken, Attempt, DigitalTwin, Experiment, Installation, Schedule
from ..models.base import HasPause, HasStop

# What a token that was paused by its endpoint's answer has as `paused_by`: no person's doing.
BY_ENDPOINT = "endpoint"
LONGEST_NAME = 120
NOT_PUBLISHED = "What was written by then is kept as a draft and was not published."


@dataclass(frozen=True)
class Obstacle:
    """The reason, and a sentence that says what to do. `since`: when a pause began, if that is known."""

    reason: Reason
    words: str
    since: datetime | None = None


def obstacle_to(session: Session, twin: DigitalTwin, schedule: Schedule | None = None) -> Obstacle | None:
    """What stands in the way of asking this twin at the moment, for a slot of `schedule` if it is for one."""
    return next(obstacles_to(session, twin, schedule), None)


def obstacles_to(session: Session, twin: DigitalTwin, schedule: Schedule | None = None) -> Iterator[Obstacle]:
    """Everything that stands in the way, what reaches furthest first."""
    experiment = twin.experiment
    installation = session.get_one(Installation, 1)
    if installation.is_paused:
        words = as_sentence(
            paused_words(f"Everything is {hold_of(installation)}", installation, experiment.zone)
        )
        yield Obstacle(Reason.paused, f"{words} Resume it to let twins post again.", installation.paused_at)
    if experiment.state in OVER_STATES:
        yield Obstacle(Reason.experiment_over, as_sentence(experiment_words(experiment)))
    elif experiment.state not in ASKING_STATES:
        words = as_sentence(experiment_words(experiment))
        words = f"{words} Twins are asked while it is running."
        yield Obstacle(Reason.paused, words, experiment.paused_at)
    if schedule is not None and schedule.paused_at is not None:
        words = as_sentence(paused_words("The schedule is paused", schedule, schedule.zone))
        yield Obstacle(Reason.paused, f"{words} Resume it to let it ask again.", schedule.paused_at)
    if (token := twin.api_token) is not None and is_paused_by_hand(token):
        words = as_sentence(paused_words(f"Token “{token.name}” is paused", token, experiment.zone))
        yield Obstacle(Reason.paused, f"{words} Resume it to let its twins write.", token.paused_at)
    if twin.user_profile.is_banned:
        yield Obstacle(Reason.banned, "The twin's profile is banned in this experiment.")
    if not twin.is_active:
        yield Obstacle(Reason.inactive, "The twin is not active. Activate it to let it post.")


def obstacle_to_going_on(session: Session, attempt: Attempt, now: datetime) -> Obstacle | None:
    """What keeps a worker from asking the twin of the attempt it holds: any obstacle but the pauses that
    began after it was taken, or a stop."""
    if (over := over_of(attempt, now)) is not None:
        return over
    for obstacle in obstacles_to(session, attempt.digital_twin, attempt.schedule):
        if not _was_taken_before(obstacle, attempt):
            return obstacle
    return stop_of(session, attempt)


def _was_taken_before(obstacle: Obstacle, attempt: Attempt) -> bool:
    """Whether a worker had this attempt when a pause began: it runs, and what runs finishes."""
    return obstacle.since is not None and attempt.claimed_at < obstacle.since


def over_of(attempt: Attempt, now: datetime) -> Obstacle | None:
    """That what this attempt was for is over: its rehearsal, or the experiment by its end date, whether or
    not anybody has ended it yet."""
    experiment = attempt.experiment
    if attempt.is_rehearsal and experiment.state not in (ExperimentState.draft, *OVER_STATES):
        return Obstacle(Reason.rehearsal_over, rehearsal_over_words(experiment), experiment.started_at)
    if experiment.state in OVER_STATES:
        words = as_sentence(experiment_words(experiment))
        return Obstacle(Reason.experiment_over, words, experiment.ended_at)
    if is_past_end(experiment, now):
        words = f"The experiment ended on {moment_words(experiment.ends_at, experiment.zone)}, as planned."
        return Obstacle(Reason.experiment_over, words, experiment.ends_at)
    return None


def is_past_end(experiment: Experiment, now: datetime) -> bool:
    """Whether a started experiment has come to its end date; a draft has none to keep yet."""
    is_planned = experiment.state in UNDER_WAY and experiment.ends_at is not None
    return is_planned and experiment.ends_at <= now


def rehearsal_over_words(experiment: Experiment) -> str:
    """Why what was rehearsed is not carried on: the experiment was started, and when."""
    return (
        f"It was a rehearsal, and the experiment was started on "
        f"{moment_words(experiment.started_at, experiment.zone)}."
    )


def state_behind(obstacle: Obstacle, attempt: Attempt) -> AttemptState:
    """How an attempt ends that must not be asked: `cancelled` if it was under way or waiting when a pause
    began or its time was over, `skipped` if it was asked for while the obstacle stood."""
    if obstacle.reason in (Reason.rehearsal_over, Reason.experiment_over):
        return AttemptState.cancelled
    is_from_before = obstacle.since is not None and attempt.created_at < obstacle.since
    return AttemptState.cancelled if is_from_before else AttemptState.skipped


def stop_of(session: Session, attempt: Attempt) -> Obstacle | None:
    """The stop this attempt must obey: the mark it was given, or the one its scope is under."""
    if attempt.stop_asked_at is not None:
        return Obstacle(Reason.stopped, attempt.detail or "It was stopped by hand.", attempt.stop_asked_at)
    experiment, slot = attempt.experiment, attempt.slot
    if slot is not None and slot.stage == SlotStage.stopping:
        return Obstacle(Reason.stopped, slot.detail)
    for scope in (session.get_one(Installation, 1), experiment):
        if scope.is_stopped:
            return Obstacle(Reason.stopped, stop_words(scope, experiment.zone), scope.stopped_at)
    return None


def obstacle_to_publishing(session: Session, attempt: Attempt, now: datetime) -> Obstacle | None:
    """What forbids publishing what this attempt has written.

    A stop, a ban, the end of the experiment and, of a rehearsal, its start do. A pause does not, and neither
    does deactivating the twin: what was being written then is finished.
    """
    if (stop := stop_of(session, attempt)) is not None:
        return stop
    if (over := over_of(attempt, now)) is not None:
        return over
    if attempt.digital_twin.user_profile.is_banned:
        return Obstacle(Reason.banned, "The twin's profile is banned in this experiment.")
    return None


def is_paused_by_hand(token: ApiToken) -> bool:
    """Whether a person paused this token; what the endpoint's own answer paused is a failure instead."""
    return token.state == TokenState.paused and token.paused_by not in ("", BY_ENDPOINT)


def hold_of(scope: HasPause) -> str:
    """What its pause is called: "paused" or "stopped"."""
    return "stopped" if scope.is_stopped else "paused"


def paused_words(what: str, pause: HasPause, zone: str) -> str:
    """ "Everything is paused since Wed 25 Nov 2026, 10:02 CET by ada@example.org: exam week". The same
    words as long as the pause lasts. Of a stop, it is the stop's time."""
    at = pause.stopped_at if pause.is_stopped else pause.paused_at
    since = f" since {moment_words(at, zone)}" if at else ""
    by = f" by {pause.paused_by[:LONGEST_NAME]}" if pause.paused_by else ""
    return f"{what}{since}{by}: {pause.paused_reason}" if pause.paused_reason else f"{what}{since}{by}."


def experiment_words(experiment: Experiment) -> str:
    """Why an experiment that does not run asks nobody: paused, by whom and why, or over and since when."""
    if experiment.state == ExperimentState.paused:
        return paused_words(f"The experiment is {hold_of(experiment)}", experiment, experiment.zone)
    if experiment.state == ExperimentState.ended and experiment.ended_at is not None:
        return f"The experiment ended on {moment_words(experiment.ended_at, experiment.zone)}."
    return f"The experiment is {experiment.state}."


def stop_words(scope: HasStop, zone: str) -> str:
    """Who stopped this scope, when and why, as a sentence."""
    return as_sentence(paused_words("Stopped", scope, zone).replace(" since ", " on ", 1))


def moment_words(at: datetime, zone: str) -> str:
    """ "Wed 25 Nov 2026, 10:02 CET"."""
    local = at.astimezone(zone_shown(zone))
    return f"{local:%a} {local.day} {local:%b %Y, %H:%M %Z}"


def as_sentence(words: str) -> str:
    """The words with a full stop, unless they end in one already."""
    return words if words.endswith((".", "!", "?", "…")) else f"{words}."
