"""The ledger adds up after anything people, clocks and hands do to schedules, in any order."""

import random
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from pdsapp.domain import cron
from pdsapp.domain.reasons import AttemptState, SlotKind
from pdsapp.dt_service import DTService
from pdsapp.extensions import db
from pdsapp.models import Attempt, Experiment, Schedule, Slot
from pdsapp.scheduling import slots
from pdsapp.services import pauses, schedules
from pdsapp.services.ledger import ledger
from tests import builders
from tests.conftest import IS_IN_FULL

pytestmark = pytest.mark.database

# Shortly before the clocks of New York go forward, and before they go back.
STARTS = (datetime(2026, 3, 8, 6, 29, 50, tzinfo=UTC), datetime(2026, 11, 1, 5, 0, tzinfo=UTC))
CADENCES = (
    {"cron": "* * * * *"},
    {"cron": "*/7 * * * *"},
    {"cron": "30 1-2 * * *"},
    {"cron": "0,30 2-3 * * *"},
    {"interval_seconds": 60},
    {"interval_seconds": 754},
)
ZONES = ("UTC", "America/New_York", "America/New_York", "Australia/Lord_Howe")
NONSENSE = (
    {"cron": "61 * * * *"},
    {"zone": "Mars/Base"},
    {"interval_seconds": -5},
    {"twins_per_slot": -3},
    {"jitter_seconds": -1},
    {"is_enabled": False},
    {"revision_number": 99},
)
SERVICE = DTService()


@pytest.fixture
def study(app):
    """A running experiment in UTC with three twins."""
    experiment = builders.make_experiment(zone="UTC")
    for _ in range(3):
        builders.make_twin(experiment)
    return experiment


@pytest.fixture
def scratch(app, study):
    """A session whose commits are savepoints: nothing of a round is there in the next one."""
    connection = db.engine.connect()
    outer = connection.begin()
    yield connection
    outer.rollback()
    connection.close()


class Life:
    """Schedules whose life is moved on by one random event at a time."""

    def __init__(self, session, study, chance):
        self.session, self.chance = session, chance
        self.experiment = session.get_one(Experiment, study.id)
        self.now = chance.choice(STARTS)
        self.said = []
        schedules.add_schedule(self.session, self.wish(first_day=None, last_day=None), self.now)

    def wish(self, **changes):
        given = {
            **self.chance.choice(CADENCES),
            "zone": self.chance.choice(ZONES),
            "is_enabled": self.chance.random() < 0.85,
            "missed_policy": self.chance.choice(["skip", "fire_once"]),
            "overlap_policy": self.chance.choice(["skip", "allow"]),
            "twins_per_slot": self.chance.choice([1, 2]),
            "jitter_seconds": self.chance.choice([0, 0, 1, 59]),
            **self.chance.choice([{}] * 6 + [{"first_day": self.day(-1, 1)}, {"last_day": self.day(0, 1)}]),
        }
        return schedules.Wish(f"S{self.chance.random()}", self.experiment, **{**given, **changes})

    def day(self, *offsets):
        return (self.now + timedelta(days=self.chance.choice(offsets))).date()

    def any_schedule(self):
        return self.chance.choice(self.session.scalars(select(Schedule).order_by(Schedule.id)).all())

    def living(self):
        query = select(Schedule).where(Schedule.is_archived.is_(False)).order_by(Schedule.id)
        found = self.session.scalars(query).all()
        return self.chance.choice(found) if found else None

    def add(self):
        with suppress(schedules.BadInput):  # days that leave no slot
            schedules.add_schedule(self.session, self.wish(is_enabled=True), self.now)

    def edit(self):
        if schedule := self.living():
            with suppress(schedules.BadInput):
                schedules.change_schedule(self.session, schedule, self.wish(), self.now)

    def switch(self):
        if (schedule := self.living()) and not schedule.broken_reason:
            switch = self.chance.choice([schedules.enable, schedules.disable])
            with suppress(schedules.BadInput):  # what cannot be read is not switched on
                switch(self.session, schedule, self.now)

    def archive(self):
        if self.chance.random() < 0.4 and (schedule := self.living()):
            schedules.archive(self.session, schedule, self.now)

    def damage(self):
        """Somebody writes into the row by hand."""
        if schedule := self.living():
            values = self.chance.choice(NONSENSE)
            self.session.execute(update(Schedule).where(Schedule.id == schedule.id).values(**values))

    def pause(self):
        acts = [pauses.pause_experiment, pauses.stop_experiment, *[pauses.resume_experiment] * 2]
        self.chance.choice(acts)(self.session, self.experiment, self.now)

    def pause_everything(self):
        acts = [pauses.pause_everything, pauses.stop_everything, *[pauses.resume_everything] * 2]
        self.chance.choice(acts)(self.session, self.now)

    def pause_one(self):
        if schedule := self.living():
            acts = [pauses.pause_schedule, pauses.resume_schedule]
            self.chance.choice(acts)(self.session, schedule, self.now)

    def finish(self):
        self.session.execute(
            update(Attempt).where(Attempt.state == AttemptState.due).values(state=AttemptState.skipped)
        )

    def poll(self):
        slots.claim_due(self.session, SERVICE, None, self.now, "test")

    def poll_one_twice(self):
        for _ in range(2):
            slots.claim_due(self.session, SERVICE, [self.any_schedule().uuid], self.now, "test")

    def to_the_next_slot(self):
        """The clock shows the very instant of a slot when the next thing happens."""
        at = self.living() and self.living().next_slot_at
        if at is not None and timedelta() < at - self.now < timedelta(hours=30):
            self.now = at

    def step(self):
        self.now += timedelta(seconds=self.chance.choice([-3600, 3600, -61, 2]))

    def one(self):
        event = self.chance.choice(
            [self.poll] * 8
            + [self.poll_one_twice, self.edit, self.edit, self.switch, self.switch, self.add, self.archive]
            + [
                self.damage,
                self.pause,
                self.pause_everything,
                self.pause_one,
                self.finish,
                self.finish,
                self.step,
            ]
            + [self.to_the_next_slot] * 3
        )
        event()
        self.session.flush()
        self.said.append(f"{self.now:%d %H:%M:%S} {event.__name__}")
        self.now += timedelta(seconds=self.chance.choice([0, 0.4, 1, 20, 61, 300, 754, 3000]))


@pytest.mark.parametrize("seed", range(24))
def test_the_ledger_adds_up_after_every_event(scratch, study, seed):
    with Session(scratch, join_transaction_mode="create_savepoint", expire_on_commit=False) as session:
        life = Life(session, study, random.Random(seed))
        for _ in range(50):
            life.one()
            found = ledger(session, now=life.now)
            assert found.problems == (), (life.said[-6:], found.problems)
        assert found.slot_sum.due == sum(found.slots.values())


def test_everything_that_can_become_of_a_slot_happens_in_such_lives(scratch, study):
    """Otherwise the test above would prove less than it seems to."""
    wanted = {
        SlotKind.fired,
        SlotKind.missed,
        SlotKind.paused,
        SlotKind.overlap,
        SlotKind.clock_change,
    }
    for seed in range(100, 150):
        with Session(scratch, join_transaction_mode="create_savepoint", expire_on_commit=False) as session:
            life = Life(session, study, random.Random(seed))
            for _ in range(60):
                life.one()
            wanted -= ledger(session, now=life.now).slots.keys()
        if not wanted:
            return
    raise AssertionError(f"never seen: {wanted}")


# Often, and over both gaps and repeated hours.
CLAIMED = tuple(
    schedules.Wish(f"S{number}", None, zone="America/New_York", is_enabled=True, **CADENCES[number])
    for number in (1, 3)
)
EXAMPLES = 1_000 if IS_IN_FULL else 60
SECONDS = st.integers(0, 3 * 3600)
CLAIMS = st.tuples(st.just("claim"), SECONDS, st.sets(st.integers(0, 1)))
EDITS = st.tuples(st.just("edit"), SECONDS, st.sets(st.integers(0, 1), min_size=1, max_size=1))
EVENTS = st.lists(st.one_of(CLAIMS, CLAIMS, EDITS), min_size=1, max_size=4)


@pytest.fixture(params=STARTS, ids=["before spring", "before autumn"])
def start(request):
    return request.param


@pytest.fixture
def claimed(scratch, study, start):
    """Schedules that were made at the start and have claimed nothing yet."""
    with Session(scratch, join_transaction_mode="create_savepoint", expire_on_commit=False) as session:
        experiment = session.get_one(Experiment, study.id)
        made = [
            schedules.add_schedule(session, replace(wish, experiment=experiment), start) for wish in CLAIMED
        ]
        session.commit()
        return [schedule.id for schedule in made]


@settings(
    max_examples=EXAMPLES // len(STARTS), deadline=None, suppress_health_check=list(HealthCheck),
    derandomize=True,
)  # fmt: skip
@given(events=EVENTS, shuffle=st.randoms(use_true_random=False))
def test_claiming_is_idempotent_under_repetition_and_reordering(scratch, claimed, start, events, shuffle):
    """Claims repeated and in any order cover what is due up to the latest of them, each instant once."""
    end = start + timedelta(seconds=max(seconds for _, seconds, _ in events))
    events = [*events, *shuffle.sample(events, k=min(2, len(events)))]
    shuffle.shuffle(events)
    with Session(scratch, join_transaction_mode="create_savepoint", expire_on_commit=False) as session:
        made = [session.get_one(Schedule, key) for key in claimed]
        for kind, seconds, chosen in events:
            at = start + timedelta(seconds=seconds)
            if kind == "claim":
                slots.claim_due(session, SERVICE, [made[n].uuid for n in chosen] or None, at, "test")
                continue
            for number in chosen:
                # Another number of twins: a new revision of the same instants.
                changes = {
                    "experiment": made[number].experiment,
                    "twins_per_slot": made[number].twins_per_slot % 2 + 1,
                }
                schedules.change_schedule(session, made[number], replace(CLAIMED[number], **changes), at)
        for _ in range(2):
            slots.claim_due(session, SERVICE, None, end, "test")
        assert ledger(session, now=end).problems == ()
        for wish, schedule in zip(CLAIMED, made, strict=True):
            slots.settle(session, schedule, end)  # a clock change after the last slot is told with the next
            cadence = cron.parse_cron(wish.cron, wish.zone)
            due = sum(occurrence.slot_count for occurrence in cron.due_slots(cadence, start, end))
            told = session.scalar(select(func.sum(Slot.slot_count)).where(Slot.schedule_id == schedule.id))
            assert (told or 0) == due
        session.rollback()
