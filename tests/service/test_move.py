"""Moving between SQLite and PostgreSQL: every row, checked, and never two live copies."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask_migrate import upgrade
from sqlalchemy.orm import Session

from pdsapp.database import transaction
from pdsapp.extensions import db
from pdsapp.models import Installation, ProcessKind, utc_now
from pdsapp.services import heartbeats, move_rows
from pdsapp.services.database import prepare
from pdsapp.services.ledger import ledger
from pdsapp.stack.lock import StackLock
from tests import builders
from tests.conftest import KEYS, _admin_engine
from tests.service.moving import (
    everything,
    furnish,
    installation,
    move,
    needs_both,
    pause_of,
    trail,
    without_pause,
)

ROOT = Path(__file__).resolve().parents[2]


@needs_both
def test_every_row_arrives_and_only_the_target_lives(home, empty, model_server, tmp_path):
    twin = furnish(home, model_server)
    before = everything()
    result = move(home, empty)
    assert result.exit_code == 0, result.stderr
    assert "Checked on both sides" in result.stdout and "The ledger adds up." in result.stdout
    assert "All 1 stored API keys can be read" in result.stdout
    assert without_pause(everything()) == without_pause(before)
    with transaction() as session:
        paused, reason = pause_of(session)
    assert paused and reason.startswith("Moved to postgresql://") and reason.endswith("only if you go back.")
    assert builders.run_due(home.extensions["settings"]) == {"cancelled": 1}, "the source asks nobody"
    moving, moved = [event[3] for event in trail()]
    assert [event[:2] for event in trail()] == [("pause", "flask move")] * 2
    assert moving.startswith("Being moved to ") and moved == reason
    with installation(tmp_path / "away", empty) as away:
        assert everything() == before
        assert trail() == [
            ("pause", "flask move", "", moving),
            ("resume", "flask move", moving, ""),
        ], "its history says when it was paused and that it is no more"
        assert home.extensions["settings"].sqlalchemy_url != away.extensions["settings"].sqlalchemy_url
        with transaction() as session:
            assert pause_of(session) == (False, "")
        with Session(db.engine) as session:
            assert builders.run_due(away.extensions["settings"]) == {"posted": 1}
            made = builders.ask_and_run(session, away.extensions["settings"], twin)
            assert made.state == "posted", "new ids follow the copied ones"
            assert ledger(session).adds_up


@needs_both
def test_and_back_again_into_a_new_file(home, empty, model_server, tmp_path):
    twin = furnish(home, model_server)
    assert move(home, empty).exit_code == 0
    with installation(tmp_path / "away", empty) as away:
        before = everything()
        file = tmp_path / "back" / "discourse_twins.sqlite3"
        result = move(away, f"sqlite:///{file}")
        assert result.exit_code == 0, result.stderr
        with transaction() as session:
            assert pause_of(session)[0]
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in file.parent.iterdir()] == ["discourse_twins.sqlite3"]
    with installation(tmp_path / "back") as back:
        assert everything() == before
        with Session(db.engine) as session:
            assert not pause_of(session)[0]
            session.rollback()
            assert builders.run_due(back.extensions["settings"]) == {"posted": 1}
            assert builders.ask_and_run(session, back.extensions["settings"], twin).state == "posted"
            assert session.scalar(sa.text("PRAGMA integrity_check")) == "ok"
            assert session.execute(sa.text("PRAGMA foreign_key_check")).all() == []


@needs_both
def test_a_file_of_a_name_the_product_does_not_look_for_is_refused(empty, tmp_path):
    with installation(tmp_path / "away", empty) as away:
        upgrade()
        prepare(away)
        for name in ("twins.db", "discourse_twins.sqlite3.new"):
            result = move(away, f"sqlite:///{tmp_path}/back/{name}")
            assert (result.exit_code, "must be called discourse_twins.sqlite3" in result.stderr) == (2, True)
        assert not (tmp_path / "back").exists()


@needs_both
def test_the_command_that_starts_the_moved_copy_can_be_pasted(empty, tmp_path):
    folder = tmp_path / "my twins"
    with installation(tmp_path / "away", empty) as away:
        upgrade()
        prepare(away)
        result = move(away, f"sqlite:///{folder}/discourse_twins.sqlite3")
    assert f"PDS_DATA_DIR='{folder}' make run" in result.stdout, result.stderr


@needs_both
def test_a_paused_source_gives_a_paused_target(home, empty, tmp_path):
    with transaction() as session:
        found = session.get_one(Installation, 1)
        found.is_paused, found.paused_reason, found.paused_by = True, "Holidays.", "ann@b.example"
    assert move(home, empty).exit_code == 0
    with installation(tmp_path / "away", empty), transaction() as session:
        assert pause_of(session) == (True, "Holidays.")


def tables_of(url):
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        return sa.inspect(connection).get_table_names()


@needs_both
@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        pytest.param("text = 'a' || char(0) || 'b'", "NUL", id="a NUL"),
        pytest.param("revision = 5000000000", "table post, column revision", id="a number too large"),
    ],
)
def test_a_row_the_target_cannot_hold_leaves_it_empty_and_the_source_as_it_was(
    home, empty, model_server, spoil, said
):
    furnish(home, model_server)
    with transaction() as session:
        session.execute(sa.text(f"UPDATE post SET {spoil} WHERE id = 1"))
    with db.engine.connect() as connection:
        before = connection.execute(sa.text("SELECT * FROM installation")).all()
    result = move(home, empty)
    assert (result.exit_code, said in result.stderr) == (1, True), result.stderr
    assert result.stderr.rstrip().endswith("The target is empty, the source as it was.")
    assert tables_of(empty) == []
    with db.engine.connect() as connection:
        assert connection.execute(sa.text("SELECT * FROM installation")).all() == before


@needs_both
def test_a_difference_between_the_sides_is_found_and_nothing_is_kept(home, empty, model_server, monkeypatch):
    furnish(home, model_server)
    fill_in = move_rows._fill_in
    monkeypatch.setattr(move_rows, "_fill_in", lambda *_: None)
    result = move(home, empty)
    assert (result.exit_code, "The target differs from the source in: post." in result.stderr) == (1, True)
    assert tables_of(empty) == []
    monkeypatch.setattr(move_rows, "_fill_in", fill_in)
    assert move(home, empty).exit_code == 0


@needs_both
def test_killed_halfway_the_target_is_empty_and_the_source_stays_paused(home, empty, model_server):
    furnish(home, model_server)
    code = (
        "import os, signal, sys; from pdsapp import create_app; from pdsapp.services import move; "
        "from pdsapp.models import utc_now\n"
        "app = create_app(with_web=False)\n"
        "say = lambda what: what == 'post' and os.kill(os.getpid(), signal.SIGKILL)\n"
        "with app.app_context(): move.move(app, move.parse(sys.argv[1]), sys.argv[2], utc_now(), say)"
    )
    environment = {
        **os.environ,
        "PDS_DATA_DIR": str(home.extensions["settings"].data_dir),
        "SECRET_KEY": "x",
        "PDS_FERNET_KEYS": KEYS,
    }
    killed = subprocess.run([sys.executable, "-c", code, empty, KEYS], cwd=ROOT, env=environment, check=False)
    assert killed.returncode == -signal.SIGKILL
    with transaction() as session:
        paused, reason = pause_of(session)
    assert paused and reason.startswith("Being moved to postgresql://") and "If that failed, resume" in reason
    with _admin_engine().connect() as admin:  # the server may not have noticed the death yet
        admin.execute(
            sa.text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"),
            {"name": sa.make_url(empty).database},
        )
    assert tables_of(empty) == []


@needs_both
def test_a_database_that_is_at_head_and_empty_is_taken_and_one_that_holds_rows_is_not(
    home, empty, model_server, tmp_path
):
    with installation(tmp_path / "away", empty) as away:
        upgrade()
        prepare(away)
    assert move(home, empty).exit_code == 0
    with transaction() as session:
        session.get_one(Installation, 1).is_paused = False
    furnish(home, model_server)
    with installation(tmp_path / "away", empty):
        builders.make_experiment("Somebody's")
    again = move(home, empty)
    assert (again.exit_code, "The target is not empty" in again.stderr) == (2, True), again.stderr
    with transaction() as session:
        assert not pause_of(session)[0]


@needs_both
def test_a_database_with_tables_of_something_else_is_refused(home, empty):
    with sa.create_engine(empty, poolclass=sa.NullPool).begin() as connection:
        connection.execute(sa.text("CREATE TABLE invoice (id INTEGER)"))
    result = move(home, empty)
    assert (result.exit_code, "tables of something else (invoice)" in result.stderr) == (2, True)


@needs_both
def test_the_password_is_neither_shown_nor_stored(home, empty, tmp_path):
    url = sa.make_url(empty).set(password="hunter2").render_as_string(hide_password=False)
    result = move(home, url)
    assert result.exit_code == 0, result.stderr
    assert "hunter2" not in result.output + result.stderr
    for path in (tmp_path / "home").rglob("*"):
        assert path.is_dir() or b"hunter2" not in path.read_bytes()


@needs_both
def test_backing_up_postgresql_says_how(tmp_path, empty):
    url = sa.make_url(empty).set(password="hunter2").render_as_string(hide_password=False)
    with installation(tmp_path / "away", url) as away:
        result = away.test_cli_runner().invoke(args=["backup", str(tmp_path / "copy.dump")])
    assert result.exit_code == 2
    assert "hunter2" not in result.stderr
    command = next(line.strip() for line in result.stderr.splitlines() if "pg_dump" in line)
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "copy.dump").stat().st_size > 0


@pytest.mark.parametrize(
    ("url", "said"),
    [
        pytest.param("twins", "no address of a database", id="a word"),
        pytest.param("mysql://u:hunter2@h/d", "no address of a database", id="another kind"),
        pytest.param("postgres://u:hunter2@h/d", "no address of a database", id="the old name"),
        pytest.param("postgresql+psycopg://u:hunter2@h", "no address of a database", id="no name"),
        pytest.param(
            "sqlite:////tmp/discourse_twins.sqlite3", "flask backup and flask restore", id="the same kind"
        ),
    ],
)
def test_an_address_that_cannot_be_used_is_refused_without_repeating_it(home, url, said):
    result = move(home, url)
    assert (result.exit_code, said in result.stderr) == (2, True), result.stderr
    assert "hunter2" not in result.stderr


def test_a_server_that_does_not_answer_leaves_the_source_as_it_was(home):
    result = move(home, "postgresql+psycopg://u:hunter2@127.0.0.1:1/d")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith("postgresql://127.0.0.1:1/d does not answer, or not any")
    assert result.stderr.rstrip().endswith("any more. The source is as it was."), "it was not reached"
    with transaction() as session:
        assert pause_of(session) == (False, "")


def _nowhere(app):
    return move(app, "postgresql+psycopg://u@127.0.0.1:1/d").stderr


def test_a_source_at_work_is_refused_unless_it_is_paused(home):
    with transaction() as session:
        heartbeats.beat(session, ProcessKind.worker, "w1", utc_now(), "default")
    assert "The source is at work (a worker is alive)" in _nowhere(home)
    with transaction() as session:
        session.get_one(Installation, 1).is_paused = True
    assert "does not answer" in _nowhere(home)


def test_a_paused_source_with_an_attempt_at_work_is_asked_to_wait(home, model_server):
    twin = furnish(home, model_server, posts=0)
    with transaction() as session:
        heartbeats.beat(session, ProcessKind.worker, "w1", utc_now(), "default")
        session.get_one(Installation, 1).is_paused = True
        session.execute(sa.text("UPDATE attempt SET state = 'running'"))
    assert twin is not None
    assert "1 attempts of the source are still running" in _nowhere(home)


def test_a_stack_that_runs_on_the_source_is_refused(home):
    with StackLock(home.extensions["settings"].data_dir) as lock:
        lock.announce("http://127.0.0.1:8000")
        assert "The source is at work (the local stack is alive)" in _nowhere(home)


def test_rows_that_differ_have_different_sums_whatever_their_order():
    first, second, third = move_rows.TableSum(), move_rows.TableSum(), move_rows.TableSum()
    rows = [(1, "a", {"x": 1e16}), (2, "b", None)]
    for row in rows:
        first.add(row[:1], row)
    for row in [(2, "b", None), (1, "a", {"x": 10**16})]:
        second.add(row[:1], row)
    for row in [(1, "a", {"x": 1e16}), (2, "b", False)]:
        third.add(row[:1], row)
    assert first == second
    assert (first.count, first.keys) == (third.count, third.keys) and first.content != third.content


def test_every_table_is_moved_after_those_it_points_at(home):
    seen = set()
    for table in move_rows.tables():
        for key in table.foreign_keys:
            assert key.column.table is table or key.column.table.name in seen
        seen.add(table.name)
    assert seen == set(sa.inspect(db.engine).get_table_names()) - {"alembic_version"}
