"""`flask pause`, `stop-now`, `resume`, and pausing one thing: what they do, say and answer."""

import json
import re

import pytest
from sqlalchemy import func, select

from pdsapp.domain.reasons import AttemptState, ExperimentState, TokenState
from pdsapp.models import ApiToken, Attempt, Experiment, Installation, Schedule
from tests import builders

pytestmark = pytest.mark.database


@pytest.fixture
def twin(app, settings, model_server):
    study = builders.make_experiment()
    return builders.make_twin(study, "maya", builders.make_token(settings, model_server.base_url, "lab"))


@pytest.fixture
def flask(runner):
    """`flask("pause")` runs a command that must succeed; gives what it printed."""

    def run(*args):
        result = runner.invoke(args=list(args))
        assert result.exit_code == 0, result.output
        return result.stdout.strip()

    return run


def stored(session, kind):
    session.rollback()
    session.expire_all()
    return session.scalars(select(kind)).one()


def test_everything_is_paused_stopped_and_resumed(flask, session, twin):
    builders.add_attempt(twin)
    assert flask("pause", "--reason", "exam week") == (
        "Everything is paused: 1 waiting attempt was cancelled; none is being written."
    )
    row = stored(session, Installation)
    assert (row.is_paused, row.paused_by, row.paused_reason) == (True, "command line", "exam week")
    assert stored(session, Attempt).state == AttemptState.cancelled
    assert flask("pause") == "Everything is paused already: nothing waits or is written."
    assert flask("stop-now", "--reason", "wrong prompt") == (
        "Everything is stopped: nothing waits or is written."
    )
    row = stored(session, Installation)
    assert (row.is_stopped, row.paused_reason) == (True, "wrong prompt")
    assert flask("resume") == "Everything goes on with the next slots."
    assert flask("resume") == "Everything was not paused."
    assert not stored(session, Installation).is_stopped


def test_one_experiment_is_stopped_and_resumed_under_a_pause_of_everything(runner, flask, session, twin):
    identifier = stored(session, Experiment).identifier
    said = flask("experiments", "stop", identifier, "--reason", "wrong prompt")
    assert said == f"{identifier} is stopped: nothing waits or is written."
    row = stored(session, Experiment)
    assert (row.state, row.is_stopped) == (ExperimentState.paused, True)
    flask("pause")
    result = runner.invoke(args=["experiments", "resume", identifier])
    assert result.stdout == f"{identifier} goes on with the next slots.\n"
    assert "Everything is still paused. Resume it with: flask resume" in result.stderr


def test_lists_and_doctor_say_that_everything_is_paused(runner, flask, session, twin):
    """The rows themselves go on saying "running"."""
    flask("stop-now", "--reason", "wrong prompt")
    for command in (["experiments", "list"], ["experiments", "list", "--json"], ["schedules", "list"]):
        result = runner.invoke(args=command)
        assert "Everything is stopped since" in result.stderr and "wrong prompt" in result.stderr, command
    words = runner.invoke(args=["doctor"]).stdout
    assert re.search(r"! pauses: Everything is stopped since .*: wrong prompt\. No twin is asked\.", words)
    assert "Go on: flask resume" in words
    flask("resume")
    assert runner.invoke(args=["experiments", "list"]).stderr == ""
    assert "nothing is paused" in runner.invoke(args=["doctor"]).stdout
    identifier = session.scalars(select(Experiment.identifier)).one()
    flask("experiments", "pause", identifier, "--reason", "exam week")
    assert f"Go on: flask experiments resume {identifier}" in runner.invoke(args=["doctor"]).stdout


def test_a_schedule_is_paused_by_name_and_listed_as_that(flask, session, twin):
    identifier = stored(session, Experiment).identifier
    flask("schedules", "add", "Daytime", "--experiment", identifier, "--cron", "0 9 * * *")
    assert flask("schedules", "pause", "Daytime", "--reason", "holiday").startswith("“Daytime” is paused: ")
    row = stored(session, Schedule)
    assert (row.paused_reason, row.is_enabled, row.revision_number) == ("holiday", True, 1)
    assert json.loads(flask("schedules", "list", "--json"))["paused"] is True
    assert flask("schedules", "resume", "Daytime") == "“Daytime” goes on with the next slots."
    assert stored(session, Schedule).paused_at is None


def test_a_token_is_paused_and_resumed_by_name(flask, session, twin):
    builders.add_attempt(twin)
    assert flask("tokens", "pause", "lab", "--reason", "new key") == (
        "Token “lab” is paused: 1 waiting attempt was cancelled; none is being written."
    )
    assert stored(session, ApiToken).state == TokenState.paused
    assert flask("tokens", "resume", "lab") == "Token “lab” is used again."
    assert session.scalar(select(func.count()).where(Attempt.state == AttemptState.cancelled)) == 1


def test_doctor_says_who_paused_a_token_and_why_if_that_was_said(runner, flask, twin):
    flask("tokens", "pause", "lab")
    said = runner.invoke(args=["doctor"]).stdout
    assert re.search(
        r"token “lab” is paused since \w{3} \d+ \w{3} \d{4}, \d\d:\d\d UTC by command line\.\n", said
    )
    flask("tokens", "resume", "lab")
    flask("tokens", "pause", "lab", "--reason", "new key")
    assert " UTC by command line: new key.\n" in runner.invoke(args=["doctor"]).stdout


@pytest.mark.parametrize(
    "args",
    [
        ["experiments", "stop", "zzzzz"],
        ["schedules", "pause", "nothing"],
        ["schedules", "resume", "nothing"],
        ["tokens", "pause", "nothing"],
        ["tokens", "resume", "nothing"],
    ],
    ids=" ".join,
)
def test_what_names_nothing_is_a_usage_error(runner, twin, args):
    result = runner.invoke(args=args)
    assert result.exit_code == 2
    assert "There is no" in result.stderr
