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


def _page_of_noise(body):
    body[8192:12288] = b"\xa5" * 4096


def _many_pages(body):
    body[4096 : 21 * 4096] = b"\xff" * 20 * 4096


def _no_header(body):
    body[:100] = b"hello" * 20


@pytest.mark.parametrize("spoil", [_page_of_noise, _many_pages, _no_header])
def test_a_damaged_database_is_not_copied_and_is_called_damaged(source, study, tmp_path, spoil):
    damaged = tmp_path / "damaged.sqlite3"
    made = backups.copy_database(source, damaged)
    body = bytearray(damaged.read_bytes())
    spoil(body)
    damaged.write_bytes(body)
    with pytest.raises(
        CopyFailed, match=r"The database is damaged \(.*Keep the backups there are, and restore"
    ):
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


def test_a_clock_before_the_kept_days_gets_one_backup_a_day_that_stays(settings, source, study):
    for days in range(7):
        backups.make_daily(settings.data_dir, NOON + timedelta(days=days), 0)
    for days in (-4000, -2, -1):
        past = NOON + timedelta(days=days)
        made = backups.make_daily(settings.data_dir, past, 0)
        assert made.path.exists()
        assert backups.make_daily(settings.data_dir, past + timedelta(seconds=15), 0) is None, "no loop"
        assert len(backups.dailies(settings.data_dir)) == 7


def test_the_copy_before_a_migration_stays_whatever_the_clock_says(settings, source, study):
    for days in range(database.KEPT_BACKUPS):
        database.backup(settings.data_dir, NOON + timedelta(days=days))
    assert database.backup(settings.data_dir, NOON - timedelta(days=9)).exists()
    assert len([*(settings.data_dir / "backups").iterdir()]) == database.KEPT_BACKUPS


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
    dead = subprocess.Popen([sys.executable, "-S", "-c", ""])
    dead.wait()
    names = [f".daily-2026-11-20.sqlite3.{pid}.partial" for pid in (dead.pid, os.getpid())]
    for name in [*names, f"{names[0]}-journal"]:
        (folder / name).write_bytes(b"half")
    assert backups.dailies(settings.data_dir) == []
    backups.make_daily(settings.data_dir, NOON, 0)
    assert [path.name for path in folder.iterdir()] == ["daily-2026-11-21.sqlite3"]


def test_what_others_are_making_in_the_same_folder_is_left_alone(settings, source, study):
    folder = settings.data_dir / "backups"
    folder.mkdir()
    other = folder / f".before-class.sqlite3.{os.getppid()}.partial"
    other.write_bytes(b"half")

    def tidy_up():
        backups.clear_drafts(folder)

    made = backups.copy_database(source, folder / "mine.sqlite3", pause=tidy_up)
    assert made.path.exists() and other.exists()


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
