"""Erasing a withdrawn participant's words and names from everything else of the experiment.

In chunks that are committed one by one, by whoever schedules or by a command: a process that dies in between
leaves a withdrawal that goes on where it was. Nothing begins before what was being written has ended, and no
attempt of the experiment is taken before the end, so nothing is read that is about to be erased. Rows are
changed in place: no time, count, state or length of them.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
import structlog
from sqlalchemy import func, select, update
from sqlalchemy.orm import InstrumentedAttribute, Session, undefer

from ..attempts.words import several
from ..database import UNREADABLE, reading, transaction
from ..domain.erasure import ERASED, Eraser, eraser_of
from ..domain.reasons import CallState
from ..models import (
    IS_RUNNING,
    Attempt,
    AuditEvent,
    Experiment,
    ModelCall,
    Notice,
    NoticeLine,
    Post,
    PostRevision,
    ProtocolChange,
    Schedule,
    Slot,
    UserProfile,
    Withdrawal,
    utc_now,
)
from . import compacting, database, tombstones
from .editing import hold_experiment

CHUNK = 500
# A call that was begun longer ago than any may take was left behind by a process that died.
LONGEST_CALL = timedelta(minutes=10)
WAITING_SECONDS = 0.5
AGAIN_SECONDS = 30
log = structlog.get_logger()
# By pseudonym: the one eraser that is in use, whose tombstone is there, and when what failed is tried again.
_kept: dict[str, Eraser] = {}
_buried: set[str] = set()
_again_at: dict[str, float] = {}


@dataclass(frozen=True)
class Step:
    """One table: what it is called, its texts and JSON, when they were written, how it belongs to the
    experiment. `key` is what its rows are walked by; `at` None where texts change and nobody notes when."""

    words: str
    key: InstrumentedAttribute
    columns: tuple[InstrumentedAttribute, ...]
    at: sa.ColumnElement[datetime] | None
    experiment: InstrumentedAttribute | None

    @property
    def model(self) -> type:
        return self.key.class_


# A post has its text since that revision: what was said before it was changed may be quoted now.
_PRESENT_SINCE = (
    select(PostRevision.created_at)
    .where(PostRevision.post_id == Post.id, PostRevision.number == Post.revision)
    .scalar_subquery()
)
# Posts first: after them nobody can read a quotation any more.
STEPS: tuple[Step, ...] = (
    Step("posts", Post.id, (Post.text,), func.coalesce(_PRESENT_SINCE, Post.changed_at), Post.experiment_id),
    Step("earlier texts of posts", PostRevision.post_id, (PostRevision.text,), PostRevision.created_at, None),
    Step(
        "attempts", Attempt.id,
        (Attempt.draft, Attempt.detail, Attempt.waits_for, Attempt.cleaning_steps, Attempt.fit_flags),
        func.coalesce(Attempt.finished_at, Attempt.changed_at), Attempt.experiment_id,
    ),
    Step(
        "model calls", ModelCall.id, (ModelCall.reply, ModelCall.detail), ModelCall.started_at,
        ModelCall.experiment_id,
    ),
    Step(
        "user profiles", UserProfile.id, (UserProfile.display_name, UserProfile.bio), None,
        UserProfile.experiment_id,
    ),
    Step(
        "protocol changes", ProtocolChange.id,
        (ProtocolChange.summary, ProtocolChange.reason, ProtocolChange.before, ProtocolChange.after),
        ProtocolChange.made_at, ProtocolChange.experiment_id,
    ),
    Step("slots", Slot.id, (Slot.detail,), Slot.claimed_at, Slot.experiment_id),
    Step(
        "schedules", Schedule.id, (Schedule.name, Schedule.paused_reason, Schedule.broken_reason),
        None, Schedule.experiment_id,
    ),
    Step(
        "experiments", Experiment.id, (Experiment.description, Experiment.paused_reason),
        None, Experiment.id,
    ),
    Step("notices", Notice.id, (Notice.title, Notice.body, Notice.problem), Notice.created_at, None),
    Step(
        "lines of notices", NoticeLine.key, (NoticeLine.title, NoticeLine.words), None, None,
    ),
    Step(
        "audit events", AuditEvent.id, (AuditEvent.object_name, AuditEvent.before, AuditEvent.after),
        AuditEvent.created_at, AuditEvent.experiment_id,
    ),
)  # fmt: skip


@dataclass(frozen=True)
class State:
    """How far a withdrawal is: the step of all steps, in words; `is_waiting` for what is being written."""

    number: int
    total: int
    words: str
    is_waiting: bool


def state_of(session: Session, withdrawal: Withdrawal) -> State:
    """Where an unfinished withdrawal is now; two queries."""
    number = int(withdrawal.progress.get("step", 0))
    attempts, calls = _being_written(session, withdrawal.experiment_id, utc_now())
    if attempts or calls:
        what = several(attempts, "attempt") if attempts else several(calls, "model call")
        words = (
            f"Waiting until {what} that may have read it {'has' if attempts + calls == 1 else 'have'} ended"
        )
        return State(number, len(STEPS), words, True)
    words = f"Looking through {STEPS[min(number, len(STEPS) - 1)].words}"
    return State(number, len(STEPS), words, False)


def erase_for(seconds: float, is_at_rest: bool = False) -> bool:
    """Erases for about so long, chunk by chunk, the oldest withdrawal that has not to wait; True if more can
    be done at once.

    At once and False when nobody has withdrawn, or what is being written has to end first. `is_at_rest`:
    nobody works on this database, so nothing of it is being written, whatever its rows say.
    """
    until = time.monotonic() + seconds
    if (found := _next(is_at_rest)) is None:
        return compacting.compact_what_is_small()
    key, eraser = found
    while _erase_some(key, eraser, is_at_rest):
        if time.monotonic() >= until:
            return True
    return False


def finish(key: int, seconds: float, is_at_rest: bool = False) -> bool:
    """Goes on with withdrawals until this one is finished, for so long at most; whether it is."""
    until = time.monotonic() + seconds
    while True:
        goes_on = erase_for(1.0, is_at_rest)
        with reading() as session:
            withdrawal = session.get(Withdrawal, key)
            if withdrawal is None or withdrawal.finished_at is not None:  # None: deleted with its experiment
                return True
        if time.monotonic() >= until:
            return False
        if not goes_on:
            time.sleep(WAITING_SECONDS)


def _next(is_at_rest: bool = False) -> tuple[int, Eraser] | None:
    """The oldest unfinished withdrawal that has not to wait, with its eraser: one that waits, of another
    experiment perhaps, holds up no other. The tombstones of all are on the disk then."""
    query = select(Withdrawal.id, Withdrawal.experiment_id, Withdrawal.pseudonym)
    query = query.where(Withdrawal.finished_at.is_(None)).order_by(Withdrawal.id)
    with reading() as session:
        found = session.execute(query).all()
        ready = [row for row in found if time.monotonic() >= _again_at.get(row.pseudonym, 0.0)]
        for key, experiment_id, pseudonym in ready:
            try:
                if pseudonym not in _buried:
                    tombstones.put(session, session.get_one(Withdrawal, key))
                    _buried.add(pseudonym)
                if is_at_rest or not any(_being_written(session, experiment_id, utc_now())):
                    return key, _eraser(session, key, pseudonym)
            except (OSError, *UNREADABLE) as error:
                _again_at[pseudonym] = time.monotonic() + AGAIN_SECONDS
                why = f"{type(error).__name__}: {error}"
                log.warning("participant not erased yet", pseudonym=pseudonym, why=why)
    if not found:
        _kept.clear()
    return None


def _eraser(session: Session, key: int, pseudonym: str) -> Eraser:
    """The eraser of a withdrawal, made once: of somebody who said much that takes seconds."""
    if pseudonym not in _kept:
        whole = (undefer(Withdrawal.texts), undefer(Withdrawal.names))
        withdrawal = session.get_one(Withdrawal, key, options=whole, populate_existing=True)
        texts = [(datetime.fromisoformat(at), text) for at, text in withdrawal.texts or []]
        _kept.clear()
        _kept[pseudonym] = eraser_of(texts, withdrawal.names or [], pseudonym, withdrawal.only_mentions)
    return _kept[pseudonym]


def _erase_some(key: int, eraser: Eraser, is_at_rest: bool = False) -> bool:
    """One chunk in a transaction of its own; False when it is finished or has to wait."""
    with transaction() as session:
        database.require_head_still(session)
        experiment_id = session.scalar(select(Withdrawal.experiment_id).where(Withdrawal.id == key))
        if experiment_id is None:
            return False
        hold_experiment(session, experiment_id)
        withdrawal = session.get_one(Withdrawal, key)
        if withdrawal.finished_at is not None:
            return False
        if not is_at_rest and any(_being_written(session, experiment_id, utc_now())):
            return False
        number = int(withdrawal.progress.get("step", 0))
        if number >= len(STEPS):
            _finish(session, withdrawal, eraser)
            return False
        step, after = STEPS[number], withdrawal.progress.get("after")
        last, changed = _erase_chunk(session, step, withdrawal, eraser, after)
        if changed:
            counts = dict(withdrawal.counts)
            withdrawal.counts = counts | {step.words: counts.get(step.words, 0) + changed}
        withdrawal.progress = {"step": number + 1} if last is None else {"step": number, "after": last}
    return True


def _finish(session: Session, withdrawal: Withdrawal, eraser: Eraser) -> None:
    """Those who withdrew meanwhile are looked for as they can be found from now on: without this one."""
    others = select(Withdrawal).where(
        Withdrawal.experiment_id == withdrawal.experiment_id,
        Withdrawal.id != withdrawal.id,
        Withdrawal.finished_at.is_(None),
    )
    for other in session.scalars(others.options(undefer(Withdrawal.texts))):
        other.texts = [[at, eraser.text(text, datetime.fromisoformat(at))] for at, text in other.texts or []]
        _kept.pop(other.pseudonym, None)
    withdrawal.texts = withdrawal.names = None
    withdrawal.finished_at = utc_now()
    withdrawal.progress = {}
    log.info("participant erased", pseudonym=withdrawal.pseudonym)


def _being_written(session: Session, experiment_id: int, now: datetime) -> tuple[int, int]:
    """How many attempts run and how many other calls were begun: each may have read what is erased."""
    attempts = session.scalar(
        select(func.count(Attempt.id)).where(IS_RUNNING, Attempt.experiment_id == experiment_id)
    )
    calls = session.scalar(
        select(func.count(ModelCall.id)).where(
            ModelCall.experiment_id == experiment_id,
            ModelCall.attempt_id.is_(None),
            ModelCall.state == CallState.started,
            ModelCall.started_at > now - LONGEST_CALL,
        )
    )
    return attempts, calls


def _erase_chunk(
    session: Session, step: Step, withdrawal: Withdrawal, eraser: Eraser, after: Any
) -> tuple[Any, int]:
    """The last key looked at, None if there was none, and how many rows were changed."""
    table = step.model.__table__
    at = sa.null() if step.at is None else step.at
    query = select(step.key, at, *table.primary_key.columns, *step.columns).order_by(step.key)
    if step.model is PostRevision:
        query = query.join(Post, Post.id == PostRevision.post_id)
        query = query.where(Post.experiment_id == withdrawal.experiment_id)
    elif step.experiment is not None:
        # Calls of no experiment are tests of tokens; what an endpoint answers there may repeat anything.
        is_of_none = step.experiment.is_(None) if step.model is ModelCall else sa.false()
        query = query.where(sa.or_(step.experiment == withdrawal.experiment_id, is_of_none))
    query = query.where(step.key > after) if after is not None else query
    keys = session.scalars(query.with_only_columns(step.key).limit(CHUNK)).all()
    if not keys:
        return None, 0
    # Up to that key, not so many rows: a post has all its texts looked at or none.
    rows = _readable(session, query.where(step.key <= keys[-1]), step.key, keys)
    first = 2 + len(table.primary_key.columns)
    changed = 0
    for row in rows:
        found = dict(zip((column.key for column in step.columns), row[first:], strict=True))
        erase = eraser.json_text if step.model is Notice else eraser.data
        wanted = {name: erase(value, row[1] or utc_now()) for name, value in found.items()}
        if step.model is AuditEvent:
            wanted = _without_person(session, withdrawal, row[0], wanted)
        wanted = {name: _cut(step, name, value) for name, value in wanted.items() if value != found[name]}
        if wanted:
            changed += 1
            session.execute(_update(table, row[2:first], wanted))
    return keys[-1], changed


def _readable(session: Session, query: sa.Select, key: InstrumentedAttribute, keys: Sequence) -> list[sa.Row]:
    """The rows but those somebody made unreadable by hand, which keep nobody else from being erased."""
    try:
        return list(session.execute(query).all())
    except UNREADABLE:
        found: list[sa.Row] = []
    for number in dict.fromkeys(keys):
        try:
            found += session.execute(query.where(key == number)).all()
        except UNREADABLE as error:
            log.warning(
                "row cannot be read", table=key.class_.__tablename__, row=number, why=str(error)[:200]
            )
    return found


def _without_person(
    session: Session, withdrawal: Withdrawal, key: int, wanted: dict[str, Any]
) -> dict[str, Any]:
    """An audit event about the person or a post of theirs, without names, bio and beginning of the text."""
    kind, object_id = session.execute(
        select(AuditEvent.object_type, AuditEvent.object_id).where(AuditEvent.id == key)
    ).one()
    if kind == UserProfile.__tablename__ and object_id == withdrawal.user_profile_id:
        return {
            "object_name": f"@{withdrawal.pseudonym}",
            **{name: _without_names(wanted[name]) for name in ("before", "after")},
        }
    if kind == Post.__tablename__ and object_id is not None:
        author = session.scalar(select(Post.user_profile_id).where(Post.id == object_id))
        if author == withdrawal.user_profile_id:
            return wanted | {"object_name": ERASED}
    return wanted


def _without_names(values: dict[str, Any] | None) -> dict[str, Any] | None:
    if not values:
        return values
    return {name: ERASED if isinstance(value, str) and value else value for name, value in values.items()}


def _cut(step: Step, name: str, value: Any) -> Any:
    """A text that became too long for its column by the pseudonym, cut."""
    length = getattr(step.model.__table__.columns[name].type, "length", None)
    return value[:length] if length and isinstance(value, str) else value


def _update(table: sa.Table, key: Sequence[Any], wanted: dict[str, Any]) -> sa.Update:
    same = zip(table.primary_key.columns, key, strict=True)
    return update(table).where(*(column == value for column, value in same)).values(wanted)
