"""Claiming slots: each due instant once and only once, whoever else claims, breaks or turns back clocks."""

import random
import sqlite3
import threading
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy import func, select, text, update
from sqlalchemy.exc import OperationalError

from pdsapp.database import transaction
from pdsapp.domain import cron
from pdsapp.domain.reasons import SlotKind
from pdsapp.dt_service import DTService
from pdsapp.extensions import db
from pdsapp.models import Attempt, Experiment, Schedule, ScheduleRevision, Slot
from pdsapp.services import schedules
from tests import builders

from .slot_helpers import MINUTE, START, claim, finish_attempts, make_schedule, rows_of

pytestmark = pytest.mark.database


@pytest.fixture
def study(app):
    """A running experiment in UTC with three twins."""
    experiment = builders.make_experiment(zone="UTC")
    for _ in range(3):
        builders.make_twin(experiment)
    return experiment


class MoodyService(DTService):
    """Draws nobody for some, and raises for one experiment."""

    def get_random_digital_twins(self, session, experiment, count, key):
        if experiment.name == "Cursed":
            raise RuntimeError("no")
        return super().get_random_digital_twins(session, experiment, count, key)


def test_a_custom_service_that_raises_hurts_only_its_own_schedule(study, session):
    cursed = make_schedule(builders.make_experiment("Cursed", zone="UTC"))
    sound = make_schedule(study)
    claimed = claim(START + MINUTE, service=MoodyService())
    assert claimed.slots == {SlotKind.fired: 1, SlotKind.nobody_eligible: 1}
    assert claimed.attempts == {"default": 1}
    assert rows_of(session, sound) == [("fired", "12:01", 1)]
    assert rows_of(session, cursed) == [("nobody_eligible", "12:01", 1)]
    assert "RuntimeError" in session.scalars(select(Slot.detail).where(Slot.schedule_id == cursed.id)).one()


class FailingDatabase(DTService):
    """Meets, while it draws, what the database says."""

    def __init__(self, *statement):
        self.statement = statement

    def get_random_digital_twins(self, session, experiment, count, key):
        if self.statement:
            session.execute(text(*self.statement))
        raise OperationalError("SELECT", {}, sqlite3.OperationalError("disk I/O error"))


def test_a_slot_stays_due_when_the_database_fails_while_its_twins_are_drawn(study, session):
    schedule = make_schedule(study)
    with pytest.raises(OperationalError):
        claim(START + MINUTE, service=FailingDatabase())
    assert rows_of(session, schedule) == []
    assert claim(START + MINUTE).slots == {SlotKind.fired: 1}


def test_a_custom_statement_that_makes_no_sense_is_no_failing_database(study, session):
    """SQLite calls both operational: this one would stop every schedule for good."""
    schedule = make_schedule(study)
    claim(START + MINUTE, service=FailingDatabase("SELECT * FROM nowhere"))
    assert rows_of(session, schedule) == [("nobody_eligible", "12:01", 1)]


def test_a_cursor_set_back_doubles_nothing(study, session):
    schedule = make_schedule(study)
    for minutes in (1, 2, 3):
        claim(START + minutes * MINUTE)
        finish_attempts()
    before = rows_of(session, schedule)
    with transaction() as writing:
        writing.execute(update(Schedule).values(cursor_at=START, next_slot_at=START))
    claim(START + 3 * MINUTE)
    assert rows_of(session, schedule) == before
    claim(START + 4 * MINUTE)
    assert rows_of(session, schedule) == [*before, ("fired", "12:04", 1)]


def test_a_row_that_is_there_already_does_not_stop_the_others(study, session):
    first, second = make_schedule(study, name="first"), make_schedule(study, name="second")
    with transaction() as writing:
        revision = writing.scalars(
            select(ScheduleRevision).where(ScheduleRevision.schedule_id == first.id)
        ).one()
        writing.add(
            Slot(
                schedule_id=first.id,
                revision_id=revision.id,
                slot_at=START.replace(minute=1, second=0),
                kind=SlotKind.fired,
            )
        )
    claim(START + MINUTE)
    assert rows_of(session, first) == rows_of(session, second) == [("fired", "12:01", 1)]


def test_concurrent_schedulers_claim_each_slot_once(app, study, session):
    made = [make_schedule(study, name=f"Test {number}", twins_per_slot=2) for number in range(12)]
    errors = []

    def scheduler():
        try:
            with app.app_context():
                for minutes in (1, 1, 1.2):
                    claim(START + minutes * MINUTE)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=scheduler) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert [rows_of(session, schedule) for schedule in made] == [[("fired", "12:01", 1)]] * 12
    assert session.scalar(select(func.count(Attempt.id))) == 24


@pytest.mark.parametrize("seed", range(4))
def test_polls_at_any_instants_account_for_exactly_what_is_enumerated(study, session, seed):
    """Also when the clock is set back in between, and over both nights of a clock change."""
    chance = random.Random(seed)
    start = (
        datetime(2026, 3, 8, 4, 59, 50, tzinfo=UTC) if seed % 2 else datetime(2026, 11, 1, 3, 0, tzinfo=UTC)
    )
    schedule = make_schedule(
        study,
        now=start,
        cron="*/7 * * * *",
        zone="America/New_York",
        missed_policy=["skip", "fire_once"][seed // 2],
    )
    now = latest = start
    for _ in range(60):
        now += timedelta(seconds=chance.choice([1, 20, 300, 420, 3000, -3600]))
        latest = max(latest, now)
        claim(now)
        if chance.random() < 0.6:
            finish_attempts()
    session.rollback()
    cadence = cron.parse_cron("*/7 * * * *", "America/New_York")
    wanted = Counter(o.at for o in cron.due_slots(cadence, start, latest) for _ in range(o.slot_count))
    found = Counter()
    for slot in session.scalars(select(Slot).where(Slot.schedule_id == schedule.id)):
        if slot.covers_until is None:
            found[slot.slot_at] += slot.slot_count
            continue
        inside = [
            o.at
            for o in cron.due_slots(cadence, slot.slot_at - timedelta(seconds=1), slot.covers_until)
            if o.kind == "slot"
        ]
        assert len(inside) == slot.slot_count
        found.update(inside)
    assert found == wanted


def test_a_thousand_due_schedules_cost_hardly_more_statements_than_draws(study):
    with transaction() as session:
        experiment = session.get_one(Experiment, study.id)
        for number in range(200):
            wish = schedules.Wish(f"Test {number}", experiment, "* * * * *", is_enabled=True)
            schedules.add_schedule(session, wish, START)
    statements = []
    sa.event.listen(db.engine, "before_cursor_execute", lambda *given: statements.append(given[2]))
    assert claim(START + MINUTE).slots == {SlotKind.fired: 200}
    assert len(statements) < 200 + 40


class TwiceService(DTService):
    """Draws each twin twice."""

    def get_random_digital_twins(self, *args):
        picks = super().get_random_digital_twins(*args)
        return [*picks, *picks]


class NobodysService(DTService):
    """Draws a twin that does not exist."""

    def get_random_digital_twins(self, *args):
        return [replace(pick, twin_id=987654) for pick in super().get_random_digital_twins(*args)]


@pytest.mark.parametrize(
    ("service", "kind"),
    [
        pytest.param(TwiceService(), "fired", id="the same twin twice"),
        pytest.param(NobodysService(), "nobody_eligible", id="a twin that is not there"),
    ],
)
def test_a_custom_selection_that_draws_nonsense_does_not_stop_its_schedule(study, session, service, kind):
    schedule = make_schedule(study)
    for minute in (1, 2):
        claim(START + minute * MINUTE, service=service)
        finish_attempts()
    assert [row[0] for row in rows_of(session, schedule)] == [kind, kind]
