"""What people pause, stop and resume while `flask move` is at work, and what its own pause leaves behind."""

import os
import signal
import sqlite3
from contextlib import closing, contextmanager
from datetime import timedelta

import pytest
import sqlalchemy as sa

from pdsapp.database import transaction
from pdsapp.errors import BadInput, CopyFailed
from pdsapp.extensions import db
from pdsapp.models import Attempt, Installation, utc_now
from pdsapp.services import backups, move, pauses
from tests import builders
from tests.conftest import KEYS
from tests.service.moving import pause_of, trail


@pytest.fixture
def target(tmp_path):
    """A new SQLite file: the command wants another kind of database, the rules are the same."""
    return tmp_path / "away" / backups.DATABASE_NAME


def moved(app, target, say=lambda _: None):
    return move.move(app, sa.make_url(f"sqlite:///{target}"), KEYS, utc_now(), say)


def at(table, do):
    """A `say` for `move` that does something in a transaction when the move is at this table."""

    def say(what):
        if what == table:
            with transaction() as session:
                do(session, utc_now())

    return say


def fails(monkeypatch):
    """Lets moves fail after everything was compared."""

    def failing(_):
        raise sa.exc.OperationalError("x", {}, Exception("gone"))

    monkeypatch.setattr(move, "set_sequences", failing)


def paused_by_ann(session, now):
    pauses.pause_everything(session, now, "exam week")


def stopped_by_ann(session, now):
    pauses.stop_everything(session, now)


def resumed(session, now):
    pauses.resume_everything(session, now)


def installation_row():
    with transaction() as session:
        return session.get_one(Installation, 1)


def test_a_move_that_fails_gives_the_pause_back_and_both_are_in_the_trail(home, target, monkeypatch):
    fails(monkeypatch)
    with pytest.raises(CopyFailed, match="The target is empty, the source as it was"):
        moved(home, target)
    with transaction() as session:
        assert pause_of(session) == (False, "")
    assert [event[:2] for event in trail()] == [("pause", "flask move"), ("resume", "flask move")]
    assert not target.exists()


@pytest.mark.parametrize("before", [False, True], ids=["running before", "paused before"])
@pytest.mark.parametrize(
    ("do", "stopped", "by", "reason"),
    [
        pytest.param(stopped_by_ann, True, "command line", "", id="stop"),
        pytest.param(paused_by_ann, False, "command line", "exam week", id="pause"),
    ],
)
def test_what_somebody_paused_or_stopped_meanwhile_outlives_a_move_that_fails(
    home, target, monkeypatch, do, stopped, by, reason, before
):
    if before:
        with transaction() as session:
            pauses.pause_everything(session, utc_now(), "holidays")
    fails(monkeypatch)
    with pytest.raises(CopyFailed, match="as somebody has paused, stopped or resumed it meanwhile"):
        moved(home, target, at("post", do))
    row = installation_row()
    assert (row.is_paused, row.is_stopped, row.paused_by, row.paused_reason) == (True, stopped, by, reason)


def test_a_stop_lets_the_move_itself_fail_too(home, target):
    with pytest.raises(CopyFailed, match="Somebody paused or stopped everything"):
        moved(home, target, at("post", stopped_by_ann))
    assert installation_row().is_stopped
    assert not target.exists()


def _resumed_and_paused(session, now):
    resumed(session, now)
    paused_by_ann(session, now)


@pytest.mark.parametrize("moment", ["account", "post", "checks"])
@pytest.mark.parametrize(
    ("do", "said", "is_paused"),
    [
        pytest.param(resumed, "was resumed while it was being moved", False, id="resumed"),
        pytest.param(_resumed_and_paused, "Somebody paused or stopped", True, id="resumed and paused"),
    ],
)
def test_a_source_that_was_live_meanwhile_is_not_moved(home, target, moment, do, said, is_paused):
    with pytest.raises(CopyFailed, match=said):
        moved(home, target, at(moment, do))
    assert installation_row().is_paused == is_paused
    assert not target.exists()


def test_nobody_can_resume_the_source_in_the_moment_the_target_gets_its_name(home, target, monkeypatch):
    publish, found = backups._publish, []

    def looking(draft, path):
        with closing(sqlite3.connect(db.engine.url.database, timeout=0.1)) as other:
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                other.execute("UPDATE installation SET is_paused = 0")
            found.append(other.execute("SELECT paused_reason FROM installation").fetchone()[0])
        publish(draft, path)

    monkeypatch.setattr(backups, "_publish", looking)
    moved(home, target)
    assert found[0].startswith("Being moved to ")
    assert installation_row().paused_reason.startswith("Moved to ")
    assert target.exists()


def test_a_source_that_cannot_be_written_at_the_end_stays_paused_and_that_is_said(home, target, monkeypatch):
    @contextmanager
    def held(*_):
        yield
        raise sa.exc.OperationalError("x", {}, Exception("gone"))

    monkeypatch.setattr(move, "_held", held)
    with pytest.raises(CopyFailed, match="has everything, but that could not be written down in the source"):
        moved(home, target)
    row = installation_row()
    assert row.is_paused and row.paused_reason.startswith("Being moved to ")
    assert target.exists()


def test_what_is_claimed_between_the_look_and_the_pause_is_waited_for(home, target, model_server):
    token = builders.make_token(home.extensions["settings"], model_server.base_url)
    twin = builders.make_twin(builders.make_experiment(), "maya", token)
    attempt = builders.add_attempt(twin)
    with transaction() as session:
        session.execute(
            sa.update(Attempt)
            .where(Attempt.id == attempt)
            .values(state="running", lease_until=utc_now() + timedelta(seconds=30))
        )
    with pytest.raises(BadInput, match="1 attempts of the source are still running"):
        moved(home, target)
    assert not installation_row().is_paused and trail() == []
    with transaction() as session:
        session.execute(sa.update(Attempt).values(lease_until=utc_now() - timedelta(seconds=1)))
    assert moved(home, target).rows, "what a dead worker has left goes along"


def test_a_pause_over_that_of_a_finished_move_leaves_its_reason(home, target):
    moved(home, target)
    with transaction() as session:
        effect = pauses.pause_everything(session, utc_now(), "exam week")
    assert not effect.changed and installation_row().paused_reason.startswith("Moved to ")


def test_a_damaged_source_is_called_damaged_and_not_an_unwritable_target(home, target, monkeypatch):
    error = sqlite3.DatabaseError("database disk image is malformed")
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT_INDEX
    monkeypatch.setattr(move, "copy_table", lambda *_: (_ for _ in ()).throw(error))
    with pytest.raises(CopyFailed, match=r"The database is damaged \(database disk image is malformed\)"):
        moved(home, target)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_command_that_is_told_to_end_gives_the_pause_back(home, runner, target, monkeypatch, number):
    monkeypatch.setattr(move, "parse", lambda _: sa.make_url(f"sqlite:///{target}"))
    monkeypatch.setattr(move, "copy_table", lambda *_: os.kill(os.getpid(), number))
    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGHUP)}
    try:
        assert runner.invoke(args=["move", "--to", "anywhere"]).exit_code != 0
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
    assert not installation_row().is_paused
    assert not target.exists()
