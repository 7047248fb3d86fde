"""Pause, stop and resume: what waits, what runs, what comes due, and what is written down."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select, update

from pdsapp.attempts import claim
from pdsapp.attempts.calls import pause_token as pause_by_endpoint
from pdsapp.database import transaction
from pdsapp.domain.reasons import AttemptState, ExperimentState, Reason, ReasonClass, TokenState, Trigger
from pdsapp.dt_service import DTService
from pdsapp.errors import BadInput, NobodyEligible
from pdsapp.models import (
    ApiToken,
    Attempt,
    AuditEvent,
    DigitalTwin,
    Experiment,
    Installation,
    ModelCall,
    Post,
    Schedule,
    Slot,
    utc_now,
)
from pdsapp.services import accounts, edits, experiments, pauses, schedules, twins
from pdsapp.services.ledger import ledger
from tests import builders
from tests import model_server as fake

from .slot_helpers import MINUTE, START, make_schedule, rows_of
from .slot_helpers import claim as claim_slots

pytestmark = pytest.mark.database
AT = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def on(kind, key, act, *more, **options):
    """`act(session, row, …)` on one row, committed."""
    with transaction() as session:
        return act(session, session.get_one(kind, key), *more, **options)


def pause(experiment, reason="", now=None, **options):
    return on(Experiment, experiment.id, pauses.pause_experiment, now or utc_now(), reason, **options)


def stop(experiment, reason="", **options):
    return on(Experiment, experiment.id, pauses.stop_experiment, utc_now(), reason, **options)


def resume(experiment, now=None):
    return on(Experiment, experiment.id, pauses.resume_experiment, now or utc_now())


class While(DTService):
    """Does something as soon as the model has answered, before the post is published."""

    name = DTService().name

    def __init__(self, act):
        self.act = act

    async def generate_original_post_content(self, brief, ask):
        draft = await super().generate_original_post_content(brief, ask)
        self.act()
        return draft


def ended(session, attempt_id):
    attempt = builders.load_attempt(session, attempt_id)
    return attempt.state, attempt.reason


CANCELLED = (AttemptState.cancelled, Reason.paused)
STOPPED = (AttemptState.cancelled, Reason.stopped)


def test_a_pause_cancels_what_waits_and_says_who_when_and_why(session, twin, study, write):
    attempt_id = builders.add_attempt(twin)
    with write() as writing:
        ada = accounts.add_account(writing, "ada@example.org", "researcher", AT)
    at = utc_now()
    effect = pause(study, "exam week", at, account=ada)
    assert (effect.changed, effect.cancelled, effect.running) == (True, 1, 0)
    attempt = builders.load_attempt(session, attempt_id)
    assert (attempt.state, attempt.reason, attempt.reason_class) == (*CANCELLED, ReasonClass.operational)
    assert attempt.finished_at == attempt.changed_at == at
    assert attempt.detail.startswith("The experiment is paused since ")
    assert "CE" in attempt.detail  # CET or CEST: the experiment is in Rome
    assert "by ada@example.org: exam week. It was still waiting then and is not asked." in attempt.detail
    row = session.get_one(Experiment, study.id)
    assert (row.state, row.paused_at, row.paused_by, row.paused_reason, row.is_stopped) == (
        ExperimentState.paused, at, "ada@example.org", "exam week", False,
    )  # fmt: skip
    assert ledger(session).adds_up


def test_a_pause_lets_what_is_being_written_finish_and_be_published(session, settings, twin, study):
    attempt_id = builders.add_attempt(twin)
    effects = []
    builders.run_due(settings, While(lambda: effects.append(pause(study))))
    assert [(effect.cancelled, effect.running) for effect in effects] == [(0, 1)]
    assert ended(session, attempt_id)[0] == AttemptState.posted
    assert session.scalar(select(func.count(Post.id))) == 1


def test_a_stop_publishes_nothing_and_keeps_the_text(session, settings, twin, study):
    attempt_id = builders.add_attempt(twin)
    effects = []
    builders.run_due(settings, While(lambda: effects.append(stop(study, "wrong prompt"))))
    assert effects[0].words == "0 waiting attempts were cancelled; 1 being written will not be published."
    attempt = builders.load_attempt(session, attempt_id)
    assert (attempt.state, attempt.reason) == STOPPED
    assert attempt.draft == fake.DEFAULT_TEXT
    assert attempt.detail.startswith("Stopped on ")
    assert attempt.detail.endswith("by command line: wrong prompt. What was written by then is kept as a "
                                   "draft and was not published.")  # fmt: skip
    assert attempt.prompt_tokens
    assert session.scalar(select(func.count(Post.id))) == 0
    assert session.get_one(Experiment, study.id).is_stopped


def test_resuming_does_not_let_a_stopped_attempt_publish(session, settings, twin, study):
    attempt_id = builders.add_attempt(twin)
    builders.run_due(settings, While(lambda: (stop(study), resume(study))))
    assert ended(session, attempt_id) == STOPPED
    row = session.get_one(Experiment, study.id)
    assert (row.state, row.is_stopped, row.paused_at) == (ExperimentState.running, False, None)


def test_no_rewrite_is_paid_for_after_a_stop(session, settings, twin, study, model_server):
    model_server.enqueue("Tiny.")

    class StopsBeforeTheRewrite(DTService):
        def clean(self, brief, raw):
            stop(study)
            return super().clean(brief, raw)

    attempt_id = builders.add_attempt(twin)
    with transaction() as writing:  # no band takes five characters
        writing.execute(update(Attempt).values(is_forced=True))
    builders.run_due(settings, StopsBeforeTheRewrite())
    attempt = builders.load_attempt(session, attempt_id)
    assert (attempt.state, attempt.reason, attempt.draft) == (*STOPPED, "Tiny.")
    assert (len(model_server.calls), session.scalar(select(func.count(ModelCall.id)))) == (1, 1)


def test_an_attempt_that_fails_after_a_stop_was_stopped(session, settings, twin, study, model_server):
    model_server.enqueue(fake.text("I'm sorry, but I can't help with that."))

    class StopsFirst(DTService):
        def clean(self, brief, raw):
            stop(study)
            return super().clean(brief, raw)

    attempt_id = builders.add_attempt(twin)
    builders.run_due(settings, StopsFirst())
    assert ended(session, attempt_id) == STOPPED
    assert "Writing it had failed as well: The model declined" in session.get_one(Attempt, attempt_id).detail


@pytest.mark.parametrize("is_resumed", [False, True], ids=["still stopped", "resumed since"])
def test_a_lost_worker_s_attempt_keeps_the_mark_and_its_text(
    session, settings, twin, study, write, is_resumed
):
    attempt_id = builders.add_attempt(twin)

    def stop_and_die():
        stop(study)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        builders.run_due(settings, While(stop_and_die))
    if is_resumed:
        resume(study)
    with write() as writing:
        claim.reap(writing, utc_now() + MINUTE)
    builders.run_due(settings)
    attempt = builders.load_attempt(session, attempt_id)
    assert (attempt.state, attempt.reason, attempt.draft) == (*STOPPED, fake.DEFAULT_TEXT)
    assert session.scalar(select(func.count(Post.id))) == 0


def test_what_comes_back_while_paused_is_cancelled_with_what_it_cost(session, settings, twin, study, write):
    attempt_id = builders.add_attempt(twin)

    def pause_and_die():
        pause(study)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        builders.run_due(settings, While(pause_and_die))
    with write() as writing:
        claim.reap(writing, utc_now() + MINUTE)
    builders.run_due(settings)
    attempt = builders.load_attempt(session, attempt_id)
    assert (attempt.state, attempt.reason) == CANCELLED
    assert attempt.prompt_tokens
    assert ledger(session).adds_up


def test_what_came_back_before_the_pause_is_cancelled_with_what_it_cost(
    session, settings, twin, study, write
):
    attempt_id = builders.add_attempt(twin)

    def die():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        builders.run_due(settings, While(die))
    with write() as writing:
        claim.reap(writing, utc_now() + MINUTE)
    assert pause(study).cancelled == 1
    attempt = builders.load_attempt(session, attempt_id)
    assert (attempt.state, attempt.reason) == CANCELLED
    assert attempt.prompt_tokens


def test_what_is_asked_for_while_paused_is_skipped(session, settings, twin, study):
    pause(study, "lunch")
    attempt = builders.ask_and_run(session, settings, twin)
    assert (attempt.state, attempt.reason) == (AttemptState.skipped, Reason.paused)
    assert "by command line: lunch. Twins are asked while it is running." in attempt.detail


def test_a_pause_of_one_experiment_leaves_the_others_alone(session, settings, twin, study, model_server):
    other = builders.make_twin(builders.make_experiment("Other"), token=_token_of(session, twin))
    ids = builders.add_attempt(twin), builders.add_attempt(other)
    pause(study)
    builders.run_due(settings)
    assert [ended(session, key)[0] for key in ids] == [AttemptState.cancelled, AttemptState.posted]


def test_everything_and_one_experiment_are_paused_independently(session, settings, twin, study):
    waiting = builders.add_attempt(twin)
    pause(study, "lunch")
    with transaction() as writing:
        assert pauses.pause_everything(writing, utc_now(), "exam week").changed
    assert ended(session, waiting) == CANCELLED
    assert resume(study)
    attempt = builders.ask_and_run(session, settings, twin)
    assert (attempt.state, attempt.reason) == (AttemptState.skipped, Reason.paused)
    assert "Everything is paused since " in attempt.detail and ": exam week. " in attempt.detail
    with transaction() as writing:
        assert pauses.resume_everything(writing, utc_now())
    assert builders.ask_and_run(session, settings, twin).state == AttemptState.posted


def test_stopping_everything_reaches_every_experiment(session, settings, twin, model_server):
    other = builders.make_twin(builders.make_experiment("Other"), token=_token_of(session, twin))
    ids = [builders.add_attempt(twin), builders.add_attempt(other)]

    def stop_everything():
        with transaction() as writing:
            pauses.stop_everything(writing, utc_now(), "alarm")

    builders.run_due(settings, While(stop_everything))
    assert {ended(session, key) for key in ids} <= {STOPPED, CANCELLED}
    assert STOPPED in {ended(session, key) for key in ids}
    assert session.scalar(select(func.count(Post.id))) == 0
    assert session.get_one(Installation, 1).is_stopped


@pytest.mark.parametrize("state", [ExperimentState.ended, ExperimentState.archived])
def test_what_is_over_is_neither_paused_nor_resumed(study, state):
    with transaction() as writing:
        writing.execute(update(Experiment).values(state=state))
    for act in (pause, stop, resume):
        with pytest.raises(BadInput, match="and stays so"):
            act(study)


def test_doing_it_twice_is_doing_it_once(session, twin, study):
    first = pause(study, "first")
    assert not pause(study, "second").changed
    assert session.get_one(Experiment, study.id).paused_reason == "first"
    assert stop(study).changed and not stop(study).changed
    assert resume(study) and not resume(study)
    assert first.changed
    query = select(AuditEvent.action).where(AuditEvent.object_type == "experiment").order_by(AuditEvent.id)
    assert session.scalars(query).all() == ["create", "pause", "stop", "resume"]


def test_every_pause_is_in_the_audit_trail_with_before_and_after(session, twin, study):
    builders.add_attempt(twin)
    pause(study, "lunch")
    resume(study)
    paused, resumed = session.scalars(select(AuditEvent).order_by(AuditEvent.id.desc()).limit(2)).all()[::-1]
    assert paused.before | {"reason": ""} == paused.before
    assert (paused.before["state"], paused.after["state"]) == ("running", "paused")
    assert (paused.after["reason"], paused.after["cancelled"], paused.after["running"]) == ("lunch", 1, 0)
    assert (resumed.before["reason"], resumed.after["state"]) == ("lunch", "running")


def test_only_administrators_pause_everything(write):
    with write() as writing:
        researcher = accounts.add_account(writing, "r@example.org", "researcher", AT)
        boss = accounts.add_account(writing, "a@example.org", "administrator", AT)
    for act in (pauses.pause_everything, pauses.stop_everything):
        with transaction() as writing, pytest.raises(BadInput, match="Only administrators"):
            act(writing, AT, account=researcher)
    with transaction() as writing:
        assert pauses.pause_everything(writing, AT, account=boss).changed
    with transaction() as writing, pytest.raises(BadInput, match="Only administrators"):
        pauses.resume_everything(writing, AT, account=researcher)


# schedules


def test_slots_of_a_paused_schedule_are_one_row_that_says_who_when_and_why(study, twin, session):
    schedule = make_schedule(study, zone="UTC")
    claim_slots(START + MINUTE)
    attempt_id = session.scalars(select(Attempt.id)).one()
    other = builders.add_attempt(twin)
    effect = on(Schedule, schedule.id, pauses.pause_schedule, START + MINUTE, "holiday")
    assert effect.cancelled == 1
    assert ended(session, attempt_id) == CANCELLED
    assert ended(session, other)[0] == AttemptState.due
    for minutes in (2, 3, 4):
        claim_slots(START + minutes * MINUTE)
    assert rows_of(session, schedule) == [("fired", "12:01", 1), ("paused", "12:02", 3)]
    words = session.scalars(select(Slot.detail).where(Slot.kind == "paused")).one()
    assert words == "The schedule is paused since Sat 21 Nov 2026, 12:01 UTC by command line: holiday"
    assert ledger(session).adds_up


def test_resuming_replays_nothing_not_even_the_slot_of_this_minute(study, twin, session):
    schedule = make_schedule(study)
    on(Schedule, schedule.id, pauses.pause_schedule, START)
    claim_slots(START + MINUTE)
    # 12:02 has come due and no scheduler has looked yet
    assert on(Schedule, schedule.id, pauses.resume_schedule, START + 2 * MINUTE)
    assert claim_slots(START + 2 * MINUTE).slots == {}
    claim_slots(START + 3 * MINUTE)
    assert rows_of(session, schedule) == [("paused", "12:01", 2), ("fired", "12:03", 1)]
    row = session.get_one(Schedule, schedule.id)
    assert (row.paused_at, row.paused_by, row.paused_reason) == (None, "", "")


@pytest.mark.parametrize("scope", ["experiment", "everything"])
def test_resuming_a_scope_leaves_its_last_slots_paused(study, twin, session, scope):
    schedule = make_schedule(study)
    with transaction() as writing:
        if scope == "experiment":
            pauses.pause_experiment(writing, writing.get_one(Experiment, study.id), START)
        else:
            pauses.pause_everything(writing, START)
    with transaction() as writing:
        if scope == "experiment":
            pauses.resume_experiment(writing, writing.get_one(Experiment, study.id), START + MINUTE)
        else:
            pauses.resume_everything(writing, START + MINUTE)
    claim_slots(START + MINUTE)
    assert rows_of(session, schedule) == [("paused", "12:01", 1)]


def test_a_schedule_of_all_experiments_passes_over_a_paused_one(study, twin, session):
    other = builders.make_twin(builders.make_experiment("Other"))
    make_schedule(None, twins_per_slot=5)
    pause(study)
    claim_slots(START + MINUTE)
    assert session.scalars(select(Attempt.digital_twin_id)).all() == [other.id]


def test_a_paused_schedule_is_not_fired_by_hand_either(study, twin, session):
    schedule = make_schedule(study)
    on(Schedule, schedule.id, pauses.pause_schedule, START, "holiday")
    with pytest.raises(NobodyEligible, match=r"The schedule is paused since .*: holiday\."):
        on(Schedule, schedule.id, schedules.fire_once, DTService(), "once", START)


def test_the_revisions_of_a_schedule_do_not_change_with_a_pause(study, twin, session):
    schedule = make_schedule(study)
    on(Schedule, schedule.id, pauses.pause_schedule, START)
    on(Schedule, schedule.id, pauses.resume_schedule, START)
    row = session.get_one(Schedule, schedule.id)
    assert (row.revision_number, row.is_enabled) == (1, True)


# tokens


def _token_of(session, twin):
    return session.get_one(ApiToken, session.get_one(DigitalTwin, twin.id).api_token_id)


def test_pausing_a_token_cancels_what_its_twins_wait_for(session, settings, twin, study):
    token = _token_of(session, twin)
    without = builders.make_twin(study)
    ids = builders.add_attempt(twin), builders.add_attempt(without)
    assert on(ApiToken, token.id, pauses.pause_token, utc_now(), "new key soon").cancelled == 1
    assert [ended(session, key)[0] for key in ids] == [AttemptState.cancelled, AttemptState.due]
    assert f"Token “{token.name}” is paused since " in session.get_one(Attempt, ids[0]).detail
    later = builders.ask_and_run(session, settings, twin, trigger=Trigger.schedule)
    assert (later.state, later.reason) == (AttemptState.skipped, Reason.paused)
    assert on(ApiToken, token.id, pauses.resume_token, utc_now())
    assert builders.ask_and_run(session, settings, twin).state == AttemptState.posted


def test_what_a_token_is_writing_when_it_is_paused_is_published(session, settings, twin):
    token = _token_of(session, twin)
    attempt_id = builders.add_attempt(twin)
    builders.run_due(settings, While(lambda: on(ApiToken, token.id, pauses.pause_token, utc_now())))
    assert ended(session, attempt_id)[0] == AttemptState.posted


def test_a_token_its_endpoint_paused_fails_what_asks_for_it(session, settings, twin):
    token = _token_of(session, twin)
    waiting = builders.add_attempt(twin)
    with transaction() as writing:
        pause_by_endpoint(writing, token.id, "The key was refused.", utc_now())
    builders.run_due(settings)
    assert ended(session, waiting) == (AttemptState.failed, Reason.token_paused)
    session.expire_all()
    row = session.get_one(ApiToken, token.id)
    assert (row.state, row.paused_by, row.paused_reason) == (
        TokenState.paused, "endpoint", "The key was refused.",
    )  # fmt: skip


# twins


def test_deactivating_a_twin_cancels_what_waits_and_lets_it_finish_what_it_writes(session, settings, twin):
    running, waiting = builders.add_attempt(twin), builders.add_attempt(twin)
    off = lambda: on(DigitalTwin, twin.id, twins.set_twin_active, False, utc_now())  # noqa: E731
    builders.run_due(settings, While(off), at_once=1)
    assert ended(session, running)[0] == AttemptState.posted
    assert ended(session, waiting) == (AttemptState.cancelled, Reason.inactive)
    assert "The twin was deactivated on " in session.get_one(Attempt, waiting).detail


def test_deactivating_in_the_form_is_the_same(session, twin, write):
    waiting = builders.add_attempt(twin)
    with write() as writing:
        row = writing.get_one(DigitalTwin, twin.id)
        edits.change_twin(
            writing, row, 1, utc_now(), username="maya", display_name="", bio="",
            persona_version=row.persona_version, token=row.api_token, llm_url="", llm_model="",
            parameters="", tags="", is_active=False,
        )  # fmt: skip
    assert ended(session, waiting) == (AttemptState.cancelled, Reason.inactive)


def test_a_ban_refuses_what_is_being_written(session, settings, twin, write):
    def ban():
        with write() as writing:
            twins.set_banned(writing, writing.get_one(DigitalTwin, twin.id).user_profile, True, utc_now())

    attempt_id = builders.add_attempt(twin)
    builders.run_due(settings, While(ban))
    assert ended(session, attempt_id) == (AttemptState.cancelled, Reason.banned)


def test_an_experiment_archived_under_a_post_refuses_it(session, settings, twin, study):
    def archive():
        pause(study)
        on(Experiment, study.id, experiments.set_state, ExperimentState.archived, utc_now())

    attempt_id = builders.add_attempt(twin)
    builders.run_due(settings, While(archive))
    assert ended(session, attempt_id) == CANCELLED
    assert session.get_one(Attempt, attempt_id).detail.startswith("The experiment is archived. ")


def test_an_hour_of_waiting_attempts_is_cancelled_at_once(session, twin):
    moment = utc_now() - timedelta(hours=1)
    with transaction() as writing:
        row = writing.get_one(DigitalTwin, twin.id)
        writing.add_all(
            Attempt(
                experiment_id=row.experiment_id, digital_twin_id=row.id, trigger=Trigger.api,
                created_at=moment, changed_at=moment, not_before=moment,
            )
            for _ in range(3_000)
        )  # fmt: skip
    with transaction() as writing:
        assert pauses.pause_everything(writing, utc_now()).cancelled == 3_000
    assert session.scalar(select(func.count()).where(Attempt.state == AttemptState.cancelled)) == 3_000


def test_what_is_too_much_for_one_transaction_is_cancelled_after_it(session, twin, study, monkeypatch):
    monkeypatch.setattr(pauses, "MOST_CANCELLED", 4)
    ids = [builders.add_attempt(twin) for _ in range(10)]
    effect = pause(study, "exam week")
    assert (effect.cancelled, effect.rest) == (10, 6)
    pauses.cancel_rest(study, effect, utc_now())
    assert {ended(session, key) for key in ids} == {CANCELLED}
    assert len({session.get_one(Attempt, key).detail for key in ids}) == 1


def test_what_was_left_over_is_not_cancelled_after_resuming(session, twin, study, monkeypatch):
    monkeypatch.setattr(pauses, "MOST_CANCELLED", 4)
    ids = [builders.add_attempt(twin) for _ in range(6)]
    effect = pause(study)
    resume(study)
    pauses.cancel_rest(study, effect, utc_now())
    assert [ended(session, key)[0] for key in ids[4:]] == [AttemptState.due] * 2
