"""Slots of many twins on the screens: asked for in the form, how far they are, stopped by a button."""

import pytest
from sqlalchemy import func, select, update

from pdsapp.database import transaction
from pdsapp.domain.reasons import AttemptState, Reason, SlotStage
from pdsapp.dt_service import DTService
from pdsapp.models import Attempt, AuditEvent, Experiment, Schedule, Slot
from pdsapp.scheduling import expansion, slots
from pdsapp.services import schedules
from tests import builders
from tests.conftest import NOON
from tests.twins import add_many
from tests.web.looking import words_of

COUNT = 2_100


@pytest.fixture
def at_work(app, rows):
    """A schedule whose slot asks 2,100 twins, 1,000 of whom have an attempt; 300 of these have ended."""
    experiment = builders.make_experiment("Crowd", zone="UTC")
    add_many(experiment, COUNT)
    with transaction() as session:
        wish = schedules.Wish(
            "Hourly",
            session.get_one(Experiment, experiment.id),
            cron="0 * * * *",
            asks_all=True,
            is_enabled=True,
        )
        schedule = schedules.add_schedule(session, wish, NOON)
    due = schedule.next_slot_at
    with transaction() as session:
        slots.claim_due(session, DTService(), [schedule.uuid], due, "test")
    with transaction() as session:
        slot = session.scalars(select(Slot)).one()
        expansion.do_piece(session, slot.id, due)
        session.flush()
        for attempt in session.scalars(select(Attempt).order_by(Attempt.id).limit(300)):
            attempt.state, attempt.reason = AttemptState.skipped, Reason.recency
    return schedule


def details(client, schedule):
    return client.get(f"/admin/schedule/details/?id={schedule.id}")


def test_the_form_asks_for_each_of_them_and_shows_it_again(researcher, form_of, session, rows):
    answer = researcher.post("/admin/schedule/new/", data=form_of(asks_all="y"), follow_redirects=True)
    assert "each of them" in words_of(answer)
    row = session.scalars(select(Schedule)).one()
    assert (row.asks_all, row.twins_per_slot) == (True, 1)
    page = researcher.get(f"/admin/schedule/edit/?id={row.id}").text
    assert 'name="asks_all" type="checkbox" value="y" checked' in page or 'checked id="asks_all"' in page
    assert "each active twin" in words_of(researcher.get("/admin/schedule/"))


@pytest.fixture
def form_of(rows):
    def fields(**values):
        return {
            "name": "Chatter", "experiment": rows.experiment.id, "kind": "every", "every": "15",
            "unit": "minutes", "twins_per_slot": "3", "lane": "default", "missed_policy": "skip",
            "overlap_policy": "skip", "is_enabled": "y", "reason": "the course begins",
        } | values  # fmt: skip

    return fields


def test_the_pages_tell_how_far_a_slot_is(researcher, at_work):
    far = "1,000 of 2,100 asked, 300 ended"
    assert far in words_of(details(researcher, at_work))
    assert far in words_of(researcher.get("/admin/schedule/"))
    assert f"now: {far}" in words_of(researcher.get("/admin/?experiment="))


def test_what_became_of_a_stopped_slot_is_on_the_page_in_words(researcher, at_work, session):
    assert "700 at work, 300 skipped, 1,100 still to be asked" in words_of(details(researcher, at_work))
    key = session.scalars(select(Slot.id)).one()
    researcher.post("/admin/schedule/stop-slot/", data={"id": at_work.id, "slot": key})
    words = words_of(details(researcher, at_work))
    assert "700 cancelled, 1,100 not asked, 300 skipped" in words
    assert "fired, some or all of it cancelled" in words


def test_a_slot_stopped_after_all_that_was_asked_had_ended_is_no_good_one(researcher, at_work, write):
    with write() as own:
        slot = own.scalars(select(Slot)).one()
        own.execute(update(Attempt).values(state=AttemptState.skipped, reason=Reason.recency))
        slot.stage, slot.stopped_count = None, slot.wanted_count - slot.expanded_count
    words = words_of(details(researcher, at_work))
    assert "1,100 not asked, 1,000 skipped" in words and "fired, some or all of it cancelled" in words
    strip = researcher.get("/admin/?experiment=").text
    assert "last slot: 1 cancelled" in strip


def test_a_slot_is_stopped_by_its_button(researcher, at_work, session):
    page = details(researcher, at_work).text
    assert "Stop this slot" in page
    slot = session.scalars(select(Slot)).one()
    given = {"id": at_work.id, "slot": slot.id, "url": f"/admin/schedule/details/?id={at_work.id}"}
    answer = researcher.post("/admin/schedule/stop-slot/", data=given, follow_redirects=True)
    said = words_of(answer)
    assert "1,100 more are not asked, 700 waiting were cancelled." in said
    assert "1,000 of 2,100 asked" in said and "Stop this slot" not in answer.text
    session.expire_all()
    assert (slot.stopped_count, slot.stage) == (1_100, SlotStage.working)
    cancelled = select(func.count(Attempt.id)).where(Attempt.reason == Reason.stopped)
    assert session.scalar(cancelled) == 700
    event = session.scalars(select(AuditEvent).where(AuditEvent.action == "stop")).one()
    assert (event.object_type, event.after["not made"], event.after["cancelled"]) == ("schedule", 1_100, 700)


def test_whoever_only_looks_neither_sees_the_button_nor_may_stop(viewer, at_work, session):
    assert "Stop this slot" not in details(viewer, at_work).text
    slot = session.scalars(select(Slot)).one()
    answer = viewer.post("/admin/schedule/stop-slot/", data={"id": at_work.id, "slot": slot.id})
    assert answer.status_code == 403
    session.expire_all()
    assert slot.stage == SlotStage.expanding


@pytest.mark.parametrize("key", ["", "nonsense", "999999", "9" * 30])
def test_a_slot_that_is_none_of_the_schedule_is_not_found(researcher, at_work, key):
    answer = researcher.post("/admin/schedule/stop-slot/", data={"id": at_work.id, "slot": key})
    assert answer.status_code == 404


def test_by_hand_so_many_are_not_asked_at_once(researcher, at_work):
    answer = researcher.post(
        "/admin/schedule/fire/", data={"id": at_work.id, "request_id": "0" * 32}, follow_redirects=True
    )
    assert "It asks 2,100 twins; by hand at most 1,000 are asked at once." in words_of(answer)


def test_a_simulated_slot_shows_the_first_of_all_it_would_ask(researcher, at_work):
    said = words_of(researcher.get(f"/admin/schedule/simulate/?id={at_work.id}"))
    assert "2,100 of 2,100 active twins" in said
    assert "The first 20 are shown." in said
