"""Schedules as people make and change them: every change of intent is a revision, nothing fires at once."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.orm.attributes import set_committed_value

from pdsapp.database import transaction
from pdsapp.domain.reasons import ExperimentState, SlotKind, Trigger
from pdsapp.dt_service import DTService
from pdsapp.errors import BadInput, NobodyEligible
from pdsapp.models import (
    Account,
    Attempt,
    AuditEvent,
    Cadence,
    Experiment,
    Role,
    Schedule,
    ScheduleRevision,
    Slot,
)
from pdsapp.scheduling import slots
from pdsapp.services import schedules
from pdsapp.services.schedules import Wish
from tests import builders

pytestmark = pytest.mark.database

NOON = datetime(2026, 11, 21, 12, 0, 30, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def study(app):
    return builders.make_experiment(zone="America/New_York")


def add(study, now=NOON, account=None, **wish):
    with transaction() as session:
        experiment = session.get_one(Experiment, study.id) if study else None
        given = {"name": "Daily", "experiment": experiment, "cron": "30 9 * * *", "is_enabled": True, **wish}
        return schedules.add_schedule(session, Wish(**given), now, account)


def change(schedule, now, seen=None, **wish):
    with transaction() as session:
        found = session.get_one(Schedule, schedule.id)
        given = {
            "name": found.name, "experiment": found.experiment, "cron": found.cron, "zone": found.zone,
            "interval_seconds": found.interval_seconds, "is_enabled": found.is_enabled, **wish,
        }  # fmt: skip
        return schedules.change_schedule(session, found, Wish(**given), now, seen=seen)


def apply(schedule, what, now):
    with transaction() as session:
        return what(session, session.get_one(Schedule, schedule.id), now)


def revisions(session, schedule):
    session.rollback()
    session.expire_all()
    query = select(ScheduleRevision).where(ScheduleRevision.schedule_id == schedule.id)
    return session.scalars(query.order_by(ScheduleRevision.number)).all()


def reloaded(session, schedule):
    session.rollback()
    session.expire_all()
    return session.get_one(Schedule, schedule.id)


def test_a_new_schedule_waits_for_its_next_slot_in_its_own_zone(study, session):
    schedule = add(study)
    assert schedule.zone == "America/New_York"
    assert schedule.next_slot_at == datetime(2026, 11, 21, 14, 30, tzinfo=UTC)
    assert schedule.cursor_at == NOON
    assert schedules.next_slots(schedule, NOON, 2)[1] == datetime(2026, 11, 22, 14, 30, tzinfo=UTC)
    (revision,) = revisions(session, schedule)
    assert (revision.number, revision.valid_from, revision.valid_until) == (1, NOON, None)
    assert revision.cron == "30 9 * * *"
    events = select(AuditEvent.action).where(AuditEvent.object_type == "schedule")
    assert session.scalars(events).all() == ["create"]


def test_a_disabled_one_waits_for_nothing(study):
    schedule = add(study, is_enabled=False)
    assert (schedule.next_slot_at, schedule.cursor_at) == (None, NOON)


def test_an_interval_counts_from_its_anchor(study):
    default = add(study, cron="", interval_seconds=900)
    assert default.cadence == Cadence.interval
    assert default.anchor_at == NOON.replace(second=0)
    assert default.next_slot_at == NOON.replace(minute=15, second=0)
    anchored = add(study, cron="", interval_seconds=3600, anchor_at=datetime(2026, 11, 1, 0, 5, tzinfo=UTC))
    assert anchored.next_slot_at == datetime(2026, 11, 21, 12, 5, tzinfo=UTC)


BAD = [
    pytest.param({"name": "  "}, "name", "empty", id="no name"),
    pytest.param({"name": "x" * 121}, "name", "120", id="a long name"),
    pytest.param({"cron": ""}, "cron", "either", id="no cadence"),
    pytest.param({"interval_seconds": 60}, "cron", "either", id="two cadences"),
    pytest.param({"cron": "0 0 31 2 *"}, "cron", "never fires", id="the 31st of February"),
    pytest.param({"cron": "0 0 * * * *"}, "cron", "five", id="six fields"),
    pytest.param({"cron": "٥ * * * *"}, "cron", "plain digit", id="Arabic digits"),
    pytest.param({"cron": "", "interval_seconds": 59}, "interval_seconds", "60", id="below a minute"),
    pytest.param({"cron": "", "interval_seconds": "60"}, "interval_seconds", "number", id="a text"),
    pytest.param(
        {"cron": "", "interval_seconds": 60, "anchor_at": datetime(2026, 1, 1)}, "anchor_at", "zone",
        id="an anchor without a zone",
    ),
    pytest.param({"zone": "Mars/Base"}, "zone", "Mars/Base", id="an unknown zone"),
    pytest.param({"zone": "europe/rome"}, "zone", "Europe/Rome", id="a zone in the wrong case"),
    pytest.param({"twins_per_slot": 0}, "twins_per_slot", "1 to 100,000", id="no twins"),
    pytest.param({"twins_per_slot": 100_001}, "twins_per_slot", "1 to 100,000", id="too many twins"),
    pytest.param({"lane": "now"}, "lane", "kept", id="the people's lane"),
    pytest.param({"lane": "My Lane"}, "lane", "a–z", id="a lane with a space"),
    pytest.param({"lane": "x" * 41}, "lane", "40", id="a long lane"),
]  # fmt: skip


@pytest.mark.parametrize(("wish", "field", "words"), BAD)
def test_what_cannot_be_a_schedule_says_which_field_and_why(study, session, wish, field, words):
    with pytest.raises(BadInput) as raised:
        add(study, **wish)
    assert raised.value.field == field
    assert words in str(raised.value)
    assert session.scalar(select(func.count(Schedule.id))) == 0


def test_only_administrators_and_the_command_line_schedule_all_experiments(app, session):
    with transaction() as writing:
        accounts = {}
        for name in ("researcher", "administrator"):
            role = writing.scalars(select(Role).where(Role.name == name)).one()
            accounts[name] = Account(email=f"{name}@example.org", fs_uniquifier=name, roles=[role])
            writing.add(accounts[name])
    with pytest.raises(BadInput, match="Only administrators") as raised:
        add(None, account=accounts["researcher"])
    assert raised.value.field == "experiment"
    assert add(None, account=accounts["administrator"]).experiment_id is None
    assert add(None).zone == "UTC"


@pytest.mark.parametrize("state", [ExperimentState.ended, ExperimentState.archived])
def test_an_experiment_that_is_over_gets_no_schedule(study, state):
    schedule = add(study, is_enabled=False)
    with transaction() as writing:
        writing.execute(update(Experiment).values(state=state))
    with pytest.raises(BadInput, match=state.value):
        add(study)
    with pytest.raises(BadInput, match=state.value):
        apply(schedule, schedules.enable, NOON)


def test_a_change_of_intent_closes_a_revision_and_opens_the_next(study, session):
    schedule = add(study)
    assert change(schedule, NOON + MINUTE, twins_per_slot=5, lane="slow") is True
    first, second = revisions(session, schedule)
    assert (first.valid_until, first.twins_per_slot) == (NOON + MINUTE, 1)
    assert (second.valid_from, second.valid_until, second.twins_per_slot, second.lane) == (
        NOON + MINUTE, None, 5, "slow",
    )  # fmt: skip
    assert reloaded(session, schedule).revision_number == 2


def test_another_name_is_no_change_of_intent(study, session):
    schedule = add(study)
    before = schedule.edit_version
    assert change(schedule, NOON + MINUTE, name="Every day") is False
    found = reloaded(session, schedule)
    assert (found.name, found.revision_number, found.cursor_at) == ("Every day", 1, NOON)
    assert found.edit_version == before + 1


def test_an_edit_of_what_somebody_else_has_saved_is_refused(study, session):
    schedule = add(study)
    seen = schedule.edit_version
    change(schedule, NOON + MINUTE, seen=seen, name="Mine")
    with pytest.raises(BadInput, match="Somebody else"):
        change(schedule, NOON + 2 * MINUTE, seen=seen, name="Theirs")
    assert reloaded(session, schedule).name == "Mine"


def test_slots_due_before_a_change_are_accounted_for_and_do_not_fire(study, session):
    builders.make_twin(study)
    schedule = add(study, cron="* * * * *")
    change(schedule, NOON + 3 * MINUTE, cron="*/5 * * * *")
    slot = session.scalars(select(Slot)).one()
    assert (slot.kind, slot.slot_count) == (SlotKind.missed, 3)
    assert "changed" in slot.detail
    assert slot.revision_id == revisions(session, schedule)[0].id
    assert session.scalar(select(func.count(Attempt.id))) == 0
    assert reloaded(session, schedule).next_slot_at == NOON.replace(minute=5, second=0)


def test_switching_off_and_on_leaves_the_time_between_out(study, session):
    schedule = add(study, cron="* * * * *")
    assert apply(schedule, schedules.disable, NOON + MINUTE / 6) is True
    assert apply(schedule, schedules.disable, NOON + MINUTE) is False
    assert apply(schedule, schedules.enable, NOON + 10 * MINUTE) is True
    assert apply(schedule, schedules.enable, NOON + 11 * MINUTE) is False
    assert [revision.is_enabled for revision in revisions(session, schedule)] == [True, False, True]
    with transaction() as writing:
        claimed = slots.claim_due(writing, DTService(), None, NOON + 11 * MINUTE, "test")
    assert claimed.slots == {SlotKind.nobody_eligible: 1}


def test_a_clock_behind_the_last_claim_cannot_set_the_cursor_back(study, session):
    schedule = add(study, cron="* * * * *")
    with transaction() as writing:
        slots.claim_due(writing, DTService(), None, NOON + 5 * MINUTE, "test")
    apply(schedule, schedules.disable, NOON + MINUTE)
    found = reloaded(session, schedule)
    assert found.cursor_at == NOON + 5 * MINUTE
    assert [r.valid_from for r in revisions(session, schedule)] == [NOON, NOON + 5 * MINUTE]


def test_an_archived_schedule_is_over_and_keeps_its_history(study, session):
    schedule = add(study)
    assert apply(schedule, schedules.archive, NOON + MINUTE) is True
    assert apply(schedule, schedules.archive, NOON + MINUTE) is False
    found = reloaded(session, schedule)
    assert (found.is_archived, found.is_enabled, found.next_slot_at) == (True, False, None)
    assert all(revision.valid_until is not None for revision in revisions(session, schedule))
    with pytest.raises(BadInput, match="archived"):
        apply(schedule, schedules.enable, NOON + MINUTE)
    with pytest.raises(BadInput, match="archived"):
        change(schedule, NOON + MINUTE)


def test_a_schedule_that_somebody_archives_in_this_moment_is_neither_enabled_nor_archived_again(
    study, session
):
    schedule = add(study)
    apply(schedule, schedules.archive, NOON + MINUTE)
    with pytest.raises(BadInput, match="This schedule is archived"), transaction() as writing:
        schedules.enable(writing, as_read_before(writing, schedule), NOON + MINUTE)
    with transaction() as writing:
        assert not schedules.archive(writing, as_read_before(writing, schedule), NOON + MINUTE)
    found = reloaded(session, schedule)
    assert (found.is_archived, found.is_enabled, found.next_slot_at) == (True, False, None)


def as_read_before(session, schedule):
    """The row as another transaction read it a moment ago, when it was not archived yet."""
    found = session.get_one(Schedule, schedule.id)
    set_committed_value(found, "is_archived", False)
    return found


def test_saving_a_broken_schedule_mends_it(study, session):
    schedule = add(study, cron="* * * * *")
    with transaction() as writing:
        writing.execute(update(Schedule).values(cron="nonsense"))
        slots.claim_due(writing, DTService(), None, NOON + MINUTE, "test")
    assert reloaded(session, schedule).broken_reason != ""
    apply(schedule, schedules.disable, NOON + MINUTE)
    with pytest.raises(BadInput, match="nonsense"):
        apply(schedule, schedules.enable, NOON + MINUTE)
    assert change(schedule, NOON + 2 * MINUTE, cron="*/2 * * * *", is_enabled=True) is True
    found = reloaded(session, schedule)
    assert (found.broken_reason, found.next_slot_at) == ("", NOON.replace(minute=4, second=0))


def fire(schedule, request_id="click-1"):
    with transaction() as session:
        found = session.get_one(Schedule, schedule.id)
        made = schedules.fire_once(session, found, DTService(), request_id, NOON)
        return [attempt.id for attempt in made]


def test_firing_once_makes_attempts_beside_the_slots_and_only_once(study, session):
    for _ in range(4):
        builders.make_twin(study)
    schedule = add(study, twins_per_slot=3, lane="slow", is_forced=True)
    assert fire(schedule) == fire(schedule)
    attempts = session.scalars(select(Attempt)).all()
    assert [(a.trigger, a.lane, a.is_forced, a.slot_id) for a in attempts] == [
        (Trigger.button, "slow", True, None)
    ] * 3
    assert session.scalar(select(func.count(Slot.id))) == 0
    assert reloaded(session, schedule).next_slot_at == schedule.next_slot_at


def test_firing_once_says_why_nobody_can_be_asked(study):
    schedule = add(study)
    with pytest.raises(NobodyEligible, match="no active twin"):
        fire(schedule)
    with transaction() as writing:
        writing.execute(update(Experiment).values(state="paused", paused_reason="review"))
    with pytest.raises(NobodyEligible, match="paused: review"):
        fire(schedule)
    apply(schedule, schedules.archive, NOON)
    with pytest.raises(BadInput, match="archived"):
        fire(schedule)
