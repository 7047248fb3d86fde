"""A schedule of a study under way is changed with a reason, which its protocol keeps."""

import pytest
from sqlalchemy import func, select

from pdsapp.domain.protocol import NO_REASON, ProtocolPart
from pdsapp.domain.reasons import ExperimentState
from pdsapp.errors import BadInput
from pdsapp.models import Experiment, ProtocolChange, Schedule, ScheduleRevision
from pdsapp.services import schedules
from pdsapp.services.accounts import add_account
from pdsapp.services.schedules import Wish
from tests import builders
from tests.conftest import NOON

pytestmark = pytest.mark.database
UNDER_WAY = (ExperimentState.running, ExperimentState.paused)


@pytest.fixture
def study(app):
    return builders.make_experiment()


@pytest.fixture
def account(app, write):
    with write() as session:
        return add_account(session, "ann@example.org", "administrator", NOON, "correct horse battery")


@pytest.fixture
def daily(study, write):
    """A daily, enabled schedule that was there before the study began."""
    set_state(write, study, ExperimentState.draft)
    with write() as session:
        wish = Wish("Daily", session.get_one(Experiment, study.id), cron="0 9 * * *", is_enabled=True)
        schedule = schedules.add_schedule(session, wish, NOON)
    with write() as session:
        session.execute(ProtocolChange.__table__.delete())
    set_state(write, study, ExperimentState.running)
    return schedule


def set_state(write, study, state):
    with write() as session:
        session.get_one(Experiment, study.id).state = state


def changes(session):
    session.rollback()
    session.expire_all()
    return session.scalars(select(ProtocolChange).order_by(ProtocolChange.id)).all()


def wish_of(session, schedule, **values):
    row = session.get_one(Schedule, schedule.id)
    return Wish(**{"name": row.name, "experiment": row.experiment, "cron": row.cron, "zone": row.zone,
                   "is_enabled": row.is_enabled} | values)  # fmt: skip


def change(write, schedule, account=None, reason="", **values):
    with write() as session:
        row, wish = session.get_one(Schedule, schedule.id), wish_of(session, schedule, **values)
        return schedules.change_schedule(session, row, wish, NOON, account, reason=reason)


def switch(write, schedule, how, account=None, reason=""):
    with write() as session:
        return how(session, session.get_one(Schedule, schedule.id), NOON, account, reason)


def test_a_new_schedule_of_a_running_study_is_a_protocol_change(session, study, account, write):
    with write() as writing:
        wish = Wish("Daily", writing.get_one(Experiment, study.id), cron="0 9 * * *", is_enabled=True)
        schedules.add_schedule(writing, wish, NOON, account, "more talk")
    (found,) = changes(session)
    assert (found.part, found.summary, found.reason) == (
        ProtocolPart.schedule, "Schedule “Daily”: added", "more talk",
    )  # fmt: skip
    assert (found.before, found.after["cron"], found.after["state"]) == ({}, "0 9 * * *", "enabled")


def test_another_intent_keeps_what_was_before(session, daily, account, write):
    assert change(write, daily, account, "too early", cron="0 11 * * *", twins_per_slot=3)
    (found,) = changes(session)
    assert found.summary == "Schedule “Daily”: cron, twins per slot"
    assert found.before == {"cron": "0 9 * * *", "twins_per_slot": 1}
    assert found.after == {"cron": "0 11 * * *", "twins_per_slot": 3}


@pytest.mark.parametrize(
    ("how", "state"),
    [(schedules.disable, "disabled"), (schedules.archive, "archived")],
    ids=["disable", "archive"],
)
def test_switching_is_one_change_of_its_state(session, daily, account, write, how, state):
    assert switch(write, daily, how, account, "the course is over")
    assert switch(write, daily, how, account) is False, "it is so already"
    (found,) = changes(session)
    assert (found.summary, found.reason) == ("Schedule “Daily”: state", "the course is over")
    assert (found.before, found.after) == ({"state": "enabled"}, {"state": state})


@pytest.mark.parametrize("state", UNDER_WAY)
@pytest.mark.parametrize("how", ["add", "change", "enable", "disable", "archive"])
def test_a_person_gives_a_reason_or_nothing_is_changed(session, study, daily, account, write, how, state):
    if how == "enable":
        switch(write, daily, schedules.disable)
    set_state(write, study, state)
    was, count = len(changes(session)), session.scalar(select(func.count(ScheduleRevision.id)))
    with pytest.raises(BadInput, match="Say in a few words why") as refused, write() as writing:
        row = writing.get_one(Schedule, daily.id)
        if how == "add":
            schedules.add_schedule(writing, wish_of(writing, daily), NOON, account, " ")
        elif how == "change":
            wish = wish_of(writing, daily, cron="1 1 * * *")
            schedules.change_schedule(writing, row, wish, NOON, account)
        else:
            getattr(schedules, how)(writing, row, NOON, account)
    assert refused.value.field == "reason"
    assert len(changes(session)) == was
    assert session.scalar(select(func.count(ScheduleRevision.id))) == count
    row = session.get_one(Schedule, daily.id)
    assert (row.is_enabled, row.is_archived) == (how != "enable", False)


def test_a_command_may_leave_it_out_and_that_is_written_down(session, daily, write):
    switch(write, daily, schedules.disable)
    switch(write, daily, schedules.enable, reason="back again")
    assert [found.reason for found in changes(session)] == [NO_REASON, "back again"]


def test_another_name_alone_needs_no_reason(session, daily, account, write):
    assert change(write, daily, account, name="Every day") is False
    assert changes(session) == []
    assert session.get_one(Schedule, daily.id).name == "Every day"


def test_before_it_begins_no_reason_is_needed_and_the_change_is_kept(session, study, daily, account, write):
    set_state(write, study, ExperimentState.draft)
    change(write, daily, account, cron="0 8 * * *")
    (found,) = changes(session)
    assert (found.state, found.reason) == (ExperimentState.draft, "")


def test_a_schedule_of_all_experiments_is_in_the_protocol_of_each_under_way(session, study, account, write):
    paused, draft, ended = (builders.make_experiment(name) for name in ("Paused", "Draft", "Ended"))
    set_state(write, paused, ExperimentState.paused)
    set_state(write, draft, ExperimentState.draft)
    set_state(write, ended, ExperimentState.ended)
    with pytest.raises(BadInput, match="Say in a few words why"), write() as writing:
        schedules.add_schedule(writing, Wish("All", None, cron="@daily"), NOON, account)
    with write() as writing:
        schedules.add_schedule(writing, Wish("All", None, cron="@daily"), NOON, account, "one for all")
    assert [found.experiment_id for found in changes(session)] == [study.id, paused.id]


def test_moving_it_to_another_experiment_is_in_the_protocol_of_both(session, study, daily, account, write):
    other = builders.make_experiment("Other")
    with write() as writing:
        row, moved = writing.get_one(Schedule, daily.id), writing.get_one(Experiment, other.id)
        wish = wish_of(writing, daily, experiment=moved)
        schedules.change_schedule(writing, row, wish, NOON, account, reason="wrong one")
    assert [found.experiment_id for found in changes(session)] == [study.id, other.id]
    assert changes(session)[0].before == {"experiment": study.identifier}
