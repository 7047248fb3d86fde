"""Deleting an archived experiment: by its name, piece by piece, with everything of it and nothing else."""

from datetime import timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy import func, select, update

from pdsapp.domain.reasons import CallPurpose, ExperimentState
from pdsapp.errors import BadInput, NotFound
from pdsapp.models import (
    Account,
    Attempt,
    AuditEvent,
    Base,
    BulkImport,
    Experiment,
    Membership,
    ModelCall,
    Post,
    Schedule,
    ScheduleRevision,
    SettledLine,
    Slot,
    utc_now,
)
from pdsapp.services import (
    accounts,
    deletion,
    edits,
    erasing,
    lookup,
    protocol,
    rollups,
    schedules,
    twins,
    withdrawals,
)
from pdsapp.services.ledger import ledger
from tests import builders

from .slot_helpers import MINUTE, START, claim, finish_attempts, make_schedule

KEPT = {"audit_event"}


def fill(session, settings, write, token, name):
    """An experiment with a row of everything."""
    study = builders.make_experiment(name)
    twin = builders.make_twin(study, token=token)
    walt = builders.make_person(study)
    make_schedule(study, name=name)
    claim(START + MINUTE)
    finish_attempts()
    first = builders.ask_and_run(session, settings, twin)
    assert builders.ask_and_run(session, settings, twin).state == "posted"
    reply = builders.make_post(walt)
    with write() as writing:
        found = writing.get_one(Experiment, study.id)
        writing.get_one(Post, reply.id).parent_id = writing.scalars(
            select(Post.id).where(Post.attempt_id == first.id)
        ).one()
        writing.get_one(Attempt, first.id).is_forced = False
        edits.set_tags(writing, writing.get_one(type(twin), twin.id), "pilot")
        writing.add(
            ModelCall(
                experiment_id=study.id, purpose=CallPurpose.preview, endpoint="http://x", model_asked="m"
            )
        )
        account = accounts.add_account(writing, f"{study.identifier}@example.org", "viewer", utc_now())
        writing.flush()
        writing.add(Membership(account_id=account.id, experiment_id=study.id))
        gone = twins.add_profile(writing, found, "gone", utc_now())
        withdrawals.ask(writing, gone, "gone", utc_now())
        writing.add(SettledLine(key=f"line {study.identifier}", experiment_id=study.id))
        writing.add(
            BulkImport(
                account_id=account.id, experiment_id=study.id, source="twins.csv", content="", row_count=1
            )
        )
        policy = protocol.PostingPolicy(share_cap=0.2)
        protocol.save_policy(writing, found, found.edit_version, policy, utc_now(), "why")
    assert not erasing.erase_for(10)
    with write() as writing:
        rollups.forget(writing)
    while rollups.roll_up(utc_now() + timedelta(hours=1)):
        pass
    return study


def archive(write, study):
    with write() as writing:
        writing.execute(
            update(Experiment).where(Experiment.id == study.id).values(state=ExperimentState.archived)
        )


def ask(write, study, name, account=None):
    with write() as writing:
        found = writing.get_one(Experiment, study.id)
        deletion.ask_for_deletion(writing, found, name, utc_now(), account)


def rows_of_experiments():
    """The tables that point at an experiment, whatever they will be called."""
    return [t for t in Base.metadata.sorted_tables if "experiment_id" in t.c and t.name not in KEPT]


def test_everything_of_it_goes_and_everything_of_others_stays(session, settings, write, token):
    gone, kept = (fill(session, settings, write, token, name) for name in ("Gone", "Kept"))
    session.rollback()
    before = {t.name: _count(session, t, kept.id) for t in rows_of_experiments()}
    assert all(before.values()), f"the test has no row of {[n for n, c in before.items() if not c]}"
    archive(write, gone)
    ask(write, gone, "Gone")
    deletion.delete_for(60)
    session.rollback()
    assert session.get(Experiment, gone.id) is None
    assert {t.name: _count(session, t, gone.id) for t in rows_of_experiments()} == dict.fromkeys(before, 0)
    assert {t.name: _count(session, t, kept.id) for t in rows_of_experiments()} == before
    orphans = (
        select(func.count())
        .select_from(sa.table("attempt_context"))
        .where(sa.column("attempt_id").not_in(select(Attempt.id)))
    )
    assert session.scalar(orphans) == 0
    assert ledger(session, now=START + MINUTE).problems == ()


def _count(session, table, experiment_id):
    return session.scalar(
        select(func.count()).select_from(table).where(table.c.experiment_id == experiment_id)
    )


def test_audit_events_stay_and_name_it(session, settings, write, token):
    study = fill(session, settings, write, token, "Gone")
    archive(write, study)
    ask(write, study, "Gone")
    session.rollback()
    before = session.scalar(select(func.count(AuditEvent.id)))
    deletion.delete_for(60)
    session.rollback()
    assert session.scalar(select(func.count(AuditEvent.id))) == before
    event = session.scalars(select(AuditEvent).where(AuditEvent.action == "delete")).one()
    assert (event.experiment_id, event.object_name) == (None, f"Gone ({study.identifier})")
    assert event.before["attempts"] == 3


def test_it_goes_in_chunks_and_the_ledger_adds_up_after_each(session, settings, write, token, monkeypatch):
    monkeypatch.setattr(deletion, "CHUNK", 1)
    study = fill(session, settings, write, token, "Gone")
    fill(session, settings, write, token, "Kept")
    archive(write, study)
    ask(write, study, "Gone")
    chunks = 0
    while deletion.delete_some():
        chunks += 1
        session.rollback()
        assert ledger(session, now=START + MINUTE).problems == ()
    assert chunks > 8
    assert session.scalars(select(Experiment.name)).all() == ["Kept"]


def test_a_slot_of_all_experiments_no_longer_counts_what_was_deleted(session, write, token):
    gone, kept = builders.make_experiment("Gone"), builders.make_experiment("Kept")
    for study in (gone, kept):
        builders.make_twin(study, token=token)
    make_schedule(None, twins_per_slot=2)
    claim(START + MINUTE)
    finish_attempts()
    archive(write, gone)
    ask(write, gone, "Gone")
    deletion.delete_for(60)
    session.rollback()
    slot = session.scalars(select(Slot)).one()
    assert (slot.wanted_count, slot.expanded_count, slot.detail) == (1, 1, deletion.NOT_COUNTED)
    assert ledger(session, now=START + MINUTE).problems == ()


def test_a_schedule_that_asked_another_experiment_before_stays_with_that_one(session, write, token):
    first, second = builders.make_experiment("First"), builders.make_experiment("Second")
    for study in (first, second):
        builders.make_twin(study, token=token)
    schedule = make_schedule(first)
    claim(START + MINUTE)
    finish_attempts()
    with write() as writing:
        found = writing.get_one(Schedule, schedule.id)
        wish = schedules.Wish(
            "Moved", writing.get_one(Experiment, second.id), cron="* * * * *", is_enabled=True
        )
        schedules.change_schedule(writing, found, wish, START + 2 * MINUTE)
    claim(START + 3 * MINUTE)
    finish_attempts()
    archive(write, second)
    ask(write, second, "Second")
    deletion.delete_for(60)
    session.rollback()
    row = session.scalars(select(Schedule)).one()
    assert (row.experiment_id, row.is_archived, row.is_enabled) == (first.id, True, False)
    assert session.scalars(select(ScheduleRevision.number)).all() == [row.revision_number]
    assert ledger(session, now=START + 10 * MINUTE).problems == ()


@pytest.mark.parametrize("name", ["", "gone", "Gone ", "Gone (x)"])
def test_another_name_deletes_nothing(session, write, name):
    study = builders.make_experiment("Gone")
    archive(write, study)
    with pytest.raises(BadInput, match="Type the name exactly as it is: Gone") as caught:
        ask(write, study, name)
    assert caught.value.field == "name"
    assert not deletion.delete_some()
    assert session.get_one(Experiment, study.id).delete_asked_at is None


@pytest.mark.parametrize("state", [s for s in ExperimentState if s != ExperimentState.archived])
def test_only_archived_experiments_are_deleted(write, state):
    study = builders.make_experiment("Gone")
    with write() as writing:
        writing.get_one(Experiment, study.id).state = state
    with pytest.raises(BadInput, match="only archived ones are deleted"):
        ask(write, study, "Gone")


def test_of_people_only_administrators_delete(write):
    study = builders.make_experiment("Gone")
    archive(write, study)
    with write() as writing:
        accounts.add_account(writing, "r@example.org", "researcher", utc_now())
    with write() as writing:
        account = writing.scalars(select(Account)).one()
        with pytest.raises(BadInput, match="Only administrators"):
            found = writing.get_one(Experiment, study.id)
            deletion.ask_for_deletion(writing, found, "Gone", utc_now(), account)


def test_what_is_being_deleted_is_found_by_nobody_and_asked_for_once(session, write):
    study = builders.make_experiment("Gone")
    archive(write, study)
    ask(write, study, "Gone")
    with pytest.raises(BadInput, match="being deleted already"):
        ask(write, study, "Gone")
    with pytest.raises(NotFound):
        lookup.find_experiment(session, study.identifier)
