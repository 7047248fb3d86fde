"""Whom a schedule asks, on the command line."""

import json

import pytest
from sqlalchemy import select

from pdsapp.database import transaction
from pdsapp.dt_service import DTService
from pdsapp.models import Attempt, DigitalTwin, ProtocolChange, Schedule
from pdsapp.scheduling import slots
from pdsapp.services import edits
from tests import builders

pytestmark = pytest.mark.database


@pytest.fixture
def study(app):
    """An experiment with @maya, tagged morning, and @jon."""
    found = builders.make_experiment()
    maya = builders.make_twin(found, "maya")
    builders.make_twin(found, "jon")
    with transaction() as session:
        edits.set_tags(session, session.get_one(DigitalTwin, maya.id), "morning")
    return found


@pytest.fixture
def run(runner, study):
    """`run("add", "Daily", …)` runs a command of schedules; `add` within the experiment."""

    def ran(command, *arguments):
        own = ["--experiment", study.identifier, "--cron", "0 9 * * *"] if command == "add" else []
        return runner.invoke(args=["schedules", command, *arguments, *own])

    return ran


def listed(run):
    return [json.loads(line) for line in run("list", "--json").stdout.splitlines()]


def test_twins_are_chosen_by_name_or_tag_and_listed_and_previewed(run):
    assert run("add", "By name", "--twin", "@maya", "--twin", "jon").exit_code == 0
    assert run("add", "By tag", "--tag", "morning", "--tag", "evening").exit_code == 0
    assert run("add", "All").exit_code == 0
    assert [row["asks"] for row in listed(run)] == [
        "@jon, @maya", "twins tagged “evening” or “morning”", "all active twins",
    ]  # fmt: skip
    assert ", asks 1 of @jon, @maya\n" in run("preview", "By name").stdout
    assert "twins tagged" in run("list").stdout


def test_whom_it_asks_is_changed_and_nothing_else(run, session):
    run("add", "Daily", "--twins", "2", "--disabled")
    done = run("change", "Daily", "--tag", "morning", "--reason", "only early birds")
    assert done.exit_code == 0 and "“Daily” asks 2 of twins tagged “morning”." in done.stdout
    row = session.scalars(select(Schedule)).one()
    assert (row.target, row.twins_per_slot, row.is_enabled, row.cron) == (
        {"tags": ["morning"]}, 2, False, "0 9 * * *",
    )  # fmt: skip
    assert session.scalars(select(ProtocolChange.reason)).all()[-1] == "only early birds"
    assert "as it did" in run("change", "Daily", "--tag", "morning").stdout
    assert run("change", "Daily", "--everybody", "--twins", "1").exit_code == 0
    session.expire_all()
    assert (row.target, row.twins_per_slot, row.revision_number) == ({}, 1, 3)


def test_each_of_them_is_asked_with_all(run, session):
    assert run("add", "Hourly", "--twins", "all").exit_code == 0
    row = session.scalars(select(Schedule)).one()
    assert (row.asks_all, row.twins_per_slot) == (True, 1)
    assert (listed(run)[0]["twins"], listed(run)[0]["asks"]) == ("all", "all active twins")
    assert ", asks all active twins, each of them\n" in run("preview", "Hourly").stdout
    done = run("change", "Hourly", "--tag", "morning", "--reason", "early birds")
    assert "“Hourly” asks twins tagged “morning”, each of them." in done.stdout
    assert "asks 2 of twins tagged" in run("change", "Hourly", "--twins", "2").stdout
    session.expire_all()
    assert (row.asks_all, row.twins_per_slot) == (False, 2)
    assert run("add", "Odd", "--twins", "some").exit_code == 2


def test_a_slot_is_stopped_half_way(run, session, study):
    run("add", "Hourly", "--twins", "all")
    assert run("stop-slot", "Hourly").stdout == "No slot of “Hourly” is at work.\n"
    row = session.scalars(select(Schedule)).one()
    with transaction() as writing:
        slots.claim_due(writing, DTService(), None, row.next_slot_at, "test")
    done = run("stop-slot", "Hourly", "--reason", "wrong prompt")
    assert done.exit_code == 0 and "is stopped: 2 waiting were cancelled." in done.stdout
    attempts = session.scalars(select(Attempt)).all()
    assert [(a.state.value, a.reason.value) for a in attempts] == [("cancelled", "stopped")] * 2
    assert attempts[0].detail.endswith("by command line: wrong prompt.")


def test_a_tag_that_nobody_has_is_taken_with_a_warning(run):
    done = run("add", "Later", "--tag", "night owls")
    assert done.exit_code == 0
    assert "Now it would ask nobody: No twin has the tag “night owls”." in done.stderr


@pytest.mark.parametrize(
    ("command", "arguments", "said"),
    [
        ("add", ("X", "--twin", "maja"), "Did you mean @maya?"),
        ("add", ("X", "--twin", "maya", "--tag", "morning"), "not both"),
        ("change", ("Daily",), "Say whom it is to ask"),
        ("change", ("Daily", "--everybody", "--tag", "morning"), "not both"),
        ("change", ("Daily", "--twins", "0"), "Ask 1 to"),
        ("change", ("Everywhere", "--tag", "morning"), "Choose one experiment."),
    ],
)
def test_what_cannot_be_asked_is_exit_2_and_changes_nothing(run, runner, session, command, arguments, said):
    run("add", "Daily")
    runner.invoke(args=["schedules", "add", "Everywhere", "--cron", "0 9 * * *"])
    result = run(command, *arguments)
    assert result.exit_code == 2 and said in result.stderr
    assert [row.revision_number for row in session.scalars(select(Schedule))] == [1, 1]
    assert {row["asks"] for row in listed(run)} == {"all active twins"}
