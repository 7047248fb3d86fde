"""What is happening now: processes, lanes, attempts at work, next slots, troubles."""

from datetime import UTC, datetime, timedelta

import pytest

from pdsapp.database import reading
from pdsapp.domain.reasons import SlotKind, TokenState
from pdsapp.models import Cadence, ProcessKind, Schedule, ScheduleRevision, Slot
from pdsapp.services import heartbeats, reports_now
from tests.attempt_rows import put_row
from tests.builders import make_experiment, make_token, make_twin

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def ago(**spans):
    return NOW - timedelta(**spans)


@pytest.fixture
def study(app):
    """An experiment."""
    return make_experiment()


@pytest.fixture
def twin(study):
    """A twin to hang attempts on."""
    return make_twin(study)


def test_processes_lanes_and_attempts_at_work_are_told(twin, write):
    with write() as session:
        heartbeats.beat(session, ProcessKind.worker, "w1", ago(seconds=3), "default")
        heartbeats.beat(session, ProcessKind.worker, "w2", ago(minutes=5), "now")
        heartbeats.beat(session, ProcessKind.scheduler, "s1", ago(seconds=1), is_leader=True)
        put_row(session, twin, "running", None, ago(seconds=9), claimed_by="w1", claimed_at=ago(seconds=8))
        put_row(session, twin, "due", None, ago(seconds=70), lane="now")
        put_row(session, twin, "due", None, ago(seconds=20), lane="now")
        later = put_row(session, twin, "due", None, ago(seconds=20), lane="now")
        later.not_before = NOW + timedelta(minutes=1)
    with reading() as session:
        found = reports_now.now_of(session, NOW)
    assert [(p.name, p.is_alive, p.busy_count) for p in found.of_kind(ProcessKind.worker)] == [
        ("w1", True, 1),
        ("w2", False, 0),
    ]
    assert found.of_kind(ProcessKind.scheduler)[0].is_leader
    assert [
        (lane.name, lane.due, lane.oldest_seconds, lane.later, lane.is_served) for lane in found.lanes
    ] == [
        ("default", 0, 0.0, 0, True),
        ("now", 2, 70.0, 1, False),
    ]
    assert [work.claimed_by for work in found.at_work] == ["w1"]
    assert found.worker.is_alive and found.scheduler.is_alive


def test_with_nothing_alive_the_signs_say_so(app):
    with reading() as session:
        found = reports_now.now_of(session, NOW)
    assert not found.worker.is_alive and found.worker.seconds is None
    assert found.lanes == () and found.at_work == ()


def add_schedule(session, experiment, name="Daytime", next_at=NOW + timedelta(minutes=5), **values):
    intent = {
        "experiment_id": experiment and experiment.id, "cadence": Cadence.cron, "cron": "* 8-22 * * *",
        "zone": "Europe/Rome", "is_enabled": True, **values,
    }  # fmt: skip
    schedule = Schedule(name=name, next_slot_at=next_at, **intent)
    session.add(schedule)
    session.flush()
    intent.pop("broken_reason", None)
    revision = ScheduleRevision(schedule_id=schedule.id, number=1, valid_from=ago(days=1), **intent)
    session.add(revision)
    session.flush()
    return schedule, revision


def test_a_schedules_last_slots_are_told_oldest_first(study, twin, write):
    kinds = [
        ("fired", "posted"),
        ("fired", "skipped"),
        ("missed", None),
        ("fired", "failed"),
        ("fired", "due"),
    ]
    with write() as session:
        schedule, revision = add_schedule(session, study)
        for i, (kind, state) in enumerate(kinds):
            slot = Slot(
                schedule_id=schedule.id, revision_id=revision.id, experiment_id=study.id,
                slot_at=ago(minutes=10 - i), kind=SlotKind(kind),
            )  # fmt: skip
            session.add(slot)
            session.flush()
            if state:
                put_row(session, twin, state, None, ago(minutes=10 - i), slot_id=slot.id)
    with reading() as session:
        (found,) = reports_now.next_slots(session, study, 5)
    assert found.outcomes == ("posted", "skipped", "missed", "failed", "waiting")
    assert found.cadence == "every minute, 08:00–22:59, every day"
    assert found.at == NOW + timedelta(minutes=5)


def test_only_sixteen_slots_are_told(study, twin, write):
    with write() as session:
        schedule, revision = add_schedule(session, study)
        for i in range(40):
            session.add(
                Slot(
                    schedule_id=schedule.id,
                    revision_id=revision.id,
                    slot_at=ago(minutes=i),
                    kind=SlotKind.missed,
                )
            )
    with reading() as session:
        assert len(reports_now.next_slots(session, None, 5)[0].outcomes) == 16


def test_schedules_of_all_experiments_count_for_each_and_disabled_ones_for_none(study, twin, write):
    with write() as session:
        add_schedule(session, None, "Everywhere", NOW + timedelta(minutes=9))
        add_schedule(session, study, "Here")
        add_schedule(session, study, "Off", is_enabled=False)
    other = make_experiment("Other")
    with reading() as session:
        assert [s.schedule.name for s in reports_now.next_slots(session, study, 5)] == [
            "Here",
            "Everywhere",
        ]
        assert [s.schedule.name for s in reports_now.next_slots(session, other, 5)] == ["Everywhere"]
        assert reports_now.schedule_counts(session, study) == (3, 2)


def test_troubles_name_paused_tokens_in_use_and_broken_schedules(app, settings, write):
    experiment = make_experiment()
    used = make_token(settings, "https://llm.example.org/v1", "used")
    make_token(settings, "https://llm.example.org/v1", "unused")
    make_twin(experiment, token=used)
    with write() as session:
        for token in (session.merge(used),):
            token.state, token.paused_reason = TokenState.paused, "The key was refused."
        add_schedule(session, experiment, broken_reason="It never fires.")
    with reading() as session:
        found = reports_now.troubles(session, experiment, NOW)
    assert [token.name for token in found.tokens] == ["used"]
    assert [schedule.broken_reason for schedule in found.schedules] == ["It never fires."]
