"""Why is my twin silent? From the dashboard to the reason in three clicks, as docs/why-silent.md says."""

import html
import re
from datetime import timedelta
from pathlib import Path

import pytest

from pdsapp.database import reading
from pdsapp.llm.endpoint import place_of
from pdsapp.models import (
    Cadence,
    DigitalTwin,
    Downtime,
    EndpointBreaker,
    Experiment,
    ProcessKind,
    Schedule,
    utc_now,
)
from pdsapp.services import heartbeats, pauses, twins
from tests.attempt_rows import add_row
from tests.builders import make_experiment, make_token, make_twin
from tests.service.slot_helpers import claim, make_schedule
from tests.web.looking import words_of

WALK = (Path(__file__).parents[2] / "docs" / "why-silent.md").read_text()


@pytest.fixture
def twin(app):
    return make_twin(make_experiment("Campus climate", "Europe/Rome"), "dr_okafor")


@pytest.fixture
def alive(write):
    with write() as session:
        heartbeats.beat(session, ProcessKind.worker, "w1", utc_now(), "default,now")
        heartbeats.beat(session, ProcessKind.scheduler, "s1", utc_now(), is_leader=True)


def link_in(answer, words):
    """Where the link with these words, or the tile with this label, leads."""
    found = re.search(
        rf'<a [^>]*href="([^"]+)"[^>]*>\s*{re.escape(html.escape(words, quote=False))}', answer.text
    )
    assert found, f"no link {words!r} on {answer.request.path}"
    return html.unescape(found[1])


def first_attempt(answer):
    return html.unescape(re.search(r'<td data-label="Time"[^>]*><div><a href="([^"]+)"', answer.text)[1])


@pytest.mark.parametrize(
    ("state", "reason", "words", "row", "sentence"),
    [
        (
            "skipped", "recency", "posted recently", {"draw": 0.1, "age_hours": 0.5},
            "Last post 30 min ago",
        ),
        (
            "skipped", "share", "large share of recent posts", {"draw": 0.1, "own_count": 9, "age_hours": 30},
            "9 of the last 20 posts are its own share 0.45",
        ),
        ("skipped", "daily_limit", "daily limit reached", {"detail": "It is full."}, "It is full"),
        ("skipped", "quiet_hours", "quiet hours", {"detail": "Quiet from 22:00 to 07:00."}, "22:00 to 07:00"),
        ("failed", "wrong_key", "Failed", {"draw": 0.9, "detail": "401: Incorrect key."}, "Incorrect key"),
    ],
    ids=["recency", "share", "daily limit", "quiet hours", "wrong key"],
)  # fmt: skip
def test_a_reason_leads_to_its_attempts_and_to_the_decision(
    viewer, twin, alive, state, reason, words, row, sentence
):
    add_row(twin, state, reason, utc_now() - timedelta(minutes=20), **row)
    dashboard = viewer.get("/admin/")
    attempts = viewer.get(link_in(dashboard, words))
    page = viewer.get(first_attempt(attempts))
    assert page.status_code == 200 and sentence in words_of(page)
    assert f"“{words}”" in WALK or f"*{words}*" in WALK


def test_a_pause_stands_above_every_page(researcher, twin, alive, write):
    with write() as session:
        experiment = session.get_one(Experiment, twin.experiment_id)
        pauses.pause_experiment(session, experiment, utc_now(), "Exam week.")
    answer = researcher.get("/admin/")
    assert "Exam week." in words_of(answer) and "Resume" in words_of(answer)


def test_without_a_worker_the_command_stands_there(viewer, twin):
    words = words_of(viewer.get("/admin/"))
    assert "No worker is alive." in words and "flask worker" in words
    assert "“No worker is alive.”" in WALK


def test_nobody_active_leads_to_the_twins(researcher, twin, alive, write):
    with write() as session:
        twins.set_twin_active(session, session.get_one(DigitalTwin, twin.id), False, utc_now())
    answer = researcher.get("/admin/")
    assert "No twin is active." in words_of(answer)
    assert "dr_okafor" in words_of(researcher.get(link_in(answer, "See the twins")))


def test_a_schedule_that_is_off_leads_to_the_schedules(researcher, twin, alive, write):
    with write() as session:
        session.add(
            Schedule(name="Daytime", experiment_id=twin.experiment_id, cadence=Cadence.cron, cron="0 9 * * *",
                     is_enabled=False)
        )  # fmt: skip
    answer = researcher.get("/admin/")
    assert "No schedule is enabled" in words_of(answer)
    assert "Daytime" in words_of(researcher.get(link_in(answer, "See schedules")))


def test_a_night_asleep_leads_to_the_schedule_and_its_missed_slots(researcher, twin, write):
    now = utc_now()
    with reading() as session:
        experiment = session.get_one(Experiment, twin.experiment_id)
    make_schedule(experiment, now=now - timedelta(hours=3), name="Daytime")
    claim(now)
    with write() as session:
        session.add(Downtime(from_at=now - timedelta(hours=3), until_at=now))
    answer = researcher.get("/admin/")
    assert "slots missed." in words_of(answer)
    details = words_of(researcher.get(link_in(answer, "See the schedule")))
    assert "Daytime" in details and "Passed before a scheduler claimed it." in details


def test_an_endpoint_that_does_not_work_leads_to_its_token(researcher, alive, settings, write):
    token = make_token(settings, "https://llm.example.org/v1", "lab")
    make_twin(make_experiment("Harbour", "UTC"), token=token)
    now = utc_now()
    with write() as session:
        session.add(
            EndpointBreaker(
                place=place_of(token.base_url), failures=7, detail="It answered with status 502.",
                failed_at=now, opened_at=now - timedelta(minutes=3),
                next_probe_at=now + timedelta(seconds=40),
            )
        )  # fmt: skip
    answer = researcher.get("/admin/")
    assert re.search(r"Endpoint \S+ does not work\.", words_of(answer))
    assert "lab" in words_of(researcher.get(link_in(answer, "See the token")))


def test_every_row_of_the_walk_is_tried():
    rows = re.findall(r"^\| ([a-z][^|]*?) \|", WALK, re.M)[1:]
    assert set(rows) == {
        "recency", "share", "daily limit", "quiet hours", "wrong key", "paused", "no worker", "nobody active",
        "the schedule never fires", "the laptop slept", "its endpoint",
    }  # fmt: skip
