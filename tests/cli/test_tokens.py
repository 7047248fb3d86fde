"""`flask tokens add`, `change`, `test`: which addresses are taken, what a change of a study keeps."""

import pytest
from sqlalchemy import func, select

from pdsapp.llm.secrets import SecretBox
from pdsapp.models import ApiToken, ProtocolChange
from tests import builders
from tests import model_server as fake

pytestmark = pytest.mark.database
KEY = "sk-another-secret-5678"


@pytest.fixture
def token(app, settings, model_server):
    """A token that a running study uses."""
    found = builders.make_token(settings, model_server.base_url, "lab")
    builders.make_twin(builders.make_experiment("Campus"), "maya", found)
    return found


def stored(session, kind=ApiToken):
    session.rollback()
    session.expire_all()
    return session.scalars(select(kind)).one()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://8.8.8.8/v1", "base_url: 8.8.8.8 would be asked over plain http"),
        ("https://10.0.0.1/v1", "PDS_LLM_ALLOWED_HOSTS"),
    ],
    ids=["public over http", "private"],
)
def test_an_address_that_is_never_asked_is_not_added(runner, session, url, words):
    result = runner.invoke(args=["tokens", "add", "x", "--url", url], input=f"{KEY}\n")
    assert result.exit_code == 2
    assert words in result.stderr
    assert session.scalar(select(func.count(ApiToken.id))) == 0


def test_a_change_is_a_protocol_change_with_or_without_a_reason(runner, session, token):
    changed = runner.invoke(args=["tokens", "change", "lab", "--model", "large"])
    assert changed.exit_code == 0, changed.output
    assert "Changed token “lab”." in changed.stdout
    assert "A protocol change of Campus" in changed.stdout
    assert stored(session).default_model == "large"
    change = stored(session, ProtocolChange)
    assert (change.reason, change.made_by) == ("no reason was given", "command line")
    assert change.summary == "API token “lab”: default model"
    again = ["tokens", "change", "lab", "--parameters", "temperature=0.2", "--reason", "too wild"]
    assert runner.invoke(args=again).exit_code == 0
    session.rollback()
    assert session.scalars(select(ProtocolChange.reason)).all() == ["no reason was given", "too wild"]
    assert stored(session).parameters == {"temperature": 0.2}


def test_nothing_else_is_changed(runner, session, token, settings):
    runner.invoke(args=["tokens", "change", "lab", "--model", "large"])
    found = stored(session)
    box = SecretBox(settings.require("fernet_keys"))
    assert box.open(found.secret_encrypted, found.base_url) == "sk-test-secret-0001"
    assert (found.name, found.base_url) == ("lab", token.base_url)


def test_another_address_asks_for_the_key_again(runner, session, token, settings):
    there = "http://127.0.0.1:9/v1"
    refused = runner.invoke(args=["tokens", "change", "lab", "--url", there], input="\n")
    assert refused.exit_code == 2
    assert stored(session).base_url == token.base_url
    done = runner.invoke(args=["tokens", "change", "lab", "--url", f"{there}/models"], input=f"{KEY}\n")
    assert done.exit_code == 0, done.output
    assert KEY not in done.output
    found = stored(session)
    assert SecretBox(settings.require("fernet_keys")).open(found.secret_encrypted, there) == KEY


def test_with_no_key_the_stored_one_is_removed(runner, session, token):
    done = runner.invoke(args=["tokens", "change", "lab", "--url", "http://127.0.0.1:9/v1", "--no-key"])
    assert done.exit_code == 0, done.output
    assert stored(session).secret_encrypted is None


def test_a_test_prints_its_steps_with_marks_and_times(runner, token, model_server):
    model_server.models = ("other",)
    result = runner.invoke(args=["tokens", "test", "lab"])
    assert result.exit_code == 0
    marks = [line.split()[:2] for line in result.stdout.splitlines()]
    assert marks == [["✓", "address"], ["✓", "connect"], ["·", "models"], ["✓", "key:"], ["✓", "completion"]]
    assert " ms): fake-model answered." in result.stdout
    model_server.enqueue(fake.error(402, "no credits"))
    result = runner.invoke(args=["tokens", "test", "lab"])
    assert result.exit_code == 1
    assert result.stdout.splitlines()[-1].startswith("✗ completion (")


def test_limits_are_set_listed_changed_and_taken_away(runner, session, settings, model_server):
    url = ["--url", model_server.base_url, "--no-key"]
    added = runner.invoke(
        args=["tokens", "add", "lab", *url, "--at-once", "3", "--tokens-per-minute", "90,000"]
    )
    assert added.exit_code == 0, added.output
    token = stored(session)
    assert (token.max_at_once, token.max_per_minute, token.max_tokens_per_minute) == (3, None, 90_000)
    assert "3 calls at once, 90,000 tokens a minute" in runner.invoke(args=["tokens", "list"]).stdout
    changed = runner.invoke(args=["tokens", "change", "lab", "--per-minute", "60", "--at-once", "none"])
    assert changed.exit_code == 0 and "protocol" not in changed.stdout
    token = stored(session)
    assert (token.max_at_once, token.max_per_minute, token.max_tokens_per_minute) == (None, 60, 90_000)


def test_a_limit_that_is_none_is_refused_with_what_to_write(runner, session, model_server):
    url = ["--url", model_server.base_url, "--no-key"]
    result = runner.invoke(args=["tokens", "add", "lab", *url, "--per-minute", "a few"])
    assert result.exit_code == 2
    assert "Write a whole number from 1 to 1,000,000, for example 60" in result.stderr
    assert session.scalar(select(func.count(ApiToken.id))) == 0
