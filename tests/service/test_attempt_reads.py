"""What looks for the few attempts that are due or at work reads only those, however many there have been."""

import re

import pytest
from sqlalchemy import event

from pdsapp.attempts import claim
from pdsapp.database import transaction
from pdsapp.extensions import db
from pdsapp.models import Experiment, Schedule, utc_now
from pdsapp.services import pauses
from tests import builders
from tests.conftest import TEST_DATABASE_URL

from .pause_helpers import token_of
from .slot_helpers import MINUTE, START, make_schedule
from .slot_helpers import claim as claim_slots

pytestmark = pytest.mark.database
on_sqlite = pytest.mark.skipif(
    TEST_DATABASE_URL is not None, reason="PostgreSQL chooses by statistics: SQLite's own test"
)


def assert_few_are_read(session, seen):
    """No statement read all attempts there are, or all of a twin, schedule or experiment; gives the plans."""
    plans = [
        row[3]
        for sql, values in seen
        if sql.startswith("SELECT") and "FROM attempt" in sql
        for row in session.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", values)
    ]
    assert plans
    many = re.compile("SCAN attempt$|ix_attempt_(experiment|schedule|digital_twin)_id")
    assert [plan for plan in plans if many.search(plan)] == []
    return plans


@on_sqlite
def test_claiming_and_taking_back_read_the_small_indexes_only(session, twin, write):
    builders.add_attempt(twin)
    seen = []
    event.listen(db.engine, "before_cursor_execute", lambda *args: seen.append(args[2:4]))
    with write() as writing:
        leases = claim.claim(writing, "w1", utc_now(), 1)
        claim.renew(writing, leases, utc_now())
        claim.reap(writing, utc_now())
        claim.give_back_all_of(writing, "w1", utc_now())
    assert len(leases) == 1
    plans = assert_few_are_read(session, seen)
    used = {name for words in plans for name in re.findall(r"USING (?:COVERING )?INDEX (\w+)", words)}
    assert used >= {"ix_attempt_due_experiment", "ix_attempt_lease", "uq_attempt_one_running_per_twin"}


@pytest.mark.parametrize("scope", ["experiment", "schedule", "token", "everything"])
@on_sqlite
def test_stopping_reads_only_what_is_unfinished(session, study, twin, settings, scope):
    schedule = make_schedule(study)
    claim_slots(START + MINUTE)
    seen = []
    event.listen(db.engine, "before_cursor_execute", lambda *args: seen.append(args[2:4]))
    with transaction() as writing:
        act, *row = {
            "experiment": (pauses.stop_experiment, writing.get_one(Experiment, study.id)),
            "schedule": (pauses.pause_schedule, writing.get_one(Schedule, schedule.id)),
            "token": (pauses.pause_token, token_of(writing, twin)),
            "everything": (pauses.stop_everything,),
        }[scope]
        act(writing, *row, START)
    assert_few_are_read(session, seen)
