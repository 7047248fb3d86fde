"""Withdrawals that have to wait, and what they must not hold up: others, whoever schedules, who writes."""

from contextlib import closing
from datetime import timedelta
from sqlite3 import connect

import pytest

from pdsapp.domain.erasure import ERASED
from pdsapp.extensions import db
from pdsapp.models import Attempt, Post, UserProfile, Withdrawal, utc_now
from pdsapp.services import compacting, erasing, tombstones, withdrawals
from tests import builders
from tests.conftest import TEST_DATABASE_URL

pytestmark = pytest.mark.database
SAID = "My sister lost her job at the harbour in May."
embedded = pytest.mark.skipif(TEST_DATABASE_URL is not None, reason="a server keeps its files itself")


def ask(write, person):
    with write() as writing:
        row = writing.get_one(UserProfile, person.id)
        made = withdrawals.ask(writing, row, row.username, utc_now())
        writing.flush()
        return made.id


@pytest.fixture
def held(study, write, twin):
    """A withdrawal whose experiment has an attempt that does not end."""
    key = ask(write, builders.make_person(study, "anna_k"))
    waiting = builders.add_attempt(twin)
    with write() as writing:
        attempt = writing.get_one(Attempt, waiting)
        attempt.state, attempt.lease_until = "running", utc_now() + timedelta(hours=1)
    return key


def test_one_that_waits_holds_up_nobody_in_another_experiment(session, write, held):
    other = builders.make_experiment("Other")
    cy, bo = builders.make_person(other, "cy"), builders.make_person(other, "bo")
    builders.make_post(cy, SAID, minutes=30)
    quoting = builders.make_post(bo, f"So: {SAID}")
    key = ask(write, cy)
    assert erasing.finish(key, 5)
    assert session.get_one(Post, quoting.id).text == f"So: {ERASED}."
    assert session.get_one(Withdrawal, held).finished_at is None
    assert erasing.finish(held, 5, is_at_rest=True)


@embedded
def test_the_tombstone_of_one_that_waits_is_there_already(settings, held, session):
    assert not erasing.erase_for(1)
    file = settings.data_dir / "backups" / tombstones.NAME
    assert [each.profile for each in tombstones.read(file)] == [
        session.get_one(Withdrawal, held).user_profile.uuid
    ]


@embedded
def test_a_tombstone_that_cannot_be_written_ends_no_scheduler(session, settings, study, write, monkeypatch):
    anna = builders.make_person(study, "anna_k")
    (settings.data_dir / "backups").write_text("a file where a folder should be")
    key = ask(write, anna)
    tried = []
    put = tombstones.put
    monkeypatch.setattr(tombstones, "put", lambda *given: (tried.append(given), put(*given)))
    assert not erasing.erase_for(1)
    assert not erasing.erase_for(1)
    assert len(tried) == 1, "not in each turn"
    assert session.get_one(Withdrawal, key).finished_at is None
    session.rollback()
    (settings.data_dir / "backups").unlink()
    monkeypatch.setattr(erasing, "_again_at", {})
    assert erasing.finish(key, 5)


def test_the_eraser_of_somebody_is_made_once(study, write, monkeypatch):
    anna = builders.make_person(study, "anna_k")
    for minutes in range(3):
        builders.make_post(anna, SAID, minutes=minutes)
    key = ask(write, anna)
    made = []
    make = erasing.eraser_of
    monkeypatch.setattr(erasing, "eraser_of", lambda *given: made.append(given) or make(*given))
    turns = 0
    while erasing.erase_for(0):
        turns += 1
    assert turns > 10 and len(made) == 1
    assert erasing.finish(key, 1)
    erasing.erase_for(0)
    assert not erasing._kept, "nobody keeps the words in memory"


@embedded
def test_a_file_that_is_being_read_is_not_written_anew_in_each_turn(settings, study, write, monkeypatch):
    key = ask(write, builders.make_person(study, "anna_k"))
    assert erasing.finish(key, 5)
    db.session.remove()
    with closing(connect(compacting._path())) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM post").fetchone()
        tried = []
        compact = compacting.compact
        monkeypatch.setattr(compacting, "compact", lambda *given: (tried.append(given), compact(0.1)))
        for _ in range(3):
            assert not compacting.compact_what_is_small()
    assert tried == [(compacting.WAITS_SECONDS,)]
    assert compacting.is_wanted()
    monkeypatch.setattr(compacting, "_again_at", {})
    compacting.compact_what_is_small()
    assert not compacting.is_wanted()


def test_finishing_one_whose_experiment_was_deleted_meanwhile_ends(study, write):
    key = ask(write, builders.make_person(study, "anna_k"))
    with write() as writing:
        writing.delete(writing.get_one(Withdrawal, key))
    assert erasing.finish(key, 5)


@embedded
def test_a_line_that_was_cut_off_costs_no_other_tombstone(settings, study, write):
    anna, bo = builders.make_person(study, "anna_k"), builders.make_person(study, "bo")
    folder = settings.data_dir / "backups"
    folder.mkdir()
    (folder / tombstones.NAME).write_bytes(b'{"profile": "01a2\xff')
    for person in (anna, bo):
        assert erasing.finish(ask(write, person), 5)
    assert [each.profile for each in tombstones.read(folder / tombstones.NAME)] == [anna.uuid, bo.uuid]
