"""The second sum of the ledger: for every fired slot its attempts, for every attempt how it ended."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from .. import grants
from ..domain.reasons import TERMINAL_STATES, AttemptState, SlotKind, SlotStage
from ..models import Attempt, Experiment, Post, Schedule, Slot
from ..models.base import stored_text
from ..scheduling.expansion import SUMMED_FROM
from .ledger_slots import MOST_LISTED, of_scope

# What a page or a notice looks at one by one, however many there are.
NEWEST = 500
_IS_EXPANDING = Slot.stage == SlotStage.expanding
_UNASKED = Slot.gone_count + Slot.stopped_count
_LEFT = Slot.wanted_count - Slot.expanded_count - _UNASKED
# What a slot was to ask, made, did not ask, and has still to make.
SLOT_SUMS = (
    Slot.wanted_count,
    Slot.expanded_count,
    _UNASKED,
    sa.case((sa.and_(_IS_EXPANDING, _LEFT > 0), _LEFT), else_=0),
)
_WRONG_SUMS = (
    sa.and_(func.coalesce(stored_text(Slot.stage), "") != SlotStage.expanding.value, _LEFT != 0),
    sa.and_(_IS_EXPANDING, _LEFT < 0),
)
STATES = frozenset(state.value for state in AttemptState)


@dataclass
class TurnSum:
    """Attempts by state and by (state, class, reason), manual ones included, and what slots say of theirs.

    `wanted` is the sum over fired slots of the twins they were to ask, `expanded` of the attempts they made,
    `unasked` of the twins that got none: gone when it was their turn, or stopped; `to_make` of what slots
    have still to make that are being expanded. `attempts_of_slots` are the attempt rows that point at a fired
    slot, `details` sentences.
    """

    states: Counter[str] = field(default_factory=Counter)
    reasons: dict[tuple[str, str, str], int] = field(default_factory=dict)
    wanted: int = 0
    expanded: int = 0
    unasked: int = 0
    to_make: int = 0
    attempts_of_slots: int = 0
    posts_of_attempts: int = 0
    details: list[str] = field(default_factory=list)

    @property
    def problems(self) -> Iterator[str]:
        """Everything that is wrong, in sentences."""
        if self.expanded != self.attempts_of_slots:
            made = self.attempts_of_slots
            yield f"Fired slots count {self.expanded:,} attempts, but {made:,} point at them."
        if self.wanted != self.expanded + self.unasked + self.to_make:
            yield (
                f"Fired slots asked for {self.wanted:,} twins, but made {self.expanded:,} attempts"
                f"{self._besides}."
            )
        posted = self.states[AttemptState.posted.value]
        if posted != self.posts_of_attempts:
            came = self.posts_of_attempts
            yield f"{posted:,} attempts ended as posted, but {came:,} posts came of attempts."
        for state in sorted(self.states.keys() - STATES):
            yield f"{self.states[state]:,} attempts are in a state that does not exist: “{state}”."
        yield from self.details

    @property
    def _besides(self) -> str:
        parts = [
            *([f"told of {self.unasked:,} that were not asked"] if self.unasked else []),
            *([f"have {self.to_make:,} still to make"] if self.to_make else []),
        ]
        return f", {' and '.join(parts)}" if parts else ""

    @property
    def sentence(self) -> str:
        """ "752 asked = 312 posted + 431 skipped + 9 failed + 0 waiting"; other states if there are any."""
        usual = (AttemptState.posted, AttemptState.skipped, AttemptState.failed)
        parts = [
            f"{self.states[state.value]:,} {state.value}"
            for state in AttemptState
            if state in TERMINAL_STATES and (state in usual or self.states[state.value])
        ]
        return f"{self.states.total():,} asked = {' + '.join(parts)} + {self.waiting:,} waiting"

    @property
    def waiting(self) -> int:
        """How many are due or running."""
        return self.states[AttemptState.due.value] + self.states[AttemptState.running.value]


def totals(session: Session, experiment: Experiment | None, since: datetime | None) -> TurnSum:
    """The sums alone, in four queries; slots by their instant, attempts by when they were added."""
    of_attempts = _attempts(experiment, since)
    found = slot_sums(session, experiment, since)
    # Not the plain columns: for those SQLite would walk the index by state through all there ever was.
    columns = [
        func.coalesce(stored_text(each), "") for each in (Attempt.state, Attempt.reason_class, Attempt.reason)
    ]
    for state, cls, reason, count in session.execute(
        select(*columns, func.count()).where(*of_attempts).group_by(*columns)
    ):
        found.reasons[state, cls, reason] = count
        found.states[state] += count
    found.posts_of_attempts = session.scalar(
        select(func.count(Post.id)).join(Attempt, Attempt.id == Post.attempt_id).where(*of_attempts)
    )
    return found


def slot_sums(session: Session, experiment: Experiment | None, since: datetime | None) -> TurnSum:
    """What fired slots from `since` on say of their attempts, and how many they have; two queries."""
    found = TurnSum()
    fired = (*_slots(experiment, since), Slot.kind == SlotKind.fired)
    sums = select(*(func.sum(column) for column in SLOT_SUMS)).where(*fired)
    found.wanted, found.expanded, found.unasked, found.to_make = (
        int(count or 0) for count in session.execute(sums).one()
    )
    found.attempts_of_slots = session.scalar(
        select(func.count(Attempt.id)).where(Attempt.slot_id.in_(select(Slot.id).where(*fired)))
    )
    return found


def newest_slots(session: Session, experiment: Experiment | None, since: datetime) -> TurnSum:
    """What the newest 500 fired slots from `since` on say of their attempts, and how many they have.

    One query, or two, whose cost grows neither with what there is nor with how many twins a slot asks: of
    slots with 100 attempts and more, the sums written down at their end count; those at work are left out.
    """
    is_small = Slot.wanted_count < SUMMED_FROM
    newest = (
        select(Slot.id, *(column.label(f"sum_{n}") for n, column in enumerate(SLOT_SUMS)), Slot.ends)
        .where(*_slots(experiment, since), Slot.kind == SlotKind.fired)
        .where(or_(is_small, Slot.ends.is_not(None)))
        .order_by(Slot.slot_at.desc())
        .limit(NEWEST)
        .cte("newest")
    )
    has_sums = newest.c.ends.is_not(None)
    to_count = select(newest.c.id).where(~has_sums)
    made = select(func.count(Attempt.id)).where(Attempt.slot_id.in_(to_count)).scalar_subquery()
    columns = [newest.c[f"sum_{number}"] for number in range(len(SLOT_SUMS))]
    sums = (func.coalesce(func.sum(sa.case((~has_sums, column), else_=0)), 0) for column in columns)
    found = TurnSum()
    *told, found.attempts_of_slots, written_down = session.execute(
        select(*sums, made, func.count(sa.case((has_sums, 1)))).select_from(newest)
    ).one()
    found.wanted, found.expanded, found.unasked, found.to_make = map(int, told)
    if written_down:  # each row by itself: another may be written down between the two queries
        for wanted, expanded, unasked, to_make, ends in session.execute(
            select(*columns, newest.c.ends).where(has_sums)
        ):
            found.wanted, found.expanded = found.wanted + wanted, found.expanded + expanded
            found.unasked, found.to_make = found.unasked + unasked, found.to_make + to_make
            found.attempts_of_slots += sum((ends or {}).values())
    return found


def each_turn(session: Session, experiment: Experiment | None, since: datetime | None) -> TurnSum:
    """The sums, and whether they hold slot by slot and attempt by attempt; the first 20 exceptions each."""
    found = totals(session, experiment, since)
    found.details += _slots_and_attempts(session, _slots(experiment, since))
    found.details += _attempts_and_posts(session, _attempts(experiment, since))
    return found


def newest_and_posts(session: Session, experiment: Experiment | None, since: datetime) -> Iterator[str]:
    """What is wrong between attempts and posts, in 20 sentences at most; one query.

    Of the newest 500 attempts that were added since then: a cost that does not grow with what there is.
    """
    newest = (
        select(Attempt.id, Attempt.uuid, stored_text(Attempt.state).label("state"))
        .where(*_attempts(experiment, since))
        .order_by(Attempt.created_at.desc())
        .limit(NEWEST)
        .subquery()
    )
    is_posted = newest.c.state == AttemptState.posted.value
    query = (
        select(newest.c.uuid, newest.c.state, Post.id)
        .select_from(newest)
        .outerjoin(Post, Post.attempt_id == newest.c.id)
        .where(is_posted != Post.id.is_not(None))
        .limit(MOST_LISTED)
    )
    for uuid, state, post_id in session.execute(query):
        yield _without_post(uuid) if post_id is None else _with_post(uuid, state)


def _with_post(uuid: UUID, state: str) -> str:
    return f"Attempt {uuid} is {state} and has a post."


def _without_post(uuid: UUID) -> str:
    return f"Attempt {uuid} is posted and has no post."


def _slots_and_attempts(session: Session, of_slots: tuple) -> Iterator[str]:
    made = select(func.count(Attempt.id)).where(Attempt.slot_id == Slot.id).correlate(Slot).scalar_subquery()
    is_fired = Slot.kind == SlotKind.fired
    disagrees = or_(
        sa.and_(is_fired, or_(made != Slot.expanded_count, *_WRONG_SUMS)),
        sa.and_(sa.not_(is_fired), or_(made > 0, Slot.expanded_count > 0)),
    )
    query = (
        select(Schedule.name, Slot.slot_at, stored_text(Slot.kind).label("kind"), Slot.wanted_count,
               Slot.expanded_count, Slot.gone_count, Slot.stopped_count, made.label("made"))
        .join(Schedule, Schedule.id == Slot.schedule_id)
        .where(*of_slots, disagrees)
        .order_by(Slot.id)
        .limit(MOST_LISTED)
    )  # fmt: skip
    for row in session.execute(query):
        yield (
            f"Slot “{row.name}” {row.slot_at:%Y-%m-%d %H:%M:%S} UTC ({row.kind.replace('_', ' ')}) wanted "
            f"{row.wanted_count:,}, made {row.expanded_count:,}, {_unasked_words(row)}has "
            f"{row.made:,} attempts."
        )


def _unasked_words(row: sa.Row) -> str:
    unasked = row.gone_count + row.stopped_count
    return f"did not ask {unasked:,}, " if unasked else ""


def _attempts_and_posts(session: Session, of_attempts: tuple) -> Iterator[str]:
    is_posted = Attempt.state == AttemptState.posted
    unposted = (
        select(Attempt.uuid, stored_text(Attempt.state))
        .join(Post, Post.attempt_id == Attempt.id)
        .where(*of_attempts, sa.not_(is_posted))
    )
    for uuid, state in session.execute(unposted.order_by(Attempt.id).limit(MOST_LISTED)):
        yield _with_post(uuid, state)
    has_post = select(Post.id).where(Post.attempt_id == Attempt.id).exists()
    lost = select(Attempt.uuid).where(*of_attempts, is_posted, sa.not_(has_post))
    for uuid in session.scalars(lost.order_by(Attempt.id).limit(MOST_LISTED)):
        yield _without_post(uuid)
    twice = (
        select(Attempt.uuid, func.count(Post.id))
        .join(Post, Post.attempt_id == Attempt.id)
        .where(*of_attempts)
        .group_by(Attempt.id, Attempt.uuid)
        .having(func.count(Post.id) > 1)
    )
    for uuid, count in session.execute(twice.limit(MOST_LISTED)):
        yield f"Attempt {uuid} has {count} posts."


def _slots(experiment: Experiment | None, since: datetime | None) -> tuple:
    found = _where(Slot.experiment_id, Slot.slot_at, experiment, since)
    # Of a slot that asked all experiments, some attempts lie where a limited reader does not see them.
    return (*found, Slot.experiment_id.is_not(None)) if grants.is_limited() else found


def _attempts(experiment: Experiment | None, since: datetime | None) -> tuple:
    return _where(Attempt.experiment_id, Attempt.created_at, experiment, since)


def _where(experiment_column, time_column, experiment: Experiment | None, since: datetime | None) -> tuple:
    conditions = list(of_scope(experiment_column, experiment))
    if since is not None:
        conditions.append(time_column >= since)
    return tuple(conditions)
