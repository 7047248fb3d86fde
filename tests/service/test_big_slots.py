"""Slots that ask very many twins: claimed with their draw, expanded in pieces, each twin once."""

from collections import Counter

import pytest
from sqlalchemy import delete, func, select, update

from pdsapp.attempts.replay import replay
from pdsapp.database import reading, transaction
from pdsapp.domain.reasons import AttemptState, SlotKind, SlotStage
from pdsapp.domain.targets import EVERYBODY, Target
from pdsapp.dt_service import DTService
from pdsapp.models import (
    Attempt,
    DigitalTwin,
    Experiment,
    OverlapPolicy,
    Slot,
    TwinTag,
)
from pdsapp.scheduling import slots
from pdsapp.services import pauses
from tests import builders
from tests.statistics import chi_square, p_value
from tests.twins import add_many

from .big_slot_helpers import COUNT, NOW, asked_twins, counts, deactivate, problems, tend, the_slot
from .slot_helpers import MINUTE, claim, make_schedule, rows_of

pytestmark = pytest.mark.database


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


def test_the_number_left_out_by_who_is_gone_is_none_of_anybody_else(crowd):
    """Of 1,200 drawn among 2,500, those that vanish are counted, and nobody is drawn in their place."""
    make_schedule(crowd, twins_per_slot=1_200)
    claim(NOW)
    tend(pieces=1)
    with reading() as session:
        ids = session.scalars(select(DigitalTwin.id).order_by(DigitalTwin.id)).all()
    deactivate(crowd, ids[2_400:2_450])
    tend()
    wanted, expanded, gone, stopped = counts(the_slot())
    assert (wanted, expanded + gone, stopped) == (1_200, 1_200, 0)
    assert gone > 0
    assert not set(asked_twins()) & set(ids[2_400:2_450])
    assert problems() == ()


@pytest.mark.parametrize("wish", [{"asks_all": True}, {"twins_per_slot": 1_100}], ids=["all", "1,100"])
def test_replay_finds_the_place_of_each(crowd, settings, wish):
    make_schedule(crowd, **wish)
    claim(NOW)
    tend()
    with reading() as session:
        last = session.scalar(select(func.max(Attempt.ordinal)))
        for ordinal in (0, 999, 1_000, last):
            attempt = session.scalars(select(Attempt).where(Attempt.ordinal == ordinal)).one()
            assert attempt.candidate_count == COUNT
            assert replay(session, attempt, DTService()).verdict == "same"


def test_a_tag_narrows_it_by_the_tags_of_the_turn(study):
    ids = add_many(study, COUNT, tags=lambda n: ("even",) if n % 2 == 0 else ("odd",))
    make_schedule(study, asks_all=True, target=Target.tagged(["even"]))
    claim(NOW)
    assert counts(the_slot()) == (1_250, 0, 0, 0)
    tend(pieces=1)
    with transaction() as session:
        session.execute(delete(TwinTag).where(TwinTag.digital_twin_id == ids[2_498]))
    tend()
    assert set(asked_twins()) == set(ids[:2_498:2])
    assert counts(the_slot()) == (1_250, 1_249, 1, 0)
    assert problems() == ()


def test_twins_of_all_experiments_are_asked_and_those_of_one_that_is_paused_meanwhile_are_not(crowd):
    other, small = builders.make_experiment("Other"), builders.make_experiment("Small")
    others = add_many(other, 1_500, prefix="o")
    builders.make_twin(small)
    make_schedule(None, asks_all=True)
    claim(NOW)
    assert counts(the_slot()) == (COUNT + 1_501, 0, 0, 0)
    tend(pieces=3)
    with transaction() as session:
        pauses.pause_experiment(session, session.get_one(Experiment, other.id), NOW)
    tend()
    assert counts(the_slot()) == (COUNT + 1_501, COUNT + 1, 1_500, 0)
    assert not set(asked_twins()) & set(others)
    assert problems() == ()


class Reversed(DTService):
    """Draws by itself: the last twins first."""

    def get_random_digital_twins(self, session, experiment, count, key, target=EVERYBODY):
        return super().get_random_digital_twins(session, experiment, count, key, target)[::-1]


def test_a_service_that_draws_itself_is_asked_once_and_its_list_is_kept(crowd):
    make_schedule(crowd, asks_all=True)
    claim(NOW, service=Reversed())
    tend(pieces=1)
    with reading() as session:
        assert session.scalars(select(Attempt.ordinal).order_by(Attempt.id).limit(1)).one() == COUNT - 1
        left = session.scalars(
            select(DigitalTwin.id).where(DigitalTwin.id.not_in(select(Attempt.digital_twin_id))).limit(4)
        ).all()
    deactivate(crowd, left)
    tend()
    assert counts(the_slot()) == (COUNT, COUNT - 4, 4, 0)
    assert problems() == ()


def test_a_claim_of_many_slots_makes_ten_thousand_attempts_and_leaves_the_rest_to_pieces(study, monkeypatch):
    add_many(study, 60)
    monkeypatch.setattr(slots, "MOST_ATTEMPTS", 100)
    for number in range(3):
        make_schedule(study, name=f"S{number}", twins_per_slot=50)
    claim(NOW)
    with reading() as session:
        assert session.scalar(select(func.count(Attempt.id))) == 100
        assert session.scalars(select(Slot.stage).where(Slot.stage == SlotStage.expanding)).all() == [
            SlotStage.expanding
        ]
    assert problems() == ()
    assert tend() == 1
    with reading() as session:
        keys = session.execute(select(Attempt.selection_key, func.count()).group_by(Attempt.selection_key))
        assert [count for _, count in keys] == [50, 50, 50]
    assert problems() == ()


def test_the_slot_after_one_that_is_still_expanded_is_an_overlap(crowd):
    schedule = make_schedule(crowd, asks_all=True)
    claim(NOW)
    tend(pieces=1)
    with transaction() as session:
        session.execute(update(Attempt).values(state=AttemptState.skipped))
    claim(NOW + MINUTE)
    with reading() as session:
        assert rows_of(session, schedule) == [("fired", "12:01", 1), ("overlap", "12:02", 1)]


def test_the_whole_interval_is_used_by_a_jitter_of_its_length(crowd):
    make_schedule(crowd, asks_all=True, jitter_seconds=60, overlap_policy=OverlapPolicy.allow)
    claimed = claim(NOW)
    assert claimed.attempts == {}
    tend()
    with reading() as session:
        slot_at = the_slot().slot_at
        late = [(at - slot_at).total_seconds() for at in session.scalars(select(Attempt.not_before))]
        delays = session.scalars(select(Attempt.delay_seconds)).all()
    assert all(0 <= delay < 60 for delay in delays)
    thirds = Counter(int(delay // 20) for delay in delays)
    assert p_value(chi_square([thirds[n] for n in range(3)], [COUNT / 3] * 3), 2) > 1e-6
    assert max(late) < 60
