"""Claiming takes turns between experiments, and reads few rows however many are due."""

import re
from collections import Counter
from datetime import timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy import func, select

from pdsapp.attempts import claim
from pdsapp.attempts.fairness import take_turns
from pdsapp.database import transaction
from pdsapp.domain.reasons import AttemptState, Trigger
from pdsapp.extensions import db
from pdsapp.models import Attempt, utc_now
from pdsapp.models.base import new_uuid
from tests import builders
from tests.conftest import TEST_DATABASE_URL
from tests.service.herd import run

pytestmark = pytest.mark.database
FLOOD = 10_000


def due_rows(twin, count, ago, lane="default"):
    """So many due attempts of a twin, the oldest due for `ago`, in one insert."""
    now = utc_now()
    rows = [
        {
            "uuid": new_uuid(), "experiment_id": twin.experiment_id, "digital_twin_id": twin.id,
            "ordinal": number, "trigger": Trigger.button, "lane": lane, "state": AttemptState.due,
            "not_before": now - ago + timedelta(milliseconds=number), "created_at": now - ago,
        }
        for number in range(count)
    ]  # fmt: skip
    with transaction() as session:
        for start in range(0, count, 1000):
            session.execute(sa.insert(Attempt.__table__), rows[start : start + 1000])


@pytest.fixture
def flood(app):
    """An experiment with 10,000 attempts that have been due for an hour."""
    found = builders.make_experiment("Flood")
    due_rows(builders.make_twin(found, "flooder"), FLOOD, timedelta(hours=1))
    return found


@pytest.fixture
def small(flood):
    """One that has just asked ten twins."""
    found = builders.make_experiment("Small")
    for number in range(10):
        due_rows(builders.make_twin(found, f"s{number}"), 1, timedelta(seconds=1))
    return found


def taken(limit, **more):
    with transaction() as session:
        rows, broken = take_turns(session, utc_now(), limit, "default", **more)
        assert not broken
        return rows


def test_a_flood_of_ten_thousand_leaves_half_of_each_claim_to_who_came_last(flood, small):
    counts = Counter(row.experiment_id for row in taken(16))
    assert counts == {flood.id: 8, small.id: 8}


def test_what_one_experiment_does_not_need_the_other_gets(flood, small):
    counts = Counter(row.experiment_id for row in taken(50))
    assert counts == {flood.id: 40, small.id: 10}


def test_within_an_experiment_the_oldest_come_first(flood, small):
    rows = [row for row in taken(50) if row.experiment_id == flood.id]
    assert [row.ordinal for row in rows] == list(range(40))


def test_with_more_experiments_than_places_each_has_its_turn(app):
    for number in range(5):
        due_rows(builders.make_twin(builders.make_experiment(f"E{number}")), 3, timedelta(minutes=1))
    begin, seen = utc_now(), Counter()
    with transaction() as session:
        for step in range(10):
            rows, _ = take_turns(session, begin + timedelta(milliseconds=step), 1, "default")
            seen.update(row.experiment_id for row in rows)
    assert len(seen) == 5 and set(seen.values()) == {2}


def test_what_is_not_due_yet_and_other_lanes_are_left(flood, small):
    later = builders.make_experiment("Later")
    due_rows(builders.make_twin(later), 5, timedelta(hours=-1))
    due_rows(builders.make_twin(later), 5, timedelta(hours=1), lane="night")
    assert {row.experiment_id for row in taken(30)} == {flood.id, small.id}
    with transaction() as session:
        assert {row.lane for row in take_turns(session, utc_now(), 30)[0]} == {"default", "night"}


def test_an_experiment_with_six_is_done_while_the_flood_goes_on(settings, session, model_server):
    """Two worker processes, which claim eight at a time."""
    token = builders.make_token(settings, model_server.base_url)
    flood, small = builders.make_experiment("Flood"), builders.make_experiment("Small")
    for number in range(24):
        due_rows(builders.make_twin(flood, f"f{number}", token), 1, timedelta(hours=1))
    for number in range(6):
        due_rows(builders.make_twin(small, f"s{number}", token), 1, timedelta(seconds=1))
    run(settings, "drain", [["w0"], ["w1"]])
    session.rollback()
    order = session.scalars(select(Attempt.experiment_id).order_by(Attempt.claimed_at, Attempt.id)).all()
    assert len(order) == 30
    last = max(place for place, number in enumerate(order) if number == small.id)
    assert last < 20, "the six were claimed beside the flood's first, not after its twenty-four"
    assert session.scalar(select(func.count(Attempt.id)).where(Attempt.claimed_at.is_(None))) == 0


def explained(statements):
    """What the database means to do for each of these statements."""
    verb = "EXPLAIN QUERY PLAN " if TEST_DATABASE_URL is None else "EXPLAIN (ANALYZE, BUFFERS) "
    plans = []
    with db.engine.begin() as connection:
        for statement, parameters in statements:
            plans.append(
                "\n".join(str(row) for row in connection.exec_driver_sql(verb + statement, parameters))
            )
    return plans


@pytest.fixture
def statements():
    found = []

    def note(_connection, _cursor, statement, parameters, _context, _many):
        if statement.lstrip().startswith(("SELECT", "WITH")):
            found.append((statement, parameters))

    sa.event.listen(db.engine, "before_cursor_execute", note)
    yield found
    sa.event.remove(db.engine, "before_cursor_execute", note)


def test_a_claim_reads_by_the_index_of_what_is_due_and_sorts_no_flood(flood, small, statements):
    with db.engine.begin() as connection:
        connection.exec_driver_sql("ANALYZE")
    statements.clear()
    assert len(taken(16)) == 16
    assert len(statements) <= 3, "one for the experiments, one for each of them"
    for plan in explained(statements):
        if TEST_DATABASE_URL is None:
            assert not re.search(r"SCAN attempt|TEMP B-TREE", plan), plan
            assert "ix_attempt_due_experiment" in plan
        else:
            assert "Seq Scan on attempt" not in plan, plan
            rows = [int(number) for number in re.findall(r"actual time=\S+ rows=(\d+)", plan)]
            assert max(rows) <= 20, plan


def test_claiming_beside_a_flood_leases_both(flood, small):
    with transaction() as session:
        leases = claim.claim(session, "w1", utc_now(), 16, lane="default")
    with transaction() as session:
        owners = session.scalars(
            select(Attempt.experiment_id).where(Attempt.id.in_([lease.attempt_id for lease in leases]))
        ).all()
    assert Counter(owners)[small.id] == 8
