"""The ledger: every due slot and every attempt accounted for, as two sums."""

from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from ..domain.reasons import TERMINAL_STATES, AttemptState, SlotKind
from ..models import Attempt, Experiment, Post, Slot


@dataclass(frozen=True)
class Ledger:
    """Slots by kind, attempts by state and by (state, class, reason).

    `wanted` is the sum over fired slots of the twins they were to ask, `expanded` of the attempts
    they made, `attempts_of_slots` the attempt rows that point at a slot.
    """

    slots: dict[str, int]
    states: dict[str, int]
    reasons: dict[tuple[str, str, str], int]
    wanted: int
    expanded: int
    attempts_of_slots: int
    posts_of_attempts: int
    problems: tuple[str, ...] = field(default=())

    @property
    def asked(self) -> int:
        return sum(self.states.values())

    @property
    def waiting(self) -> int:
        return self.states.get("due", 0) + self.states.get("running", 0)

    @property
    def adds_up(self) -> bool:
        return not self.problems

    @property
    def sentence(self) -> str:
        """ "752 asked = 312 posted + 431 skipped + 9 failed + 0 cancelled + 0 waiting"."""
        parts = [f"{self.states.get(s.value, 0)} {s.value}" for s in AttemptState if s in TERMINAL_STATES]
        return f"{self.asked} asked = {' + '.join(parts)} + {self.waiting} waiting"


def ledger(session: Session, experiment: Experiment | None = None, since: datetime | None = None) -> Ledger:
    """The sums of one experiment or of all, from `since` on (slots by instant, attempts by creation)."""
    of_slots = _where(Slot.experiment_id, Slot.slot_at, experiment, since)
    of_attempts = _where(Attempt.experiment_id, Attempt.created_at, experiment, since)
    slots = dict(
        session.execute(
            select(Slot.kind, func.sum(Slot.slot_count)).where(*of_slots).group_by(Slot.kind)
        ).all()
    )
    reasons = {
        (state.value, cls.value if cls else "", reason.value if reason else ""): count
        for state, cls, reason, count in session.execute(
            select(Attempt.state, Attempt.reason_class, Attempt.reason, func.count())
            .where(*of_attempts)
            .group_by(Attempt.state, Attempt.reason_class, Attempt.reason)
        )
    }
    states: dict[str, int] = {}
    for (state, _, _), count in reasons.items():
        states[state] = states.get(state, 0) + count
    fired = (*of_slots, Slot.kind == SlotKind.fired)
    wanted, expanded = session.execute(
        select(func.sum(Slot.wanted_count), func.sum(Slot.expanded_count)).where(*fired)
    ).one()
    made = session.scalar(select(func.count(Attempt.id)).join(Attempt.slot).where(*fired))
    found = Ledger(
        slots={kind.value: int(count) for kind, count in slots.items()},
        states=states,
        reasons=reasons,
        wanted=int(wanted or 0),
        expanded=int(expanded or 0),
        attempts_of_slots=made,
        posts_of_attempts=_posts(session, of_attempts),
    )
    return Ledger(**{**found.__dict__, "problems": tuple(_problems(found))})


def _where(experiment_column, time_column, experiment: Experiment | None, since: datetime | None) -> tuple:
    conditions = []
    if experiment is not None:
        conditions.append(experiment_column == experiment.id)
    if since is not None:
        conditions.append(time_column >= since)
    return tuple(conditions)


def _posts(session: Session, of_attempts: tuple) -> int:
    return session.scalar(
        select(func.count(Post.id)).join(Attempt, Attempt.id == Post.attempt_id).where(*of_attempts)
    )


def _problems(ledger: Ledger):
    if ledger.expanded != ledger.attempts_of_slots:
        yield f"Fired slots count {ledger.expanded} attempts, but {ledger.attempts_of_slots} point at them."
    if ledger.wanted < ledger.expanded:
        yield f"Fired slots asked for {ledger.wanted} twins, but made {ledger.expanded} attempts."
    posted = ledger.states.get("posted", 0)
    if posted != ledger.posts_of_attempts:
        yield f"{posted} attempts ended as posted, but {ledger.posts_of_attempts} posts came of attempts."
