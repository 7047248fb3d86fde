"""Slots that ask very many twins: claimed with their draw, expanded in pieces, each twin once."""

from collections import Counter

import pytest
from sqlalchemy import delete, event, func, select, update

from pdsapp.attempts import cancel, ranks
from pdsapp.attempts.obstacles import obstacle_to_going_on
from pdsapp.attempts.replay import replay
from pdsapp.database import reading, snapshot, transaction
from pdsapp.domain.reasons import AttemptState, Reason, SlotKind, SlotStage
from pdsapp.domain.targets import EVERYBODY, Target
from pdsapp.dt_service import DTService
from pdsapp.extensions import db
from pdsapp.models import (
    Attempt,
    DigitalTwin,
    Experiment,
    Installation,
    OverlapPolicy,
    Schedule,
    Slot,
    TwinTag,
)
from pdsapp.scheduling import expansion, slots
from pdsapp.services import lifecycle, pauses, schedule_health, slot_stops
from pdsapp.services.ledger import ledger
from pdsapp.services.ledger_turns import newest_slots
from tests import builders
from tests.statistics import chi_square, p_value
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


def pause_it(session, crowd, _schedule):
    pauses.pause_experiment(session, session.get_one(Experiment, crowd.id), NOW, "exam week")


def pause_its_schedule(session, _crowd, schedule):
    pauses.pause_schedule(session, session.get_one(Schedule, schedule.id), NOW, "exam week")


def stop_everything(session, _crowd, _schedule):
    pauses.stop_everything(session, NOW, "exam week")


def end_it(session, crowd, _schedule):
    lifecycle.end(session, session.get_one(Experiment, crowd.id), NOW, reason="exam week")


@pytest.mark.parametrize("act", [pause_it, pause_its_schedule, stop_everything, end_it])
def test_a_pause_or_an_end_half_way_leaves_nothing_to_be_made(crowd, act):
    schedule = make_schedule(crowd, asks_all=True)
    claim(NOW)
    tend(pieces=1)
    with transaction() as session:
        act(session, crowd, schedule)
    assert tend(now=NOW + MINUTE) == 0
    slot = the_slot()
    assert (counts(slot), slot.stage) == ((COUNT, 1_000, 0, 1_500), SlotStage.working)
    assert slot.detail
    with reading() as session:
        states = session.execute(select(Attempt.state, func.count()).group_by(Attempt.state)).all()
    assert states == [(AttemptState.cancelled, 1_000)]
    assert problems() == ()


def test_resuming_makes_nothing_of_what_a_pause_left_unmade(crowd):
    schedule = make_schedule(crowd, asks_all=True)
    claim(NOW)
    tend(pieces=1)
    with transaction() as session:
        effect = pauses.pause_schedule(session, session.get_one(Schedule, schedule.id), NOW)
    assert effect.sentence == (
        "1,000 waiting attempts were cancelled, 1,500 more will not be made; none is being written."
    )
    with transaction() as session:
        pauses.resume_schedule(session, session.get_one(Schedule, schedule.id), NOW)
    assert tend() == 0
    assert problems() == ()


def test_a_slot_that_was_claimed_as_its_experiment_was_paused_makes_nothing(crowd):
    make_schedule(crowd, asks_all=True)
    claim(NOW)
    with transaction() as session:  # as if the pause had not seen the slot, which was not committed yet
        session.execute(update(Experiment).values(state="paused", paused_at=NOW, paused_by="ada"))
    tend()
    slot = the_slot()
    assert (counts(slot), slot.stage) == ((COUNT, 0, 0, COUNT), SlotStage.working)
    assert "paused" in slot.detail
    assert problems() == ()


def test_a_move_leaves_a_slot_as_it_is(crowd):
    make_schedule(crowd, asks_all=True)
    claim(NOW)
    with transaction() as session:
        session.execute(update(Installation).values(is_paused=True, paused_by="flask move"))
    with transaction() as session:
        assert expansion.do_piece(session, the_slot().id, NOW) is None
    assert the_slot().stage == SlotStage.expanding


def test_stopped_half_way_what_is_made_is_cancelled_and_the_rest_never_made(crowd):
    make_schedule(crowd, asks_all=True)
    claim(NOW)
    tend(pieces=1)
    with transaction() as session:
        attempt = session.scalars(select(Attempt).limit(1)).one()
        attempt.state, attempt.lease_until = AttemptState.running, NOW + MINUTE
    with transaction() as session:
        done = slot_stops.stop_slot(session, session.get_one(Slot, the_slot().id), NOW, "wrong prompt")
    assert (done.unmade, done.cancelled, done.running, done.rest) == (1_500, 999, 1, 0)
    assert done.words == (
        "1,500 more are not asked, 999 waiting were cancelled, 1 being written will not be published."
    )
    slot = the_slot()
    assert counts(slot) == (COUNT, 1_000, 0, 1_500)
    assert slot.detail.endswith("by command line: wrong prompt.")
    with reading() as session:
        found = session.execute(
            select(Attempt.state, Attempt.reason, func.count(), func.count(Attempt.stop_asked_at))
            .group_by(Attempt.state, Attempt.reason)
            .order_by(Attempt.state)
        ).all()
    assert found == [
        (AttemptState.cancelled, Reason.stopped, 999, 0), (AttemptState.running, None, 1, 1),
    ]  # fmt: skip
    assert problems() == ()
    with transaction() as session:
        again = slot_stops.stop_slot(session, session.get_one(Slot, slot.id), NOW)
    assert (again.changed, again.words) == (False, "Nothing of it was left to stop.")


def test_too_many_for_one_stop_are_cancelled_in_pieces_and_no_worker_asks_them(crowd, settings, monkeypatch):
    monkeypatch.setattr(cancel, "MOST_CANCELLED", 300)
    make_schedule(crowd, asks_all=True)
    claim(NOW)
    tend()
    with transaction() as session:
        done = slot_stops.stop_slot(session, session.get_one(Slot, the_slot().id), NOW)
    assert (done.cancelled, done.rest) == (COUNT, COUNT - 300)
    assert the_slot().stage == SlotStage.stopping
    with reading() as session:
        key = session.scalars(select(Attempt.id).where(Attempt.state == AttemptState.due).limit(1)).one()
        attempt = session.get_one(Attempt, key)
        assert obstacle_to_going_on(session, attempt, NOW).reason == Reason.stopped
    assert tend() == 4  # the last finds none
    assert the_slot().stage == SlotStage.working
    with reading() as session:
        found = session.execute(
            select(Attempt.state, Attempt.reason, func.count()).group_by(Attempt.state, Attempt.reason)
        ).all()
    assert found == [(AttemptState.cancelled, Reason.stopped, COUNT)]
    assert problems() == ()


def test_when_all_have_ended_the_sums_are_written_down_once(crowd):
    make_schedule(crowd, asks_all=True)
    claim(NOW)
    tend()
    assert expansion.sum_up() == 0
    assert problems() == ()
    with transaction() as session:
        session.execute(update(Attempt).values(state=AttemptState.skipped))
        session.execute(update(Attempt).where(Attempt.ordinal < 3).values(state=AttemptState.failed))
    assert expansion.sum_up() == 1
    slot = the_slot()
    assert (slot.ends, slot.stage) == ({"skipped": COUNT - 3, "failed": 3}, None)
    assert expansion.sum_up() == 0
    seen = []
    listener = lambda *args: seen.append(args[2])  # noqa: E731
    event.listen(db.engine, "before_cursor_execute", listener)
    with reading() as session:
        turns = newest_slots(session, None, START - MINUTE)
        facts = schedule_health.facts_of(session, [slot.schedule_id])[slot.schedule_id]
    event.remove(db.engine, "before_cursor_execute", listener)
    assert facts.states[slot.id] == {AttemptState.skipped: COUNT - 3, AttemptState.failed: 3}
    looked_at = [sql for sql in seen if "FROM attempt" in sql]
    assert looked_at == [], "no attempt is counted"
    assert (turns.wanted, turns.expanded, turns.attempts_of_slots) == (COUNT, COUNT, COUNT)


def test_a_draw_that_cannot_be_read_ends_the_slot_and_disturbs_no_other(crowd):
    make_schedule(crowd, name="A", asks_all=True)
    make_schedule(crowd, name="B", asks_all=True)
    claim(NOW)
    with transaction() as session:
        first = session.scalars(select(Slot).order_by(Slot.id).limit(1)).one()
        first.draw = {"key": "x", "ranges": [["nonsense"]]}
        broken = first.id
    tender = expansion.Tender(lambda: NOW, lambda _session: None)
    while tender.tend_for(5).is_more:
        pass
    with reading() as session:
        slots_ = {slot.id == broken: slot for slot in session.scalars(select(Slot))}
    assert counts(slots_[False]) == (COUNT, COUNT, 0, 0)
    assert counts(slots_[True]) == (COUNT, 0, 0, COUNT)
    assert "could not be made" in slots_[True].detail
    assert problems() == ()
