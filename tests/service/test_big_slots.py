"""Slots that ask very many twins: claimed with their draw, expanded in pieces, each twin once."""

import pytest
from sqlalchemy import select

from pdsapp.attempts import ranks
from pdsapp.database import reading, snapshot, transaction
from pdsapp.domain.reasons import SlotKind, SlotStage
from pdsapp.models import Attempt, DigitalTwin, Experiment, Slot
from pdsapp.scheduling import expansion
from pdsapp.services.ledger import ledger
from tests.twins import add_many

from .slot_helpers import MINUTE, START, claim, make_schedule, rows_of

pytestmark = pytest.mark.database
NOW = START + MINUTE
COUNT = 2_500


@pytest.fixture
def crowd(study):
    add_many(study, COUNT)
    return study


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


def test_each_active_twin_is_asked_once_in_pieces_of_a_thousand(crowd):
    schedule = make_schedule(crowd, asks_all=True)
    claimed = claim(NOW)
    assert (claimed.slots, claimed.attempts) == ({SlotKind.fired: 1}, {})
    slot = the_slot()
    assert (counts(slot), slot.stage) == ((COUNT, 0, 0, 0), SlotStage.expanding)
    assert asked_twins() == []
    assert problems() == ()
    assert tend(pieces=1) == 1
    assert counts(the_slot()) == (COUNT, 1_000, 0, 0)
    assert problems() == ()
    assert tend() == 2
    slot = the_slot()
    assert (counts(slot), slot.stage, slot.draw, slot.cursor) == (
        (COUNT, COUNT, 0, 0), SlotStage.working, None, None,
    )  # fmt: skip
    asked = asked_twins()
    with reading() as session:
        assert sorted(asked) == session.scalars(select(DigitalTwin.id).order_by(DigitalTwin.id)).all()
        ordinals = session.scalars(select(Attempt.ordinal).order_by(Attempt.id)).all()
        assert ordinals == list(range(COUNT))
        assert rows_of(session, schedule) == [("fired", "12:01", 1)]
    assert problems() == ()


def test_a_number_above_a_thousand_is_drawn_without_replacement(crowd):
    make_schedule(crowd, twins_per_slot=1_200)
    claim(NOW)
    assert tend() == 2
    asked = asked_twins()
    assert len(asked) == len(set(asked)) == 1_200
    assert counts(the_slot()) == (1_200, 1_200, 0, 0)
    assert problems() == ()


def test_whom_it_asks_is_settled_at_the_claim(crowd):
    with reading() as session:
        ids = session.scalars(select(DigitalTwin.id).order_by(DigitalTwin.id)).all()
    late, gone, again = ids[2_400:2_410], ids[2_300:2_305], ids[2_200:2_202]
    deactivate(crowd, late)
    make_schedule(crowd, asks_all=True)
    claim(NOW)
    tend(pieces=1)
    deactivate(crowd, late, is_active=True)
    deactivate(crowd, gone)
    deactivate(crowd, again)
    deactivate(crowd, again, is_active=True)
    deactivate(crowd, ids[:3])  # who has been asked before
    tend()
    assert set(asked_twins()) == set(ids) - {*late, *gone, *again}
    slot = the_slot()
    assert counts(slot) == (COUNT - 10, COUNT - 17, 7, 0)
    assert slot.detail.startswith("7 could not be asked any more")
    assert problems() == ()
