"""Stopping a slot half way: what it has still to make is not made, what waits is cancelled, and what is being
written is not published. Its schedule goes on with the next slot."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from ..attempts.cancel import KEYS_AT_ONCE, cancel_waiting
from ..attempts.gate import close_gate
from ..attempts.obstacles import as_sentence, moment_words
from ..domain.reasons import AttemptState, Reason, SlotKind, SlotStage
from ..errors import BadInput
from ..models import IS_RUNNING, Account, Attempt, Schedule, Slot
from ..scheduling.cadence import zone_of
from ..scheduling.expansion import call_off
from . import audit
from .accounts import may_administer
from .chunks import portions
from .fields import clean_line

# Older slots with attempts at work than these are not found; they can be named.
LOOKED_AT = 20
AT_WORK = (AttemptState.due, AttemptState.running)


@dataclass(frozen=True)
class SlotStop:
    """What stopping a slot did: `unmade` attempts are never made, `cancelled` ones waited, `running` ones
    will publish nothing. `rest` of the cancelled are ended by the scheduler, piece by piece."""

    unmade: int = 0
    cancelled: int = 0
    running: int = 0
    rest: int = 0

    @property
    def changed(self) -> bool:
        """Whether there was anything to stop."""
        return bool(self.unmade or self.cancelled or self.running)

    @property
    def words(self) -> str:
        """What became of attempts, in a sentence."""
        if not self.changed:
            return "Nothing of it was left to stop."
        parts = [
            f"{self.unmade:,} more {'is' if self.unmade == 1 else 'are'} not asked" if self.unmade else "",
            f"{self.cancelled:,} waiting {_were(self.cancelled)} cancelled" if self.cancelled else "",
            f"{self.running:,} being written will not be published" if self.running else "",
        ]
        return f"{', '.join(filter(None, parts))}."


def newest_at_work(session: Session, schedule: Schedule) -> Slot | None:
    """The newest slot of a schedule with attempts to be made, waiting or running; None without one."""
    at_work = select(Attempt.id).where(Attempt.slot_id == Slot.id, Attempt.state.in_(AT_WORK)).exists()
    query = (
        select(Slot)
        .where(Slot.schedule_id == schedule.id, Slot.kind == SlotKind.fired)
        .order_by(Slot.slot_at.desc())
        .limit(LOOKED_AT)
        .subquery()
    )
    found = select(Slot).join(query, query.c.id == Slot.id)
    is_open = (Slot.stage == SlotStage.expanding) | at_work
    return session.scalars(found.where(is_open).order_by(Slot.slot_at.desc()).limit(1)).first()


def stop_slot(
    session: Session, slot: Slot, now: datetime, reason: str = "", account: Account | None = None
) -> SlotStop:
    """Stops a slot for good. Doing it twice is doing it once.

    Closes the gate before anything else and leaves the commit to the caller. Raises BadInput for a slot that
    asked nobody, and for one of all experiments unless an administrator or a command stops it.
    """
    reason = clean_line(reason, "reason", 255, required=False)
    close_gate(session)
    session.refresh(slot, with_for_update={"of": Slot})
    schedule = slot.schedule
    if slot.kind != SlotKind.fired:
        raise BadInput(f"This slot asked nobody: it was {slot.kind.replace('_', ' ')}.")
    if slot.experiment_id is None and not may_administer(account):
        raise BadInput("Only administrators stop a slot of all experiments.")
    who = account.email if account else audit.COMMAND_LINE
    words = f"The slot was stopped on {moment_words(now, zone_of(schedule).key)} by {who}"
    words = as_sentence(f"{words}: {reason}" if reason else words)
    unmade = call_off(session, Slot.id == slot.id, words)
    cancelled = cancel_waiting(session, Attempt.slot_id == slot.id, Reason.stopped, words, now)
    running = _mark_running(session, slot, words, now)
    left = select(func.count()).where(Attempt.slot_id == slot.id, Attempt.state == AttemptState.due)
    rest = session.scalar(left)
    done = SlotStop(unmade, cancelled + rest, running, rest)
    if not done.changed:
        return done
    slot.detail = words[:500]
    if rest:
        slot.stage = SlotStage.stopping
    after = {"slot": slot.slot_at.isoformat(), "cancelled": done.cancelled, "running": running}
    audit.record(
        session, "stop", schedule, now, account, after=after | {"not made": unmade, "reason": reason}
    )
    return done


def _mark_running(session: Session, slot: Slot, words: str, now: datetime) -> int:
    """Marks what runs as stopped for good; how many. After `cancel_waiting`, which waits for claims."""
    unmarked = select(Attempt.id).where(
        Attempt.slot_id == slot.id, IS_RUNNING, Attempt.stop_asked_at.is_(None)
    )
    query = unmarked.order_by(Attempt.id)
    keys = session.scalars(query.with_for_update(of=Attempt)).all()
    for part in portions(keys, KEYS_AT_ONCE):
        session.execute(
            update(Attempt)
            .where(Attempt.id.in_(part))
            .values(stop_asked_at=now, detail=words)
            .execution_options(synchronize_session=False)
        )
    return len(keys)


def _were(count: int) -> str:
    return "was" if count == 1 else "were"
