"""What tests of slots with very many twins share."""

from sqlalchemy import select

from pdsapp.attempts import ranks
from pdsapp.database import reading, snapshot, transaction
from pdsapp.domain.reasons import SlotKind
from pdsapp.models import (
    Attempt,
    Experiment,
    Slot,
)
from pdsapp.scheduling import expansion
from pdsapp.services.ledger import ledger

from .slot_helpers import MINUTE, START

NOW = START + MINUTE
COUNT = 2_500


def tend(now=NOW, pieces=1_000):
    """Makes pieces until there is nothing to make, or so many of them; how many were made."""
    made = 0
    while made < pieces and (slot_id := expansion._next_open()) is not None:
        with transaction() as session:
            assert expansion.do_piece(session, slot_id, now) is not None
        made += 1
    return made


def the_slot():
    with reading() as session:
        return session.scalars(select(Slot).where(Slot.kind == SlotKind.fired)).one()


def counts(slot):
    return slot.wanted_count, slot.expanded_count, slot.gone_count, slot.stopped_count


def problems():
    with snapshot() as session:
        return ledger(session, now=NOW).problems


def asked_twins():
    with reading() as session:
        return session.scalars(select(Attempt.digital_twin_id).order_by(Attempt.id)).all()


def deactivate(experiment, keys, is_active=False):
    with transaction() as session:
        ranks.set_active_many(session, session.get_one(Experiment, experiment.id), keys, is_active)
