"""Slots that ask very many twins, paused, stopped, ended or broken half way."""

import pytest
from sqlalchemy import func, select, update

from pdsapp.attempts import cancel
from pdsapp.attempts.obstacles import obstacle_to_going_on
from pdsapp.database import reading, transaction
from pdsapp.domain.reasons import AttemptState, Reason, SlotStage
from pdsapp.models import (
    Attempt,
    Experiment,
    Installation,
    Schedule,
    Slot,
)
from pdsapp.scheduling import expansion
from pdsapp.services import lifecycle, pauses, schedule_health, slot_stops
from pdsapp.services.ledger_turns import newest_slots

from .big_slot_helpers import COUNT, NOW, counts, problems, tend, the_slot
from .slot_helpers import MINUTE, START, claim, make_schedule

pytestmark = pytest.mark.database


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
    with reading() as session:
        turns = newest_slots(session, None, START - MINUTE)
        facts = schedule_health.facts_of(session, [slot.schedule_id])[slot.schedule_id]
    assert facts.states[slot.id] == {AttemptState.skipped: COUNT - 3, AttemptState.failed: 3}
    assert (turns.wanted, turns.expanded, turns.attempts_of_slots) == (COUNT, COUNT, COUNT)
    with transaction() as session:
        session.execute(update(Slot).values(ends={"skipped": 7}))
    with reading() as session:
        turns = newest_slots(session, None, START - MINUTE)
        facts = schedule_health.facts_of(session, [slot.schedule_id])[slot.schedule_id]
    assert facts.states[slot.id] == {AttemptState.skipped: 7}, "what was written down counts"
    assert turns.attempts_of_slots == 7, "no attempt is counted anew"


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
