"""Post now, ask now, fire once now: what pressing a button adds, once, and what it says."""

import re

import pytest
import redis
from sqlalchemy import select

from pdsapp.attempts.create import Request, add_for_twin
from pdsapp.domain.reasons import AttemptState, Trigger
from pdsapp.models import Attempt, DigitalTwin, Post, ProcessKind, utc_now
from pdsapp.services import heartbeats, schedules
from tests.conftest import NOON
from tests.web.looking import words_of


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


def test_each_form_that_asks_has_a_request_of_its_own(researcher, rows):
    path = f"/admin/digitaltwin/ask/?id={rows.twin.id}"
    ids = [re.search(r'name="request_id" value="([^"]+)"', researcher.get(path).text)[1] for _ in range(3)]
    assert len(set(ids)) == 3


def test_everywhere_a_twin_appears_it_can_be_asked(researcher, rows, write):
    with write() as session:
        twin = session.get_one(DigitalTwin, rows.twin.id)
        attempt = add_for_twin(session, twin, Request(Trigger.button, "r" * 20), utc_now())
        session.flush()
        attempt.state, attempt.reason, attempt.finished_at = "posted", "drawn", utc_now()
        post = Post(
            experiment_id=twin.experiment_id, user_profile_id=twin.user_profile_id, attempt_id=attempt.id,
            text="Rain.",
        )  # fmt: skip
        session.add(post)
        uuid, profile = attempt.uuid, twin.user_profile_id
    link = f"/admin/digitaltwin/ask/?id={rows.twin.id}"
    for path in (
        "/admin/digitaltwin/", f"/admin/digitaltwin/details/?id={rows.twin.id}", f"/attempts/{uuid}",
        f"/admin/userprofile/details/?id={profile}", "/admin/userprofile/",
        f"/experiments/{rows.experiment.identifier}/feed",
    ):  # fmt: skip
        assert link in researcher.get(path).text, path


def test_nobody_is_offered_to_ask_who_may_not(viewer, rows):
    for path in (
        "/admin/digitaltwin/",
        "/admin/userprofile/",
        f"/experiments/{rows.experiment.identifier}/feed",
    ):
        assert "/admin/digitaltwin/ask/" not in viewer.get(path).text, path


def test_the_band_that_was_chosen_is_kept_and_another_is_refused(researcher, rows, session, served):
    data = {"id": rows.twin.id, "request_id": "web-0123456789abcdef", "band": "long"}
    assert researcher.post("/admin/digitaltwin/post-now/", data=data).status_code == 303
    assert session.scalars(select(Attempt.asked_band)).one() == "long"
    refused = researcher.post(
        "/admin/digitaltwin/post-now/", data=data | {"band": "epic", "request_id": "web-1123456789abcdef"}
    )
    assert refused.status_code == 400
    assert "The policy has no length band “epic”" in refused.text
    assert len(session.scalars(select(Attempt)).all()) == 1


def test_the_dialog_is_led_to_the_stages_and_then_to_what_came_of_it(
    researcher, rows, session, served, write
):
    data = {"id": rows.twin.id, "request_id": "web-0123456789abcdef"}
    answer = researcher.post("/admin/digitaltwin/post-now/", data=data, headers={"X-Part": "progress"})
    assert answer.location.endswith("/progress")
    page = researcher.get(answer.location)
    assert "<html" not in page.text and "data-over" not in page.text
    assert "Waiting for a worker" in words_of(page) and 'aria-current="step"' in page.text
    key = session.scalars(select(Attempt.id)).one()
    for stage, words in (("asking", "Asking the model"), ("rewriting", "Asking for a text that fits")):
        with write() as writing:
            attempt = writing.get_one(Attempt, key)
            attempt.state, attempt.stage = AttemptState.running, stage
        shown = researcher.get(answer.location).text
        assert 'aria-current="step"' in shown and words in shown.split('aria-current="step"')[1][:400]
    with write() as writing:
        attempt = writing.get_one(Attempt, key)
        attempt.state, attempt.stage, attempt.reason = AttemptState.skipped, None, "recency"
        attempt.reason_class, attempt.finished_at = "rule", utc_now()
    over = researcher.get(answer.location)
    assert "data-over" in over.text and "stayed silent" in words_of(over)
    assert "The draw kept it silent" in words_of(over) and "Ask again" in words_of(over)


def test_warnings_of_asking_stand_in_the_dialog(researcher, rows, session):
    data = {"id": rows.twin.id, "request_id": "web-0123456789abcdef"}
    headers = {"X-Part": "progress"}
    answer = researcher.post(
        "/admin/digitaltwin/post-now/", data=data, headers=headers, follow_redirects=True
    )
    assert "No worker serves lane “now”" in words_of(answer)
    assert "It will run when a worker is back" not in words_of(researcher.get("/admin/")), "said once"


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
