"""Low disk: nothing is claimed, no call is paid for, and everybody is told what to do."""

import asyncio
import json

import pytest
from sqlalchemy import func, select

from pdsapp.config import read_settings
from pdsapp.domain.reasons import AttemptState, ReasonClass
from pdsapp.errors import DiskLow, NotConfigured
from pdsapp.models import Attempt, ModelCall, utc_now
from pdsapp.services import disk, token_tests
from pdsapp.services.ledger import ledger
from pdsapp.tasks import generate_digital_twin_post
from tests import builders
from tests.model_server import error

pytestmark = pytest.mark.database
FULL = {"PDS_MIN_FREE": "900000TB"}


@pytest.fixture
def overrides(request):
    return getattr(request, "param", {})


@pytest.mark.parametrize(
    ("given", "bytes_"),
    [("500MB", 500_000_000), ("2GB", 2_000_000_000), ("1.5 gb", 1_500_000_000), ("123456", 123_456), ("0", 0),
     ("10B", 10)],
)  # fmt: skip
def test_min_free_is_read_as_people_write_it(given, bytes_):
    assert read_settings(PDS_MIN_FREE=given).min_free == bytes_


@pytest.mark.parametrize("given", ["much", "-1", "5 parsecs", "1e9", "MB"])
def test_what_is_no_number_of_bytes_is_refused_with_an_example(given):
    with pytest.raises(NotConfigured, match=r"PDS_MIN_FREE: .*500MB"):
        read_settings(PDS_MIN_FREE=given)


def test_it_is_500_mb_unless_said_otherwise_and_0_switches_it_off(tmp_path):
    assert read_settings().min_free == 500_000_000
    assert not disk.Room(free=0, wanted=0).is_low
    assert disk.Room(free=499_999_999, wanted=500_000_000).is_low
    assert not disk.Room(free=None, wanted=500_000_000).is_low


def test_a_folder_that_does_not_exist_yet_is_looked_at_where_it_would_be(tmp_path):
    assert disk.free_bytes(tmp_path / "a" / "b") == pytest.approx(disk.free_bytes(tmp_path), rel=0.01)


@pytest.mark.parametrize("overrides", [FULL], indirect=True)
def test_nothing_is_claimed_while_disk_is_low(overrides, settings, session, twin, model_server):
    attempt_id = builders.add_attempt(twin)
    builders.run_due(settings)
    attempt = builders.load_attempt(session, attempt_id)
    assert (attempt.state, attempt.strikes, attempt.claimed_at) == (AttemptState.due, 0, None)
    assert model_server.calls == []


def test_what_waited_goes_on_when_there_is_room_again(settings, session, twin, model_server):
    attempt_id = builders.add_attempt(twin)
    builders.run_due(settings.model_copy(update={"min_free": 10**18}))
    assert builders.load_attempt(session, attempt_id).state == AttemptState.due
    builders.run_due(settings)
    assert builders.load_attempt(session, attempt_id).state == AttemptState.posted
    assert model_server.calls
    assert ledger(session).adds_up


def test_an_attempt_at_work_asks_no_more_and_ends_as_disk_low(
    settings, session, twin, model_server, monkeypatch
):
    """The first call wants to be tried again; by then the disk is full, so the second is not paid for."""
    model_server.default = lambda _: error(503, "busy")
    monkeypatch.setattr(disk, "look", lambda _: disk.Room(1 if model_server.calls else 10**12, 500_000_000))
    attempt = builders.ask_and_run(session, settings, twin)
    assert len(model_server.calls) == 1
    assert (attempt.state, attempt.reason, attempt.reason_class) == (
        AttemptState.failed, "disk_low", ReasonClass.operational,
    )  # fmt: skip
    assert attempt.detail.startswith("Disk is low: 1 bytes free, 500 MB are wanted.")
    assert session.scalar(select(func.count(ModelCall.id))) == 1
    assert ledger(session).adds_up


@pytest.mark.parametrize("overrides", [FULL], indirect=True)
def test_a_command_in_the_foreground_stores_nothing_and_says_why(
    overrides, settings, session, twin, model_server, runner
):
    result = runner.invoke(args=["generate-dt-post", "--twin", "maya", "--force"])
    assert result.exit_code == 1
    assert result.stderr.startswith("Disk is low: ") and "PDS_MIN_FREE" in result.stderr
    with pytest.raises(DiskLow):
        generate_digital_twin_post()
    assert session.scalar(select(func.count(Attempt.id))) == 0
    assert model_server.calls == []


@pytest.mark.parametrize("overrides", [FULL], indirect=True)
def test_a_token_is_not_tested_while_disk_is_low(overrides, settings, session, twin, model_server):
    found = asyncio.run(token_tests.test_token(twin.api_token_id, settings, utc_now))
    assert not found.ok and found.steps[0].detail.startswith("Disk is low")
    assert model_server.history == []


@pytest.mark.parametrize("overrides", [FULL], indirect=True)
def test_doctor_fails_with_the_remedy(overrides, settings, runner, study):
    settings.data_dir.mkdir(parents=True, exist_ok=True)  # which nothing needs beside a server
    lines = [json.loads(line) for line in runner.invoke(args=["doctor", "--json"]).stdout.splitlines()]
    (found,) = [line for line in lines if line["name"] == "data folder"]
    assert found["state"] == "fail"
    assert "Disk is low" in found["detail"] and "PDS_MIN_FREE" in found["detail"]


def test_a_watch_speaks_twice_once_at_each_end(settings, monkeypatch, capsys):
    watch = disk.DiskWatch(settings)
    free = [10**12]
    monkeypatch.setattr(disk, "look", lambda _: disk.Room(free[0], 500_000_000))
    assert watch.has_room()
    free[0] = 312_000_000
    assert not watch.has_room() and not watch.has_room()
    free[0] = 10**12
    assert watch.has_room() and watch.has_room()
    said = capsys.readouterr().err
    assert said.count("disk is low") == 1 and "312 MB free" in said
    assert said.count("disk has room again") == 1
