"""Backups made on the system page: in the background, one at a time, with progress, and recorded."""

import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from sqlalchemy import select

from pdsapp.database import reading
from pdsapp.models import AuditEvent, utc_now
from pdsapp.services import backups, copy_lock, hand_backups
from tests.conftest import TEST_DATABASE_URL
from tests.web.looking import words_of

pytestmark = pytest.mark.skipif(TEST_DATABASE_URL is not None, reason="the database is a server's")
ROOT = Path(__file__).resolve().parents[2]
NAME = re.compile(r"hand-[\dT-]+Z\.sqlite3")
SLOW = """
import sys, threading
from pdsapp import create_app
from pdsapp.extensions import db
from pdsapp.models import Account, utc_now
from pdsapp.services import backups, hand_backups

backups.STEP_PAGES, hand_backups.PAUSE_SECONDS, hand_backups.TOLD_EVERY_SECONDS = 1, 0.2, 0
app = create_app(with_web=False)
with app.app_context():
    hand_backups.begin(app, db.session.query(Account).one(), utc_now())
print("begun", flush=True)
threading.Event().wait()
"""


@pytest.fixture
def folder(settings):
    return settings.data_dir / backups.FOLDER


@pytest.fixture
def held(monkeypatch):
    """Copies wait after their first page until this is set."""
    go_on = threading.Event()

    monkeypatch.setattr(backups, "STEP_PAGES", 1)
    monkeypatch.setattr(hand_backups, "_rest", lambda: go_on.wait(20))
    monkeypatch.setattr(hand_backups, "QUICK_SECONDS", 0.05)
    yield go_on
    go_on.set()
    _wait_for_the_end()


def _wait_for_the_end():
    for thread in threading.enumerate():
        if thread.name == "backup":
            thread.join(20)


def press(browser):
    answer = browser.post("/system/backup")
    _wait_for_the_end()
    assert answer.status_code == 302 and answer.location.endswith("/system#backups")
    return browser.get("/system")


def audited():
    with reading() as session:
        query = select(AuditEvent).where(AuditEvent.object_type == "installation").order_by(AuditEvent.id)
        return [(event.action, event.actor, event.after) for event in session.scalars(query)]


def copies(folder):
    return sorted(path.name for path in folder.glob("*.sqlite3"))


def test_a_backup_is_made_listed_and_downloaded_and_both_are_recorded(administrator, folder, tmp_path):
    answer = press(administrator)
    (name,) = copies(folder)
    assert re.search(rf"Backup {re.escape(name)}: [\d,]+ rows in \d+ tables, .* in \d", words_of(answer))
    got = administrator.get(f"/system/backup/{name}")
    assert got.status_code == 200 and name in got.headers["Content-Disposition"]
    copy = tmp_path / "got.sqlite3"
    copy.write_bytes(got.data)
    assert sqlite3.connect(copy).execute("SELECT count(*) FROM account").fetchone()[0] > 0
    who = "administrator@example.org"
    assert audited() == [("back up", who, {"backup": name}), ("download", who, {"backup": name})]


def test_the_request_does_not_wait_for_the_copy_and_the_page_says_how_far_it_is(administrator, held, folder):
    began = time.monotonic()
    assert administrator.post("/system/backup").status_code == 302
    assert time.monotonic() - began < 5
    page = administrator.get("/system")
    words = words_of(page)
    assert re.search(r"hand-\S+ is being made\. 1 of [\d,]+ pages copied\.", words)
    assert re.search(r'<progress max="\d+" value="1"', page.text)
    assert 'data-renew="2" data-renew-url="/system/backups"' in page.text
    assert ">Back up now<" not in page.text and copies(folder) == [] and audited() == []
    part = administrator.get("/system/backups").text
    assert 'id="backups"' in part and "1 of" in part and "<html" not in part
    held.set()
    _wait_for_the_end()
    part = administrator.get("/system/backups").text
    assert "data-renew" not in part and "Back up now" in part and "rows in" in part
    assert len(copies(folder)) == 1 and [action for action, *_ in audited()] == ["back up"]


def test_of_two_who_press_one_makes_a_copy_and_the_other_reads_who(administrator, sign_in, held, folder):
    other = sign_in("administrator", "second@example.org")
    pages, gate = [], threading.Barrier(2)

    def press_at_once(browser):
        gate.wait()
        pages.append(browser.post("/system/backup", follow_redirects=True))

    both = [threading.Thread(target=press_at_once, args=(browser,)) for browser in (administrator, other)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    refused = [page for page in pages if "A backup is being made already, begun by " in words_of(page)]
    assert len(refused) == 1
    assert "No second one was begun." in words_of(administrator.post("/system/backup", follow_redirects=True))
    held.set()
    _wait_for_the_end()
    assert len(copies(folder)) == 1 and len(audited()) == 1


def test_while_the_daily_one_is_made_none_is_begun_and_the_other_way_round(
    administrator, settings, folder, held
):
    with copy_lock.only_copy(settings.data_dir) as is_only:
        assert is_only
        answer = administrator.post("/system/backup", follow_redirects=True)
        assert "The daily backup is being made. No second one was begun" in words_of(answer)
    administrator.post("/system/backup")
    assert backups.make_daily(settings.data_dir, utc_now(), 0) is None
    held.set()
    _wait_for_the_end()
    assert backups.make_daily(settings.data_dir, utc_now(), 0) is not None


@pytest.mark.parametrize("why", ["no room", "full"])
def test_a_failure_stands_on_the_page_in_its_sentence(administrator, folder, monkeypatch, why):
    if why == "no room":
        monkeypatch.setattr(backups, "free_bytes", lambda _: 10)
        sentence = "There is no room for a copy in"
    else:

        def full(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(backups, "flush", full)
        sentence = "is full; the unfinished copy was removed."
    words = words_of(press(administrator))
    assert "No backup was made." in words and sentence in words
    assert [path.name for path in folder.iterdir()] == [hand_backups.PROGRESS_NAME] and audited() == []
    monkeypatch.undo()
    time.sleep(1)  # copies bear the second
    assert "rows in" in words_of(press(administrator))


def test_one_whose_process_was_killed_is_told_as_cut_off_and_its_draft_removed(
    administrator, settings, folder, app
):
    given = {
        "PDS_DATA_DIR": str(settings.data_dir), "SECRET_KEY": settings.require("secret_key"),
        "PDS_FERNET_KEYS": settings.require("fernet_keys"), "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW], stdout=subprocess.PIPE, text=True, cwd=settings.data_dir,
        env={**os.environ, **given},
    )  # fmt: skip
    try:
        assert process.stdout.readline() == "begun\n"
        running = administrator.get("/system")
        assert "is being made." in words_of(running) and "data-renew=" in running.text
        answer = administrator.post("/system/backup", follow_redirects=True)
        assert "A backup is being made already" in words_of(answer)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    assert copies(folder) == [] and len(list(folder.glob(".hand-*.partial"))) == 1
    page = administrator.get("/system")
    assert hand_backups.CUT_OFF in words_of(page) and "data-renew=" not in page.text
    hand_backups.clear(settings)
    assert [path.name for path in folder.iterdir()] == [hand_backups.PROGRESS_NAME]
    assert "rows in" in words_of(press(administrator)) and len(copies(folder)) == 1


@pytest.mark.parametrize("role", ["researcher", "viewer"])
def test_only_administrators_begin_one_or_see_how_far_it_is(sign_in, role, settings, folder):
    browser = sign_in(role)
    assert browser.post("/system/backup").status_code == 403
    assert browser.get("/system/backups").status_code == 403
    assert not folder.exists()


def test_a_progress_file_nobody_can_read_is_as_none(administrator, folder):
    folder.mkdir()
    (folder / hand_backups.PROGRESS_NAME).write_text('{"name": 1')
    assert administrator.get("/system").status_code == 200
    assert "rows in" in words_of(press(administrator))
