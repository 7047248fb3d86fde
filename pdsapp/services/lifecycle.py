"""The life of an experiment: draft → running ⇄ paused → ended → archived.

`services.pauses` pauses and resumes. Starting, ending and archiving close the gate first: what workers
decide, ask and publish lies wholly before or wholly after. Each writes audit trail and protocol and leaves
the commit to the caller.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import func, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from ..attempts.obstacles import (
    as_sentence,
    experiment_words,
    is_past_end,
    rehearsal_over_words,
)
from ..attempts.words import several
from ..config import Settings
from ..database import UNREADABLE, is_outage, reading, transaction
from ..domain.protocol import ProtocolPart
from ..domain.reasons import OVER_STATES, UNDER_WAY, ExperimentState, Reason, Visibility
from ..errors import BadInput
from ..models import Account, Attempt, DigitalTwin, Experiment, Post, Schedule
from ..scheduling import slots
from ..scheduling.expansion import call_off
from ..scheduling.pauses import last_moment
from . import audit, database, model_pauses, pauses, protocol, schedules
from .ends import last_day_of
from .pause_scopes import attempts_of, slots_of
from .start_checks import blocking, checklist, to_accept

SYSTEM = "system"
log = structlog.get_logger()
# Those that could not be ended are told once by each process, not each second.
_told: set[int] = set()
BEFORE_THE_START = "Not claimed yet when the experiment was started."


@dataclass(frozen=True)
class Rehearsal:
    """What was rehearsed: attempts, posts that are seen, and attempts that wait or run at this moment."""

    attempts: int
    posts: int
    waiting: int
    running: int


@dataclass(frozen=True)
class Effect:
    """What a start or end did: `cancelled` attempts were waiting, `running` ones will publish nothing;
    `hidden` posts of the rehearsal were archived."""

    cancelled: int
    running: int
    hidden: int = 0

    @property
    def words(self) -> str:
        """What became of attempts and posts, in sentences; "" where there was nothing."""
        parts = []
        if self.hidden:
            parts.append(f"{several(self.hidden, 'post')} of the rehearsal {_were(self.hidden)} archived.")
        if self.cancelled:
            waiting = several(self.cancelled, "waiting attempt")
            parts.append(f"{waiting} {_were(self.cancelled)} cancelled.")
        if self.running:
            parts.append(f"{self.running:,} being written will not be published.")
        return " ".join(parts)


def rehearsal_of(session: Session, experiment: Experiment) -> Rehearsal:
    """How much was rehearsed until now."""
    attempts = select(func.count(Attempt.id)).where(
        Attempt.experiment_id == experiment.id, Attempt.is_rehearsal
    )
    posts = select(func.count(Post.id)).where(*_seen_rehearsal(experiment))
    return Rehearsal(
        session.scalar(attempts), session.scalar(posts), *pauses.unfinished_of(session, experiment)
    )


def start(
    session: Session,
    experiment: Experiment,
    settings: Settings,
    now: datetime,
    *,
    archives_rehearsal: bool = True,
    accepts_warnings: bool = False,
    account: Account | None = None,
) -> Effect:
    """Makes a draft a study that runs. Rehearsals that still wait or run are called off.

    With `archives_rehearsal` the posts of the rehearsal are hidden from feed, prompts, shares and limits, and
    twins are as if they had not posted; their rows stay. Raises BadInput for what is no draft, at `checks`
    for a line that blocks, and at `accepts_warnings` for lines that have to be accepted.
    """
    pauses.hold(session, experiment)
    if experiment.state != ExperimentState.draft:
        raise BadInput(f"{experiment} is {experiment.state}: only a draft is started.")
    lines = checklist(session, experiment, settings, now)
    if blocked := blocking(lines):
        raise BadInput(f"{blocked[0].title}: {blocked[0].words}", "checks")
    accepted = [line.title for line in to_accept(lines)]
    if accepted and not accepts_warnings:
        raise BadInput(f"Mend this, or say that it is meant: {', '.join(accepted)}.", "accepts_warnings")
    _settle(session, experiment, now)
    before = {"state": experiment.state.value}
    experiment.started_at = now
    words = f"{rehearsal_over_words(experiment)} {pauses.QUEUED}"
    call_off(session, slots_of(experiment), words)
    cancelled = pauses.cancel_waiting(session, attempts_of(experiment), Reason.rehearsal_over, words, now)
    rest, running = pauses.unfinished_of(session, experiment)
    hidden = _archive_rehearsal(session, experiment, now) if archives_rehearsal else 0
    kept = "archived" if archives_rehearsal else "kept in the feed"
    after: dict[str, Any] = {"state": ExperimentState.running.value, "rehearsal": kept}
    if accepted:
        after["accepted"] = ", ".join(accepted)
    protocol.record(
        session, experiment, ProtocolPart.life, f"Started; the rehearsal was {kept}", now,
        before=before, after=after, account=account,
    )  # fmt: skip
    experiment.state = ExperimentState.running
    effect = Effect(cancelled + rest, running, hidden)
    audit.record(session, "start", experiment, now, account, before, after | _counts(effect))
    return effect


def end(
    session: Session,
    experiment: Experiment,
    now: datetime,
    *,
    reason: str = "",
    account: Account | None = None,
    actor: str | None = None,
) -> Effect:
    """Ends a study for good: from its end date if that has come, else from now. It is only read then.

    What waits is cancelled, what is being written is not published, its schedules are switched off as of that
    instant. Raises BadInput for a draft and for what is over.
    """
    pauses.hold(session, experiment)
    if experiment.state in OVER_STATES:
        raise BadInput(f"{experiment} is {experiment.state} and stays so.")
    if experiment.state not in UNDER_WAY:
        raise BadInput(f"{experiment} is a draft and has not begun: start it, or archive it.")
    is_planned = is_past_end(experiment, now)
    last = last_moment(experiment) if is_planned else now
    before = {"state": experiment.state.value}
    _close_schedules(session, experiment, last, now, account, actor)
    experiment.state = ExperimentState.ended
    experiment.ended_at = experiment.ends_at if is_planned else now
    experiment.paused_at, experiment.paused_by, experiment.paused_reason = None, "", ""
    effect = _call_off(session, experiment, now)
    after = {"state": experiment.state.value, "ended_at": experiment.ended_at.isoformat()}
    summary = f"Ended, as planned, with {last_day_of(experiment)}" if is_planned else "Ended by hand"
    change = protocol.record(
        session, experiment, ProtocolPart.life, summary, now,
        reason=reason, before=before, after=after, account=account,
    )  # fmt: skip
    change.made_by = actor or change.made_by
    if change.reason:
        after["reason"] = change.reason
    audit.record(session, "end", experiment, now, account, before, after | _counts(effect), actor)
    return effect


def archive(
    session: Session, experiment: Experiment, now: datetime, account: Account | None = None
) -> Effect:
    """Takes an experiment off the lists for good. Raises BadInput for one that runs or is archived."""
    pauses.hold(session, experiment)
    if experiment.state == ExperimentState.archived:
        raise BadInput(f"{experiment} is archived and stays so.")
    if experiment.state == ExperimentState.running:
        raise BadInput(f"{experiment} is running. Pause or end it before you archive it.")
    before = {"state": experiment.state.value}
    _close_schedules(session, experiment, last_moment(experiment) or now, now, account, None)
    experiment.state = ExperimentState.archived
    effect = _call_off(session, experiment, now)
    after = {"state": experiment.state.value}
    audit.record(session, "change", experiment, now, account, before, after | _counts(effect))
    return effect


def keep_to_plan(now: datetime) -> None:
    """Ends what is over, and pauses what is to pause at another model. Whoever schedules calls it."""
    end_what_is_over(now)
    model_pauses.pause_what_is_due(now)


def end_what_is_over(now: datetime) -> list[str]:
    """Ends every study whose end date has come, each in a transaction of its own; their identifiers.

    Whoever schedules calls it, as often as it likes; done late, it is as if it had been done in time. One
    that cannot be ended keeps nobody else: it is told, and tried again.
    """
    with reading() as session:
        query = select(Experiment.id).where(Experiment.state.in_(UNDER_WAY), Experiment.ends_at <= now)
        keys = session.scalars(query.order_by(Experiment.id)).all()
    ended = []
    for key in keys:
        try:
            with transaction() as session:
                identifier = _end_if_over(session, key, now)
        except (SQLAlchemyError, *UNREADABLE) as error:
            if is_outage(error):
                raise
            if key not in _told:
                log.exception("experiment cannot be ended", experiment=key)
            _told.add(key)
            continue
        if identifier is not None:
            ended.append(identifier)
            log.info("experiment ended", experiment=identifier)
    return ended


def _end_if_over(session: Session, key: int, now: datetime) -> str | None:
    """The identifier of the experiment, if it was to be ended. The caller commits."""
    database.require_head_still(session)
    experiment = session.get(Experiment, key)
    if experiment is None:  # deleted since it was read
        return None
    pauses.hold(session, experiment)
    if not is_past_end(experiment, now):
        return None
    end(session, experiment, now, actor=SYSTEM)
    return experiment.identifier


def _settle(session: Session, experiment: Experiment, now: datetime) -> None:
    """Accounts for slots of the draft that nobody has claimed, so that none of them fires as the study's."""
    for schedule in _schedules(session, experiment):
        slots.settle(session, schedule, now, BEFORE_THE_START)


def _close_schedules(
    session: Session,
    experiment: Experiment,
    at: datetime,
    now: datetime,
    account: Account | None,
    actor: str | None,
) -> None:
    for schedule in _schedules(session, experiment):
        schedules.close(session, schedule, min(at, now), now, account, actor)


def _schedules(session: Session, experiment: Experiment) -> list[Schedule]:
    """Its own schedules that are not archived, locked in one order."""
    query = select(Schedule).where(Schedule.experiment_id == experiment.id, Schedule.is_archived.is_(False))
    locked = query.order_by(Schedule.id).with_for_update(of=Schedule)
    return list(session.scalars(locked.execution_options(populate_existing=True)))


def _call_off(session: Session, experiment: Experiment, now: datetime) -> Effect:
    words = f"{as_sentence(experiment_words(experiment))} {pauses.QUEUED}"
    session.flush()
    call_off(session, slots_of(experiment), words)
    cancelled = pauses.cancel_waiting(session, attempts_of(experiment), Reason.experiment_over, words, now)
    rest, running = pauses.unfinished_of(session, experiment)
    return Effect(cancelled + rest, running)


def _seen_rehearsal(experiment: Experiment) -> tuple:
    return (
        Post.experiment_id == experiment.id,
        Post.is_rehearsal,
        Post.visibility == Visibility.visible,
    )


def _archive_rehearsal(session: Session, experiment: Experiment, now: datetime) -> int:
    """Hides the rehearsal's posts, takes `last_post` back to what was posted outside it; how many posts."""
    session.flush()
    hidden = session.execute(
        update(Post)
        .where(*_seen_rehearsal(experiment))
        .values(visibility=Visibility.hidden, changed_at=now)
        .execution_options(synchronize_session=False)
    ).rowcount
    last = (
        select(func.max(Post.created_at))
        .where(
            Post.user_profile_id == DigitalTwin.user_profile_id,
            Post.parent_id.is_(None),
            Post.is_rehearsal.is_(False),
        )
        .scalar_subquery()
    )
    session.execute(
        update(DigitalTwin)
        .where(DigitalTwin.experiment_id == experiment.id)
        .values(last_post=last)
        .execution_options(synchronize_session=False)
    )
    return hidden


def _counts(effect: Effect) -> dict[str, int]:
    counts = {"cancelled": effect.cancelled, "running": effect.running, "posts hidden": effect.hidden}
    return {name: count for name, count in counts.items() if count}


def _were(count: int) -> str:
    return "was" if count == 1 else "were"
