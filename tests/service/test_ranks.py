"""Dense ranks and uniform selection in the database."""

from collections import Counter

import pytest
from sqlalchemy import select

from pdsapp.attempts.selection import draw_twins
from pdsapp.database import reading, transaction
from pdsapp.models import DigitalTwin, Experiment, utc_now
from pdsapp.services import bulk, pauses, twins
from tests import builders
from tests.conftest import IS_IN_FULL
from tests.statistics import chi_square, p_value

pytestmark = pytest.mark.database
DRAWS = 10_000 if IS_IN_FULL else 3_000


@pytest.fixture
def study(app):
    study = builders.make_experiment()
    with transaction() as session:
        rows = bulk.built_in_rows()
        bulk.set_up_twins(session, session.get_one(Experiment, study.id), rows, 50, utc_now())
    return study


def _ranks(session):
    query = select(DigitalTwin.active_rank).where(DigitalTwin.active_rank.is_not(None))
    return sorted(session.scalars(query))


def _draws(study, count):
    with reading() as session:
        experiment = session.get_one(Experiment, study.id)
        return Counter(draw_twins(session, experiment, 1, f"draw|{i}")[0].twin_id for i in range(count))


def test_draws_among_fifty_twins_are_uniform_also_after_twenty_left(study, session):
    counts = _draws(study, DRAWS)
    assert len(counts) == 50
    assert p_value(chi_square(list(counts.values()), [DRAWS / 50] * 50), 49) > 0.001
    with transaction() as writing:
        for twin in writing.scalars(select(DigitalTwin).order_by(DigitalTwin.id).limit(20)).all():
            twins.set_twin_active(writing, twin, False, utc_now())
    assert _ranks(session) == list(range(30))
    counts = _draws(study, DRAWS)
    assert len(counts) == 30
    assert p_value(chi_square(list(counts.values()), [DRAWS / 30] * 30), 29) > 0.001


def test_banning_and_unbanning_keeps_ranks_dense(study, session):
    with transaction() as writing:
        banned = writing.scalars(select(DigitalTwin).where(DigitalTwin.active_rank == 7)).one()
        twins.set_banned(writing, banned.user_profile, True, utc_now())
        assert banned.is_active
        assert banned.active_rank is None
    assert _ranks(session) == list(range(49))
    with transaction() as writing:
        row = writing.get_one(DigitalTwin, banned.id)
        twins.set_banned(writing, row.user_profile, False, utc_now())
    assert _ranks(session) == list(range(50))


def test_a_twin_activated_while_banned_gets_no_rank(study, session):
    with transaction() as writing:
        twin = writing.scalars(select(DigitalTwin).where(DigitalTwin.active_rank == 3)).one()
        twins.set_twin_active(writing, twin, False, utc_now())
        twins.set_banned(writing, twin.user_profile, True, utc_now())
        twins.set_twin_active(writing, twin, True, utc_now())
        assert twin.active_rank is None
    assert _ranks(session) == list(range(49))


def test_the_count_on_the_experiment_is_the_number_of_ranks(study, session):
    assert session.get_one(Experiment, study.id).active_twin_count == len(_ranks(session)) == 50


def test_over_all_experiments_each_is_drawn_in_proportion_to_its_twins(study):
    small = builders.make_experiment("Small")
    with transaction() as session:
        bulk.set_up_twins(session, session.get_one(Experiment, small.id), bulk.built_in_rows(), 10, utc_now())
    with reading() as session:
        drawn = Counter(draw_twins(session, None, 1, f"all|{i}")[0].experiment_id for i in range(3000))
    assert p_value(chi_square([drawn[study.id], drawn[small.id]], [2500.0, 500.0]), 1) > 0.001


def test_a_paused_experiment_has_no_candidates(study):
    with transaction() as session:
        experiment = session.get_one(Experiment, study.id)
        pauses.pause_experiment(session, experiment, utc_now())
        assert draw_twins(session, experiment, 1, "key") == []
        assert draw_twins(session, None, 1, "key") == []


def test_a_rank_that_moved_since_the_twin_was_loaded_does_not_break_the_row_of_ranks(study, session):
    from sqlalchemy.orm import Session

    from pdsapp.extensions import db

    with Session(db.engine, expire_on_commit=False) as slow:
        stale = slow.scalars(select(DigitalTwin).where(DigitalTwin.active_rank == 49)).one()
        slow.commit()
        with transaction() as quick:  # moves rank 49 to 5
            other = quick.scalars(select(DigitalTwin).where(DigitalTwin.active_rank == 5)).one()
            twins.set_twin_active(quick, other, False, utc_now())
        twins.set_twin_active(slow, stale, False, utc_now())
        slow.commit()
    assert _ranks(session) == list(range(48))
    assert session.get_one(Experiment, study.id).active_twin_count == 48
