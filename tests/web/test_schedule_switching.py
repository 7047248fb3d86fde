"""Switching schedules from their rows: the page that asks why, and how they are doing."""

import re

import pytest
from sqlalchemy import select, update

from pdsapp.domain.reasons import ExperimentState
from pdsapp.models import Experiment, ProtocolChange, Schedule
from pdsapp.services import schedules
from tests.conftest import NOON
from tests.web.looking import counted_queries, fields_of, words_of

LIST = "/admin/schedule/"


def state(session):
    session.rollback()
    session.expire_all()
    row = session.scalars(select(Schedule)).one()
    return row.is_enabled, row.is_archived


def reasons(session):
    session.rollback()
    return session.scalars(select(ProtocolChange.reason).order_by(ProtocolChange.id)).all()


@pytest.mark.parametrize(
    ("switch", "after"), [("enable", (True, False)), ("disable", (False, False)), ("archive", (False, True))]
)
def test_the_button_leads_to_a_page_that_asks_why(researcher, schedule, session, write, switch, after):
    if switch == "enable":
        with write() as own:
            schedules.disable(own, own.get_one(Schedule, schedule.id), NOON)
    was, before = state(session), reasons(session)
    address = f"{LIST}{switch}/?id={schedule.id}"
    assert address in researcher.get(LIST).text
    assert address in researcher.get(f"{LIST}details/?id={schedule.id}").text
    sent = fields_of(researcher.get(address), "id")
    refused = researcher.post(f"{LIST}{switch}/", data=sent)
    assert refused.status_code == 400
    assert "Say in a few words why" in re.search(r'id="reason-error">.*?</div>', refused.text, re.S)[0]
    assert (state(session), reasons(session)) == (was, before)
    done = researcher.post(f"{LIST}{switch}/", data=sent | {"reason": "exam week"}, follow_redirects=True)
    assert "“Daytime”" in words_of(done)
    assert (state(session), reasons(session)) == (after, [*before, "exam week"])


def test_before_the_study_begins_the_button_acts_at_once(researcher, schedule, session, rows, write):
    with write() as own:
        own.get_one(Experiment, rows.experiment.id).state = ExperimentState.draft
    page = researcher.get(LIST).text
    assert f"{LIST}disable/?id=" not in page and f'action="{LIST}disable/"' in page
    researcher.post(f"{LIST}disable/", data={"id": schedule.id})
    assert state(session) == (False, False)


def test_the_selected_are_switched_with_one_reason(researcher, rows, write, session):
    with write() as own:
        experiment = own.get_one(Experiment, rows.experiment.id)
        keys = [
            schedules.add_schedule(own, schedules.Wish(name, experiment, cron="@daily"), NOON).id
            for name in ("Morning", "Evening")
        ]
    was = reasons(session)
    picked = {"action": "enable", "rowid": keys, "url": LIST}
    asked = researcher.post(f"{LIST}action/", data=picked)
    assert asked.status_code == 200
    assert "Enable 2 schedules" in words_of(asked) and "Morning" in words_of(asked)
    assert asked.text.count('name="rowid"') == 2
    refused = researcher.post(f"{LIST}action/", data=picked | {"reason": "  "})
    assert refused.status_code == 400 and "Say in a few words why" in refused.text
    assert not any(session.scalars(select(Schedule.is_enabled)))
    done = researcher.post(f"{LIST}action/", data=picked | {"reason": "begin"}, follow_redirects=True)
    assert "Enabled: Morning, Evening." in done.text
    assert all(session.scalars(select(Schedule.is_enabled))) and reasons(session) == [*was, "begin", "begin"]


@pytest.mark.parametrize("switch", ["enable", "disable", "archive"])
def test_a_viewer_is_asked_nothing_and_switches_nothing(viewer, schedule, session, switch):
    assert viewer.get(f"{LIST}{switch}/?id={schedule.id}").status_code == 403
    assert viewer.post(f"{LIST}{switch}/", data={"id": schedule.id, "reason": "x"}).status_code == 403
    assert state(session) == (True, False)


def test_a_schedule_of_all_experiments_is_switched_by_administrators_only(
    researcher, sign_in, rows, write, session
):
    with write() as own:
        wish = schedules.Wish("All", None, cron="@daily", is_enabled=True)
        key = schedules.add_schedule(own, wish, NOON).id
    assert researcher.get(f"{LIST}disable/?id={key}").status_code == 403
    researcher.post(f"{LIST}disable/", data={"id": key, "reason": "x"})
    assert state(session) == (True, False)
    sign_in("administrator").post(f"{LIST}disable/", data={"id": key, "reason": "enough"})
    assert state(session) == (False, False)
    assert reasons(session)[-1] == "enough"


def health_of(answer):
    cell = answer.text.split('data-label="State">')[1].split("</td>")[0]
    return " ".join(re.sub(r"<[^>]+>", " ", cell).split())


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"broken_reason": ""}, "never fired Its first slot is still to come."),
        ({"next_slot_at": NOON}, "late A slot is due and not claimed."),
        ({"broken_reason": "It never comes."}, "broken"),
        ({"paused_at": NOON, "paused_by": "ann", "paused_reason": "exams"}, "paused"),
        ({"is_enabled": False}, "disabled"),
    ],
)
def test_the_list_says_how_each_is_doing(researcher, schedule, write, values, words):
    with write() as own:
        own.execute(update(Schedule).values(**values))
    assert words in health_of(researcher.get(LIST))
    assert "09:00 daily Europe/Rome, 1 twin " in words_of(researcher.get(LIST))
    assert words.split(" ")[0] in words_of(researcher.get(f"{LIST}details/?id={schedule.id}"))


def test_the_list_costs_as_many_queries_for_many_as_for_one(researcher, schedule, rows, write):
    def cost():
        with counted_queries() as found:
            assert researcher.get(LIST).status_code == 200
        return len(found)

    one = cost()
    with write() as own:
        for number in range(20):
            experiment = own.get_one(Experiment, rows.experiment.id) if number % 2 else None
            wish = schedules.Wish(f"No. {number}", experiment, cron="@daily", is_enabled=True)
            schedules.add_schedule(own, wish, NOON)
    assert cost() <= one + 1, "one more asks whether any study is under way"
