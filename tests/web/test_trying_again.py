"""A failed attempt is tried again by a new one that points to it; the failed one stays as it is."""

import re
from datetime import timedelta

import pytest
from sqlalchemy import select

from pdsapp.domain.reasons import AttemptState, ExperimentState, Trigger
from pdsapp.models import Attempt, Experiment, ProcessKind, utc_now
from pdsapp.services import deletion, heartbeats
from tests.attempt_rows import add_row
from tests.web.looking import words_of

AGAIN = "/admin/attempt/again/"


@pytest.fixture
def failed(rows, write):
    """An attempt of the rows' twin that failed an hour ago; its id."""
    with write() as session:
        heartbeats.beat(session, ProcessKind.worker, "w1", utc_now(), "default,now")
    return add_row(rows.twin, "failed", "endpoint_down", utc_now() - timedelta(hours=1), detail="It is down.")


def page_of(session, number):
    session.rollback()
    return f"/attempts/{session.get_one(Attempt, number).uuid}"


def sent_by(page):
    """What the button on the page of a failed attempt sends."""
    return {name: re.search(f'name="{name}" value="([^"]+)"', page.text)[1] for name in ("id", "request_id")}


def new_ones(session):
    session.rollback()
    return session.scalars(select(Attempt).where(Attempt.retry_of_id.is_not(None))).all()


@pytest.mark.parametrize("is_forced", [False, True])
def test_a_press_asks_once_more_as_before_and_the_two_point_to_each_other(
    researcher, session, failed, write, is_forced
):
    with write() as own:
        own.get_one(Attempt, failed).is_forced = is_forced
    page = researcher.get(page_of(session, failed))
    assert f"asks the twin now, {'whatever the draw' if is_forced else 'by the rule'}" in words_of(page)
    answers = [researcher.post(AGAIN, data=sent_by(page)) for _ in range(2)]
    (again,) = new_ones(session)
    assert {answer.location for answer in answers} == {f"/attempts/{again.uuid}"}, "a double click asks once"
    assert (again.retry_of_id, again.state, again.trigger) == (failed, AttemptState.due, Trigger.button)
    assert (again.is_forced, again.lane) == (is_forced, "now")
    first = session.get_one(Attempt, failed)
    assert (first.state, first.detail) == (AttemptState.failed, "It is down.")
    assert f"A new try of {str(first.uuid)[:8]}…, failed" in words_of(
        researcher.get(f"/attempts/{again.uuid}")
    )
    assert f"Tried again as {str(again.uuid)[:8]}…, due" in words_of(researcher.get(page_of(session, failed)))


@pytest.mark.parametrize("state", ["posted", "skipped", "due", "cancelled"])
def test_only_a_failed_attempt_is_tried_again(researcher, rows, session, failed, state):
    other = add_row(rows.twin, state, "recency" if state == "skipped" else None, utc_now())
    assert "Try again" not in researcher.get(page_of(session, other)).text
    data = {"id": other, "request_id": "web-0123456789abcdef"}
    answer = researcher.post(AGAIN, data=data)
    assert (answer.status_code, f"this one is {state}." in words_of(answer)) == (400, True)
    assert new_ones(session) == []


def test_a_viewer_and_a_study_that_is_over_have_no_button(viewer, researcher, session, failed, rows, write):
    data = sent_by(researcher.get(page_of(session, failed)))
    assert "Try again" not in viewer.get(page_of(session, failed)).text
    assert viewer.post(AGAIN, data=data).status_code == 403
    with write() as own:
        own.get_one(Experiment, rows.experiment.id).state = ExperimentState.ended
    assert "Try again" not in researcher.get(page_of(session, failed)).text
    assert researcher.post(AGAIN, data=data).status_code == 409
    assert new_ones(session) == []


def test_tries_and_what_they_point_to_are_deleted_with_their_experiment(
    researcher, administrator, session, failed, rows, write, monkeypatch
):
    researcher.post(AGAIN, data=sent_by(researcher.get(page_of(session, failed))))
    assert len(new_ones(session)) == 1
    monkeypatch.setattr(deletion, "CHUNK", 1)  # the older one goes first
    with write() as own:
        experiment = own.get_one(Experiment, rows.experiment.id)
        experiment.state = ExperimentState.archived
        own.flush()
        deletion.ask_for_deletion(own, experiment, experiment.name, utc_now())
    while deletion.delete_some():
        pass
    session.rollback()
    assert session.scalars(select(Attempt)).all() == []
