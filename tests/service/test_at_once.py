"""Two people at the same thing in one moment, and a process that is killed while it deletes."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from sqlalchemy import func, select, update

from pdsapp.database import transaction
from pdsapp.domain.reasons import TERMINAL_STATES, ExperimentState
from pdsapp.errors import PdsError
from pdsapp.models import (
    Attempt,
    BulkImport,
    DigitalTwin,
    Experiment,
    ImportState,
    Post,
    ProtocolChange,
    Schedule,
    ScheduleRevision,
    Slot,
    utc_now,
)
from pdsapp.services import bulk_edit, bulk_imports, deletion, lifecycle, schedules, starting
from pdsapp.services.bulk_edit import Wish
from pdsapp.services.ledger import ledger
from tests import builders
from tests.service.slot_helpers import MINUTE, START, claim, finish_attempts, make_schedule
from tests.service.test_bulk_imports import kept

pytestmark = pytest.mark.database


@pytest.fixture
def at_once(app):
    """`at_once(act, act)` runs them in threads that begin together; what each returned or raised."""

    def run(*acts):
        barrier, found = threading.Barrier(len(acts)), [None] * len(acts)

        def within(number, act):
            with app.app_context():
                barrier.wait()
                try:
                    found[number] = act()
                except PdsError as error:
                    found[number] = error

        threads = [threading.Thread(target=within, args=each) for each in enumerate(acts)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(40)
        assert not any(thread.is_alive() for thread in threads)
        return found

    return run


def refused(found):
    return [each for each in found if isinstance(each, PdsError)]


def in_order(session, study_id):
    """Ranks are dense, the ledger adds up, nothing of an experiment that is over is under way."""
    session.rollback()
    session.expire_all()
    study = session.get_one(Experiment, study_id)
    ranks = session.scalars(
        select(DigitalTwin.active_rank)
        .where(DigitalTwin.experiment_id == study_id, DigitalTwin.active_rank.is_not(None))
        .order_by(DigitalTwin.active_rank)
    ).all()
    assert ranks == list(range(study.active_twin_count))
    assert ledger(session, study).problems == ()
    if study.state in ("ended", "archived"):
        open_ones = select(func.count(Attempt.id)).where(
            Attempt.experiment_id == study_id, Attempt.state.notin_(TERMINAL_STATES)
        )
        assert session.scalar(open_ones) == 0
    return True


def test_of_two_who_start_a_draft_at_once_one_does(session, settings, model_server, at_once):
    draft = builders.make_experiment("Pilot", state=ExperimentState.draft)
    twin = builders.make_twin(draft, token=builders.make_token(settings, model_server.base_url))
    builders.add_attempt(twin)

    def start():
        with transaction() as own:
            found = own.get_one(Experiment, draft.id)
            return lifecycle.start(own, found, settings, utc_now(), accepts_warnings=True)

    assert len(refused(at_once(start, start))) == 1
    session.rollback()
    assert session.scalar(select(func.count(ProtocolChange.id))) == 1
    assert in_order(session, draft.id)


def test_of_a_start_with_schedules_and_somebody_who_enables_one_at_once_both_are_done(
    session, settings, model_server, at_once
):
    draft = builders.make_experiment("Pilot", state=ExperimentState.draft)
    builders.make_twin(draft, token=builders.make_token(settings, model_server.base_url))
    keys = [make_schedule(draft, now=utc_now(), is_enabled=False).id for _ in range(3)]

    def start():
        with transaction() as own:
            found = own.get_one(Experiment, draft.id)
            return starting.start(own, found, settings, utc_now(), switches_on=True, accepts_warnings=True)

    def enable():
        with transaction() as own:
            return schedules.enable(own, own.get_one(Schedule, keys[1]), utc_now(), reason="begin")

    found = at_once(start, start, enable)
    assert len(refused(found[:2])) == 1 and not refused(found[2:])
    session.rollback()
    revisions = select(func.count(ScheduleRevision.id)).group_by(ScheduleRevision.schedule_id)
    assert session.scalars(revisions).all() == [2, 2, 2], "each was switched on once"
    assert all(session.scalars(select(Schedule.is_enabled)))
    assert in_order(session, draft.id)


def test_an_import_confirmed_in_two_tabs_is_set_up_once(study, session, at_once):
    number = kept(study)

    def confirm():
        with transaction() as own:
            row = own.get_one(BulkImport, number)
            plan = bulk_imports.plan_of(own, row) if row.content else None
            bulk_imports.confirm(own, row, plan, (plan and plan.fingerprint) or "x", "", utc_now(), None)

    assert len(refused(at_once(confirm, confirm))) == 1
    session.rollback()
    assert session.scalar(select(func.count(DigitalTwin.id))) == 3
    assert in_order(session, study.id)


def test_a_large_import_taken_by_two_workers_is_set_up_once(study, session, at_once):
    number = kept(study, 501)
    with transaction() as own:
        row = own.get_one(BulkImport, number)
        plan = bulk_imports.plan_of(own, row)
        bulk_imports.confirm(own, row, plan, plan.fingerprint, "", utc_now(), None)

    def run():
        return bulk_imports.run(number, utc_now)

    assert set(at_once(run, run)) == {ImportState.done, None}
    assert in_order(session, study.id)


@pytest.mark.parametrize("is_active", [False, True])
def test_twins_switched_while_their_experiment_ends_stay_in_order(study, session, at_once, is_active):
    ids = [builders.make_twin(study, f"t{number}", is_active=not is_active).id for number in range(6)]
    with transaction() as own:
        plan = bulk_edit.make_plan(own, ids, Wish(is_active=is_active))

    def switch():
        with transaction() as own:
            bulk_edit.carry_out(own, ids, Wish(is_active=is_active), plan.fingerprint, utc_now(), "why")

    def end():
        with transaction() as own:
            lifecycle.end(own, own.get_one(Experiment, study.id), utc_now())

    found = at_once(switch, end)
    assert found[1] is None, found
    assert in_order(session, study.id)
    assert session.get_one(Experiment, study.id).state == "ended"


def test_who_asks_twins_while_their_experiment_ends_leaves_nothing_waiting(
    settings, session, model_server, at_once
):
    study = builders.make_experiment()
    token = builders.make_token(settings, model_server.base_url)
    twins = [builders.make_twin(study, token=token) for _ in range(10)]

    def ask(some):
        for twin in some:
            builders.add_attempt(twin)

    def end():
        with transaction() as own:
            lifecycle.end(own, own.get_one(Experiment, study.id), utc_now())

    at_once(lambda: ask(twins[:5]), end, lambda: ask(twins[5:]))
    builders.run_due(settings)  # what was committed beside the end waits for a worker, which cancels it
    assert in_order(session, study.id)
    assert session.scalar(select(func.count(Post.id))) == len(model_server.history) == 0


def test_two_that_delete_the_same_experiment_take_its_attempts_off_a_shared_slot_once(
    session, write, at_once, monkeypatch
):
    gone, other = builders.make_experiment("Gone"), builders.make_experiment("Kept")
    for study in (gone, other):
        builders.make_twin(study)
    make_schedule(None, twins_per_slot=2)
    claim(START + MINUTE)
    finish_attempts()
    with write() as own:
        found = own.get_one(Experiment, gone.id)
        found.state, found.delete_asked_at = ExperimentState.archived, utc_now()
    both, remove = threading.Barrier(2), deletion._remove

    def remove_when_both_have_counted(session, kind, condition):
        if kind is Attempt and not both.broken:
            with contextlib.suppress(threading.BrokenBarrierError):
                both.wait(0.5)  # the second waits for the first's commit, and has counted nothing
        remove(session, kind, condition)

    monkeypatch.setattr(deletion, "_remove", remove_when_both_have_counted)
    assert at_once(deletion.delete_some, deletion.delete_some) == [True, True]
    slot = session.scalars(select(Slot)).one()
    assert (slot.wanted_count, slot.expanded_count) == (1, 1)


DELETING = """
import time
from pdsapp import create_app
from pdsapp.services import deletion
app = create_app(with_web=False)
deletion.CHUNK = 1
with app.app_context():
    steps = list(deletion._STEPS)
    def slow(step):
        def run(session, key):
            done = step(session, key)
            if done:
                print("chunk", flush=True)
                time.sleep(0.3)
            return done
        return run
    deletion._STEPS = tuple(slow(step) for step in steps)
    print("ready", flush=True)
    while deletion.delete_some():
        pass
"""


def test_a_process_killed_in_the_middle_of_a_chunk_leaves_what_the_next_one_finishes(
    settings, session, model_server
):
    token = builders.make_token(settings, model_server.base_url)
    gone, other = builders.make_experiment("Gone"), builders.make_experiment("Kept")
    for study in (gone, other):
        twin = builders.make_twin(study, token=token)
        for _ in range(4):
            builders.add_attempt(twin)
    builders.run_due(settings)
    with transaction() as own:
        own.execute(update(Experiment).where(Experiment.id == gone.id).values(state=ExperimentState.archived))
    with transaction() as own:
        deletion.ask_for_deletion(own, own.get_one(Experiment, gone.id), "Gone", utc_now())
    environment = os.environ | {
        "PDS_DATA_DIR": str(settings.data_dir), "SECRET_KEY": settings.require("secret_key"),
        "PDS_FERNET_KEYS": settings.require("fernet_keys"),
    }  # fmt: skip
    if not settings.is_embedded:
        environment["DATABASE_URL"] = settings.sqlalchemy_url
    for chunks in (1, 3):
        with subprocess.Popen(
            [sys.executable, "-c", DELETING], env=environment, stdout=subprocess.PIPE, text=True
        ) as process:
            while chunks and (line := process.stdout.readline()):
                chunks -= line == "chunk\n"
            time.sleep(0.1)
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
        session.rollback()
        session.expire_all()
        assert session.get_one(Experiment, gone.id).delete_asked_at is not None
        assert ledger(session).problems == ()
    deletion.delete_for(60)
    session.rollback()
    session.expire_all()
    assert session.scalars(select(Experiment.name)).all() == ["Kept"]
    assert ledger(session).problems == () and in_order(session, other.id)
    assert session.scalar(select(func.count(Attempt.id))) == 4
