"""`flask schedules …`"""

import json
import re
import shlex
from datetime import date
from pathlib import Path

import pytest
from sqlalchemy import func, select, update

from pdsapp.models import Attempt, ProtocolChange, Schedule, ScheduleRevision
from tests import builders

pytestmark = pytest.mark.database


@pytest.fixture
def study(app):
    return builders.make_experiment(zone="America/New_York")


def _add(runner, study, *options, name="Daily"):
    return runner.invoke(args=["schedules", "add", name, "--experiment", study.identifier, *options])


def test_a_schedule_is_added_listed_and_previewed_in_its_zone(runner, study):
    assert _add(runner, study, "--cron", "30 18 * * *").exit_code == 0
    (row,) = map(json.loads, runner.invoke(args=["schedules", "list", "--json"]).stdout.splitlines())
    assert (row["cadence"], row["zone"], row["enabled"]) == ("18:30 daily", "America/New_York", True)
    shown = runner.invoke(args=["schedules", "preview", "Daily", "--count", "3"]).stdout
    assert shown.count("18:30:00 E") == 3


@pytest.mark.parametrize(
    ("options", "said"),
    [
        pytest.param(["--cron", "0 0 31 2 *"], "never fires", id="a date that never comes"),
        pytest.param(["--cron", "0 0 * * * *"], "five fields", id="six fields"),
        pytest.param(["--cron", "٥ * * * *"], "cron", id="Arabic digits"),
        pytest.param(["--cron", "* * * * *", "--zone", "Mars/Base"], "Mars/Base", id="unknown zone"),
        pytest.param(["--every", "5"], "60", id="too often"),
        pytest.param([], "either", id="no cadence"),
        pytest.param(["--cron", "* * * * *", "--twins", "0"], "Ask 1 to", id="no twins"),
        pytest.param(["--cron", "* * * * *", "--lane", "now"], "kept for", id="the people's lane"),
        pytest.param(["--cron", "0 9 * * *", "--first-day", "soon"], "soon", id="no date"),
        pytest.param(["--cron", "0 9 * * *", "--last-day", "2020-01-01"], "No slot is left", id="over"),
        pytest.param(
            ["--cron", "0 9 * * *", "--first-day", "2990-01-02", "--last-day", "2990-01-01"],
            "is before the first",
            id="days in the wrong order",
        ),
        pytest.param(["--cron", "*/5 * * * *", "--jitter", "301"], "as close as 5 min", id="jitter too long"),
        pytest.param(["--cron", "0 9 * * *", "--missed", "burst"], "burst", id="unknown policy"),
    ],
)
def test_what_cannot_be_a_schedule_is_exit_2_and_adds_nothing(runner, study, session, options, said):
    result = _add(runner, study, *options)
    assert result.exit_code == 2
    assert said.lower() in result.stderr.lower()
    assert session.scalar(select(func.count(Schedule.id))) == 0


def test_days_jitter_and_policies_are_taken_and_told(runner, study, session):
    result = _add(
        runner, study, "--cron", "0 9,18 * * *", "--first-day", "2998-12-01", "--last-day", "2998-12-02",
        "--jitter", "600", "--missed", "fire-once", "--overlap", "allow",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    words = "09:00 and 18:00 daily, 1–2 Dec 2998, each attempt up to 10 min later"
    assert f"Added “Daily”: {words}. Next: " in result.stdout
    (row,) = map(json.loads, runner.invoke(args=["schedules", "list", "--json"]).stdout.splitlines())
    assert (row["cadence"], row["first_day"], row["last_day"]) == (words, "2998-12-01", "2998-12-02")
    assert (row["jitter_seconds"], row["missed"], row["overlap"]) == (600, "fire_once", "allow")
    shown = runner.invoke(args=["schedules", "preview", "Daily", "--count", "9"]).stdout.splitlines()
    assert shown[0] == f"Daily: {words} (America/New_York)"
    assert [line.partition("   ")[2] for line in shown[1:]] == [
        "2998-12-01 14:00:00 UTC",
        "2998-12-01 23:00:00 UTC",
        "2998-12-02 14:00:00 UTC",
        "2998-12-02 23:00:00 UTC",
    ]


def test_an_ended_schedule_says_so_and_is_not_broken(runner, study, session):
    _add(runner, study, "--cron", "0 9 * * *", "--last-day", "2998-12-02")
    session.execute(update(Schedule).values(last_day=date(2020, 2, 1), next_slot_at=None))
    session.commit()
    (row,) = map(json.loads, runner.invoke(args=["schedules", "list", "--json"]).stdout.splitlines())
    assert (row["ended"], row["broken"], row["next_slot_at"]) == ("2020-02-01", None, None)
    shown = runner.invoke(args=["schedules", "preview", "Daily"]).stdout.splitlines()
    assert shown[1:] == ["No slot is left: its last day is 1 Feb 2020."]


def test_switching_makes_revisions_and_never_fires_at_once(runner, study, session):
    builders.make_twin(study)
    _add(runner, study, "--cron", "* * * * *", "--disabled")
    assert runner.invoke(args=["schedules", "enable", "Daily"]).exit_code == 0
    assert runner.invoke(args=["schedules", "disable", "Daily"]).exit_code == 0
    revisions = session.scalars(select(ScheduleRevision).order_by(ScheduleRevision.number)).all()
    assert [revision.is_enabled for revision in revisions] == [False, True, False]
    assert [revision.valid_until is None for revision in revisions] == [False, False, True]
    assert session.scalar(select(func.count(Attempt.id))) == 0


def test_firing_once_asks_the_wanted_number_of_twins(runner, study, session):
    for _ in range(4):
        builders.make_twin(study)
    _add(runner, study, "--cron", "0 9 * * *", "--twins", "3")
    assert "Asked 3 twins" in runner.invoke(args=["schedules", "fire", "Daily"]).stdout
    assert session.scalar(select(func.count(Attempt.id))) == 3


def test_firing_with_nobody_active_is_exit_4(runner, study):
    _add(runner, study, "--cron", "0 9 * * *")
    assert runner.invoke(args=["schedules", "fire", "Daily"]).exit_code == 4


def test_an_archived_schedule_is_no_longer_listed(runner, study):
    _add(runner, study, "--cron", "0 9 * * *")
    assert runner.invoke(args=["schedules", "archive", "Daily"]).exit_code == 0
    assert "no schedule yet" in runner.invoke(args=["schedules", "list"]).stdout
    assert runner.invoke(args=["schedules", "enable", "Daily"]).exit_code == 2


def test_an_unknown_schedule_is_exit_2(runner, app):
    assert runner.invoke(args=["schedules", "enable", "nothing"]).exit_code == 2


def test_a_name_that_several_have_lists_them(runner, study):
    for _ in range(2):
        _add(runner, study, "--cron", "@daily")
    result = runner.invoke(args=["schedules", "preview", "Daily"])
    assert result.exit_code == 2
    listed = [
        row["id"]
        for row in map(json.loads, runner.invoke(args=["schedules", "list", "--json"]).stdout.splitlines())
    ]
    assert all(f"{uuid} ({study})" in result.stderr for uuid in listed)


def test_a_schedule_of_all_experiments_says_so_when_it_is_added(runner, study):
    result = runner.invoke(args=["schedules", "add", "All", "--cron", "@daily"])
    assert "It asks twins of all running experiments." in result.stdout
    assert "all running" not in _add(runner, study, "--cron", "@daily").stdout


@pytest.mark.parametrize("scope", ["everything", "experiment"])
def test_firing_under_a_pause_asks_nobody_and_says_who_paused(runner, study, session, scope):
    builders.make_twin(study)
    _add(runner, study, "--cron", "@daily")
    pause = ["pause"] if scope == "everything" else ["experiments", "pause", study.identifier]
    runner.invoke(args=[*pause, "--reason", "exam week"])
    result = runner.invoke(args=["schedules", "fire", "Daily"])
    assert result.exit_code == 4
    assert "is paused since" in result.stderr and "exam week" in result.stderr
    assert session.scalars(select(Attempt)).all() == []


def test_the_commands_of_the_documents_work_as_they_are_printed(runner, study):
    page = (Path(__file__).resolve().parents[2] / "docs" / "operating.md").read_text()
    block = re.search(r"```sh\n(flask schedules add.*?)```", page, re.S)[1].replace("\\\n", " ")
    for command in block.strip().replace(" ID ", f" {study.identifier} ").splitlines():
        result = runner.invoke(args=shlex.split(command)[1:])
        assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[1].startswith("Mon 02 Dec 2030, 09:00:00 CET")


def test_commands_give_the_reason_or_the_protocol_says_there_was_none(runner, study, session):
    assert _add(runner, study, "--cron", "@daily", "--reason", "more talk").exit_code == 0
    for command in (["disable"], ["enable", "--reason", "back again"], ["archive", "--reason", "over"]):
        assert runner.invoke(args=["schedules", command[0], "Daily", *command[1:]]).exit_code == 0
    found = session.scalars(select(ProtocolChange).order_by(ProtocolChange.id)).all()
    assert [change.reason for change in found] == ["more talk", "no reason was given", "back again", "over"]
    assert {change.made_by for change in found} == {"command line"}
    assert [change.after.get("state") for change in found] == ["enabled", "disabled", "enabled", "archived"]
