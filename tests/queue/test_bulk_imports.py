"""Large set-ups as jobs: a worker does them, one that dies leaves nothing, the scheduler asks again."""

import os
import signal
from datetime import timedelta

import pytest
from sqlalchemy import func, select

from pdsapp.database import reading, transaction
from pdsapp.models import BulkImport, DigitalTwin, Experiment, ImportState, utc_now
from pdsapp.scheduling import queue
from pdsapp.services import bulk_imports
from pdsapp.services.bulk_files import Row, Sheet
from pdsapp.services.bulk_plan import Options
from tests import builders

from .world import children_of, scheduler, wait_for, worker

pytestmark = pytest.mark.queue


def confirmed(count):
    """An import of so many twins that waits for a worker; its id."""
    study = builders.make_experiment("Large", zone="UTC")
    rows = tuple(Row(f"line {n}", f"user_{n}", "Tea", "Likes tea.") for n in range(count))
    with transaction() as session:
        experiment = session.get_one(Experiment, study.id)
        row = bulk_imports.keep(session, experiment, "f.csv", Sheet(rows), Options(), utc_now(), None)
        plan = bulk_imports.plan_of(session, row)
        bulk_imports.confirm(session, row, plan, plan.fingerprint, "", utc_now(), None)
        return row.id


def state_of(number):
    with reading() as session:
        row = session.get_one(BulkImport, number)
        twins = session.scalar(select(func.count(DigitalTwin.id)).filter_by(experiment_id=row.experiment_id))
        return row.state, twins


def test_a_job_names_the_import_and_holds_no_text(app, connection):
    queue.wake_imports(connection, [7])
    queue.wake_imports(connection, [7])
    assert queue.queued_count(connection, "default") == 1
    job = queue.LaneJob.fetch("import-7", connection=connection)
    assert (job.func_name, job.args) == ("pdsapp.tasks.set_up_twins", [7])


def test_a_worker_sets_up_what_waits(app, settings, connection):
    number = confirmed(1_000)
    queue.wake_imports(connection, [number])
    with worker(settings):
        wait_for(lambda: state_of(number) == (ImportState.done, 1_000), 60)


def test_the_scheduler_asks_for_what_was_never_queued(app, settings):
    number = confirmed(600)
    with scheduler(settings), worker(settings):
        wait_for(lambda: state_of(number) == (ImportState.done, 600), 60)


def test_a_worker_killed_in_the_middle_leaves_nothing_and_the_next_does_it(app, settings, connection):
    number = confirmed(8_000)
    queue.wake_imports(connection, [number])
    with worker(settings) as first:
        wait_for(lambda: state_of(number)[0] == ImportState.running, 60, 0.005)
        for child in children_of(first.pid):
            os.kill(child, signal.SIGKILL)
        first.stop(signal.SIGKILL)
    state, twins = state_of(number)
    assert (state, twins) == (ImportState.running, 0)
    with transaction() as session:
        session.get_one(BulkImport, number).lease_until = utc_now() - timedelta(seconds=1)
    with scheduler(settings), worker(settings):
        wait_for(lambda: state_of(number) == (ImportState.done, 8_000), 90)
    with reading() as session:
        assert session.get_one(BulkImport, number).tries == 2
