"""Restoring: into an empty folder only, checked, migrated, and paused until the other copy is off."""

import json
import sqlite3
from contextlib import closing, contextmanager

import pytest
import sqlalchemy as sa
from cryptography.fernet import Fernet
from flask_migrate import downgrade, upgrade

from pdsapp import create_app
from pdsapp.database import transaction
from pdsapp.extensions import db
from pdsapp.models import Attempt, Installation, UserProfile, utc_now
from pdsapp.services import backups, erasing, tombstones, withdrawals
from pdsapp.services.database import head_revision
from pdsapp.stack.lock import StackLock, prepare_data_dir
from tests import builders
from tests.conftest import TEST_DATABASE_URL, _settings

pytestmark = pytest.mark.skipif(TEST_DATABASE_URL is not None, reason="the embedded database is SQLite")


@pytest.fixture
def backup(settings, session, study, twin, tmp_path):
    """A backup of a study with a posted attempt, one that is due, and a stored key."""
    assert builders.ask_and_run(session, settings, twin).state == "posted"
    builders.add_attempt(twin)
    file = tmp_path / "copy.sqlite3"
    backups.copy_database(settings.data_dir / backups.DATABASE_NAME, file)
    return file


@pytest.fixture
def keys(settings, tmp_path):
    file = tmp_path / "fernet_keys"
    file.write_text(settings.require("fernet_keys") + "\n")
    return file


def _row(path, statement):
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(statement).fetchone()


@contextmanager
def restored(folder, **changes):
    """The restored installation's application."""
    app = create_app(_settings(folder, None, **changes), with_web=False)
    with app.app_context():
        yield app
        db.session.remove()
        db.engine.dispose()


def test_a_backup_becomes_an_installation_of_its_own_that_is_paused(runner, backup, keys, tmp_path):
    folder = tmp_path / "new"
    result = runner.invoke(args=["restore", str(backup), "--data-dir", str(folder), "--keys", str(keys)])
    assert result.exit_code == 0, result.stderr
    assert "The ledger adds up." in result.stdout
    assert "All 1 stored API keys can be read." in result.stdout
    database = folder / backups.DATABASE_NAME
    assert _row(database, "SELECT is_paused, paused_reason, paused_by FROM installation") == (
        1, "Restored from copy.sqlite3, resume when the other copy is off.", "flask restore",
    )  # fmt: skip
    assert _row(database, "SELECT count(*) FROM attempt") == (2,)
    assert sorted(path.name for path in folder.iterdir()) == [
        "discourse_twins.sqlite3", "fernet_keys", "stack.lock",
    ]  # fmt: skip
    assert {path.stat().st_mode & 0o077 for path in folder.iterdir()} == {0}
    assert _row(backup, "SELECT is_paused FROM installation") == (0,), "the backup itself is as it was"


def test_who_has_withdrawn_since_is_erased_from_it_again(
    runner, settings, session, study, twin, keys, tmp_path
):
    anna = builders.make_person(study, "anna_k")
    builders.make_post(anna, "My sister lost her job at the harbour in May.")
    builders.add_attempt(twin)
    with transaction() as writing:  # a worker had it when the backup was made
        writing.execute(sa.update(Attempt).values(state="running", lease_until=utc_now()))
    folder = settings.data_dir / backups.FOLDER
    folder.mkdir()
    file = folder / "daily-2026-11-01.sqlite3"
    backups.copy_database(settings.data_dir / backups.DATABASE_NAME, file)
    with transaction() as writing:
        writing.execute(sa.update(Attempt).values(state="due"))
        withdrawals.ask(writing, writing.get_one(UserProfile, anna.id), "anna_k", utc_now())
    erasing.erase_for(5)
    new = tmp_path / "new"
    done = runner.invoke(args=["restore", str(file), "--data-dir", str(new), "--keys", str(keys)])
    assert done.exit_code == 0, done.stderr
    assert "1 person has withdrawn since that backup, and was erased from it again." in done.stdout
    pseudonym = session.scalars(sa.select(UserProfile.username).where(UserProfile.id == anna.id)).one()
    assert _row(new / backups.DATABASE_NAME, "SELECT pseudonym FROM withdrawal") == (pseudonym,)
    held = (new / backups.DATABASE_NAME).read_bytes()
    assert b"anna_k" not in held and b"lost her job" not in held
    assert _row(new / backups.DATABASE_NAME, "SELECT count(*) FROM post") == (1,)
    assert [each.profile for each in tombstones.read(new / backups.FOLDER / tombstones.NAME)] == [anna.uuid]


def test_nothing_is_posted_by_the_restored_copy_before_it_is_resumed(
    runner, backup, keys, tmp_path, model_server
):
    folder = tmp_path / "new"
    runner.invoke(args=["restore", str(backup), "--data-dir", str(folder), "--keys", str(keys)])
    calls = len(model_server.calls)
    with restored(folder) as app:
        assert builders.run_due(app.extensions["settings"]) == {"cancelled": 1}
        assert len(model_server.calls) == calls
        with transaction() as session:
            session.get_one(Installation, 1).is_paused = False
        (twin,) = (
            app.test_cli_runner()
            .invoke(args=["generate-dt-post", "--force", "--json"])
            .stdout.split("\n")[:1]
        )
        assert json.loads(twin)["state"] == "posted", "the restored key works"


def test_without_the_key_file_it_says_that_keys_must_be_entered_again_and_so_does_doctor(
    runner, backup, tmp_path
):
    folder = tmp_path / "new"
    result = runner.invoke(args=["restore", str(backup), "--data-dir", str(folder)])
    assert result.exit_code == 0, result.stderr
    assert "1 of 1 stored API keys cannot be read" in result.stderr
    assert "Enter them again" in result.stderr
    assert _row(folder / backups.DATABASE_NAME, "SELECT count(*) FROM post") == (1,)
    with restored(folder, PDS_FERNET_KEYS=Fernet.generate_key().decode()) as app:
        lines = app.test_cli_runner().invoke(args=["doctor", "--json"]).stdout.splitlines()
    found = [json.loads(line) for line in lines]
    (check,) = [each for each in found if each["name"] == "secrets" and each["state"] == "fail"]
    assert "cannot be decrypted" in check["detail"] and "Enter it again" in check["detail"]


def test_a_key_file_beside_the_backup_is_used(runner, backup, keys, tmp_path):
    keys.rename(tmp_path / "copy.sqlite3.keys")
    result = runner.invoke(args=["restore", str(backup), "--data-dir", str(tmp_path / "new")])
    assert "All 1 stored API keys can be read." in result.stdout


def test_keys_of_the_environment_that_win_at_the_start_are_counted_with(
    runner, backup, keys, tmp_path, monkeypatch
):
    monkeypatch.setenv("PDS_FERNET_KEYS", Fernet.generate_key().decode())
    folder = tmp_path / "new"
    result = runner.invoke(args=["restore", str(backup), "--data-dir", str(folder), "--keys", str(keys)])
    assert result.exit_code == 0, result.stderr
    assert "1 of 1 stored API keys cannot be read as long as PDS_FERNET_KEYS is set" in result.stderr
    assert "can be read." not in result.stdout
    monkeypatch.setenv("PDS_FERNET_KEYS", f"{Fernet.generate_key().decode()},{keys.read_text().strip()}")
    again = runner.invoke(args=["restore", str(backup), "--data-dir", str(tmp_path / "two")])
    assert "All 1 stored API keys can be read." in again.stdout, again.stderr


def test_the_command_that_starts_it_can_be_pasted(runner, backup, tmp_path, monkeypatch):
    folder = tmp_path / "my twins"
    result = runner.invoke(args=["restore", str(backup), "--data-dir", str(folder)])
    assert f"Start it: PDS_DATA_DIR='{folder}' make run" in result.stdout
    monkeypatch.setenv("DATABASE_URL", "postgresql+psycopg://u@h/d")
    result = runner.invoke(args=["restore", str(backup), "--data-dir", str(tmp_path / "two")])
    assert "Start it without DATABASE_URL: PDS_DATA_DIR=" in result.stdout


def test_the_pause_is_in_the_audit_trail(runner, backup, tmp_path):
    runner.invoke(args=["restore", str(backup), "--data-dir", str(tmp_path / "new")])
    events = "SELECT action, actor, json_extract(after, '$.reason') FROM audit_event ORDER BY id DESC"
    assert _row(tmp_path / "new" / backups.DATABASE_NAME, events) == (
        "pause", "flask restore", "Restored from copy.sqlite3, resume when the other copy is off.",
    )  # fmt: skip


def test_keys_that_are_there_already_are_kept_behind_those_of_the_backup(runner, backup, keys, tmp_path):
    folder = tmp_path / "new"
    folder.mkdir()
    mine = Fernet.generate_key().decode()
    (folder / "fernet_keys").write_text(mine)
    result = runner.invoke(args=["restore", str(backup), "--data-dir", str(folder), "--keys", str(keys)])
    assert result.exit_code == 0, result.stderr
    assert (folder / "fernet_keys").read_text() == f"{keys.read_text().strip()},{mine}"


def test_a_backup_of_an_older_version_is_migrated(app, runner, settings, study, tmp_path):
    downgrade(revision="0001")
    db.session.remove()
    db.engine.dispose()
    file = tmp_path / "old.sqlite3"
    backups.copy_database(settings.data_dir / backups.DATABASE_NAME, file)
    upgrade()
    result = runner.invoke(args=["restore", str(file), "--data-dir", str(tmp_path / "new")])
    assert result.exit_code == 0, result.stderr
    assert "Migrated to this version." in result.stdout
    database = tmp_path / "new" / backups.DATABASE_NAME
    assert _row(database, "SELECT version_num FROM alembic_version") == (head_revision(),)
    assert _row(database, "SELECT is_paused FROM installation") == (1,)
    assert _row(file, "SELECT version_num FROM alembic_version") == ("0001",)
    assert sorted(p.name for p in database.parent.iterdir()) == ["discourse_twins.sqlite3", "stack.lock"]


def _strange(path):
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE other (id INTEGER)")


def _newer(path):
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")


def _broken(path):
    body = bytearray(path.read_bytes())
    body[20480:24576] = b"\xff" * 4096
    path.write_bytes(body)


def _dangling(path):
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE attempt SET digital_twin_id = 4711")


def _without(table, column):
    def spoil(path):
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute(f"ALTER TABLE {table} DROP COLUMN {column}")

    return spoil


def _older_than_it_is(path):
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '0001'")


@pytest.mark.parametrize(
    ("spoil", "code", "said"),
    [
        pytest.param(lambda p: p.unlink(), 2, "There is no file", id="no file"),
        pytest.param(
            lambda p: p.write_text("hello" * 200), 2, "not a backup of Discourse Twins", id="a text"
        ),
        pytest.param(lambda p: (p.unlink(), _strange(p)), 2, "not one of Discourse Twins", id="another's"),
        pytest.param(_newer, 2, "newer version", id="newer"),
        pytest.param(_broken, 1, "Take another backup", id="damaged"),
        pytest.param(_dangling, 1, "points at a row of", id="dangling"),
        pytest.param(_without("installation", "paused_by"), 2, "not those of that revision", id="a column"),
        pytest.param(_without("post", "is_stand_in"), 2, "not those of that revision", id="another column"),
        pytest.param(_older_than_it_is, 2, "not those of that revision", id="another revision"),
    ],
)
def test_what_is_no_good_backup_is_refused_and_leaves_nothing(runner, backup, tmp_path, spoil, code, said):
    spoil(backup)
    folder = tmp_path / "new"
    result = runner.invoke(args=["restore", str(backup), "--data-dir", str(folder)])
    assert (result.exit_code, said in result.stderr) == (code, True), result.stderr
    assert "Traceback" not in result.output
    assert not folder.exists() or [path.name for path in folder.iterdir()] == ["stack.lock"]


@pytest.mark.parametrize(
    ("file", "said"),
    [
        pytest.param(".", "is a folder", id="here"),
        pytest.param("", "is a folder", id="nothing"),
        pytest.param("/", "is a folder", id="root"),
        pytest.param("x" * 256, "There is no file", id="long"),
    ],
)
def test_a_name_that_is_no_file_s_is_refused(runner, app, tmp_path, file, said):
    result = runner.invoke(args=["restore", file, "--data-dir", str(tmp_path / "new")])
    assert (result.exit_code, said in result.stderr) == (2, True), result.output


def test_a_backup_with_the_longest_name_is_restored(runner, backup, tmp_path):
    file = backup.rename(tmp_path / ("x" * 252))
    result = runner.invoke(args=["restore", str(file), "--data-dir", str(tmp_path / "new")])
    assert result.exit_code == 0, result.output
    too_long = runner.invoke(args=["restore", str(file), "--data-dir", str(tmp_path / ("y" * 256))])
    assert (too_long.exit_code, "too long" in too_long.stderr) == (1, True), too_long.output


def test_a_folder_that_holds_anything_is_left_alone(runner, backup, settings, tmp_path):
    before = (settings.data_dir / backups.DATABASE_NAME).read_bytes()
    result = runner.invoke(args=["restore", str(backup), "--data-dir", str(settings.data_dir)])
    assert (result.exit_code, "is not empty" in result.stderr) == (2, True)
    assert (settings.data_dir / backups.DATABASE_NAME).read_bytes() == before


def test_a_folder_in_which_a_stack_runs_is_refused(runner, backup, tmp_path):
    folder = prepare_data_dir(tmp_path / "new")
    with StackLock(folder) as lock:
        lock.announce("http://127.0.0.1:8000")
        result = runner.invoke(args=["restore", str(backup), "--data-dir", str(folder)])
    assert result.exit_code == 1
    assert "Another stack already uses the data directory" in result.stderr
    assert not (folder / backups.DATABASE_NAME).exists()


def test_a_key_file_that_holds_no_key_is_named(runner, backup, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("not a key")
    result = runner.invoke(
        args=["restore", str(backup), "--data-dir", str(tmp_path / "new"), "--keys", str(keys)]
    )
    assert (result.exit_code, "holds no usable keys" in result.stderr) == (2, True)


def test_what_a_killed_restore_has_left_does_not_stand_in_the_way(runner, backup, tmp_path):
    folder = tmp_path / "new"
    (folder / ".restoring-4711").mkdir(parents=True)
    (folder / ".restoring-4711" / backups.DATABASE_NAME).write_bytes(b"half")
    result = runner.invoke(args=["restore", str(backup), "--data-dir", str(folder)])
    assert result.exit_code == 0, result.stderr
    assert sorted(path.name for path in folder.iterdir()) == ["discourse_twins.sqlite3", "stack.lock"]
