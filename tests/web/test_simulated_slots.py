"""Simulating a slot: the twins it really draws, how each would decide, and nothing stored."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select, update

from pdsapp.attempts.selection import draw_twins, installation_seed, slot_key
from pdsapp.domain.jitter import delay_of
from pdsapp.domain.reasons import ExperimentState
from pdsapp.models import Attempt, DigitalTwin, Experiment, Installation, ModelCall, Schedule, Slot
from tests import builders
from tests.web.looking import assert_nothing_inline, words_of

NINE = datetime(2026, 12, 1, 8, tzinfo=UTC)  # 09:00 in Rome


def address(schedule, at="2026-12-01T09:00"):
    return f"/admin/schedule/simulate/?id={schedule.id}&at={at}"


def drawn(answer):
    table = answer.text.split('<table class="rows">')[1].split("</table>")[0]
    return re.findall(r">@(\w+)</a>", table)


def count(session):
    session.rollback()
    return [session.scalar(select(func.count(kind.id))) for kind in (Slot, Attempt, ModelCall)]


@pytest.fixture
def twins(rows, schedule, write):
    """Nine active twins, three of them asked per slot, each up to an hour later."""
    for _ in range(8):
        builders.make_twin(rows.experiment)
    with write() as own:
        own.execute(update(Schedule).values(twins_per_slot=3, jitter_seconds=3600))


def test_it_draws_the_twins_and_delays_of_that_slot_and_stores_nothing(viewer, schedule, twins, session):
    before = count(session)
    answer = viewer.get(address(schedule))
    row = session.get_one(Schedule, schedule.id)
    picks = draw_twins(session, row.experiment, 3, slot_key(installation_seed(session), row.uuid, NINE))
    names = [session.get_one(DigitalTwin, pick.twin_id).user_profile.username for pick in picks]
    assert answer.status_code == 200 and drawn(answer) == names
    words = words_of(answer)
    assert "Tue 01 Dec 2026, 09:00:00 CET 3 of 9 active twins" in words
    delay = delay_of(picks[0].key, 0, 3600)
    begins = datetime.fromtimestamp(NINE.timestamp() + delay + 3600, UTC)
    assert f"@{names[0]} {begins:%H:%M:%S} CET" in words
    assert_nothing_inline(answer)
    assert count(session) == before
    assert drawn(viewer.get(address(schedule))) == names, "the same for ever"
    others = {tuple(drawn(viewer.get(address(schedule, f"2026-12-{day:02}T09:00")))) for day in range(2, 8)}
    assert len(others) > 1


def test_a_time_between_slots_is_the_next_one_and_none_is_from_now_on(researcher, schedule, twins):
    words = words_of(researcher.get(address(schedule, "2026-12-01T09:01")))
    assert "Wed 02 Dec 2026, 09:00:00 CET" in words
    assert researcher.get(f"/admin/schedule/simulate/?id={schedule.id}").status_code == 200
    assert (
        "/admin/schedule/simulate/?id=" in researcher.get(f"/admin/schedule/details/?id={schedule.id}").text
    )


def test_each_twin_says_how_it_would_decide_or_what_holds_it_back(researcher, schedule, rows, write):
    assert "CET post" in words_of(researcher.get(address(schedule))), "it has never posted"
    with write() as own:
        own.execute(update(DigitalTwin).values(last_post=NINE - timedelta(minutes=10)))
    words = words_of(researcher.get(address(schedule)))
    sign, verdict = re.search(r"drew 0\.\d+ ([<≥]) 0\.80*: (skips|posts)", words).groups()
    assert (verdict == "skips") == (sign == "<")
    assert f"CET {'stay silent' if verdict == 'skips' else 'post'}" in words
    assert "last post 10 min ago: 0.80" in words, "as old as it is at the slot"
    assert "CET post" in words_of(researcher.get(address(schedule, "2026-12-02T09:00"))), "a day later"
    with write() as own:
        own.execute(update(Schedule).values(is_forced=True))
    assert "CET post" in words_of(researcher.get(address(schedule)))
    with write() as own:
        own.execute(update(Installation).values(is_paused=True))
    assert "CET be held back" in words_of(researcher.get(address(schedule)))


def test_nobody_is_drawn_where_the_experiment_does_not_run(researcher, schedule, rows, write):
    with write() as own:
        own.get_one(Experiment, rows.experiment.id).state = ExperimentState.paused
    answer = researcher.get(address(schedule))
    assert answer.status_code == 200 and '<table class="rows">' not in answer.text


@pytest.mark.parametrize("at", ["soon", "0001-01-01T00:00", "9999-12-31T23:59", "2026-12-01", "%00"])
def test_a_time_that_is_none_is_refused_at_its_field(researcher, schedule, at):
    answer = researcher.get(address(schedule, at))
    assert answer.status_code == 400
    assert "Choose a date and a time between 1970 and 2999." in answer.text.split('id="at-error"')[1]


def test_after_the_last_slot_there_is_none(researcher, schedule, write):
    with write() as own:
        own.execute(update(Schedule).values(last_day=datetime(2026, 11, 30).date()))
    answer = researcher.get(address(schedule))
    assert answer.status_code == 400 and "No slot is due then or later." in answer.text
