"""Post now, ask now, fire once now: what pressing a button adds, once, and what it says."""

import re

import pytest
import redis
from sqlalchemy import select

from pdsapp.domain.reasons import AttemptState, Trigger
from pdsapp.models import Attempt, DigitalTwin, ProcessKind, utc_now
from pdsapp.services import heartbeats, schedules
from tests.conftest import NOON


@pytest.fixture
def overrides(request):
    return getattr(request, "param", {"REDIS_URL": request.getfixturevalue("redis_url")})


@pytest.fixture
def served(write):
    """A live worker on lane now."""
    with write() as session:
        heartbeats.beat(session, ProcessKind.worker, "w1", utc_now(), "default,now")


def press(browser, button, rows, request_id="web-0123456789abcdef"):
    return browser.post(f"/admin/digitaltwin/{button}/", data={"id": rows.twin.id, "request_id": request_id})


@pytest.mark.parametrize(("button", "is_forced"), [("post-now", True), ("ask-now", False)])
def test_pressing_adds_one_attempt_wakes_the_lane_and_leads_to_it(
    researcher, rows, session, served, redis_url, button, is_forced
):
    answer = press(researcher, button, rows)
    attempt = session.scalars(select(Attempt)).one()
    assert answer.location == f"/attempts/{attempt.uuid}"
    assert (attempt.is_forced, attempt.trigger, attempt.lane) == (is_forced, Trigger.button, "now")
    assert (attempt.state, attempt.digital_twin_id) == (AttemptState.due, rows.twin.id)
    assert attempt.account_id is not None
    with redis.Redis.from_url(redis_url) as connection:
        assert connection.llen("rq:queue:pds:now") == 1
    page = researcher.get(answer.location)
    assert page.status_code == 200
    assert "No worker serves lane" not in page.text


def test_pressing_twice_is_pressing_once(researcher, rows, session, served):
    first, second = press(researcher, "post-now", rows), press(researcher, "post-now", rows)
    assert first.location == second.location
    assert len(session.scalars(select(Attempt)).all()) == 1


def test_every_button_on_a_page_has_a_request_of_its_own(researcher, rows):
    for path in ("/admin/digitaltwin/", f"/admin/digitaltwin/details/?id={rows.twin.id}"):
        ids = re.findall(r'name="request_id" value="([^"]+)"', researcher.get(path).text)
        assert len(ids) == len(set(ids)) == 2
        assert not set(ids) & set(re.findall(r'name="request_id" value="([^"]+)"', researcher.get(path).text))


@pytest.mark.parametrize("request_id", ["", "short", "x" * 65, "with space in it all", "<script>alert(1)"])
def test_a_request_without_a_usable_id_is_refused(researcher, rows, session, request_id):
    answer = press(researcher, "post-now", rows, request_id)
    assert answer.status_code == 400
    assert "reload the page and press it again" in answer.text
    assert session.scalars(select(Attempt)).all() == []


def test_without_a_worker_the_page_says_so(researcher, rows, session):
    answer = researcher.get(press(researcher, "post-now", rows).location)
    assert "It will run when a worker is back" in answer.text
    assert "<code>flask worker --lanes now</code>" in answer.text
    assert session.scalars(select(Attempt.state)).one() == AttemptState.due


@pytest.mark.parametrize("overrides", [{"REDIS_URL": "redis://127.0.0.1:1/0"}], indirect=True)
def test_while_the_queue_is_down_the_attempt_is_there(researcher, rows, session, served):
    answer = researcher.get(press(researcher, "ask-now", rows).location)
    assert "stored and runs when the queue is back" in answer.text
    assert session.scalars(select(Attempt.state)).one() == AttemptState.due


def test_a_twin_that_is_not_there_is_said_so(researcher, rows, session):
    answer = researcher.post(
        "/admin/digitaltwin/post-now/", data={"id": 999, "request_id": "web-0123456789abcdef"}
    )
    assert answer.status_code == 404
    assert session.scalars(select(Attempt)).all() == []


def test_firing_a_schedule_once_asks_its_twins_beside_the_slots(researcher, rows, session, write, served):
    with write() as own:
        schedule = schedules.add_schedule(
            own, schedules.Wish("Chatter", own.merge(rows.experiment), cron="@daily", twins_per_slot=3), NOON
        )
    data = {"id": schedule.id, "request_id": "web-0123456789abcdef"}
    answer = researcher.post("/admin/schedule/fire/", data=data, follow_redirects=True)
    assert "1 twin is asked now, beside the schedule&#39;s slots." in answer.text
    assert session.scalars(select(Attempt.digital_twin_id)).all() == [rows.twin.id]
    researcher.post("/admin/schedule/fire/", data=data)
    session.rollback()
    assert len(session.scalars(select(Attempt)).all()) == 1


def test_firing_a_schedule_with_nobody_to_ask_says_why(researcher, rows, session, write, served):
    with write() as own:
        schedule = schedules.add_schedule(
            own, schedules.Wish("Chatter", own.merge(rows.experiment), cron="@daily"), NOON
        )
    researcher.post("/admin/digitaltwin/action/", data={"action": "deactivate", "rowid": rows.twin.id})
    answer = researcher.post(
        "/admin/schedule/fire/",
        data={"id": schedule.id, "request_id": "web-0123456789abcdef"},
        follow_redirects=True,
    )
    assert "no active twin" in answer.text
    assert session.scalars(select(DigitalTwin.is_active)).one() is False
    assert session.scalars(select(Attempt)).all() == []
