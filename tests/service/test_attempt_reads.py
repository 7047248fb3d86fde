"""What looks for the few attempts that are due or at work reads only those, however many there have been."""

import re

import pytest
from sqlalchemy import event

from pdsapp.attempts import claim
from pdsapp.extensions import db
from pdsapp.models import utc_now
from tests import builders
from tests.conftest import TEST_DATABASE_URL

pytestmark = pytest.mark.database


@pytest.mark.skipif(
    TEST_DATABASE_URL is not None, reason="PostgreSQL chooses by statistics: SQLite's own test"
)
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
    reads = [(sql, values) for sql, values in seen if sql.startswith("SELECT") and "FROM attempt" in sql]
    plans = [
        row[3]
        for sql, values in reads
        for row in session.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", values)
    ]
    assert "SCAN attempt" not in plans, "it would read every attempt there ever was"
    used = {name for words in plans for name in re.findall(r"USING (?:COVERING )?INDEX (\w+)", words)}
    assert used >= {"ix_attempt_due", "ix_attempt_lease", "uq_attempt_one_running_per_twin"}
