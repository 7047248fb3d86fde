"""Importing posts by the thousand and at the same time: few statements, right sums, each post once."""

import threading
import time
from contextlib import contextmanager
from datetime import timedelta
from itertools import pairwise

import pytest
import sqlalchemy as sa

from pdsapp.extensions import db
from pdsapp.models import PostRevision, UserProfile, utc_now
from pdsapp.services import rollups
from pdsapp.services.facets import AUTHORS, POST_KINDS
from pdsapp.services.tallying import Stretch
from tests import builders
from tests.service.importing import HEADER, NOW, TALK, bring_in, carry_out, count, plan_of
from tests.service.test_rollups import counted, from_rows, roll_up_all

pytestmark = pytest.mark.database


@pytest.fixture
def study(app):
    return builders.make_experiment()


@pytest.fixture
def people(study):
    return [builders.make_person(study, name) for name in ("ada", "bob")]


@pytest.fixture
def count_statements(app):
    """`with count_statements() as statements:` collects what is sent to the database meanwhile."""

    @contextmanager
    def counting():
        statements = []
        listen = lambda *args: statements.append(args[2])  # noqa: E731
        sa.event.listen(db.engine, "before_cursor_execute", listen)
        try:
            yield statements
        finally:
            sa.event.remove(db.engine, "before_cursor_execute", listen)

    return counting


def test_two_at_once_make_the_posts_once(app, people, study, session):
    plan = plan_of(study, HEADER + TALK + "eve,Hello.,,,\n")
    barrier, found = threading.Barrier(2), []

    def run():
        with app.app_context():
            barrier.wait()
            found.append(carry_out(study, plan, add_people=True).is_new)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(found) == [False, True]
    assert count(session) == count(session, PostRevision) == 4 and count(session, UserProfile) == 3


def test_twenty_thousand_rows_take_few_statements_and_no_long(study, people, count_statements):
    ends = NOW - timedelta(days=1)
    rows = "".join(
        f"{('ada', 'bob')[number % 2]},Post {number}.,{ends - timedelta(minutes=7 * (20_000 - number))},"
        f"{f'p{number - 3}' if number % 4 == 3 else ''},p{number}\n"
        for number in range(20_000)
    )
    started = time.monotonic()
    with count_statements() as statements:
        done = bring_in(study, HEADER + rows)
    assert done.is_new and time.monotonic() - started < 30
    assert len(statements) < 200, len(statements)


@pytest.mark.parametrize("is_rolled_up", [True, False], ids=["rolled up", "not rolled up"])
def test_sums_are_right_at_once_and_stay_so(study, people, is_rolled_up):
    facets = (POST_KINDS, AUTHORS)
    now = utc_now()
    for minutes in (5, 300, 3000):
        builders.make_post(people[0], minutes=minutes)
    if is_rolled_up:
        roll_up_all(now)
    rows = "".join(
        f"{name},Post {number}.,{(now - timedelta(hours=number)).isoformat()},,\n"
        for number in range(1, 140)
        for name in ("ada", "bob")
    )
    bring_in(
        study,
        HEADER + rows + f"ada,Reply.,{(now - timedelta(hours=2)).isoformat()},,x\nada,Reply.,,x,\n",
        now,
    )
    stretch = Stretch.ending(now + timedelta(seconds=1), 7 * 86_400)
    assert sum(row[-1] for row in counted(stretch, facets=(POST_KINDS,))["post_tally"] if row[0]) == 283
    assert counted(stretch, facets=facets) == from_rows(stretch, facets=facets)
    roll_up_all(now + timedelta(minutes=30))
    assert counted(stretch, facets=facets) == from_rows(stretch, facets=facets)


def test_sums_stay_right_where_many_quarters_are_counted_at_once(study, people, monkeypatch):
    monkeypatch.setattr(rollups, "MOST_RUNS", 3)
    now = utc_now()
    for hours in range(0, 150, 5):
        builders.make_post(people[0], minutes=60 * hours + 1)
    roll_up_all(now)
    times = [now - timedelta(hours=7 * number + number % 3) for number in range(20)]
    bring_in(study, HEADER + "".join(f"bob,Post {when}.,{when.isoformat()},,\n" for when in times), now)
    stretch = Stretch.ending(now + timedelta(seconds=1), 7 * 86_400)
    facets = (POST_KINDS, AUTHORS)
    assert counted(stretch, facets=facets) == from_rows(stretch, facets=facets)


@pytest.mark.parametrize("most", [1, 2, 3, 10])
def test_runs_cover_every_block_and_are_few(most, monkeypatch):
    monkeypatch.setattr(rollups, "MOST_RUNS", most)
    starts = {900 * number for number in (0, 1, 5, 6, 7, 20, 22, 40)}
    runs = rollups._runs(starts, 900)
    assert len(runs) <= most
    assert all(any(first <= start < last for first, last in runs) for start in starts)
    assert all(a[1] < b[0] for a, b in pairwise(runs))
    assert most < 10 or runs == [(0, 1800), (4500, 7200), (18000, 18900), (19800, 20700), (36000, 36900)]
