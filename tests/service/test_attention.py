"""What the attention list finds in the rows, and that it finds nothing when all is well."""

from datetime import timedelta

import pytest

from pdsapp.domain.reasons import CallState, Reason, SlotKind
from pdsapp.models import (
    Cadence,
    DigitalTwin,
    Experiment,
    ModelCall,
    Post,
    Schedule,
    ScheduleRevision,
    Slot,
    utc_now,
)
from pdsapp.services import attention_finds, model_changes, rollups
from tests.attempt_rows import add_row
from tests.builders import make_experiment, make_person, make_post, make_token, make_twin


def ago(**spans):
    return utc_now() - timedelta(**spans)


@pytest.fixture
def study(app):
    return make_experiment()


@pytest.fixture
def called(study, write):
    """Adds a call and notes its model; what was new about it."""

    def add(returned, fingerprint="", token=None, error=None, minutes=1, asked="gpt"):
        with write() as session:
            call = ModelCall(
                experiment_id=study.id,
                api_token_id=token.id if token else None,
                endpoint="https://llm.example.org/v1",
                model_asked=asked,
                model_returned=returned,
                system_fingerprint=fingerprint,
                state=CallState.failed if error else CallState.answered,
                error=error,
                started_at=ago(minutes=minutes),
                finished_at=ago(minutes=minutes),
            )
            session.add(call)
            session.flush()
            return model_changes.note(session, call)

    return add


def read(write, find, *args):
    with write() as session:
        return find(session, *args)


def test_the_first_model_is_no_change_another_one_is_and_its_return_is_not(study, called, write):
    called("gpt-4")
    assert read(write, attention_finds.new_models, None, utc_now()) == ()
    called("gpt-4.1")
    assert called("gpt-4") is None
    ((seen, of),) = read(write, attention_finds.new_models, study, utc_now())
    assert (seen.model_before, seen.model_returned, of.id) == ("gpt-4", "gpt-4.1", study.id)


def test_another_fingerprint_is_a_change_and_another_model_asked_for_is_none(called):
    called("gpt-4", "fp_1")
    assert called("gpt-4", "fp_2").fingerprint_before == "fp_1"
    assert called("mini", asked="mini").model_before is None


def test_a_token_whose_last_call_was_refused_fails_until_one_is_answered(study, settings, called, write):
    token = make_token(settings, "https://llm.example.org/v1", "lab")
    make_twin(study, token=token)
    called("", token=token, error=Reason.wrong_key, minutes=9)
    (failing,) = read(write, attention_finds.failing_tokens, study, utc_now())
    assert (failing.token.name, failing.reason) == ("lab", Reason.wrong_key)
    called("gpt", token=token, minutes=3)
    assert read(write, attention_finds.failing_tokens, study, utc_now()) == ()


def test_a_refusal_of_long_ago_says_nothing(study, settings, called, write):
    token = make_token(settings, "https://llm.example.org/v1", "lab")
    make_twin(study, token=token)
    called("", token=token, error=Reason.quota, minutes=61)
    assert read(write, attention_finds.failing_tokens, None, utc_now()) == ()


@pytest.mark.parametrize(("slots", "states", "is_named"), [
    (8, ["skipped"], True), (7, ["skipped"], False), (8, ["posted", "skipped"], False),
    (9, [*["skipped"] * 8, "posted"], True),
    (8, ["due", "skipped"], False),
])  # fmt: skip
def test_a_schedule_only_skips_when_its_last_eight_slots_brought_no_post(
    study, write, slots, states, is_named
):
    twin = make_twin(study)
    intent = {"experiment_id": study.id, "cadence": Cadence.cron, "cron": "* * * * *"}
    with write() as session:
        schedule = Schedule(name="Talk", is_enabled=True, next_slot_at=utc_now(), **intent)
        session.add(schedule)
        session.flush()
        revision = ScheduleRevision(schedule_id=schedule.id, number=1, valid_from=ago(days=1), **intent)
        session.add(revision)
        session.flush()
        keys = []
        for number in range(slots):  # the newest first
            slot = Slot(
                schedule_id=schedule.id, revision_id=revision.id, experiment_id=study.id,
                slot_at=ago(minutes=number + 1), kind=SlotKind.fired,
            )  # fmt: skip
            session.add(slot)
            session.flush()
            keys.append(slot.id)
        schedule_id = schedule.id
    for number, key in enumerate(keys):
        state = states[min(number, len(states) - 1)]
        reason = {"posted": "drawn", "skipped": "recency", "due": None}[state]
        at = ago(minutes=number + 1)
        add_row(twin, state, reason, at, slot_id=key, schedule_id=schedule_id)
    found = read(write, attention_finds.schedules_without_a_post, study)
    assert [schedule.name for schedule in found] == (["Talk"] if is_named else [])


def _answer(write, profile, parent, text, minutes=3):
    with write() as session:
        session.add(
            Post(
                experiment_id=profile.experiment_id, user_profile_id=profile.id, text=text,
                parent_id=parent.id if parent else None,
                created_at=ago(minutes=minutes), changed_at=ago(minutes=minutes),
            )
        )  # fmt: skip


@pytest.mark.parametrize(("text", "is_reply", "is_found"), [
    ("Are you a bot?", True, True), ("@ada are you a real person?", False, True),
    ("Are you a bot?", False, False), ("@walt are you a bot?", False, False), ("Late again.", True, False),
])  # fmt: skip
def test_a_person_who_asks_a_twin_whether_it_is_human_is_found(study, write, text, is_reply, is_found):
    twin, person = make_twin(study, "ada"), make_person(study, "walt")
    parent = make_post(twin.user_profile, "Trains.", 9)
    _answer(write, person, parent if is_reply else None, text)
    found = read(write, attention_finds.questions, study, utc_now())
    assert [each.author for each in found] == (["walt"] if is_found else [])


def test_a_twin_that_asks_is_no_person_and_last_week_is_over(study, write):
    twin, person = make_twin(study, "ada"), make_person(study, "walt")
    parent = make_post(twin.user_profile, "Trains.", 9)
    _answer(write, make_twin(study).user_profile, parent, "Are you a bot?")
    _answer(write, person, parent, "Are you a bot?", minutes=8 * 24 * 60)
    assert read(write, attention_finds.questions, None, utc_now()) == ()


@pytest.mark.parametrize(("days_silent", "is_silent"), [(1, False), (13, True)])
def test_a_twin_is_silent_when_it_was_for_more_than_three_times_its_mean_gap(
    study, write, days_silent, is_silent
):
    twin = make_twin(study, "ada")
    for day in range(8):
        add_row(twin, "posted", "drawn", ago(days=days_silent + day), draw=0.9)
    with write() as session:
        session.get_one(DigitalTwin, twin.id).last_post = ago(days=days_silent)
        session.get_one(Experiment, study.id).started_at = ago(days=30)
    rollups.roll_up(utc_now())
    found = read(write, attention_finds.silent_twins, study, utc_now())
    assert [each.usernames for each in found] == ([("ada",)] if is_silent else [])
