"""Bulk set-ups kept between dry run and end: at once or by a worker, all of it or nothing."""

from datetime import timedelta

import pytest
from sqlalchemy import func, select

from pdsapp.database import transaction
from pdsapp.errors import BadInput, NotFound
from pdsapp.models import BulkImport, DigitalTwin, Experiment, ImportState, utc_now
from pdsapp.services import bulk, bulk_imports
from pdsapp.services.bulk_files import Row, Sheet
from pdsapp.services.bulk_plan import Options
from tests import builders

pytestmark = pytest.mark.database


def kept(study, count=3, **options):
    """An import of so many twins, not confirmed; its id."""
    rows = tuple(
        Row(f"line {n}", f"user_{n}", persona_name="Tea", persona="Likes tea.") for n in range(count)
    )
    with transaction() as session:
        experiment = session.get_one(Experiment, study.id)
        return bulk_imports.keep(
            session, experiment, "f.csv", Sheet(rows), Options(**options), utc_now(), None
        ).id


def confirm(number, fingerprint=None):
    with transaction() as session:
        row = session.get_one(BulkImport, number)
        plan = bulk_imports.plan_of(session, row) if row.content else None
        fingerprint = fingerprint or plan.fingerprint
        bulk_imports.confirm(session, row, plan, fingerprint, "", utc_now(), None)


def state_of(session, number):
    session.rollback()
    session.expire_all()
    row = session.get_one(BulkImport, number)
    return row.state, session.scalar(select(func.count(DigitalTwin.id)))


def test_a_small_one_is_done_in_the_request_and_its_text_is_erased(study, session):
    number = kept(study)
    confirm(number)
    assert state_of(session, number) == (ImportState.done, 3)
    row = session.get_one(BulkImport, number)
    assert (row.content, row.created_count, row.progress) == ("", 3, 3)
    with pytest.raises(BadInput, match="Nothing was done twice"):
        confirm(number, "x")


def test_a_large_one_waits_for_a_worker_and_is_then_done(study, session):
    number = kept(study, 501)
    confirm(number)
    assert state_of(session, number) == (ImportState.waiting, 0)
    assert bulk_imports.tend(utc_now()) == [number]
    assert bulk_imports.run(number, utc_now) == ImportState.done
    assert state_of(session, number) == (ImportState.done, 501)
    ranks = session.scalars(select(DigitalTwin.active_rank).order_by(DigitalTwin.active_rank)).all()
    assert ranks == list(range(501))
    assert bulk_imports.tend(utc_now()) == []
    assert bulk_imports.run(number, utc_now) is None


def test_another_plan_than_the_confirmed_one_is_not_carried_out(study, session):
    number = kept(study)
    with pytest.raises(bulk.PlanChanged):
        confirm(number, "0" * 32)
    assert state_of(session, number) == (ImportState.planned, 0)


def test_a_worker_that_finds_another_plan_shows_it_again(study, session):
    number = kept(study, 501)
    confirm(number)
    builders.make_person(study, "user_7")
    assert bulk_imports.run(number, utc_now) == ImportState.planned
    assert state_of(session, number) == (ImportState.planned, 0)
    assert session.get_one(BulkImport, number).message == bulk.CHANGED_MEANWHILE


class Killed(BaseException):
    """What a test ends a worker with."""


def test_a_worker_that_dies_while_writing_leaves_nothing_and_another_does_it(study, session, monkeypatch):
    number = kept(study, 501)
    confirm(number)

    def die(*_args, **_options):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(bulk.twin_rows, "change_twins", die)  # the new twins are written by then
        with pytest.raises(Killed):
            bulk_imports.run(number, utc_now)
    assert state_of(session, number) == (ImportState.running, 0)
    assert bulk_imports.run(number, utc_now) is None  # its lease still holds
    later = utc_now() + timedelta(seconds=61)
    assert bulk_imports.tend(later) == [number]
    assert bulk_imports.run(number, lambda: later) == ImportState.done
    assert state_of(session, number) == (ImportState.done, 501)


def test_a_worker_that_comes_back_after_its_lease_writes_nothing(study, session, monkeypatch):
    number = kept(study, 501)
    confirm(number)
    decide = bulk_imports.decide

    def overtaken(*args):
        made = decide(*args)
        with monkeypatch.context() as patch:
            patch.setattr(bulk_imports, "decide", decide)
            bulk_imports.run(number, lambda: utc_now() + timedelta(seconds=90))
        return made

    with monkeypatch.context() as patch:
        patch.setattr(bulk_imports, "decide", overtaken)
        assert bulk_imports.run(number, utc_now) is None
    assert state_of(session, number) == (ImportState.done, 501)


def test_after_three_lost_workers_it_has_failed_and_can_be_run_again(study, session):
    number = kept(study, 501)
    confirm(number)
    with transaction() as other:
        row = other.get_one(BulkImport, number)
        row.state, row.tries, row.lease_until = ImportState.running, 3, utc_now() - timedelta(seconds=1)
    assert bulk_imports.run(number, utc_now) == ImportState.failed
    assert state_of(session, number) == (ImportState.failed, 0)
    assert "Nothing was set up" in session.get_one(BulkImport, number).message
    with transaction() as other:
        bulk_imports.run_again(other, other.get_one(BulkImport, number), utc_now())
    assert bulk_imports.run(number, utc_now) == ImportState.done


def test_a_day_later_it_is_forgotten_unless_it_waits(study, session):
    old, waiting = kept(study), kept(study, 501)
    confirm(waiting)
    later = utc_now() + timedelta(hours=25)
    assert bulk_imports.tend(later) == [waiting]
    assert session.scalars(select(BulkImport.id)).all() == [waiting]
    with pytest.raises(NotFound, match="Choose the files again"):
        bulk_imports.find(session, "0194d0a0-0000-7000-8000-000000000000")
    assert old != waiting
