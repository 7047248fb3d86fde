"""What a request has read may be another by the time it writes: that was ended, forgotten, deleted.

SQLite has one writer at a time, so that there nothing happens between the two.
"""

import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import pytest
import sqlalchemy as sa
from sqlalchemy import func, select

from pdsapp.attempts.create import Request, add_for_twin
from pdsapp.database import transaction
from pdsapp.domain.reasons import ExperimentState, Trigger
from pdsapp.errors import BadInput, NotFound, ReadOnly
from pdsapp.extensions import db
from pdsapp.models import BulkImport, DigitalTwin, Experiment, PersonaVersion, Schedule, utc_now
from pdsapp.services import (
    bulk,
    bulk_imports,
    cloning,
    deletion,
    edits,
    lifecycle,
    persona_import,
    protocol,
    removals,
    schedules,
    twins,
)
from pdsapp.services.bulk_files import Row, Sheet
from pdsapp.services.bulk_plan import Options, make_plan
from pdsapp.services.persona_files import PersonaRow
from tests import builders
from tests.conftest import TEST_DATABASE_URL

from .slot_helpers import make_schedule
from .test_bulk_imports import kept

pytestmark = [
    pytest.mark.database,
    pytest.mark.skipif(
        TEST_DATABASE_URL is None, reason="SQLite has one writer at a time: nobody is between"
    ),
]


@pytest.fixture
def study(session):
    return builders.make_experiment("Study")


def end(study):
    with transaction() as own:
        lifecycle.end(own, own.get_one(Experiment, study.id), utc_now())


def wish(experiment):
    return schedules.Wish(name="Late", experiment=experiment, cron="* * * * *", is_enabled=True)


def test_a_schedule_added_while_its_experiment_ends_is_refused(session, study):
    with transaction() as own:
        found = own.get_one(Experiment, study.id)
        end(study)
        with pytest.raises(ReadOnly, match="has ended"):
            schedules.add_schedule(own, wish(found), utc_now())
        own.rollback()
    assert session.scalar(select(func.count(Schedule.id))) == 0


def test_a_schedule_moved_to_an_experiment_while_that_ends_stays_where_it_was(session, study):
    other = builders.make_experiment("Other")
    schedule = make_schedule(other, now=utc_now())
    with transaction() as own:
        found = own.get_one(Experiment, study.id)
        end(study)
        with pytest.raises(ReadOnly, match="has ended"):
            schedules.change_schedule(own, own.get_one(Schedule, schedule.id), wish(found), utc_now())
        own.rollback()
    assert session.get_one(Schedule, schedule.id).experiment_id == other.id


def test_a_schedule_that_is_archived_while_a_command_changes_it_stays_as_it_was(session, study):
    schedule = make_schedule(study, now=utc_now())
    with transaction() as own:
        found, experiment = own.get_one(Schedule, schedule.id), own.get_one(Experiment, study.id)
        with transaction() as other:
            schedules.archive(other, other.get_one(Schedule, schedule.id), utc_now())
        with pytest.raises(BadInput, match="is archived"):
            schedules.change_schedule(own, found, wish(experiment), utc_now())
        own.rollback()
    after = session.get_one(Schedule, schedule.id)
    assert (after.name, after.is_archived, after.is_enabled) == ("Test", True, False)


def test_a_twin_added_while_its_experiment_ends_is_refused(session, study):
    first = builders.make_twin(study)
    with transaction() as own:
        found, version = (
            own.get_one(Experiment, study.id),
            own.get_one(PersonaVersion, first.persona_version_id),
        )
        end(study)
        with pytest.raises(ReadOnly, match="has ended"):
            twins.add_twin(own, found, "late", version, utc_now())
        own.rollback()
    assert session.scalar(select(func.count(DigitalTwin.id))) == 1


def rename(session, experiment):
    edits.change_experiment(
        session, experiment, experiment.edit_version, utc_now(),
        name="Late", description="", zone="Asia/Tokyo", reason="moved",
    )  # fmt: skip


def test_an_edit_that_waits_for_the_end_of_its_experiment_is_refused(app, session, study):
    read, found = threading.Event(), []

    def change():
        with app.app_context(), pytest.raises(ReadOnly) as caught, transaction() as own:
            experiment = own.get_one(Experiment, study.id)
            read.set()
            rename(own, experiment)
        found.append(str(caught.value))

    waiting = threading.Thread(target=change)
    with transaction() as own:
        lifecycle.end(own, own.get_one(Experiment, study.id), utc_now())
        own.flush()
        waiting.start()
        assert read.wait(10)
        waiting.join(0.5)  # long enough to stand before the lock
    waiting.join(20)
    assert "has ended: it is only read now" in found[0]
    session.expire_all()
    after = session.get_one(Experiment, study.id)
    assert (after.name, after.zone) == ("Study", study.zone)
    assert [change.summary for change in protocol.changes_of(session, after)] == ["Ended by hand"]


@pytest.mark.parametrize(
    "act",
    [
        bulk_imports.drop,
        lambda session, row: bulk_imports.confirm(session, row, None, "x", "", utc_now(), None),
        lambda session, row: bulk_imports.run_again(session, row, utc_now()),
    ],
    ids=["forget", "confirm", "run again"],
)
def test_a_set_up_that_was_forgotten_in_another_tab_is_not_kept_any_more(study, act):
    number = kept(study)
    with transaction() as own:
        row = own.get_one(BulkImport, number)
        with transaction() as other:
            bulk_imports.drop(other, other.get_one(BulkImport, number))
        with pytest.raises(NotFound, match="not kept any more"):
            act(own, row)
        own.rollback()


def ask(session, twin, now):
    add_for_twin(session, twin, Request(Trigger.button, "asked-in-another-tab"), now)


@pytest.mark.parametrize(
    "act",
    [removals.remove_twin, partial(twins.set_twin_active, is_active=False), ask],
    ids=["delete", "deactivate", "post now"],
)
def test_a_twin_that_was_deleted_in_another_tab_is_not_there_any_more(study, act):
    twin = builders.make_twin(study)
    with transaction() as own:
        row = own.get_one(DigitalTwin, twin.id)
        with transaction() as other:
            removals.remove_twin(other, other.get_one(DigitalTwin, twin.id), utc_now())
        with pytest.raises(NotFound, match="somebody else has deleted it"):
            act(own, row, now=utc_now())
        own.rollback()


def delete_all_of(study):
    with transaction() as own:
        found = own.get_one(Experiment, study.id)
        found.state, found.delete_asked_at = ExperimentState.archived, utc_now()
    deletion.delete_for(30)


def test_a_copy_of_an_experiment_that_is_deleted_meanwhile_is_refused(session, study):
    builders.make_twin(study)
    with transaction() as own:
        found = own.get_one(Experiment, study.id)
        delete_all_of(study)
        with pytest.raises(BadInput, match="is being deleted"):
            cloning.clone(own, found, ["Copy"], utc_now(), with_twins=True, with_schedules=True)
        own.rollback()
    assert session.scalar(select(func.count(Experiment.id))) == 0


def test_what_was_deleted_before_the_gate_closed_is_neither_ended_nor_archived(session):
    for act in (lifecycle.end, lifecycle.archive):
        other = builders.make_experiment("Other")
        with transaction() as own:
            found = own.get_one(Experiment, other.id)
            delete_all_of(other)
            with pytest.raises(NotFound, match="somebody else has deleted it"):
                act(own, found, utc_now())
            own.rollback()


def test_of_two_imports_of_the_same_personas_in_another_order_one_is_asked_to_look_again(app, session):
    rows = [PersonaRow("a.csv", name, f"Old {name}.") for name in ("A", "B")]
    with transaction() as own:
        persona_import.import_personas(own, rows, persona_import.make_plan(own, rows).fingerprint, utc_now())
    both, found = threading.Barrier(2), []

    def bring(ordered):
        with app.app_context():
            try:
                with transaction() as own:
                    plan = persona_import.make_plan(own, ordered)
                    both.wait(10)
                    persona_import.import_personas(own, ordered, plan.fingerprint, utc_now())
                found.append("done")
            except Exception as error:
                found.append(type(error).__name__)

    new = [replace(row, text="New.") for row in rows]
    threads = [threading.Thread(target=bring, args=(each,)) for each in (new, new[::-1])]
    with slow_updates_of("persona"):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert sorted(found) == ["BadInput", "done"]


@contextmanager
def slow_updates_of(table):
    """Whoever has updated a row of it takes a moment before the next one."""

    def linger(_connection, _cursor, statement, *_rest):
        if statement.startswith(f"UPDATE {table} "):
            time.sleep(0.3)

    sa.event.listen(db.engine, "after_cursor_execute", linger)
    yield
    sa.event.remove(db.engine, "after_cursor_execute", linger)


def rows_of(names, text):
    return [
        Row(place=name, persona=f"{text} {name}", persona_name=name, username=f"{text}_{name}")
        for name in names
    ]


def test_of_two_set_ups_with_new_versions_in_another_order_one_is_asked_to_look_again(app, session, study):
    other, names, found = builders.make_experiment("Other"), ["A", "B"], []
    with transaction() as own:
        bulk.set_up_twins(own, own.get_one(Experiment, study.id), rows_of(names, "old"), None, utc_now())
    both = threading.Barrier(2)

    def set_up(experiment_id, ordered):
        with app.app_context():
            try:
                with transaction() as own:
                    experiment = own.get_one(Experiment, experiment_id)
                    sheet = Sheet(tuple(rows_of(ordered, "new")))
                    plan = make_plan(own, experiment, sheet, Options(None, True))
                    both.wait(10)
                    bulk.carry_out(own, experiment, plan, utc_now(), "why")
                found.append("done")
            except Exception as error:
                found.append(type(error).__name__)

    threads = [
        threading.Thread(target=set_up, args=(study.id, names)),
        threading.Thread(target=set_up, args=(other.id, names[::-1])),
    ]
    with slow_updates_of("persona"):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert sorted(found) == ["PlanChanged", "done"]
