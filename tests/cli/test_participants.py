"""`flask participants`: withdrawing somebody in one command, and compacting the file."""

import json

import pytest
from sqlalchemy import select

from pdsapp.errors import CopyFailed
from pdsapp.models import AuditEvent, Post, UserProfile, Withdrawal
from pdsapp.services import compacting
from tests import builders
from tests.conftest import TEST_DATABASE_URL

SAID = "My sister lost her job at the harbour in May, and nobody will say why."


@pytest.fixture
def study(app):
    return builders.make_experiment("Campus", zone="Europe/Rome")


@pytest.fixture
def anna(study):
    anna = builders.make_person(study, "anna_k")
    builders.make_post(anna, SAID)
    builders.make_post(builders.make_person(study, "bo"), f"Annie wrote: {SAID}", minutes=1)
    return anna


@pytest.fixture
def withdraw(runner, study, anna):
    """Runs the command for the experiment."""
    return lambda *options: runner.invoke(
        args=["participants", "withdraw", *options, "--experiment", study.identifier]
    )


@pytest.mark.database
def test_it_erases_quotations_and_names_and_says_what(withdraw, session):
    done = withdraw("@anna_k", "--also", "Annie", "--yes", "--json")
    assert done.exit_code == 0, done.stderr
    summary = json.loads(done.stdout)
    pseudonym = summary["pseudonym"]
    assert summary["finished"] and summary["posts"] == 1
    assert summary["changed"] == {"posts": 1, "earlier texts of posts": 1}
    assert set(session.scalars(select(Post.text))) == {"[erased]", f"{pseudonym} wrote: [erased]."}
    assert not compacting.is_wanted()
    assert "Backups and exports from before still hold it" in done.stderr


def test_in_words(withdraw, session):
    done = withdraw("anna_k", "--yes")
    pseudonym = session.scalars(select(Withdrawal.pseudonym)).one()
    assert done.stdout.splitlines()[0] == f"Erased 1 post; the profile is @{pseudonym} now."


def test_without_a_terminal_it_wants_to_be_told_twice(withdraw, session, anna):
    done = withdraw("anna_k")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith("This cannot be undone. Give --yes")
    assert session.get_one(UserProfile, anna.id).username == "anna_k"


@pytest.mark.parametrize(
    ("name", "words"),
    [("nobody", "Nobody in Campus is called “nobody”."), ("maya", "A twin is no participant")],
)
def test_unknown_people_and_twins_are_refused(withdraw, study, session, name, words):
    builders.make_twin(study, "maya")
    done = withdraw(name, "--yes")
    assert done.exit_code == 2 and words in done.stderr
    assert session.scalars(select(Withdrawal)).all() == []


@pytest.mark.skipif(TEST_DATABASE_URL is not None, reason="a server's files are not compacted")
@pytest.mark.parametrize("is_large", [True, False])
def test_a_file_that_cannot_be_written_anew_now_is_said_and_the_rest_is_done(
    withdraw, session, monkeypatch, is_large
):
    def compact():
        raise CopyFailed("The database could not be compacted: somebody is reading it.")

    monkeypatch.setattr(compacting, "compact", compact)
    monkeypatch.setattr(compacting, "MOST_BYTES", 0 if is_large else 10**9)
    done = withdraw("anna_k", "--yes", "--json")
    assert done.exit_code == 0 and json.loads(done.stdout)["finished"]
    assert "run flask participants compact" in done.stderr
    assert ("somebody is reading it" in done.stderr) is not is_large


@pytest.mark.skipif(TEST_DATABASE_URL is not None, reason="a server's files are not compacted")
def test_compact_writes_the_file_anew(runner, study):
    done = runner.invoke(args=["participants", "compact"])
    assert done.exit_code == 0 and done.stdout.startswith("Compacted: ")


def test_lists_as_json_are_noted_as_exports(runner, study, session):
    runner.invoke(args=["attempts", "list", "--experiment", study.identifier, "--json"])
    event = session.scalars(select(AuditEvent).where(AuditEvent.action == "export")).one()
    assert (event.experiment_id, event.actor, event.after) == (study.id, "command line", {"what": "attempts"})
