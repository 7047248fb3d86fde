"""Slots that ask very many twins: their attempts, made piece by piece after the claim.

The claim writes the slot with the draw that is to be made. Whoever schedules then makes 1,000 attempts in
each short transaction, with the cursor in the slot's row: killed at any point, the next one goes on where the
last commit was. Of several slots the one with the fewest attempts is next. What a stop, a pause or an end
finds unmade is counted in the row and never made.
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import structlog
from rq.timeouts import BaseTimeoutException
from sqlalchemy import ColumnElement, exists, func, select
from sqlalchemy.orm import Session

from ..attempts.big_draws import BigDraw, Cursor, Piece, next_listed, next_piece
from ..attempts.cancel import cancel_waiting
from ..attempts.create import FiredSlot, add_for_slots
from ..database import is_outage, reading, transaction
from ..domain.reasons import AttemptState, Reason, SlotStage
from ..domain.targets import Target
from ..errors import DatabaseNotReady
from ..models import Attempt, Installation, Slot
from .pauses import pauses_of

PIECE = 1_000
# Attempts of slots with at least so many are summed up once, and not counted each time somebody looks.
SUMMED_FROM = 100
SUMMED_AT_ONCE = 20
SUM_SECONDS = 1.0
MOST_FAILURES = 3
GONE = (
    "{count:,} could not be asked any more when it was their turn: they were deactivated, banned or deleted "
    "after the slot was claimed, or their experiment did not run."
)
TO_MAKE = (SlotStage.expanding, SlotStage.stopping)
DETAIL_LENGTH = 500
BY_COMMAND = "flask "
_UNFINISHED = exists().where(
    Attempt.slot_id == Slot.id, Attempt.state.in_((AttemptState.due, AttemptState.running))
)
log = structlog.get_logger()


@dataclass(frozen=True)
class Tended:
    """What one round of tending did: attempts that may begin at once, by lane, and if there is more to do."""

    attempts: Counter[str]
    is_more: bool = False


class Tender:
    """Expands slots, cancels what stops left waiting, and sums up slots that have ended.

    `check` raises DatabaseNotReady where this code must not write any more.
    """

    def __init__(self, clock: Callable[[], datetime], check: Callable[[Session], None]):
        self._clock, self._check = clock, check
        self._failures: Counter[int] = Counter()
        self._sums_at = float("-inf")

    def tend_for(self, seconds: float) -> Tended:
        """Works for about so long, each piece in a transaction of its own; at once where there is nothing.

        Any number of processes may do it at a time. Raises only where the database fails.
        """
        until, lanes, is_more = time.monotonic() + seconds, Counter(), False
        while (slot_id := _next_open()) is not None:
            if not self._one_piece(slot_id, lanes):
                break
            if is_more := time.monotonic() >= until:
                break
        if time.monotonic() - self._sums_at >= SUM_SECONDS:
            self._sums_at = time.monotonic()
            sum_up()
        return Tended(lanes, is_more)

    def _one_piece(self, slot_id: int, lanes: Counter[str]) -> bool:
        """False if somebody else has the slot, or holds the gate, at this moment."""
        try:
            with transaction() as session:
                self._check(session)
                made = do_piece(session, slot_id, self._clock())
        except (BaseTimeoutException, DatabaseNotReady):
            raise
        except Exception as error:
            if is_outage(error):
                raise
            log.exception("slot cannot be expanded", slot=slot_id)
            self._failures[slot_id] += 1
            if self._failures[slot_id] >= MOST_FAILURES:
                words = f"Its other attempts could not be made ({type(error).__name__})."
                with transaction() as session:
                    call_off(session, Slot.id == slot_id, words)
            return True
        self._failures.pop(slot_id, None)
        lanes.update(made or {})
        return made is not None


def do_piece(session: Session, slot_id: int, now: datetime) -> Counter[str] | None:
    """The next piece of one slot; how many attempts may begin at once, by lane. The caller commits.

    It passes the gate, so that it lies wholly before or wholly after a pause, stop or end. None where another
    process has the slot or closes the gate. Raises whatever a row edited by hand can provoke.
    """
    gate = select(Installation).where(Installation.id == 1)
    # Not waiting: what closes the gate may take seconds, and slots of others are due meanwhile.
    locked = gate.with_for_update(read=True, skip_locked=True, of=Installation)
    installation = session.scalars(locked).one_or_none()
    open_slot = select(Slot).where(Slot.id == slot_id, Slot.stage.in_(TO_MAKE))
    slot = session.scalars(open_slot.with_for_update(skip_locked=True, of=Slot)).one_or_none()
    if installation is None or slot is None:
        return None
    if slot.stage == SlotStage.stopping:
        done = cancel_waiting(session, Attempt.slot_id == slot.id, Reason.stopped, slot.detail, now, PIECE)
        slot.stage = SlotStage.stopping if done else SlotStage.working
        return Counter()
    if installation.is_paused and installation.paused_by.startswith(BY_COMMAND):
        return None  # a move or a restore leaves everything as it is
    # A pause ends the slots it finds: this one was being claimed in that moment.
    experiment = slot.schedule.experiment if slot.experiment_id is not None else None
    if (pause := next(pauses_of(installation, experiment, slot.schedule), None)) is not None:
        _end_expansion(slot, pause.words)
        return Counter()
    return _expand(session, slot, now)


def _expand(session: Session, slot: Slot, now: datetime) -> Counter[str]:
    piece = _next_piece(session, slot)
    fired = FiredSlot(slot.id, slot.slot_at, slot.revision, piece.picks)
    lanes = add_for_slots(session, [fired], now)
    slot.expanded_count += len(piece.picks)
    slot.gone_count += piece.gone
    slot.cursor = piece.cursor.to_dict()
    if piece.is_last:
        slot.gone_count = slot.wanted_count - slot.expanded_count
        _all_made(slot)
        log.info("slot expanded", slot=slot.id, attempts=slot.expanded_count, gone=slot.gone_count)
    return lanes


def _next_piece(session: Session, slot: Slot) -> Piece:
    cursor = Cursor(**slot.cursor)
    if "picks" in slot.draw:
        return next_listed(session, slot.draw, cursor, PIECE)
    target = Target.from_dict(slot.revision.target)
    return next_piece(session, BigDraw.from_dict(slot.draw), target, cursor, PIECE)


def _all_made(slot: Slot) -> None:
    slot.stage, slot.draw, slot.cursor = SlotStage.working, None, None
    if slot.gone_count:
        slot.detail = f"{GONE.format(count=slot.gone_count)} {slot.detail}".strip()[:DETAIL_LENGTH]


def _end_expansion(slot: Slot, words: str) -> int:
    """Counts what was not made yet as stopped; how many. `words` say what stopped it, in a sentence."""
    slot.stopped_count = slot.wanted_count - slot.expanded_count - slot.gone_count
    slot.detail = words[:DETAIL_LENGTH]
    _all_made(slot)
    return slot.stopped_count


def call_off(session: Session, where: ColumnElement[bool], words: str) -> int:
    """Makes no more attempts for these slots, where any were to be made; how many were not.

    The caller has closed the gate, or holds nothing at all, cancels what waits, and commits.
    """
    query = select(Slot).where(Slot.stage == SlotStage.expanding, where).order_by(Slot.id)
    locked = query.with_for_update(of=Slot).execution_options(populate_existing=True)
    return sum(_end_expansion(slot, words) for slot in session.scalars(locked).all())


def sum_up() -> int:
    """Writes down how the attempts of slots ended that have no more at work, a few at a time; how many slots.

    What has ended does not change, so the sums need not be counted again.
    """
    query = select(Slot.id).where(Slot.stage == SlotStage.working, ~_UNFINISHED).order_by(Slot.id)
    with reading() as session:
        keys = session.scalars(query.limit(SUMMED_AT_ONCE)).all()
    for key in keys:
        with transaction() as session:
            slot = session.scalars(
                query.with_only_columns(Slot).where(Slot.id == key).with_for_update(skip_locked=True, of=Slot)
            ).one_or_none()
            if slot is not None:
                slot.ends, slot.stage = ends_of(session, [key]).get(key, {}), None
    return len(keys)


def ends_of(session: Session, slot_ids: list[int]) -> dict[int, dict[str, int]]:
    """The attempts of each of these slots by state, counted; slots without any are left out."""
    query = (
        select(Attempt.slot_id, Attempt.state, func.count())
        .where(Attempt.slot_id.in_(slot_ids))
        .group_by(Attempt.slot_id, Attempt.state)
    )
    found: dict[int, dict[str, int]] = {}
    for slot_id, state, count in session.execute(query):
        found.setdefault(slot_id, {})[state.value] = count
    return found


def _next_open() -> int | None:
    """The slot with the fewest attempts among those that need some, or need some cancelled."""
    query = select(Slot.id).where(Slot.stage.in_(TO_MAKE)).order_by(Slot.expanded_count, Slot.id)
    with reading() as session:
        return session.scalars(query.limit(1)).first()
