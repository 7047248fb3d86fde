"""Nothing appears after the click: real workers at work, a model that takes its time, and somebody who stops.

Each round begins at a random phase of the work. What had been published before the answer is counted at the
answer, and again when everything has ended and some seconds are over.
"""

import os
import random
import subprocess
import sys
import time
from collections import Counter

import pytest
from sqlalchemy import func, select

from pdsapp.database import transaction
from pdsapp.domain.reasons import TERMINAL_STATES, AttemptState, Reason
from pdsapp.models import Attempt, AuditEvent, Experiment, ModelCall, Post, utc_now
from pdsapp.scheduling import queue
from pdsapp.services import pauses
from pdsapp.services.ledger import ledger
from tests import builders
from tests.conftest import NOON
from tests.model_server import text
from tests.web.conftest import PASSWORD, Browser

from . import world
from .world import wait_for

pytestmark = pytest.mark.queue
TWINS, WORKERS, AT_ONCE = 40, 2, 8
LATENCY = (0.2, 1.2)
QUIET_SECONDS = 2.0
ROUNDS = int(os.environ.get("STOP_ROUNDS", "3"))
# The command in a process of its own, up to the moment somebody presses Enter.
COMMAND = """
import sys
from flask.cli import ScriptInfo
from pdsapp import create_app
app = create_app(with_web=False)
print("ready", flush=True)
sys.stdin.readline()
app.cli.main(sys.argv[1:], "flask", obj=ScriptInfo(create_app=lambda: app))
"""


@pytest.fixture
def dice(request):
    """Chance with a seed that is printed with a failure."""
    seed = int(os.environ.get("STOP_SEED", time.time_ns() % 1_000_000))
    request.node.add_report_section("setup", "seed", f"STOP_SEED={seed}")
    return random.Random(seed)


@pytest.fixture
def study(app, settings, model_server, dice):
    """A running experiment with many twins, and a model that takes its time."""
    model_server.default = lambda _: text(builders.SHORT_POST).later(dice.uniform(*LATENCY))
    experiment = builders.make_experiment(zone="UTC")
    token = builders.make_token(settings, model_server.base_url)
    experiment.twins = [builders.make_twin(experiment, token=token) for _ in range(TWINS)]
    return experiment


@pytest.fixture
def browser(app):
    """A browser of an administrator."""
    from pdsapp.services.accounts import add_account

    with transaction() as session:
        add_account(session, "boss@example.org", "administrator", NOON, PASSWORD)
    app.test_client_class = Browser
    browser = app.test_client()
    assert browser.sign_in("boss@example.org").status_code == 302
    return browser


@pytest.fixture
def hand(browser, study, settings):
    """`hand(door, what)` is a hand over the button: called, it presses and comes back with the answer."""
    leaving = []

    def over_web(path):
        def press():
            answer = browser.post(path, data={"reason": "drill", "next": "/admin/"})
            assert answer.status_code == 302, answer.text

        return press

    def over_command(*words):
        process = subprocess.Popen(
            [sys.executable, "-c", COMMAND, *words, "--reason", "drill"],
            env={**os.environ, **world.Process.environment_of(settings)}, cwd=settings.data_dir,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stdout.readline() == "ready\n", process.communicate()

        def press():
            process.stdin.write("\n")
            process.stdin.flush()
            assert process.stdout.readline().startswith("Everything is "), process.communicate()
            leaving.append(process)

        return press

    doors = {
        ("web", "stop"): lambda: over_web(f"/experiments/{study.identifier}/stop"),
        ("web", "stop everything"): lambda: over_web("/everything/stop"),
        ("web", "pause"): lambda: over_web(f"/experiments/{study.identifier}/pause"),
        ("command", "stop everything"): lambda: over_command("stop-now"),
        ("command", "pause"): lambda: over_command("pause"),
    }
    yield lambda door, what: doors[door, what]()
    said = [process.communicate(timeout=60)[1] for process in leaving]
    assert [process.returncode for process in leaving] == [0] * len(leaving), said


def ask_all(study, connection):
    for twin in study.twins:
        builders.add_attempt(twin)
    queue.wake(connection, "now", TWINS)


def posts(session):
    session.rollback()
    return set(session.scalars(select(Post.attempt_id)))


def of_state(session, *states):
    session.rollback()
    return set(session.scalars(select(Attempt.id).where(Attempt.state.in_(states))))


def have_all_ended(session):
    return not of_state(session, AttemptState.due, AttemptState.running)


def reasons(session, keys):
    session.rollback()
    query = select(Attempt.state, Attempt.reason).where(Attempt.id.in_(keys))
    return Counter((state.value, reason.value) for state, reason in session.execute(query))


def resume_all(study):
    with transaction() as session:
        pauses.resume_everything(session, utc_now())
        pauses.resume_experiment(session, session.get_one(Experiment, study.id), utc_now())


def working(settings):
    """Several worker processes, ended with the block."""
    from contextlib import ExitStack

    stack = ExitStack()
    for _ in range(WORKERS):
        stack.enter_context(world.worker(settings, "now", PDS_AT_ONCE=str(AT_ONCE)))
    return stack


@pytest.mark.parametrize(
    ("door", "what"), [("web", "stop"), ("web", "stop everything"), ("command", "stop everything")]
)
def test_nothing_appears_after_the_click(study, settings, session, connection, hand, dice, door, what):
    stopped_in_all = 0
    with working(settings):
        for number in range(ROUNDS):
            before = of_state(session, *TERMINAL_STATES)
            press = hand(door, what)
            ask_all(study, connection)
            wait_for(lambda: of_state(session, AttemptState.running), 30)
            time.sleep(dice.uniform(0, 1.0))
            press()
            answered_at = utc_now()
            published = posts(session)
            at_work = of_state(session, AttemptState.running)
            assert not of_state(session, AttemptState.due)
            if number % 2:  # resuming at once must not let them out either
                resume_all(study)
            wait_for(lambda: have_all_ended(session), 30)
            if number == ROUNDS - 1:
                time.sleep(QUIET_SECONDS)
            assert posts(session) == published, "something appeared after the click"
            late = select(func.count(Post.id)).where(Post.created_at > answered_at)
            assert session.scalar(late) == 0
            assert set(reasons(session, at_work)) <= {("cancelled", "stopped")}
            ended = of_state(session, *TERMINAL_STATES) - before
            assert len(ended) == TWINS
            assert set(reasons(session, ended)) <= {
                ("posted", "forced"), ("cancelled", "stopped"), ("cancelled", "paused"),
            }  # fmt: skip
            answered = select(ModelCall.attempt_id).where(ModelCall.state == "answered")
            without_draft = select(func.count(Attempt.id)).where(
                Attempt.reason == Reason.stopped, Attempt.draft.is_(None), Attempt.id.in_(answered)
            )
            assert session.scalar(without_draft) == 0, "a text that was written was not kept"
            stopped_in_all += reasons(session, ended)["cancelled", "stopped"]
            assert ledger(session).adds_up
            resume_all(study)
    assert stopped_in_all >= ROUNDS, "the stops came when nothing was at work: they prove nothing"


@pytest.mark.parametrize("door", ["web", "command"])
def test_what_is_being_written_at_a_pause_is_finished_and_published(
    study, settings, session, connection, hand, dice, door
):
    finished_in_all = 0
    with working(settings):
        for _ in range(2):
            before = of_state(session, *TERMINAL_STATES)
            press = hand(door, "pause")
            ask_all(study, connection)
            wait_for(lambda: of_state(session, AttemptState.running), 30)
            time.sleep(dice.uniform(0, 0.6))
            press()
            at_work = of_state(session, AttemptState.running)
            wait_for(lambda: have_all_ended(session), 30)
            found = reasons(session, at_work)
            assert set(found) <= {("posted", "forced")}
            assert posts(session) >= at_work
            ended = of_state(session, *TERMINAL_STATES) - before
            assert len(ended) == TWINS
            event = session.scalars(
                select(AuditEvent).where(AuditEvent.action == "pause").order_by(AuditEvent.id.desc()).limit(1)
            ).one()
            later = select(func.count(Post.id)).where(Post.created_at > event.created_at)
            assert session.scalar(later) >= event.after["running"]
            finished_in_all += event.after["running"]
            resume_all(study)
    assert finished_in_all > 0
