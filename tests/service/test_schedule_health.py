"""How schedules are doing: one verdict each, in as many queries for one as for many."""

from datetime import date, timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy import select

from pdsapp.domain.reasons import AttemptState, SlotKind, Trigger
from pdsapp.models import Attempt, DigitalTwin, Experiment, Schedule, ScheduleRevision, Slot
from pdsapp.services import schedules
from pdsapp.services.schedule_health import SLOTS_LOOKED_AT, Health, facts_of, verdict
from tests import builders
from tests.conftest import NOON

pytestmark = pytest.mark.database
HOUR = timedelta(hours=1)
FIRED, MISSED, NOBODY = SlotKind.fired, SlotKind.missed, SlotKind.nobody_eligible
POSTED, SKIPPED, FAILED, DUE = (
    AttemptState.posted, AttemptState.skipped, AttemptState.failed, AttemptState.due,
)  # fmt: skip


@pytest.fixture
def study(app):
    return builders.make_experiment()


@pytest.fixture
def twin(study):
    return builders.make_twin(study)


@pytest.fixture
def add(study, twin, write):
    """`add([(fired, [posted]), …])` adds an hourly schedule with these slots, oldest first; its id."""

    def added(slots=(), name="Hourly", **values):
        with write() as session:
            wish = schedules.Wish(
                name, session.get_one(Experiment, study.id), cron="@hourly", is_enabled=True
            )
            row = schedules.add_schedule(session, wish, NOON)
            revision = session.scalars(
                select(ScheduleRevision).where(ScheduleRevision.schedule_id == row.id)
            ).one()
            for number, (kind, ends) in enumerate(slots, 1):
                slot = Slot(
                    schedule_id=row.id, revision_id=revision.id, experiment_id=study.id,
                    slot_at=NOON + number * HOUR, kind=kind,
                )  # fmt: skip
                session.add(slot)
                session.flush()
                for state in ends:
                    session.add(
                        Attempt(
                            experiment_id=study.id, digital_twin_id=session.get_one(DigitalTwin, twin.id).id,
                            slot_id=slot.id, schedule_id=row.id, trigger=Trigger.schedule, state=state,
                        )
                    )  # fmt: skip
                row.next_slot_at = slot.slot_at + HOUR
            for key, value in values.items():
                setattr(row, key, value)
            return row.id

    return added


def judged(session, key, now, is_held=False):
    session.expire_all()
    return verdict(session.get_one(Schedule, key), facts_of(session, [key])[key], is_held, now)


@pytest.mark.parametrize(
    ("slots", "state", "words"),
    [
        pytest.param([], Health.never_fired, "Its first slot is still to come.", id="new"),
        pytest.param([(NOBODY, [])], Health.never_fired, "", id="nobody to ask so far"),
        pytest.param([(FIRED, [POSTED])], Health.on_time, "", id="fired"),
        pytest.param([(FIRED, [DUE])], Health.on_time, "", id="its attempts are waiting"),
        pytest.param([(MISSED, []), (FIRED, [POSTED])], Health.on_time, "", id="missed before, fired since"),
        pytest.param([(FIRED, [POSTED]), (MISSED, [])], Health.late, "Its last slots passed", id="missed"),
        pytest.param(
            [(FIRED, [POSTED]), (FIRED, [FAILED])],
            Health.failing,
            "1 of its last 2 attempts failed.",
            id="half",
        ),
        pytest.param([(FIRED, [POSTED])] * 2 + [(FIRED, [FAILED])], Health.on_time, "", id="a third failed"),
        pytest.param(
            [(FIRED, [SKIPPED])] * 3,
            Health.only_skipping,
            "Its last 3 attempts were all skipped.",
            id="silent",
        ),
        pytest.param([(FIRED, [SKIPPED])] * 2, Health.on_time, "", id="two skips are chance"),
        pytest.param(
            [(FIRED, [FAILED])] * 4 + [(FIRED, [POSTED])] * SLOTS_LOOKED_AT, Health.on_time, "", id="long ago"
        ),
    ],
)  # fmt: skip
def test_the_verdict_follows_from_its_newest_slots(session, add, slots, state, words):
    key = add(slots)
    found = judged(session, key, NOON + (len(slots) + 0.5) * HOUR)
    assert found[0] == state
    assert found[1].startswith(words) and bool(words) == bool(found[1])


def test_a_slot_that_nobody_claims_is_late_after_two_minutes(session, add):
    key = add([(FIRED, [POSTED])])
    due = NOON + 2 * HOUR
    assert judged(session, key, due + timedelta(seconds=120))[0] == Health.on_time
    assert judged(session, key, due + timedelta(seconds=121)) == (
        Health.late,
        "A slot is due and not claimed. Is a scheduler running?",
    )


def test_what_holds_it_back_comes_before_what_it_did(session, add):
    key = add([(FIRED, [FAILED])])
    assert judged(session, key, NOON + 9 * HOUR, is_held=True) == (Health.paused, "")
    broken = add([(FIRED, [FAILED])], "Other", broken_reason="It never comes.")
    assert judged(session, broken, NOON, is_held=True) == (Health.broken, "It never comes.")


@pytest.mark.parametrize(
    "values",
    [{"is_enabled": False}, {"is_archived": True}, {"next_slot_at": None, "last_day": date(2020, 1, 1)}],
    ids=["disabled", "archived", "ended"],
)
def test_one_that_is_not_to_fire_has_no_verdict(session, add, values):
    assert judged(session, add([(FIRED, [FAILED])], **values), NOON) is None


def test_many_cost_as_many_queries_as_one_and_each_has_its_own_facts(session, add):
    keys = [add([(FIRED, [state])] * 3, f"No. {n}") for n, state in enumerate((POSTED, SKIPPED, FAILED) * 4)]
    counts = []

    def note(_connection, _cursor, statement, *_):
        if statement.startswith("SELECT"):
            counts[-1] += 1

    engine = session.get_bind()
    sa.event.listen(engine, "before_cursor_execute", note)
    try:
        for some in (keys[:1], keys):
            counts.append(0)
            found = facts_of(session, some)
    finally:
        sa.event.remove(engine, "before_cursor_execute", note)
    assert counts == [3, 3]
    assert [found[key].ends.most_common(1)[0] for key in keys[:3]] == [(POSTED, 3), (SKIPPED, 3), (FAILED, 3)]
