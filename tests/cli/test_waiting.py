"""What commands say of attempts that wait, and of what makes them wait."""

import re
from datetime import UTC, datetime

import pytest

from pdsapp.models import Attempt, ProcessKind, utc_now
from pdsapp.services import heartbeats
from tests import builders

pytestmark = pytest.mark.database
LATER = datetime(2099, 1, 2, 3, 4, tzinfo=UTC)


@pytest.fixture
def twin(app, settings, model_server):
    token = builders.make_token(settings, model_server.base_url, "lab")
    return builders.make_twin(builders.make_experiment(), "maya", token)


def test_doctor_names_a_lane_with_work_that_nobody_serves(runner, twin, write):
    with write() as own:
        heartbeats.beat(own, ProcessKind.worker, "w", utc_now(), lanes="default")
    assert "serves lane" not in runner.invoke(args=["doctor"]).stdout
    builders.add_attempt(twin)
    result = runner.invoke(args=["doctor"])
    words = "no worker serves lane “now”, where 1 attempt waits. Start one: flask worker --lanes now"
    assert words in result.stdout and result.exit_code == 1


def test_what_is_put_off_says_until_when_and_why_and_the_ledger_counts_it(runner, twin, write):
    number = builders.add_attempt(twin)
    with write() as own:
        found = own.get_one(Attempt, number)
        found.not_before, found.waits_for = (
            datetime(2099, 1, 2, 3, 4, tzinfo=UTC),
            "Its requests are used up.",
        )
    listed = runner.invoke(args=["attempts", "list", "--state", "due"]).stdout
    assert "due 2099-01-02 03:04:00 UTC. Its requests are used up." in listed
    assert re.search(r"\n +1  due +not decided yet\n", runner.invoke(args=["ledger"]).stdout)


def test_a_limit_is_refused_by_the_name_of_its_option(runner):
    result = runner.invoke(
        args=["tokens", "add", "x", "--url", "https://a.example/v1", "--no-key", "--at-once", "many"]
    )
    assert result.exit_code == 2 and result.stderr.startswith("--at-once: Write a whole number")
