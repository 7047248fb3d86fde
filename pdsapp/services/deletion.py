"""Deleting an archived experiment with everything of it, in chunks that are committed one by one.

Asking for it marks the experiment; whoever schedules then calls `delete_for` until nothing is left. A
process that dies in between leaves a smaller experiment with the mark, and the next one goes on. Meanwhile no
list shows it and the ledger leaves it out. Audit events stay, without their link to it.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, case, delete, func, null, or_, select, update
from sqlalchemy.orm import Session

from ..database import reading, transaction
from ..domain.reasons import ExperimentState, SlotStage
from ..errors import BadInput, NotFound
from ..models import (
    TALLIES,
    Account,
    Attempt,
    AttemptContext,
    AuditEvent,
    BulkImport,
    DigitalTwin,
    Experiment,
    LostLease,
    Membership,
    ModelCall,
    ModelSeen,
    Post,
    PostRevision,
    ProtocolChange,
    Schedule,
    ScheduleRevision,
    SettledLine,
    Slot,
    TwinTag,
    UserProfile,
    Withdrawal,
)
from . import audit, database
from .accounts import may_administer
from .editing import hold_experiment

CHUNK = 100
COUNTED: tuple[tuple[str, type], ...] = (
    ("posts", Post), ("attempts", Attempt), ("model calls", ModelCall), ("slots", Slot),
    ("schedules", Schedule), ("digital twins", DigitalTwin), ("user profiles", UserProfile),
    ("protocol changes", ProtocolChange), ("grants to accounts", Membership),
)  # fmt: skip
NOT_COUNTED = "Attempts of an experiment that was deleted are not counted any more."


@dataclass(frozen=True)
class Contents:
    """What of an experiment there is, by its name in words; `audit_events` of it are kept."""

    counts: dict[str, int]
    audit_events: int


def contents_of(session: Session, experiment: Experiment) -> Contents:
    """How many rows a deletion would remove, and how many audit events it would keep."""
    counts = {
        words: session.scalar(select(func.count(kind.id)).where(kind.experiment_id == experiment.id))
        for words, kind in COUNTED
    }
    kept = select(func.count(AuditEvent.id)).where(AuditEvent.experiment_id == experiment.id)
    return Contents(counts, session.scalar(kept))


def ask_for_deletion(
    session: Session, experiment: Experiment, name: str, now: datetime, account: Account | None = None
) -> None:
    """Marks an archived experiment for deletion; from the commit on it is gone from every list.

    `name` is its name as somebody typed it. Of people, only administrators may. The caller commits. Raises
    BadInput, at `name` for another one.
    """
    if not may_administer(account):
        raise BadInput("Only administrators delete an experiment.")
    if experiment.state != ExperimentState.archived:
        raise BadInput(
            f"{experiment} is {experiment.state}. Archive it first: only archived ones are deleted."
        )
    if experiment.delete_asked_at is not None:
        raise BadInput(f"{experiment} is being deleted already.")
    if name != experiment.name:
        raise BadInput(f"Type the name exactly as it is: {experiment.name}", "name")
    counts = {words: count for words, count in contents_of(session, experiment).counts.items() if count}
    experiment.delete_asked_at = now
    audit.record(session, "delete", experiment, now, account, before={"name": experiment.name, **counts})


def delete_for(seconds: float) -> None:
    """Deletes for about so long, chunk by chunk; at once when nothing is to be deleted."""
    until = time.monotonic() + seconds
    while delete_some() and time.monotonic() < until:
        pass


def delete_some() -> bool:
    """Deletes one chunk of an experiment that is marked, in a transaction of its own; False if none is."""
    with reading() as session:
        query = select(Experiment.id).where(Experiment.delete_asked_at.is_not(None)).order_by(Experiment.id)
        key = session.scalars(query.limit(1)).first()
    if key is None:
        return False
    with transaction() as session:
        database.require_head_still(session)
        hold_experiment(session, key)  # a scheduler that has just lost the lead may be at it still
        for step in _STEPS:
            if step(session, key):
                break
    return True


def being_deleted() -> Select[tuple[int]]:
    """The ids of the experiments that are being deleted, for conditions of queries."""
    return select(Experiment.id).where(Experiment.delete_asked_at.is_not(None))


def still_there(column: ColumnElement) -> ColumnElement[bool]:
    """The condition that the experiment with this id, if there is one, is not being deleted."""
    return or_(column.is_(None), column.not_in(being_deleted()))


def require_still_there(row: Any) -> None:
    """Raises NotFound for an experiment that is being deleted, and for a row of one."""
    experiment = row if isinstance(row, Experiment) else getattr(row, "experiment", None)
    if isinstance(experiment, Experiment) and experiment.delete_asked_at is not None:
        raise NotFound(f"This is gone: {experiment} is being deleted, with everything that belongs to it.")


def _attempts(session: Session, experiment_id: int) -> bool:
    """A chunk of attempts with what hangs on them. Slots of all experiments count theirs no longer."""
    query = select(Attempt.id).where(Attempt.experiment_id == experiment_id).order_by(Attempt.id)
    keys = session.scalars(query.limit(CHUNK)).all()
    if not keys:
        return False
    session.execute(update(Attempt).where(Attempt.retry_of_id.in_(keys)).values(retry_of_id=None))
    session.execute(update(Post).where(Post.attempt_id.in_(keys)).values(attempt_id=None))
    for kind in (AttemptContext, LostLease, ModelCall):
        _remove(session, kind, kind.attempt_id.in_(keys))
    shared = session.execute(
        select(Attempt.slot_id, func.count())
        .join(Slot, Slot.id == Attempt.slot_id)
        .where(Attempt.id.in_(keys), or_(Slot.experiment_id.is_(None), Slot.experiment_id != experiment_id))
        .group_by(Attempt.slot_id)
    ).all()
    _remove(session, Attempt, Attempt.id.in_(keys))
    for slot_id, count in shared:
        session.execute(
            update(Slot)
            .where(Slot.id == slot_id)
            .values(
                wanted_count=Slot.wanted_count - count,
                expanded_count=Slot.expanded_count - count,
                # What was summed up is summed up anew.
                stage=case((Slot.ends.is_not(None), SlotStage.working), else_=Slot.stage),
                ends=null(),
                detail=NOT_COUNTED,
            )
        )
    return True


def _posts(session: Session, experiment_id: int) -> bool:
    """A chunk of posts, the newest first: replies before what they reply to."""
    query = select(Post.id).where(Post.experiment_id == experiment_id).order_by(Post.id.desc())
    keys = session.scalars(query.limit(CHUNK)).all()
    if not keys:
        return False
    session.execute(update(Post).where(Post.parent_id.in_(keys)).values(parent_id=None))
    _remove(session, PostRevision, PostRevision.post_id.in_(keys))
    _remove(session, Post, Post.id.in_(keys))
    return True


def _schedules(session: Session, experiment_id: int) -> bool:
    """The schedules and their revisions. One that has asked another experiment before stays with that one."""
    _remove(session, ScheduleRevision, ScheduleRevision.experiment_id == experiment_id)
    for schedule in session.scalars(select(Schedule).where(Schedule.experiment_id == experiment_id)).all():
        query = select(ScheduleRevision).where(ScheduleRevision.schedule_id == schedule.id)
        other = session.scalars(query.order_by(ScheduleRevision.number.desc()).limit(1)).first()
        if other is None:
            session.delete(schedule)
            continue
        schedule.experiment_id, schedule.revision_number = other.experiment_id, other.number
        schedule.is_enabled, schedule.is_archived, schedule.next_slot_at = False, True, None
    session.flush()
    return False


def _twins(session: Session, experiment_id: int) -> bool:
    """A chunk of twins with their tags."""
    keys = session.scalars(
        select(DigitalTwin.id).where(DigitalTwin.experiment_id == experiment_id).limit(CHUNK)
    ).all()
    _remove(session, TwinTag, TwinTag.digital_twin_id.in_(keys))
    _remove(session, DigitalTwin, DigitalTwin.id.in_(keys))
    return bool(keys)


def _the_rest(session: Session, experiment_id: int) -> bool:
    for kind in (BulkImport, Membership, ModelSeen, ProtocolChange, SettledLine, *TALLIES):
        _remove(session, kind, kind.experiment_id == experiment_id)
    _remove(session, Experiment, Experiment.id == experiment_id)
    return True


def _chunk_of(kind: type) -> Callable[[Session, int], bool]:
    """A step that removes a chunk of this kind's rows; False when there are none left."""

    def step(session: Session, experiment_id: int) -> bool:
        keys = session.scalars(select(kind.id).where(kind.experiment_id == experiment_id).limit(CHUNK)).all()
        _remove(session, kind, kind.id.in_(keys))
        return bool(keys)

    return step


def _unlink_events(session: Session, experiment_id: int) -> bool:
    """Audit events stay: they name the experiment in words."""
    keys = session.scalars(
        select(AuditEvent.id).where(AuditEvent.experiment_id == experiment_id).limit(CHUNK)
    ).all()
    session.execute(update(AuditEvent).where(AuditEvent.id.in_(keys)).values(experiment_id=None))
    return bool(keys)


def _remove(session: Session, kind: type, condition: ColumnElement[bool]) -> None:
    session.execute(delete(kind).where(condition).execution_options(synchronize_session=False))


# In the order in which nothing points at what goes: each is done until it says that nothing is left of it.
_STEPS: tuple[Callable[[Session, int], bool], ...] = (
    _attempts, _posts, _chunk_of(ModelCall), _chunk_of(Slot), _unlink_events, _schedules, _twins,
    _chunk_of(Withdrawal), _chunk_of(UserProfile), _the_rest,
)  # fmt: skip
