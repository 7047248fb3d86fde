"""Roll-ups: what is counted through them is what the rows say, after anything, whenever the job has run."""

import os
import random
import signal
import time
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select

from pdsapp.database import reading, transaction
from pdsapp.domain.reasons import AttemptState, Reason, Visibility
from pdsapp.extensions import db
from pdsapp.models import (
    TALLIES,
    Attempt,
    AuthorTally,
    Experiment,
    ModelCall,
    OutcomeTally,
    Post,
    PostRevision,
    RollupMark,
    UserProfile,
)
from pdsapp.services import rollups
from pdsapp.services.facets import AUTHORS, FACETS, OUTCOMES, POST_KINDS
from pdsapp.services.tallying import Stretch, blocks, consistently, count
from pdsapp.services.visibility import set_visibility
from tests.attempt_rows import put_row
from tests.builders import make_experiment, make_person, make_twin

pytestmark = pytest.mark.database

NOW = datetime(2026, 11, 21, 12, 7, 30, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
OUTCOMES_OF_LIFE = (
    ("posted", "drawn"), ("posted", "forced"), ("skipped", "recency"), ("skipped", "share"),
    ("skipped", "daily_limit"), ("failed", "deadline"), ("cancelled", "stopped"), ("due", None),
    ("running", None),
)  # fmt: skip


def counted(stretch, experiment=None, facets=FACETS):
    """What each facet counts in a stretch, through the tallies; without what is 0."""
    with reading() as session:
        return consistently(
            session,
            lambda marks: {
                facet.table.__tablename__: sorted(
                    tuple(round(v, 6) if isinstance(v, float) else v for v in row)
                    for row in count(session, facet, experiment, [stretch.before, stretch], marks)
                )
                for facet in facets
            },
        )


def from_rows(stretch, experiment=None, facets=FACETS):
    """The same with empty tallies: everything is counted from the rows."""
    with db.engine.connect() as connection:
        outer = connection.begin()
        from sqlalchemy.orm import Session

        with Session(connection, join_transaction_mode="create_savepoint") as session:
            rollups.forget(session)
            session.flush()
            marks = rollups.read_marks(session)
            found = {
                facet.table.__tablename__: sorted(
                    tuple(round(v, 6) if isinstance(v, float) else v for v in row)
                    for row in count(session, facet, experiment, [stretch.before, stretch], marks)
                )
                for facet in facets
            }
        outer.rollback()
    return found


def roll_up_all(now):
    while rollups.roll_up(now):
        pass


class Life:
    """An installation whose history is moved on by one random event at a time."""

    def __init__(self, chance):
        self.chance, self.now = chance, NOW - timedelta(days=3)
        self.studies = [make_experiment("One", zone="UTC"), make_experiment("Two", zone="Asia/Kathmandu")]
        self.twins = [make_twin(study) for study in self.studies for _ in range(3)]
        self.people = [make_person(study) for study in self.studies]
        self.was_set_back = False

    def step(self):
        self.now += self.chance.choice((0, 1, 20, 300, 2_000)) * timedelta(seconds=self.chance.random())
        do = self.chance.choices(
            (self.ask, self.end, self.call, self.say, self.hide, self.roll, self.clock),
            (8, 4, 4, 3, 1, 4, 0.3),
        )[0]
        do()
        if self.was_set_back:  # a scheduler that lives looks every minute
            roll_up_all(self.now)

    def ask(self):
        state, reason = self.chance.choice(OUTCOMES_OF_LIFE)
        twin = self.chance.choice(self.twins)
        values = {"is_rehearsal": self.chance.random() < 0.1, "prompt_tokens": self.chance.choice((None, 70))}
        if state == "running":
            with reading() as session:
                busy = select(Attempt.id).filter_by(digital_twin_id=twin.id, state=AttemptState.running)
                if session.scalar(busy) is not None:
                    return
        if self.chance.random() < 0.7:
            values |= {"draw": self.chance.random(), "age_hours": self.chance.choice((0.5, 2, 5, 9)),
                       "own_count": self.chance.randrange(20), "is_forced": reason == "forced"}  # fmt: skip
        with transaction() as session:
            put_row(session, twin, state, reason, self.now, **values)

    def end(self):
        """An attempt that waits ends, however late."""
        with transaction() as session:
            waiting = session.scalars(select(Attempt).where(Attempt.state.in_(["due", "running"]))).all()
            if waiting:
                attempt = self.chance.choice(waiting)
                attempt.state, attempt.reason = AttemptState.skipped, Reason.recency
                attempt.reason_class = "rule"
                attempt.changed_at = attempt.finished_at = self.now

    def call(self):
        with transaction() as session:
            study = self.chance.choice(self.studies)
            state = self.chance.choice(("answered", "failed", "lost"))
            session.add(
                ModelCall(
                    experiment_id=study.id, endpoint=self.chance.choice(("http://a/v1", "http://b/v1")),
                    model_asked="m", state=state, error=Reason.deadline if state == "failed" else None,
                    latency_ms=self.chance.choice((None, 3, 900, 70_000, 95_000)), 
                    started_at=self.now - MINUTE,
                    finished_at=self.now,
                )
            )  # fmt: skip

    def say(self):
        """A person posts, now and then with a time long past: an import."""
        at = self.now - self.chance.choice((0, 0, 0, 40)) * timedelta(hours=self.chance.random())
        with transaction() as session:
            person = session.get_one(UserProfile, self.chance.choice(self.people).id)
            add_post(session, person, at, self.now)
            rollups.renew_posts(session, [at])

    def hide(self):
        with transaction() as session:
            posts = session.scalars(select(Post)).all()
            if posts:
                post = self.chance.choice(posts)
                wanted = self.chance.choice((Visibility.hidden, Visibility.visible))
                set_visibility(session, post, wanted, self.now)

    def roll(self):
        rollups.roll_up(self.now)

    def clock(self):
        """Somebody sets the clock back: until the job has looked again, sums may lag behind."""
        self.was_set_back = True
        self.now -= timedelta(minutes=self.chance.choice((3, 50)))


def add_post(session, person, at, now):
    post = Post(
        experiment_id=person.experiment_id, user_profile_id=person.id, text="x", created_at=at, changed_at=now
    )
    session.add(post)
    session.flush()
    session.add(PostRevision(post_id=post.id, number=1, text="x", created_at=now))
    return post


@pytest.mark.parametrize("seed", range(6))
def test_tallies_and_rows_agree_after_random_histories(app, monkeypatch, seed):
    monkeypatch.setattr(rollups, "CHUNK_ROWS", 7)
    monkeypatch.setattr(rollups, "OFTEN_ENOUGH", timedelta(0))
    life = Life(random.Random(seed))
    for number in range(90):
        life.step()
        if number % 14 == 0:
            stretch = Stretch.ending(life.now, life.chance.choice((900, 3_600, 86_400, 2 * 86_400)))
            assert counted(stretch) == from_rows(stretch)
    roll_up_all(life.now)
    stretch = Stretch.ending(life.now, 30 * 86_400)
    for study in (None, *life.studies):
        assert counted(stretch, study) == from_rows(stretch, study)
    late = life.now + timedelta(days=2)
    roll_up_all(late)
    stretch = Stretch.ending(late, 5 * 86_400)
    assert counted(stretch) == from_rows(stretch)
    if life.now > NOW - timedelta(days=2, hours=23):
        assert rows_in_tallies() > 0


def rows_in_tallies():
    with reading() as session:
        return sum(session.scalar(select(func.count()).select_from(table)) for table in TALLIES)


def history(twins, count_of, ends=NOW):
    with transaction() as session:
        for number in range(count_of):
            state, reason = OUTCOMES_OF_LIFE[number % 7]
            put_row(session, twins[number % len(twins)], state, reason, ends - number * 7 * MINUTE, draw=0.5)


def test_the_sums_are_those_somebody_counts_by_hand(app):
    study = make_experiment(zone="UTC")
    history([make_twin(study)], 700)
    roll_up_all(NOW + timedelta(hours=1))
    stretch = Stretch.ending(NOW, 86_400)
    with reading() as session:
        rows = session.execute(select(Attempt.state).where(Attempt.created_at >= stretch.starts_at)).scalars()
        by_hand = Counter(rows)
        through = Counter()
        for number, _, state, _, _, _, attempts, *_ in count(
            session, OUTCOMES, study, [stretch.before, stretch], rollups.read_marks(session)
        ):
            through[state] += attempts * number
        read = session.scalar(
            select(func.count()).select_from(OutcomeTally).where(OutcomeTally.span_seconds == 900)
        )
    assert +through == by_hand and read > 500


def test_rolling_up_again_changes_nothing(app):
    history([make_twin(make_experiment(zone="UTC"))], 300)
    roll_up_all(NOW)

    def everything():
        with reading() as session:
            return [
                session.execute(select(t.__table__).order_by(*t.__table__.primary_key)).all() for t in TALLIES
            ]

    first = everything()
    with transaction() as session:
        for row in session.scalars(select(RollupMark)):
            row.mark_at = row.looked_at = rollups.NEVER
    roll_up_all(NOW)
    assert everything() == first and all(first[0:1])


def test_a_hidden_post_leaves_the_counts_at_once_and_comes_back(app):
    study = make_experiment(zone="UTC")
    person = make_person(study)
    old = NOW - timedelta(days=2)
    with transaction() as session:
        number = add_post(session, person, old, old).id
    roll_up_all(NOW)
    stretch = Stretch.ending(NOW, 7 * 86_400)

    def posts():
        found = counted(stretch, study, [POST_KINDS, AUTHORS])
        return [sum(row[-1] for row in rows) for rows in found.values()]

    assert posts() == [1, 1]
    for visibility, wanted in ((Visibility.hidden, [0, 0]), (Visibility.visible, [1, 1])):
        with transaction() as session:
            set_visibility(session, session.get_one(Post, number), visibility, NOW)
        assert posts() == wanted


def test_an_idle_installation_is_not_written_to(app):
    history([make_twin(make_experiment(zone="UTC"))], 5)
    later = NOW + timedelta(hours=2)
    roll_up_all(later)

    def looked():
        with reading() as session:
            return {row.source: row.looked_at for row in session.scalars(select(RollupMark))}

    before = looked()
    rollups.roll_up(later + timedelta(hours=5))
    assert looked() == before


def test_a_job_killed_at_any_moment_leaves_sums_that_hold(app, monkeypatch):
    study = make_experiment(zone="UTC")
    history([make_twin(study) for _ in range(3)], 700)
    stretch = Stretch.ending(NOW, 30 * 86_400)
    wanted = from_rows(stretch)
    monkeypatch.setattr(rollups, "CHUNK_ROWS", 40)
    killed = 0
    for turn in range(8):
        db.session.remove()
        db.engine.dispose()
        child = os.fork()
        if child == 0:
            db.engine.dispose(close=False)
            while rollups.roll_up(NOW + timedelta(hours=1)):
                pass
            os._exit(0)
        time.sleep(0.02 + 0.03 * turn)
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        killed += os.WIFSIGNALED(status)
        assert counted(stretch) == wanted
    assert killed >= 3
    roll_up_all(NOW + timedelta(hours=1))
    assert counted(stretch) == wanted and rows_in_tallies() > 100


@pytest.mark.parametrize(
    ("start", "end", "wanted"),
    [
        (0, 900, [(900, 0, 900)]),
        (2_700, 4_500, [(900, 2_700, 4_500)]),
        (0, 2 * 86_400 + 4_500, [(86_400, 0, 172_800), (3_600, 172_800, 176_400), (900, 176_400, 177_300)]),
        (82_800, 2 * 86_400, [(3_600, 82_800, 86_400), (86_400, 86_400, 172_800)]),
    ],
)
def test_a_stretch_is_cut_into_the_largest_blocks(start, end, wanted):
    assert blocks(Stretch(start, end), (86_400, 3_600, 900)) == wanted


def test_blocks_of_a_stretch_that_ends_now_reach_over_its_end():
    stretch = Stretch(82_800, 86_400 + 900, is_open=True)
    assert blocks(stretch, (86_400, 3_600, 900)) == [(3_600, 82_800, 86_400), (86_400, 86_400, 172_800)]


def test_of_one_experiment_only_its_rows_count(app):
    one, two = make_experiment("One", zone="UTC"), make_experiment("Two", zone="UTC")
    history([make_twin(one)], 50)
    history([make_twin(two)], 70)
    roll_up_all(NOW + timedelta(hours=1))
    stretch = Stretch.ending(NOW, 7 * 86_400)
    found = [sum(r[6] for r in counted(stretch, s, [OUTCOMES])["outcome_tally"]) for s in (one, two, None)]
    assert found == [50, 70, 120]


def test_authors_are_kept_by_days_and_weeks_only(app):
    history([make_twin(make_experiment(zone="UTC"))], 300)
    roll_up_all(NOW + timedelta(hours=1))
    with reading() as session:
        assert set(session.scalars(select(AuthorTally.span_seconds))) == {86_400, 604_800}
        assert session.scalar(select(func.count(Experiment.id))) == 1
