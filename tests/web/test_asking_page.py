"""The question before a twin is asked: what it says, what holds it back, and one attempt of one form."""

import re

import pytest
from sqlalchemy import select

from pdsapp.models import Attempt, DigitalTwin, ProcessKind, UserProfile, utc_now
from pdsapp.services import heartbeats, twins, withdrawals
from tests.builders import make_person
from tests.web.looking import assert_nothing_inline, words_of

PART = {"X-Part": "dialog"}


def look(browser, rows, **fields):
    return browser.get(f"/admin/digitaltwin/ask/?id={rows.twin.id}", **fields)


def sent_by(answer, rows):
    return {
        "id": rows.twin.id,
        "request_id": re.search(r'name="request_id" value="([^"]+)"', answer.text)[1],
    }


def test_looking_asks_nothing_and_says_what_the_rule_says(researcher, rows, session):
    answer = look(researcher, rows)
    assert answer.status_code == 200
    assert "Skip probability 0.00." in words_of(answer)
    assert "No worker serves lane “now”" in answer.text
    assert_nothing_inline(answer)
    assert session.scalars(select(Attempt)).all() == []


def test_a_worker_that_is_there_is_not_missed(researcher, rows, write):
    with write() as session:
        heartbeats.beat(session, ProcessKind.worker, "w1", utc_now(), "default,now")
    assert "No worker serves" not in look(researcher, rows).text


def test_the_dialog_gets_the_form_without_the_page_around_it(researcher, rows):
    answer = look(researcher, rows, headers=PART)
    assert "data-ask" in answer.text and "<html" not in answer.text


def test_what_holds_it_back_is_said_with_a_way_out(researcher, rows, write):
    with write() as session:
        twins.set_twin_active(session, session.get_one(DigitalTwin, rows.twin.id), False, utc_now())
    answer = look(researcher, rows)
    assert "The twin is not active." in answer.text and "Activate it</a>" in answer.text


def test_that_somebody_is_being_erased_is_said_with_where_one_sees_how_far_it_is(researcher, rows, write):
    with write() as session:
        walt = session.get_one(UserProfile, make_person(rows.experiment, "leaver").id)
        withdrawals.ask(session, walt, "leaver", utc_now())
        key = walt.id
    answer = look(researcher, rows)
    assert "It waits until a participant’s texts are erased." in words_of(answer)
    assert f"/admin/userprofile/withdraw/?id={key}" in answer.text


@pytest.mark.parametrize("second", ["post-now", "ask-now"])
def test_one_form_makes_one_attempt_whichever_of_its_buttons_is_pressed_again(
    researcher, rows, session, second
):
    data = sent_by(look(researcher, rows), rows)
    first = researcher.post("/admin/digitaltwin/post-now/", data=data)
    again = researcher.post(f"/admin/digitaltwin/{second}/", data=data)
    assert first.location == again.location
    assert len(session.scalars(select(Attempt)).all()) == 1


def test_opened_again_it_leads_to_the_attempt_that_waits(researcher, rows):
    data = sent_by(look(researcher, rows), rows)
    location = researcher.post("/admin/digitaltwin/post-now/", data=data).location
    answer = look(researcher, rows)
    assert "It is being asked now." in answer.text and f'href="{location}"' in answer.text


def test_who_only_reads_is_refused(viewer, rows):
    assert look(viewer, rows).status_code == 403


def test_a_twin_that_is_not_there_is_said_so(researcher):
    assert researcher.get("/admin/digitaltwin/ask/?id=999").status_code == 404
