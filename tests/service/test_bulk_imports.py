"""Bulk set-ups kept between dry run and end: at once or by a worker, all of it or nothing."""

from datetime import timedelta

import pytest
from sqlalchemy import func, select

from pdsapp.database import transaction
from pdsapp.domain.reasons import ExperimentState
from pdsapp.errors import BadInput, NotFound
from pdsapp.models import (
    Account,
    ApiToken,
    AuditEvent,
    BulkImport,
    DigitalTwin,
    Experiment,
    ImportState,
    utc_now,
)
from pdsapp.services import accounts, bulk, bulk_imports, deletion, edits, granting, removals
from pdsapp.services.bulk_files import Row, Sheet
from pdsapp.services.bulk_plan import Options
from tests import builders

pytestmark = pytest.mark.database


def kept(study, count=3, account=None, **options):
    """An import of so many twins, not confirmed; its id."""
    rows = tuple(
        Row(f"line {n}", f"user_{n}", persona_name="Tea", persona="Likes tea.") for n in range(count)
    )
    with transaction() as session:
        experiment = session.get_one(Experiment, study.id)
        return bulk_imports.keep(
            session, experiment, "f.csv", Sheet(rows), Options(**options), utc_now(), account
        ).id


def confirm(number, fingerprint=None, account=None):
    with transaction() as session:
        row = session.get_one(BulkImport, number)
        plan = bulk_imports.plan_of(session, row) if row.content else None
        fingerprint = fingerprint or plan.fingerprint
        bulk_imports.confirm(session, row, plan, fingerprint, "", utc_now(), account)


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


def test_one_that_is_set_up_is_not_said_to_be_forgotten(study, session, write):
    number = kept(study)
    confirm(number)
    with pytest.raises(BadInput, match="It was set up meanwhile"), write() as writing:
        bulk_imports.drop(writing, writing.get_one(BulkImport, number))
    assert state_of(session, number) == (ImportState.done, 3)


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


def test_a_token_archived_since_the_upload_is_an_error_of_every_row_that_would_get_it(
    study, session, settings, write
):
    token = builders.make_token(settings, "https://llm.example.org/v1", "Lab")
    number = kept(study, token_id=token.id)
    with write() as writing:
        edits.archive_token(writing, writing.get_one(ApiToken, token.id), utc_now())
    with pytest.raises(bulk.BulkErrors, match="API token “Lab” is archived") as caught:
        confirm(number)
    assert len(caught.value.errors) == 3
    assert state_of(session, number) == (ImportState.planned, 0)


def test_a_token_that_a_confirmed_set_up_waits_with_is_not_deleted(study, session, settings, write):
    token = builders.make_token(settings, "https://llm.example.org/v1", "Lab")
    number = kept(study, 501, token_id=token.id)
    confirm(number)
    with pytest.raises(BadInput, match="Twins are being set up with this token"), write() as writing:
        removals.remove_token(writing, writing.get_one(ApiToken, token.id), utc_now())
    assert bulk_imports.run(number, utc_now) == ImportState.done
    assert state_of(session, number) == (ImportState.done, 501)


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


def colleague(study, email="ada@example.org", role="researcher"):
    """An account that is granted the study."""
    with transaction() as session:
        account = accounts.add_account(session, email, role, utc_now())
        session.flush()
        granting.grant_experiments(session, account, [study.id], utc_now())
        return account


def demote(study, account, **changes):
    """Another role, the door shut."""
    wanted = {"role": "researcher", "is_active": True, "sees_all": False} | changes
    with transaction() as session:
        row = session.get_one(Account, account.id)
        accounts.change_account(session, row, row.edit_version, utc_now(), **wanted)


def take_the_grant(study, account):
    with transaction() as session:
        granting.grant_experiments(session, session.get_one(Account, account.id), [], utc_now())


@pytest.mark.parametrize(
    "lose",
    [
        lambda study, account: demote(study, account, is_active=False),
        lambda study, account: demote(study, account, role="viewer"),
        take_the_grant,
    ],
    ids=["shut", "viewer", "not granted"],
)
def test_a_worker_sets_up_nothing_for_an_account_that_may_not_any_more(study, session, lose):
    account = colleague(study)
    number = kept(study, 501, account)
    confirm(number, account=account)
    lose(study, account)
    assert bulk_imports.run(number, utc_now) == ImportState.failed
    assert state_of(session, number) == (ImportState.failed, 0)
    assert (
        "ada@example.org may not set up twins in this experiment"
        in session.get_one(BulkImport, number).message
    )
    assert bulk_imports.tend(utc_now()) == []
    other = colleague(study, "bo@example.org")
    with transaction() as writing:
        bulk_imports.run_again(writing, writing.get_one(BulkImport, number), utc_now(), other)
    assert bulk_imports.run(number, utc_now) == ImportState.done


def test_a_worker_acts_in_the_name_of_whoever_confirmed(study, session):
    number = kept(study, 501, colleague(study))
    boss = colleague(study, "boss@example.org", "administrator")
    confirm(number, account=boss)
    assert bulk_imports.run(number, utc_now) == ImportState.done
    actors = select(AuditEvent.actor).where(AuditEvent.object_type == "digital_twin").distinct()
    assert set(session.scalars(actors)) <= {"boss@example.org"}


def erase(study):
    """All of an experiment, at once."""
    with transaction() as session:
        experiment = session.get_one(Experiment, study.id)
        experiment.state = ExperimentState.archived
        session.flush()
        deletion.ask_for_deletion(session, experiment, experiment.name, utc_now())
    while deletion.delete_some():
        pass


@pytest.mark.parametrize("moment", ["read_facts", "decide"])
def test_an_experiment_deleted_under_a_worker_ends_its_import_quietly(study, session, monkeypatch, moment):
    number = kept(study, 501)
    confirm(number)
    real = getattr(bulk_imports, moment)

    def deleted_meanwhile(*args):
        made = real(*args)
        if moment == "decide":
            erase(study)
        return made

    take = bulk_imports._take

    def taken_then_deleted(*args):
        row = take(*args)
        real_reading = bulk_imports.reading
        monkeypatch.setattr(bulk_imports, "reading", lambda: (erase(study), real_reading())[1])
        return row

    if moment == "decide":
        monkeypatch.setattr(bulk_imports, "decide", deleted_meanwhile)
    else:
        monkeypatch.setattr(bulk_imports, "_take", taken_then_deleted)
    assert bulk_imports.run(number, utc_now) is None
    assert session.scalars(select(BulkImport.id)).all() == []
    assert session.get(Experiment, study.id) is None


def test_an_experiment_deleted_while_a_refused_import_is_put_back_ends_it_quietly(
    study, session, monkeypatch
):
    number = kept(study, 501)
    confirm(number)

    def refuse(*_args):
        session.close()
        erase(study)
        raise BadInput("No.")

    monkeypatch.setattr(bulk_imports, "decide", refuse)
    assert bulk_imports.run(number, utc_now) is None


def test_one_shown_again_is_kept_for_a_day_from_then_on(study, session):
    number = kept(study, 501)
    confirm(number)
    later = utc_now() + timedelta(days=2)
    with transaction() as writing:
        writing.get_one(Experiment, study.id).state = ExperimentState.ended
    assert bulk_imports.run(number, lambda: later) == ImportState.planned
    bulk_imports.tend(later + timedelta(hours=23))
    assert state_of(session, number) == (ImportState.planned, 0)
    bulk_imports.tend(later + timedelta(hours=25))
    session.rollback()
    assert session.get(BulkImport, number) is None


def test_an_import_of_an_experiment_about_to_be_deleted_sets_up_nothing(study, session):
    number = kept(study, 501)
    confirm(number)
    with transaction() as writing:
        experiment = writing.get_one(Experiment, study.id)
        experiment.state = ExperimentState.archived
        writing.flush()
        deletion.ask_for_deletion(writing, experiment, experiment.name, utc_now())
    assert bulk_imports.run(number, utc_now) == ImportState.planned
    assert state_of(session, number) == (ImportState.planned, 0)
    assert bulk_imports.tend(utc_now()) == []
    while deletion.delete_some():
        pass
    assert session.get(Experiment, study.id) is None
