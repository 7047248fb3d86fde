"""Drawing and deciding look at few rows however many twins there are, and draws stay uniform.

The plans are those of the database the tests run on, with 20,000 twins.
"""

from collections import Counter

import pytest
from sqlalchemy import event, select, text

from pdsapp.attempts import big_draws, ranks
from pdsapp.attempts.claim import claim
from pdsapp.attempts.create import Request, add_for_twin
from pdsapp.attempts.feed import recent_context, twin_state
from pdsapp.attempts.limits import hold_twins, limit_on
from pdsapp.attempts.obstacles import obstacle_to_going_on
from pdsapp.attempts.selection import draw_twins
from pdsapp.database import reading, transaction
from pdsapp.domain.limits import Limits
from pdsapp.domain.policy import PostingPolicy
from pdsapp.domain.reasons import Trigger
from pdsapp.domain.targets import EVERYBODY, Target
from pdsapp.extensions import db
from pdsapp.models import Attempt, DigitalTwin, Experiment, utc_now
from pdsapp.services import removals, twins
from tests.conftest import IS_IN_FULL
from tests.statistics import chi_square, p_value
from tests.twins import add_many

pytestmark = pytest.mark.database
DRAWS = 4_000 if IS_IN_FULL else 1_500
COUNT = 20_000
GROWS = ("digital_twin", "user_profile", "twin_tag")


@pytest.fixture
def crowd(study):
    add_many(study, COUNT, tags=lambda n: ("rare",) if n % 1_000 == 0 else ("usual",))
    with transaction() as session:
        session.execute(text("ANALYZE"))
    db.engine.dispose()
    return study


def plans_of(session, work):
    """The plan of each statement that `work` sends, but for those that only insert."""
    seen = []
    listener = lambda *args: seen.append(args[2:4])  # noqa: E731
    event.listen(db.engine, "before_cursor_execute", listener)
    try:
        work(session)
        session.flush()
    finally:
        event.remove(db.engine, "before_cursor_execute", listener)
    is_sqlite = session.connection().dialect.name == "sqlite"
    explain = "EXPLAIN QUERY PLAN" if is_sqlite else "EXPLAIN"
    found = {}
    for sql, values in seen:
        if sql.lstrip().upper().startswith(("SELECT", "UPDATE", "WITH")):
            values = values[0] if isinstance(values, list) else values
            rows = session.connection().exec_driver_sql(f"{explain} {sql}", values)
            found[sql] = [row[3] if is_sqlite else row[0] for row in rows]
    return found


def scans(plans):
    words = [f"{how} {table}" for how in ("SCAN", "Seq Scan on") for table in GROWS]
    return {sql: plan for sql, plan in plans.items() if any(w in line for line in plan for w in words)}


def draw(session):
    experiment = session.scalars(select(Experiment)).one()
    assert len(draw_twins(session, experiment, 10, "k")) == 10


def draw_of_tag(session):
    experiment = session.scalars(select(Experiment)).one()
    assert len(draw_twins(session, experiment, 3, "k", Target.tagged(["rare"]))) == 3


def expand(session):
    experiment = session.scalars(select(Experiment)).one()
    for target, wanted in ((EVERYBODY, None), (EVERYBODY, 5_000), (Target.tagged(["usual"]), None)):
        settled = big_draws.settle(session, experiment, wanted, "k", EVERYBODY)
        cursor = big_draws.Cursor(after_id=11_000, seen=11_000, made=3_000 if wanted else 11_000)
        assert len(big_draws.next_piece(session, settled, target, cursor, 500).picks) > 400


def decide(session):
    now = utc_now()
    (pick,) = draw_twins(session, session.scalars(select(Experiment)).one(), 1, "d")
    twin = session.get_one(DigitalTwin, pick.twin_id)
    add_for_twin(session, twin, Request(Trigger.cli, "r"), now)
    (lease,) = claim(session, "w", now, 1)
    attempt = session.get_one(Attempt, lease.attempt_id)
    assert obstacle_to_going_on(session, attempt, now) is None
    policy = PostingPolicy.from_dict(twin.experiment.policy.body)
    limited = PostingPolicy(**{**policy.__dict__, "limits": Limits(posts_per_day=3, min_gap_seconds=60)})
    twin_state(session, twin, policy, now)
    assert limit_on(session, twin, limited, now) is None
    recent_context(session, twin, policy.context_size)
    hold_twins(session, [attempt])


def switch(session):
    experiment = session.scalars(select(Experiment)).one()
    ids = [pick.twin_id for pick in draw_twins(session, experiment, 30, "k")]
    twin = session.get_one(DigitalTwin, ids[0])
    ranks.set_active(session, twin, False)
    ranks.set_active_many(session, experiment, ids[1:], False)
    ranks.set_active_many(session, experiment, ids, True)


@pytest.mark.parametrize("work", [draw, draw_of_tag, expand, decide, switch])
def test_no_statement_goes_through_all_twins(crowd, work):
    with transaction() as session:
        plans = plans_of(session, work)
        session.rollback()
    assert plans
    assert scans(plans) == {}


def test_switching_many_reads_those_and_as_many_of_the_last_ranks(crowd):
    rows = []
    with transaction() as session:
        experiment = session.scalars(select(Experiment)).one()
        ids = [pick.twin_id for pick in draw_twins(session, experiment, 20, "k")]
        fetched = ranks._rows_of, ranks._last_ranks
        for real in fetched:
            found = (
                real(session, experiment.id, sorted(ids))
                if real is ranks._rows_of
                else real(session, experiment.id, COUNT - len(ids))
            )
            rows.append(len(found))
    assert rows == [20, 20]


def test_draws_stay_uniform_after_many_left_were_banned_and_were_deleted(study):
    ids = add_many(study, 120, tags=lambda n: ("odd",) if n % 2 else ())
    now = utc_now()
    with transaction() as session:
        experiment = session.get_one(Experiment, study.id)
        ranks.set_active_many(session, experiment, ids[10:70], False)
        ranks.set_active_many(session, experiment, ids[40:60], True)
    for key in ids[70:80]:
        with transaction() as session:
            twins.set_banned(session, session.get_one(DigitalTwin, key).user_profile, True, now)
    for key in ids[70:73]:
        with transaction() as session:
            twins.set_banned(session, session.get_one(DigitalTwin, key).user_profile, False, now)
    for key in ids[90:100]:
        with transaction() as session:
            removals.remove_twin(session, session.get_one(DigitalTwin, key), now)
    left = {*ids[:10], *ids[40:60], *ids[70:73], *ids[80:90], *ids[100:]}
    with reading() as session:
        experiment = session.get_one(Experiment, study.id)
        assert experiment.active_twin_count == len(left)
        found = session.scalars(select(DigitalTwin.active_rank).where(DigitalTwin.active_rank.is_not(None)))
        assert sorted(found) == list(range(len(left)))
        single, several, odd = Counter(), Counter(), Counter()
        for number in range(DRAWS):
            single.update(p.twin_id for p in draw_twins(session, experiment, 1, f"one|{number}"))
            several.update(p.twin_id for p in draw_twins(session, experiment, 4, f"four|{number}"))
            odd.update(
                p.twin_id for p in draw_twins(session, experiment, 1, f"t|{number}", Target.tagged(["odd"]))
            )
    odd_left = left & set(ids[1::2])
    for counts, those, drawn in ((single, left, DRAWS), (several, left, 4 * DRAWS), (odd, odd_left, DRAWS)):
        assert set(counts) == those
        expected = [drawn / len(those)] * len(those)
        assert p_value(chi_square(list(counts.values()), expected), len(those) - 1) > 1e-4


def test_a_draw_by_walk_is_uniform_over_the_twins(study):
    ids = add_many(study, 60)
    with transaction() as session:
        ranks.set_active_many(session, session.get_one(Experiment, study.id), ids[5:15], False)
    counts = Counter()
    with reading() as session:
        experiment = session.get_one(Experiment, study.id)
        for number in range(1_500):
            settled = big_draws.settle(session, experiment, 20, f"walk|{number}", EVERYBODY)
            piece = big_draws.next_piece(session, settled, EVERYBODY, big_draws.Cursor(), 1_000)
            assert piece.is_last and len(piece.picks) == 20
            counts.update(pick.twin_id for pick in piece.picks)
    assert set(counts) == {*ids[:5], *ids[15:]}
    assert p_value(chi_square(list(counts.values()), [600.0] * 50), 49) > 1e-4
