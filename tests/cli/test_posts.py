"""`flask posts import`: the same plan as the page's."""

import json

import pytest
from sqlalchemy import func, select

from pdsapp.domain.reasons import ExperimentState
from pdsapp.models import Experiment, Post, ProtocolChange, UserProfile
from tests import builders

pytestmark = pytest.mark.database

TALK = "author,text,time,parent,id\nada,Hello.,2026-11-20T08:30,,a\nada,Anybody?,2026-11-20T09:00,a,\n"


@pytest.fixture
def study(app):
    study = builders.make_experiment("Pilot")
    builders.make_person(study, "ada")
    return study


@pytest.fixture
def bring_in(runner, study, tmp_path):
    """`bring_in(text, "--dry-run")` imports a CSV file with this text."""

    def run(text, *options, name="talk.csv"):
        path = tmp_path / name
        path.write_text(text)
        return runner.invoke(args=["posts", "import", "--experiment", study.identifier, str(path), *options])

    return run


def count(session, model=Post):
    session.rollback()
    return session.scalar(select(func.count()).select_from(model))


def test_a_dry_run_says_what_would_be_imported_and_changes_nothing(bring_in, session):
    result = bring_in(TALK, "--dry-run", "--json")
    assert result.exit_code == 0, result.stderr
    row = json.loads(result.stdout)
    assert (row["action"], row["posts"], row["replies"], row["authors"]) == ("would import", 1, 1, 1)
    assert row["from"] == "2026-11-20T07:30:00+00:00" and row["new_people"] == []
    assert count(session) == 0
    assert "Would import 1 post and 1 reply into Pilot" in bring_in(TALK, "--dry-run").stdout


def test_posts_are_imported_once(bring_in, session):
    result = bring_in(TALK, "--reason", "From the pilot")
    assert result.exit_code == 0 and "Imported 1 post and 1 reply into Pilot" in result.stdout
    again = bring_in(TALK)
    assert again.exit_code == 0 and "there already" in again.stdout
    assert json.loads(bring_in(TALK, "--json", "--dry-run").stdout)["action"] == "there already"
    assert count(session) == 2
    assert session.scalars(select(ProtocolChange.reason)).all() == ["From the pilot"]


def test_people_are_added_when_asked_for(bring_in, session):
    text = "author,text\neve,Hello.\n"
    for options in ((), ("--dry-run",)):
        refused = bring_in(text, *options)
        assert refused.exit_code == 2 and "Not here yet: @eve" in refused.stderr
    assert count(session) == 0
    done = bring_in(text, "--add-people")
    assert done.exit_code == 0 and "and added @eve." in done.stdout
    assert count(session, UserProfile) == 2
    assert session.scalars(select(ProtocolChange.reason)).all() == ["no reason was given"]


def test_all_mistakes_are_listed_by_row_and_column(bring_in, session):
    result = bring_in("author,text,time\nada,,\nada,Hello.,soon\na b,Hello.,\n")
    assert result.exit_code == 2
    for words in (
        "3 things have to be mended",
        "line 2: text: This must",
        "line 3: time:",
        "line 4: author:",
    ):
        assert words in result.stderr
    assert count(session) == 0


@pytest.mark.parametrize(
    ("text", "name", "words"),
    [("author;text\nada;Hello.\n", "talk.csv", "semicolons"), ("Hello.", "talk.txt", "neither .csv nor")],
)
def test_a_file_that_is_none_is_refused(bring_in, text, name, words):
    result = bring_in(text, name=name)
    assert result.exit_code == 2 and words in result.stderr


def test_a_missing_file_and_an_unknown_experiment_are_refused(runner, study, tmp_path):
    args = ["posts", "import", "--experiment", study.identifier, str(tmp_path / "none.csv")]
    missing = runner.invoke(args=args)
    assert missing.exit_code == 2 and "cannot be read" in missing.stderr
    path = tmp_path / "talk.csv"
    path.write_text(TALK)
    unknown = runner.invoke(args=["posts", "import", "--experiment", "zzzzz", str(path)])
    assert unknown.exit_code == 2 and "There is no experiment" in unknown.stderr


def test_an_experiment_that_is_over_takes_none(bring_in, study, write, session):
    with write() as own:
        own.get_one(Experiment, study.id).state = ExperimentState.archived
    for options in ((), ("--dry-run",)):
        result = bring_in(TALK, *options)
        assert result.exit_code == 2 and "is archived: it is only read now" in result.stderr
    assert count(session) == 0
