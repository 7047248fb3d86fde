"""Backups: consistent while others write, checked, private, and never half a file under its name."""

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import func, select

from pdsapp.database import transaction
from pdsapp.errors import BadInput, CopyFailed
from pdsapp.models import Post, PostRevision, utc_now
from pdsapp.services import backups, checkup, database
from pdsapp.stack.keeper import RETRY_SECONDS, SETTLE_SECONDS, TURN_SECONDS, Keeper
from tests import builders
from tests.conftest import NOON, TEST_DATABASE_URL
from tests.small_disk import fill, small_disk

pytestmark = pytest.mark.skipif(TEST_DATABASE_URL is not None, reason="the embedded database is SQLite")
ROOT = Path(__file__).resolve().parents[2]
WRITERS = 8


@pytest.fixture
def source(app, settings):
    return settings.data_dir / backups.DATABASE_NAME


def _many_posts(profile, count, length):
    with transaction() as session:
        texts = [f"{number} " + "x" * length for number in range(count)]
        at = utc_now()
        ids = session.scalars(
            sa.insert(Post).returning(Post.id),
            [
                {"experiment_id": profile.experiment_id, "user_profile_id": profile.id, "text": text,
                 "created_at": at, "changed_at": at}
                for text in texts
            ],
        ).all()  # fmt: skip
        session.execute(
            sa.insert(PostRevision),
            [dict(post_id=i, number=1, text=t, created_at=at) for i, t in zip(ids, texts, strict=True)],
        )


def _query(path, statement):
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(statement).fetchone()


@pytest.fixture
def posters(source, study, tmp_path):
    """Eight processes that add posts; the last call ends them and gives what they said."""
    person = builders.make_person(study)
    _many_posts(person, 4_000, 1_500)
    stop = tmp_path / "stop"
    command = [sys.executable, "-S", str(ROOT / "tests/service/poster.py"), str(source)]
    processes = [
        subprocess.Popen(
            [*command, str(person.id), str(study.id), str(stop)], stdout=subprocess.PIPE, text=True
        )
        for _ in range(WRITERS)
    ]

    def end():
        stop.touch()
        lines = [process.communicate(timeout=60)[0] for process in processes]
        assert [process.returncode for process in processes] == [0] * WRITERS
        return [json.loads(line.splitlines()[-1]) for line in lines]

    try:
        for process in processes:
            assert process.stdout.readline() == "ready\n"
        yield end
    finally:
        stop.touch()
        for process in processes:
            process.wait(60)


def test_a_backup_is_of_one_moment_while_eight_writers_work_and_they_do_not_wait(
    source, posters, session, tmp_path
):
    before = session.scalar(select(func.count(Post.id)))
    copies = [backups.copy_database(source, tmp_path / f"copy-{number}.sqlite3") for number in range(3)]
    session.rollback()
    after = session.scalar(select(func.count(Post.id)))
    said = posters()
    counts = [copy.counts["post"] for copy in copies]
    assert before <= counts[0] < counts[1] < counts[2] <= after
    for copy in copies:
        assert _query(copy.path, "SELECT count(*) FROM post")[0] == copy.counts["post"]
        assert copy.counts["post"] == copy.counts["post_revision"], "a post without its text: no one moment"
        assert _query(copy.path, "PRAGMA integrity_check") == ("ok",)
        assert _query(copy.path, "PRAGMA foreign_key_check") is None
        assert copy.path.stat().st_mode & 0o777 == 0o600
    assert sorted(p.name for p in tmp_path.iterdir() if p.name != "data") == [
        "copy-0.sqlite3", "copy-1.sqlite3", "copy-2.sqlite3", "stop",
    ]  # fmt: skip
    assert min(each["posts"] for each in said) > 1
    assert max(each["longest"] for each in said) < 5, "writers were held up"


def test_the_command_says_what_it_saved_and_where_the_keys_are(runner, settings, study, tmp_path):
    (settings.data_dir / "fernet_keys").write_text(settings.require("fernet_keys"))
    file = tmp_path / "copy.sqlite3"
    result = runner.invoke(args=["backup", str(file)])
    assert result.exit_code == 0, result.stderr
    assert "rows in" in result.stdout and str(settings.data_dir / "fernet_keys") in result.stdout
    assert _query(file, "SELECT name FROM experiment") == (study.name,)
    again = runner.invoke(args=["backup", str(file)])
    assert again.exit_code == 2
    assert "exists already" in again.stderr


def test_the_keys_come_along_when_asked_for_with_a_warning(runner, settings, study, tmp_path):
    (settings.data_dir / "fernet_keys").write_text("key-one")
    file = tmp_path / "copy.sqlite3"
    result = runner.invoke(args=["backup", str(file), "--with-keys"])
    assert result.exit_code == 0, result.stderr
    keys = tmp_path / "copy.sqlite3.keys"
    assert (keys.read_text(), keys.stat().st_mode & 0o777) == ("key-one", 0o600)
    assert "Keep them apart" in result.stderr


@pytest.mark.parametrize(
    ("name", "said"),
    [
        pytest.param("missing/copy.sqlite3", "does not exist", id="no folder"),
        pytest.param(".", "is a folder", id="a folder"),
    ],
)
def test_a_target_that_cannot_be_is_refused(runner, study, tmp_path, name, said):
    result = runner.invoke(args=["backup", str(tmp_path / name)])
    assert (result.exit_code, said in result.stderr) == (2, True)


def test_a_damaged_database_is_not_copied_over_good_backups(source, study, tmp_path):
    damaged = tmp_path / "damaged.sqlite3"
    made = backups.copy_database(source, damaged)
    body = bytearray(damaged.read_bytes())
    body[8192:12288] = os.urandom(4096)
    damaged.write_bytes(body)
    with pytest.raises(CopyFailed):
        backups.copy_database(damaged, tmp_path / "copy.sqlite3")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["damaged.sqlite3", "data"]
    assert made.counts["experiment"] == 1


def test_a_full_disk_gives_a_sentence_and_leaves_nothing(source, study, tmp_path):
    with small_disk(tmp_path / "stick", 1) as stick:
        fill(stick, leave=200_000)
        with pytest.raises(CopyFailed, match="There is no room for a copy"):
            backups.copy_database(source, stick / "copy.sqlite3")
        assert [p.name for p in stick.iterdir()] == ["filler"]


def test_a_disk_that_gets_full_in_the_middle_leaves_nothing(source, study, tmp_path, monkeypatch):
    monkeypatch.setattr(backups, "free_bytes", lambda _: None)
    with small_disk(tmp_path / "stick", 1) as stick:
        fill(stick, leave=200_000)
        with pytest.raises(CopyFailed, match=r"The disk of .* is full; the unfinished copy was removed"):
            backups.copy_database(source, stick / "copy.sqlite3")
        assert [p.name for p in stick.iterdir()] == ["filler"]


def test_one_backup_a_day_is_made_and_seven_are_kept(settings, source, study):
    for days in range(9):
        made = backups.make_daily(settings.data_dir, NOON + timedelta(days=days), 0)
        assert made.path == backups.daily_path(settings.data_dir, (NOON + timedelta(days=days)).date())
        assert backups.make_daily(settings.data_dir, NOON + timedelta(days=days, hours=1), 0) is None
    names = [path.name for path in backups.dailies(settings.data_dir)]
    assert names == [f"daily-2026-11-{day}.sqlite3" for day in range(23, 30)]


def test_backups_before_migrations_are_not_rotated_away_by_daily_ones(settings, source, study):
    kept = database.backup(settings.data_dir, NOON)
    for days in range(9):
        backups.make_daily(settings.data_dir, NOON + timedelta(days=days), 0)
    assert kept.exists()
    assert len(backups.dailies(settings.data_dir)) == 7


class Clocks:
    """A wall clock and a monotonic one that a test moves."""

    def __init__(self):
        self.now, self.seconds = NOON, 100.0

    def pass_(self, seconds, asleep=0.0):
        self.now += timedelta(seconds=seconds + asleep)
        self.seconds += seconds


def _keeper(settings, clocks, min_free=0):
    return Keeper(settings.data_dir, min_free, lambda: clocks.now, lambda: clocks.seconds)


def _turn(keeper, clocks, seconds):
    for _ in range(int(seconds / TURN_SECONDS)):
        clocks.pass_(TURN_SECONDS)
        keeper.turn()


def test_the_keeper_waits_after_a_start_and_after_a_sleep(settings, source, study):
    clocks = Clocks()
    keeper = _keeper(settings, clocks)
    assert keeper.turn() is None
    clocks.pass_(SETTLE_SECONDS)
    assert keeper.turn().path.name == "daily-2026-11-21.sqlite3"
    clocks.pass_(15, asleep=3 * 86_400)
    assert keeper.turn() is None, "just awake"
    clocks.pass_(15)
    assert keeper.turn() is None
    clocks.pass_(15)
    assert keeper.turn().path.name == "daily-2026-11-24.sqlite3"
    assert len(backups.dailies(settings.data_dir)) == 2, "days asleep have no backup"


def test_a_stack_started_and_stopped_every_day_gets_a_backup_every_day(settings, source, study):
    clocks = Clocks()
    for _ in range(3):
        keeper = _keeper(settings, clocks)
        clocks.pass_(SETTLE_SECONDS)
        keeper.turn()
        clocks.pass_(86_400)
    assert len(backups.dailies(settings.data_dir)) == 3


def test_a_daily_backup_that_fails_is_said_once_shown_by_doctor_and_made_later(
    settings, source, study, capsys
):
    clocks = Clocks()
    keeper = _keeper(settings, clocks, min_free=10**18)
    _turn(keeper, clocks, 3 * RETRY_SECONDS)
    said = capsys.readouterr().err
    assert said.count("daily backup failed") == 1 and "There is no room for a copy" in said
    found = [check for check in checkup.examine(settings, utc_now()) if check.name == "backups"]
    assert found[0].state == "warn" and "There is no room for a copy" in found[0].detail
    _turn(_keeper(settings, clocks), clocks, 2 * SETTLE_SECONDS)
    (check,) = [check for check in checkup.examine(settings, utc_now()) if check.name == "backups"]
    assert check.state == "ok" and "1 daily backup" in check.detail


def test_what_a_killed_keeper_has_left_is_removed_and_never_counted(settings, source, study):
    folder = settings.data_dir / "backups"
    folder.mkdir()
    left = folder / ".daily-2026-11-20.sqlite3.4711.partial"
    left.write_bytes(b"half")
    assert backups.dailies(settings.data_dir) == []
    backups.make_daily(settings.data_dir, NOON, 0)
    assert not left.exists()


def test_the_keeper_runs_as_a_process_of_the_lowest_priority(settings, source, study):
    code = (
        "import sys; from pathlib import Path; from pdsapp.stack import keeper; keeper.SETTLE_SECONDS = 0; "
        "keeper.keep(Path(sys.argv[1]), 0)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(settings.data_dir)], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    try:
        assert "daily backup made" in process.stderr.readline()
        if hasattr(os, "getpriority"):
            assert os.getpriority(os.PRIO_PROCESS, process.pid) == 19
    finally:
        process.kill()
        process.communicate()
    (made,) = backups.dailies(settings.data_dir)
    assert _query(made, "SELECT name FROM experiment") == (study.name,)


def test_there_is_nothing_to_back_up_before_the_first_start(tmp_path):
    assert backups.make_daily(tmp_path, NOON, 0) is None
    with pytest.raises(BadInput, match="nothing to back up"):
        backups.copy_database(tmp_path / "none.sqlite3", tmp_path / "copy.sqlite3")
