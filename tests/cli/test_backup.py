"""`flask backup`: what it saves and says, which keys it writes, and what it refuses."""

import os
import shlex
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from cryptography.fernet import Fernet

from pdsapp import create_app
from pdsapp.services import backups
from tests import builders
from tests.conftest import TEST_DATABASE_URL, _settings

pytestmark = pytest.mark.skipif(TEST_DATABASE_URL is not None, reason="the embedded database is SQLite")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def study(app):
    return builders.make_experiment()


def _experiments(file):
    with closing(sqlite3.connect(file)) as connection:
        return [name for (name,) in connection.execute("SELECT name FROM experiment")]


def test_the_command_says_what_it_saved_and_overwrites_nothing(runner, study, tmp_path):
    file = tmp_path / "copy.sqlite3"
    result = runner.invoke(args=["backup", str(file)])
    assert result.exit_code == 0, result.stderr
    assert "rows in" in result.stdout
    assert _experiments(file) == [study.name]
    again = runner.invoke(args=["backup", str(file)])
    assert (again.exit_code, "exists already" in again.stderr) == (2, True)


@pytest.fixture
def key_file(settings):
    """`key_file(text)` puts a key file into the data dir."""

    def write(text):
        (settings.data_dir / "fernet_keys").write_text(text)
        return settings.data_dir / "fernet_keys"

    return write


def test_the_keys_in_force_come_along_when_asked_for_with_a_warning(
    runner, settings, study, key_file, tmp_path
):
    key_file(Fernet.generate_key().decode())  # of the first run; PDS_FERNET_KEYS wins since
    result = runner.invoke(args=["backup", str(tmp_path / "copy.sqlite3"), "--with-keys"])
    assert result.exit_code == 0, result.stderr
    keys = tmp_path / "copy.sqlite3.keys"
    assert (keys.read_text(), keys.stat().st_mode & 0o777) == (settings.require("fernet_keys"), 0o600)
    assert "Keep them apart" in result.stderr


def test_keys_of_the_environment_come_along_where_there_is_no_key_file(runner, settings, study, tmp_path):
    runner.invoke(args=["backup", str(tmp_path / "copy.sqlite3"), "--with-keys"])
    assert (tmp_path / "copy.sqlite3.keys").read_text() == settings.require("fernet_keys")


def test_it_names_the_place_whose_keys_are_in_force(runner, settings, study, key_file, tmp_path, monkeypatch):
    def said(name):
        return runner.invoke(args=["backup", str(tmp_path / name)]).stdout.splitlines()[-1]

    assert said("none").startswith("Not in it: the value of PDS_FERNET_KEYS, without")
    key_file(Fernet.generate_key().decode())
    assert said("stale").startswith("Not in it: the value of PDS_FERNET_KEYS, without")
    monkeypatch.setenv("PDS_FERNET_KEYS_FILE", "/run/secrets/keys")
    assert said("file").startswith(
        "Not in it: the key file /run/secrets/keys that PDS_FERNET_KEYS_FILE names"
    )
    path = key_file(settings.require("fernet_keys") + "\n")
    assert said("own").startswith(f"Not in it: the key file {path}, without")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        pytest.param("missing/copy.sqlite3", "does not exist", id="no folder"),
        pytest.param(".", "is a folder", id="here"),
        pytest.param("", "is a folder", id="nothing"),
        pytest.param("/", "is a folder", id="root"),
        pytest.param("x" * 256, "File name too long", id="long"),
        pytest.param("x" * 252, "File name too long", id="long with the keys"),
    ],
)
def test_a_target_that_cannot_be_is_refused_before_anything_is_made(
    runner, study, tmp_path, monkeypatch, name, said
):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    result = runner.invoke(args=["backup", "--with-keys", name])
    assert (result.exit_code, said in result.stderr) == (2, True), result.stderr
    assert sorted(tmp_path.iterdir()) == before


def test_a_name_may_be_as_long_as_the_file_system_allows(runner, study, tmp_path):
    file = tmp_path / ("文" * 85)
    assert runner.invoke(args=["backup", str(file)]).exit_code == 0
    assert _experiments(file) == [study.name]


def test_sqlite_by_database_url_is_copied_like_the_embedded_one(runner, settings, study, tmp_path):
    url = settings.sqlalchemy_url
    other = create_app(_settings(tmp_path / "elsewhere", url), with_web=False)
    with other.app_context():
        result = other.test_cli_runner().invoke(args=["backup", str(tmp_path / "copy.sqlite3")])
    assert result.exit_code == 0, result.stderr
    assert _experiments(tmp_path / "copy.sqlite3") == [study.name]


@pytest.mark.parametrize(
    ("url", "where"),
    [
        pytest.param(
            "u:hunter2@db.example:6543/twins",
            {"host": "db.example", "port": "6543", "user": "u", "dbname": "twins"},
            id="host",
        ),
        pytest.param(
            "u@/twins?host=/var/run/postgresql&sslmode=disable",
            {"host": "/var/run/postgresql", "user": "u", "dbname": "twins", "sslmode": "disable"},
            id="socket",
        ),
        pytest.param(
            "u@/twins?host=a:1&host=b:2&password=hunter2&sslrootcert=/my%20certs/ca.pem",
            {"host": "a,b", "port": "1,2", "user": "u", "dbname": "twins", "sslrootcert": "/my certs/ca.pem"},
            id="several",
        ),
    ],
)
def test_the_dump_connects_as_the_application_does_and_shows_no_password(url, where):
    from psycopg.conninfo import conninfo_to_dict

    command = shlex.split(
        backups.dump_command(sa.make_url(f"postgresql+psycopg://{url}"), Path("my copy.dump"))
    )
    assert command[:4] == ["pg_dump", "--format=custom", "--no-owner", "--file=my copy.dump"]
    assert conninfo_to_dict(command[4].removeprefix("--dbname=")) == where


@pytest.mark.parametrize("is_there", [False, True], ids=["no folder", "a folder of something else"])
def test_a_mistyped_data_dir_is_named_and_nothing_is_made_in_it(tmp_path, is_there):
    folder = tmp_path / "instnce"
    if is_there:
        folder.mkdir()
    process = subprocess.run(
        [sys.executable, "-m", "flask", "--app", str(ROOT / "app.py"), "backup", str(tmp_path / "copy")],
        env={**os.environ, "PDS_DATA_DIR": str(folder)}, cwd=tmp_path, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert process.returncode == 2, process.stderr
    assert f"There is no database at {folder}/discourse_twins.sqlite3" in process.stderr
    assert "Set PDS_DATA_DIR" in process.stderr and "Traceback" not in process.stderr
    assert [path.name for path in tmp_path.rglob("*")] == (["instnce"] if is_there else [])
