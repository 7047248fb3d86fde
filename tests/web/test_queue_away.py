"""While the queue is gone or frozen: every page answers soon and says so, every button has done its part."""

import socket
import time
from contextlib import contextmanager

import pytest
import redis
from sqlalchemy import select

from pdsapp.domain.reasons import AttemptState, ExperimentState
from pdsapp.models import Attempt, Experiment, ProcessKind, Schedule, utc_now
from pdsapp.scheduling import projection
from pdsapp.services import cloning, heartbeats, schedules
from pdsapp.stack.valkey import redis_url as embedded_url
from pdsapp.web import queue_sign
from tests import stopwatch
from tests.conftest import NOON

from .test_strangers import rules

BANNER = "The queue does not answer.</b> Slots are still claimed and attempts wait; they run when it is back."
SOON_SECONDS = 5.0  # a question to the queue waits for one second; a busy machine adds to that


@contextmanager
def silent_server():
    """A port that takes connections and never answers, like a server that was stopped by SIGSTOP."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}/0"


@pytest.fixture(params=["gone", "frozen"])
def overrides(request):
    """The queue is nowhere, or takes connections and never answers."""
    if request.param == "gone":
        yield {"REDIS_URL": "unix:///nowhere/socket?db=0"}
        return
    with silent_server() as url:
        yield {"REDIS_URL": url}


@pytest.fixture
def schedule(rows, write):
    """An enabled schedule of the experiment."""
    with write() as own:
        wish = schedules.Wish("Chatter", own.merge(rows.experiment), cron="@daily", is_enabled=True)
        return schedules.add_schedule(own, wish, NOON)


@pytest.fixture
def served(write):
    """Live workers on both lanes."""
    with write() as own:
        heartbeats.beat(own, ProcessKind.worker, "w1", utc_now(), "default,now")


def timed(do):
    began = stopwatch.seconds()
    answer = do()
    return answer, stopwatch.seconds() - began


def test_every_page_answers_soon_and_says_so(app, researcher, rows, schedule, served):
    pages = 0
    for rule, path, method in rules(app):
        if method != "GET" or rule.startswith("/static"):
            continue
        app.extensions["queue_sign"]._until = 0.0
        answer, seconds = timed(lambda path=path: researcher.get(path, query_string={"id": 1}))
        assert seconds < SOON_SECONDS, (path, seconds)
        assert answer.status_code < 500 or rule == "/readyz", (path, answer.status_code)
        if '<nav class="side"' in answer.text:
            assert BANNER in answer.text, path
            pages += 1
    assert pages > 25


@pytest.fixture
def asked(monkeypatch):
    """How many seconds each question to the queue took."""
    spans = []
    ask = queue_sign._answers

    def timed_ask(settings):
        answer, seconds = timed(lambda: ask(settings))
        spans.append(seconds)
        return answer

    monkeypatch.setattr(queue_sign, "_answers", timed_ask)
    return spans


def test_only_the_first_page_in_some_seconds_asks_and_it_asks_briefly(app, researcher, rows, asked):
    app.extensions["queue_sign"]._until = 0.0
    for _ in range(3):
        assert BANNER in researcher.get("/admin/persona/").text
    assert len(asked) == 1
    assert asked[0] < 0.3


def test_strangers_are_not_told_and_can_sign_in(client, sign_in):
    assert BANNER not in client.get("/login").text
    browser, seconds = timed(sign_in)
    assert seconds < SOON_SECONDS
    assert BANNER in browser.get("/admin/persona/").text


def test_signing_in_stays_throttled(client):
    answers = [
        timed(lambda: client.post("/login", data={"email": "a@example.org", "password": "x"}))
        for _ in range(7)
    ]
    assert [answer.status_code for answer, _ in answers] == [400] * 5 + [429] * 2
    assert max(seconds for _, seconds in answers) < SOON_SECONDS


@pytest.mark.parametrize("button", ["post-now", "ask-now"])
def test_what_is_asked_of_a_twin_is_stored_and_said_to_run_later(researcher, rows, session, served, button):
    data = {"id": rows.twin.id, "request_id": "web-0123456789abcdef"}
    answer, seconds = timed(lambda: researcher.post(f"/admin/digitaltwin/{button}/", data=data))
    assert seconds < SOON_SECONDS
    page = researcher.get(answer.location)
    assert "What was asked is stored and runs when the queue is back." in page.text
    assert session.scalars(select(Attempt.state)).one() == AttemptState.due


def test_firing_a_schedule_is_stored_and_said_to_run_later(researcher, rows, session, schedule, served):
    data = {"id": schedule.id, "request_id": "web-0123456789abcdef"}
    answer, seconds = timed(lambda: researcher.post("/admin/schedule/fire/", data=data))
    assert seconds < SOON_SECONDS
    page = researcher.get(answer.location).text
    assert "What was asked is stored and runs when the queue is back." in page
    assert session.scalars(select(Attempt.state)).one() == AttemptState.due


SWITCHES = {"disable": (False, False), "enable": (True, False), "archive": (False, True)}


@pytest.mark.parametrize("switch", SWITCHES)
def test_switching_a_schedule_is_saved_and_said(researcher, session, schedule, switch):
    data = {"id": schedule.id, "reason": "exams"}
    if switch == "enable":
        researcher.post("/admin/schedule/disable/", data=data, follow_redirects=True)
    answer, seconds = timed(lambda: researcher.post(f"/admin/schedule/{switch}/", data=data))
    assert seconds < SOON_SECONDS
    assert "What you changed is saved" in researcher.get(answer.location).text
    found = session.scalars(select(Schedule)).one()
    assert (found.is_enabled, found.is_archived) == SWITCHES[switch]


def test_many_schedules_at_once_wait_for_it_once_and_say_it_once(
    researcher, rows, session, write, monkeypatch
):
    with write() as own:
        for number in range(12):
            wish = schedules.Wish(f"No. {number}", own.merge(rows.experiment), cron="@daily")
            schedules.add_schedule(own, wish, NOON)
    ids = session.scalars(select(Schedule.id)).all()
    tries = []
    put = projection.put
    monkeypatch.setattr(projection, "put", lambda *given: tries.append(given) or put(*given))
    data = {"action": "enable", "rowid": ids, "reason": "the course begins"}
    answer = researcher.post("/admin/schedule/action/", data=data)
    assert len(tries) == 1
    assert researcher.get(answer.location).text.count("What you changed is saved") == 1
    session.rollback()
    assert set(session.scalars(select(Schedule.is_enabled))) == {True}


def test_schedules_switched_on_with_the_start_of_several_drafts_wait_for_it_once(
    researcher, rows, session, schedule, write, monkeypatch
):
    with write() as own:
        source = own.merge(rows.experiment)
        names = ["Section 1", "Section 2", "Section 3"]
        copies = cloning.clone(own, source, names, NOON, with_twins=True, with_schedules=True)
        own.flush()
        keys = [copy.id for copy in copies]
    tries = []
    put = projection.put
    monkeypatch.setattr(projection, "put", lambda *given: tries.append(given) or put(*given))
    data = {"id": keys, "accepts_warnings": "y", "switches_on": "y"}
    answer = researcher.post("/admin/experiment/start-several/", data=data)
    assert len(tries) == 1
    assert researcher.get(answer.location).text.count("What you changed is saved") == 1
    assert set(session.scalars(select(Schedule.is_enabled))) == {True}


def test_an_experiment_is_paused_all_the_same(researcher, rows, session):
    answer, seconds = timed(
        lambda: researcher.post(f"/experiments/{rows.experiment.identifier}/pause", data={"next": "/admin/"})
    )
    assert (answer.status_code, seconds < SOON_SECONDS) == (302, True)
    assert session.scalars(select(Experiment.state)).one() == ExperimentState.paused


def test_on_a_deployment_the_banner_names_the_setting(app, researcher):
    page = researcher.get("/admin/persona/").text
    assert "Start the server that <code>REDIS_URL</code> names" in page
    assert "<code>flask doctor</code> says whether it answers" in page


COMMANDS = {
    "generate-dt-post": ["generate-dt-post", "--queue", "--force"],
    "schedules fire": ["schedules", "fire", "Chatter"],
}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS.keys())
def test_a_command_that_asks_stores_it_and_says_when_it_runs(runner, rows, session, schedule, command):
    result = runner.invoke(args=command)
    assert result.exit_code == 0, result.output
    assert "stored and run when the queue is back" in result.output
    assert session.scalars(select(Attempt.state)).one() == AttemptState.due


def test_commands_on_schedules_say_that_the_queue_hears_of_it_later(runner, rows, session, schedule):
    for switch, is_enabled in (("disable", False), ("enable", True)):
        result = runner.invoke(args=["schedules", switch, "Chatter"])
        assert result.exit_code == 0, result.output
        assert "the scheduler will see the change when it is back" in result.output
        session.rollback()
        assert session.scalars(select(Schedule.is_enabled)).one() is is_enabled
    result = runner.invoke(args=["schedules", "sync"])
    assert (result.exit_code, "The queue does not answer" in result.output) == (1, True)


class TestOnTheLocalStack:
    """The queue is the embedded one, which the stack looks after."""

    @pytest.fixture
    def overrides(self, tmp_path):
        return {"REDIS_URL": embedded_url(tmp_path / "data")}

    def test_the_banner_says_that_it_comes_back_by_itself(self, researcher):
        page = researcher.get("/admin/persona/").text
        assert "The local stack starts it again by itself within half a minute." in page


class TestWhenItAnswers:
    """No banner, and none any more some seconds after it is back."""

    @pytest.fixture
    def overrides(self, redis_url):
        return {"REDIS_URL": redis_url}

    def test_there_is_no_banner(self, researcher):
        assert "The queue does not answer." not in researcher.get("/admin/persona/").text

    def test_the_banner_goes_some_seconds_after_it_is_back(self, app, researcher):
        sign = app.extensions["queue_sign"]
        sign.note(is_away=True)
        assert 0 < sign._until - time.monotonic() <= queue_sign.REMEMBERED_SECONDS == 5
        sign._until = time.monotonic() + 600  # some seconds may pass on a busy machine
        assert "The queue does not answer." in researcher.get("/admin/persona/").text
        sign._until = time.monotonic()
        assert "The queue does not answer." not in researcher.get("/admin/persona/").text

    def test_what_is_told_reaches_it(self, app, redis_url):
        with app.test_request_context():
            assert queue_sign.tell(lambda connection: connection.set("told", "1"))
        with redis.Redis.from_url(redis_url) as client:
            assert client.get("told") == b"1"
