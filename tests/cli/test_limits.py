"""`flask experiments limits`: shown and set, one sentence for what cannot be used."""

import json

import pytest
from sqlalchemy import select

from pdsapp.models import AuditEvent, Experiment, ProtocolChange
from tests import builders

pytestmark = pytest.mark.database


@pytest.fixture
def study(app):
    return builders.make_experiment("Campus", zone="Europe/Rome")


@pytest.fixture
def run(runner, study):
    """Runs the command for the experiment."""
    return lambda *options: runner.invoke(args=["experiments", "limits", study.identifier, *options])


def stored(session, study):
    session.rollback()
    return session.get_one(Experiment, study.id, populate_existing=True).policy.body.get("limits", {})


def test_without_options_it_shows_the_limits(run, study, session):
    shown = run()
    assert shown.exit_code == 0
    assert shown.stdout.splitlines() == [
        f"Limits of Campus ({study.identifier}):",
        "  Quiet hours     none",
        "  Posts a day     none",
        "  Gap             none",
        "  Age of a draft  none",
    ]
    assert session.query(AuditEvent).filter_by(action="change").count() == 0


def test_limits_are_set_one_by_one_and_taken_away(run, study, session):
    shown = run("--quiet", "22:00-7:00", "--per-day", "3", "--min-gap", "900", "--draft-age", "10min")
    assert shown.exit_code == 0, shown.output
    assert "Quiet hours     22:00–07:00 in Europe/Rome" in shown.stdout
    assert "Posts a day     at most 3 of each twin, days of Europe/Rome" in shown.stdout
    assert "Gap             at least 15 min between two posts" in shown.stdout
    assert "Age of a draft  at most 10 min after the decision" in shown.stdout
    run("--per-day", "none")
    run("--quiet", "none", "--min-gap", "2 h")
    assert stored(session, study) == {"min_gap_seconds": 7200, "max_draft_age_seconds": 600}


def test_a_change_is_listed_with_the_reason_given(run, study, session):
    run("--per-day", "3", "--reason", "pilot")
    run("--per-day", "4")
    query = select(ProtocolChange.summary, ProtocolChange.reason).order_by(ProtocolChange.id)
    assert session.execute(query).all() == [
        ("Posting policy: limits", "pilot"),
        ("Posting policy: limits", "no reason was given"),
    ]


def test_the_limits_are_one_json_object(run, study):
    assert json.loads(run("--quiet", "22:00-07:00", "--json").stdout) == {
        "experiment": study.identifier,
        "zone": "Europe/Rome",
        "quiet_from": "22:00",
        "quiet_until": "07:00",
        "posts_per_day": None,
        "min_gap_seconds": None,
        "max_draft_age_seconds": None,
    }


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--quiet", "22:00"], "--quiet: Write when they begin and end. For example: 22:00-07:00, or none"),
        (["--quiet", "07:00-07:00"], "--quiet: Quiet hours that begin and end at the same time"),
        (["--quiet", ""], "--quiet: Write when they begin and end."),
        (["--per-day", "0"], "--per-day: Posts a day are a whole number from 1"),
        (["--per-day", "many"], "--per-day: Write a whole number of posts. For example: 3"),
        (["--per-day", ""], "--per-day: Write a whole number of posts."),
        (["--min-gap", "-5"], "--min-gap: Write a span of time."),
        (["--min-gap", "40 d"], "--min-gap: The least gap is between 1 second and 31 days."),
        (["--draft-age", "1"], "--draft-age: A draft's greatest age is between 10 seconds and 7 days"),
    ],
)
def test_what_cannot_be_used_is_one_sentence_and_changes_nothing(run, study, session, options, words):
    run("--min-gap", "60")
    refused = run("--draft-age", "60", *options) if "--draft-age" not in options else run(*options)
    assert refused.exit_code == 2
    assert words in refused.stderr
    assert refused.stdout == ""
    assert stored(session, study) == {"min_gap_seconds": 60}


def test_an_experiment_that_is_not_there_is_said(runner, app):
    refused = runner.invoke(args=["experiments", "limits", "zzzzz", "--per-day", "1"])
    assert (refused.exit_code, "There is no experiment" in refused.stderr) == (2, True)


def test_a_dry_run_and_an_attempt_on_the_command_line_name_the_limit(
    run, runner, study, settings, model_server
):
    builders.make_twin(study, "maya", builders.make_token(settings, model_server.base_url))
    run("--per-day", "1")
    args = ["generate-dt-post", "--twin", "maya", "--force"]
    assert runner.invoke(args=args).exit_code == 0
    dry = runner.invoke(args=[*args, "--dry-run"])
    assert dry.exit_code == 3
    assert (
        "It would be skipped all the same: It has posted once today, and 1 a day is the most." in dry.stdout
    )
    again = runner.invoke(args=args)
    assert again.exit_code == 3
    assert "@maya skipped (daily_limit): It has posted once today" in again.stdout
