"""What pages and notices see of the ledger without looking at all there is."""

import re
from datetime import timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy import delete, event, update

from pdsapp.database import reading
from pdsapp.domain.reasons import AttemptState
from pdsapp.extensions import db
from pdsapp.models import Attempt, Post, utc_now
from pdsapp.services import ledger_turns, notices
from pdsapp.services.ledger import of_last_day, of_period
from tests.attempt_rows import add_row
from tests.builders import make_experiment, make_twin
from tests.conftest import TEST_DATABASE_URL

pytestmark = pytest.mark.database
DAY = timedelta(days=1)


@pytest.fixture
def study(app):
    return make_experiment()


@pytest.fixture
def twin(study):
    return make_twin(study)


def ago(**spans):
    return utc_now() - timedelta(**spans)


def told(app):
    with reading() as session:
        lines = notices.current_lines(session, app.extensions["settings"], utc_now())
    return [line.words for line in lines if line.key == "ledger:all"]


def uuid_of(write, number):
    with write() as session:
        return session.get_one(Attempt, number).uuid


def test_attempts_that_agree_with_their_posts_are_not_told(app, twin):
    for minutes, state in enumerate(("posted", "skipped", "failed", "due", "posted")):
        add_row(twin, state, "wrong_key" if state == "failed" else None, ago(minutes=minutes + 1))
    assert told(app) == []


def test_an_attempt_that_says_posted_without_its_post_is_told(app, twin, write):
    number = add_row(twin, "posted", at=ago(hours=1))
    add_row(twin, "posted", at=ago(hours=2))
    with write() as session:
        post = session.scalars(sa.select(Post).where(Post.attempt_id == number)).one()
        session.execute(sa.text("DELETE FROM post_revision WHERE post_id = :id"), {"id": post.id})
        session.execute(delete(Post).where(Post.id == post.id))
    assert told(app) == [f"Attempt {uuid_of(write, number)} is posted and has no post."]


@pytest.mark.parametrize("state", ["skipped", "failed", "running", "cancelled"])
def test_a_post_of_an_attempt_that_did_not_post_is_told_though_the_sums_agree(app, twin, write, state):
    number = add_row(twin, "posted", at=ago(hours=1))
    with write() as session:
        session.execute(update(Attempt).where(Attempt.id == number).values(state=AttemptState(state)))
    assert told(app) == [f"Attempt {uuid_of(write, number)} is {state} and has a post."]


def test_a_lost_post_and_a_surplus_one_do_not_make_up_for_each_other(app, twin, write):
    first, second = add_row(twin, "posted", at=ago(hours=1)), add_row(twin, "skipped", at=ago(hours=1))
    with write() as session:
        session.execute(update(Post).where(Post.attempt_id == first).values(attempt_id=second))
    (words,) = told(app)
    assert f"Attempt {uuid_of(write, first)} is posted and has no post." in words
    assert f"Attempt {uuid_of(write, second)} is skipped and has a post." in words


def test_what_is_looked_at_is_bounded(app, twin, write, monkeypatch):
    """However much there is: the newest so many of the last day."""
    monkeypatch.setattr(ledger_turns, "NEWEST", 3)
    old = add_row(twin, "posted", at=ago(hours=30))
    wrong = add_row(twin, "posted", at=ago(hours=1))
    with write() as session:
        session.execute(
            update(Attempt).where(Attempt.id.in_((old, wrong))).values(state=AttemptState.skipped)
        )
    for minutes in (30, 20):
        add_row(twin, at=ago(minutes=minutes))
    assert told(app) == [f"Attempt {uuid_of(write, wrong)} is skipped and has a post."]
    add_row(twin, at=ago(minutes=10))
    assert told(app) == []


def test_somebody_elses_experiment_is_not_named(study, twin, write):
    number = add_row(twin, "posted", at=ago(hours=1))
    with write() as session:
        session.execute(update(Attempt).where(Attempt.id == number).values(state=AttemptState.skipped))
    other = make_experiment("Other")
    with reading() as session:
        assert of_period(session, other, (), utc_now() - DAY, utc_now()).problems == ()
        assert len(of_last_day(session, study, utc_now()).problems) == 1


@pytest.mark.skipif(TEST_DATABASE_URL is not None, reason="asks SQLite how it looks")
@pytest.mark.parametrize("is_of_all", [True, False], ids=["all", "one"])
def test_it_is_looked_up_by_time_and_by_attempt_and_nothing_is_gone_through(study, twin, session, is_of_all):
    seen = []
    event.listen(db.engine, "before_cursor_execute", lambda *args: seen.append(args[2:4]))
    with reading() as own:
        list(ledger_turns.newest_and_posts(own, None if is_of_all else study, utc_now() - DAY))
    ((sql, values),) = [each for each in seen if "LEFT OUTER JOIN post" in each[0]]
    plan = [row[3] for row in session.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", values)]
    assert [line for line in plan if re.match("SCAN (attempt|post)", line)] == []
    assert any(re.match(r"SEARCH attempt USING INDEX ix_attempt_\w*created_at ", line) for line in plan)
    assert any(re.match(r"SEARCH post USING COVERING INDEX \w+ \(attempt_id=", line) for line in plan)
    assert "USE TEMP B-TREE FOR ORDER BY" not in plan
