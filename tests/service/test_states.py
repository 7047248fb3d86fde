"""The life of an experiment: what each state allows, what starting and ending do, and that it adds up."""

from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy import func, select, update

from pdsapp.attempts.create import Request, add_for_twin
from pdsapp.attempts.feed import latest_posts
from pdsapp.domain.policy import PostingPolicy
from pdsapp.domain.protocol import ProtocolPart
from pdsapp.domain.reasons import AttemptState, ExperimentState, Reason, SlotKind, Trigger, Visibility
from pdsapp.dt_service import DTService
from pdsapp.errors import BadInput, ReadOnly
from pdsapp.models import (
    Attempt,
    AuditEvent,
    DigitalTwin,
    Experiment,
    Post,
    ProtocolChange,
    Schedule,
    Slot,
    UserProfile,
    utc_now,
)
from pdsapp.services import (
    cloning,
    edits,
    lifecycle,
    pauses,
    posts,
    protocol,
    removals,
    reports,
    schedules,
    start_checks,
    twins,
)
from pdsapp.services.ledger import ledger
from tests import builders

from .pause_helpers import While
from .slot_helpers import MINUTE, START, claim, finish_attempts, make_schedule, rows_of

DRAFT, RUNNING, PAUSED, ENDED, ARCHIVED = ExperimentState
NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


@pytest.fixture
def token(settings, model_server):
    return builders.make_token(settings, model_server.base_url)


@pytest.fixture
def draft(app):
    return builders.make_experiment("Pilot", state=DRAFT)


@pytest.fixture
def twin(draft, token):
    return builders.make_twin(draft, "maya", token)


def put(write, experiment, state):
    """Puts an experiment into a state by hand."""
    with write() as session:
        session.execute(update(Experiment).where(Experiment.id == experiment.id).values(state=state))


def load(session, row):
    session.rollback()
    session.expire_all()
    return session.get_one(type(row), row.id)


def start(write, settings, experiment, **options):
    with write() as session:
        found = session.get_one(Experiment, experiment.id)
        return lifecycle.start(
            session, found, settings, options.pop("now", utc_now()), accepts_warnings=True, **options
        )


def end(write, experiment, now=None, **options):
    with write() as session:
        found = session.get_one(Experiment, experiment.id)
        return lifecycle.end(session, found, now or utc_now(), reason="done", **options)


# What each state allows


def _ask(session, rows, now):
    add_for_twin(session, session.get_one(DigitalTwin, rows["twin"].id), _request(), now)


def _request():
    return Request(Trigger.button, f"states-{next(builders._numbers)}", True)


def _experiment(session, rows):
    return session.get_one(Experiment, rows["experiment"].id)


def _change_experiment(session, rows, now):
    found = _experiment(session, rows)
    edits.change_experiment(
        session, found, found.edit_version, now, name="New", description="", zone="Europe/Rome"
    )


def _change_policy(session, rows, now):
    found = _experiment(session, rows)
    protocol.save_policy(session, found, found.edit_version, PostingPolicy(share_cap=0.1), now, reason="why")


def _add_twin(session, rows, now):
    version = session.get_one(DigitalTwin, rows["twin"].id).persona_version
    twins.add_twin(session, _experiment(session, rows), "another", version, now)


def _change_profile(session, rows, now):
    found = session.get_one(UserProfile, rows["person"].id)
    edits.change_profile(session, found, found.edit_version, now, username="w2", display_name="W", bio="")


def _schedule(session, rows):
    return session.get_one(Schedule, rows["schedule"].id)


CHANGES = {
    "ask a twin": _ask,
    "change the experiment": _change_experiment,
    "change the policy": _change_policy,
    "add a twin": _add_twin,
    "change a profile": _change_profile,
    "add a profile": lambda s, r, now: twins.add_profile(s, _experiment(s, r), "newcomer", now),
    "deactivate a twin": lambda s, r, now: twins.set_twin_active(
        s, s.get_one(DigitalTwin, r["twin"].id), False, now
    ),
    "ban a profile": lambda s, r, now: twins.set_banned(s, s.get_one(UserProfile, r["person"].id), True, now),
    "remove a profile": lambda s, r, now: removals.remove_profile(
        s, s.get_one(UserProfile, r["silent"].id), now
    ),
    "write a post": lambda s, r, now: posts.add_post(s, s.get_one(UserProfile, r["person"].id), "Hi.", now),
    "change a post": lambda s, r, now: posts.change_text(s, s.get_one(Post, r["post"].id), "Other.", now),
    "hide a post": lambda s, r, now: edits.set_visibility(
        s, s.get_one(Post, r["post"].id), Visibility.hidden, now
    ),
    "switch a schedule off": lambda s, r, now: schedules.disable(s, _schedule(s, r), now),
    "archive a schedule": lambda s, r, now: schedules.archive(s, _schedule(s, r), now),
}


@pytest.fixture
def rows(draft, twin):
    person = builders.make_person(draft)
    return {
        "experiment": draft, "twin": twin, "person": person, "silent": builders.make_person(draft, "silent"),
        "post": builders.make_post(person), "schedule": make_schedule(draft),
    }  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("state", [DRAFT, RUNNING, PAUSED])
def test_before_its_end_everything_of_an_experiment_may_change(write, rows, state, name):
    put(write, rows["experiment"], state)
    with write() as session:
        CHANGES[name](session, rows, utc_now())


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("state", [ENDED, ARCHIVED])
def test_once_it_is_over_nothing_of_it_changes(session, write, rows, state, name):
    put(write, rows["experiment"], state)
    before = session.scalar(select(func.count(AuditEvent.id)))
    with pytest.raises(ReadOnly, match="it is only read now"), write() as writing:
        CHANGES[name](writing, rows, utc_now())
    session.rollback()
    assert session.scalar(select(func.count(AuditEvent.id))) == before


@pytest.mark.parametrize("state", [ENDED, ARCHIVED])
def test_what_is_over_can_still_be_copied_and_the_copy_is_a_draft(session, write, rows, state):
    put(write, rows["experiment"], state)
    with write() as writing:
        source = writing.get_one(Experiment, rows["experiment"].id)
        (copy,) = cloning.clone(writing, source, ["Again"], utc_now(), with_twins=True, with_schedules=True)
        key = copy.id
    found = session.get_one(Experiment, key)
    assert (found.state, found.started_at, found.active_twin_count) == (DRAFT, None, 1)


MOVES = {
    "start": (
        lambda s, e, settings: lifecycle.start(s, e, settings, utc_now(), accepts_warnings=True),
        RUNNING,
    ),
    "pause": (lambda s, e, _: pauses.pause_experiment(s, e, utc_now()), PAUSED),
    "resume": (lambda s, e, _: pauses.resume_experiment(s, e, utc_now()), RUNNING),
    "end": (lambda s, e, _: lifecycle.end(s, e, utc_now()), ENDED),
    "archive": (lambda s, e, _: lifecycle.archive(s, e, utc_now()), ARCHIVED),
}
ALLOWED = {
    DRAFT: {"start", "archive"}, RUNNING: {"pause", "resume", "end"},
    PAUSED: {"pause", "resume", "end", "archive"}, ENDED: {"archive"}, ARCHIVED: set(),
}  # fmt: skip


@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("state", list(ExperimentState))
def test_a_state_leads_only_where_it_should(session, write, settings, rows, state, move):
    put(write, rows["experiment"], state)
    act, leads_to = MOVES[move]
    if move in ALLOWED[state]:
        with write() as writing:
            act(writing, writing.get_one(Experiment, rows["experiment"].id), settings)
        assert load(session, rows["experiment"]).state == leads_to
        return
    with pytest.raises(BadInput), write() as writing:
        act(writing, writing.get_one(Experiment, rows["experiment"].id), settings)
    assert load(session, rows["experiment"]).state == state


# Rehearsal


def test_in_draft_a_twin_posts_and_both_rows_are_a_rehearsal(session, settings, twin):
    attempt = builders.ask_and_run(session, settings, twin)
    assert (attempt.state, attempt.is_rehearsal, attempt.post.is_rehearsal) == ("posted", True, True)


def test_in_a_running_experiment_neither_row_is(session, settings, token):
    study = builders.make_experiment()
    attempt = builders.ask_and_run(session, settings, builders.make_twin(study, token=token))
    assert (attempt.state, attempt.is_rehearsal, attempt.post.is_rehearsal) == ("posted", False, False)


def test_a_post_written_by_hand_in_draft_is_a_rehearsal(session, write, draft):
    person = builders.make_person(draft)
    with write() as writing:
        posts.add_post(writing, writing.get_one(UserProfile, person.id), "Seed.", utc_now())
    assert session.scalars(select(Post.is_rehearsal)).one()


def test_a_schedule_rehearses_too_and_its_slots_are_accounted_for(session, draft, twin):
    schedule = make_schedule(draft)
    claim(START + MINUTE)
    assert rows_of(session, schedule) == [("fired", "12:01", 1)]
    assert session.scalars(select(Attempt.is_rehearsal)).one()
    assert ledger(session, draft, now=START + MINUTE).problems == ()


def test_a_schedule_of_all_experiments_asks_no_draft(session, draft, twin, token):
    study = builders.make_experiment("Study")
    mine = builders.make_twin(study, token=token)
    make_schedule(None, twins_per_slot=5)
    claim(START + MINUTE)
    assert session.scalars(select(Attempt.digital_twin_id)).all() == [mine.id]


def test_counts_and_charts_leave_rehearsals_out_and_the_ledger_counts_them(session, settings, draft, twin):
    builders.ask_and_run(session, settings, twin)
    period, now = reports.PERIODS["24h"], utc_now()
    tallies = reports.tallies(session, draft, period, now)
    assert (tallies, reports.counts(tallies).asked) == ((), 0)
    books = ledger(session, draft)
    assert (books.asked, books.problems) == (1, ())


# Starting


def test_a_start_that_archives_the_rehearsal_begins_clean(session, write, settings, draft, twin):
    builders.ask_and_run(session, settings, twin)
    assert load(session, twin).last_post is not None
    effect = start(write, settings, draft)
    found = load(session, draft)
    assert (found.state, effect.hidden, found.started_at is not None) == (RUNNING, 1, True)
    assert load(session, twin).last_post is None
    assert session.scalars(latest_posts(draft.id)).all() == []
    post = session.scalars(select(Post)).one()
    assert (post.visibility, post.is_rehearsal) == (Visibility.hidden, True)
    assert ledger(session, draft).problems == ()


def test_a_start_that_keeps_the_rehearsal_leaves_it_marked_in_the_feed(session, write, settings, draft, twin):
    builders.ask_and_run(session, settings, twin)
    effect = start(write, settings, draft, archives_rehearsal=False)
    assert (effect.hidden, load(session, twin).last_post is not None) == (0, True)
    assert [post.is_rehearsal for post in session.scalars(latest_posts(draft.id))] == [True]


def test_an_archived_rehearsal_does_not_use_up_a_daily_limit(session, write, settings, draft, twin):
    with write() as writing:
        found = writing.get_one(Experiment, draft.id)
        policy = PostingPolicy.from_dict(PostingPolicy().to_dict() | {"limits": {"posts_per_day": 1}})
        protocol.save_policy(writing, found, found.edit_version, policy, utc_now())
    assert builders.ask_and_run(session, settings, twin).state == "posted"
    assert builders.ask_and_run(session, settings, twin).reason == Reason.daily_limit
    start(write, settings, draft)
    assert builders.ask_and_run(session, settings, twin).state == "posted"
    assert builders.ask_and_run(session, settings, twin).reason == Reason.daily_limit


def test_a_start_calls_off_rehearsals_that_wait(session, write, settings, draft, twin):
    waiting = builders.add_attempt(twin)
    effect = start(write, settings, draft)
    attempt = builders.load_attempt(session, waiting)
    assert (effect.cancelled, attempt.state, attempt.reason) == (1, "cancelled", Reason.rehearsal_over)
    assert attempt.detail.startswith("It was a rehearsal, and the experiment was started on ")
    assert attempt.is_rehearsal


def test_a_rehearsal_that_is_being_written_at_the_start_is_not_published(
    session, write, settings, draft, twin
):
    attempt_id = builders.add_attempt(twin)
    effects = []
    builders.run_due(settings, While(lambda: effects.append(start(write, settings, draft))))
    attempt = builders.load_attempt(session, attempt_id)
    assert effects[0].running == 1
    assert (attempt.state, attempt.reason) == ("cancelled", Reason.rehearsal_over)
    assert (attempt.draft is not None, attempt.post) == (True, None)
    assert ledger(session, draft).problems == ()


def test_an_attempt_marked_as_rehearsal_that_comes_after_the_start_is_cancelled(
    session, write, settings, draft, twin
):
    start(write, settings, draft)
    late = builders.add_attempt(twin)
    with write() as writing:
        writing.execute(update(Attempt).where(Attempt.id == late).values(is_rehearsal=True))
    builders.run_due(settings)
    attempt = builders.load_attempt(session, late)
    assert (attempt.state, attempt.reason) == (AttemptState.cancelled, Reason.rehearsal_over)


def test_a_slot_of_the_draft_that_nobody_has_claimed_never_fires_as_the_studys(
    session, write, settings, draft, twin
):
    schedule = make_schedule(draft)
    start(write, settings, draft, now=START + MINUTE)
    claim(START + 2 * MINUTE)
    assert [row[0] for row in rows_of(session, schedule)] == ["missed", "fired"]
    assert [a.is_rehearsal for a in session.scalars(select(Attempt))] == [False]
    assert ledger(session, draft, now=START + 2 * MINUTE).problems == ()


def test_a_start_is_in_the_audit_trail_and_heads_the_protocol(session, write, settings, draft, twin):
    start(write, settings, draft)
    change = session.scalars(select(ProtocolChange)).one()
    assert (change.part, change.state, change.summary) == (
        ProtocolPart.life, DRAFT, "Started; the rehearsal was archived",
    )  # fmt: skip
    event = session.scalars(select(AuditEvent).where(AuditEvent.action == "start")).one()
    assert event.after["state"] == "running"
    assert "Worker" in event.after["accepted"]


def test_without_an_active_twin_nothing_is_started_whatever_is_accepted(session, write, settings, draft):
    with pytest.raises(BadInput, match="No twin is active") as caught:
        start(write, settings, draft)
    assert caught.value.field == "checks"
    assert load(session, draft).state == DRAFT


def test_what_is_to_be_looked_at_has_to_be_accepted(session, write, settings, draft, twin):
    with pytest.raises(BadInput, match="Mend this, or say that it is meant") as caught, write() as writing:
        lifecycle.start(writing, writing.get_one(Experiment, draft.id), settings, utc_now())
    assert caught.value.field == "accepts_warnings"
    assert load(session, draft).state == DRAFT


def lines_of(session, experiment, settings, now=None):
    session.rollback()
    session.expire_all()
    lines = start_checks.checklist(
        session, session.get_one(Experiment, experiment.id), settings, now or utc_now()
    )
    return {line.title: (line.state.value, line.words) for line in lines}


@pytest.mark.parametrize(
    ("values", "state", "words"),
    [
        ({}, "look", "Never tested"),
        ({"last_test_at": timedelta(hours=1), "last_test_ok": True}, "ready", "Tested in the last 24 hours"),
        ({"last_test_at": timedelta(hours=25), "last_test_ok": True}, "look", "1 day old"),
        ({"last_test_at": timedelta(hours=1), "last_test_ok": False}, "look", "Its last test failed"),
    ],
    ids=["never tested", "tested an hour ago", "tested the day before", "failed"],
)
def test_a_token_counts_as_ready_when_it_was_tested_in_the_last_day(
    session, write, settings, draft, twin, token, values, state, words
):
    if values:
        with write() as writing:
            found = writing.get_one(type(token), token.id)
            found.last_test_at, found.last_test_ok = (
                utc_now() - values["last_test_at"],
                values["last_test_ok"],
            )
    line = lines_of(session, draft, settings)[f"API token “{token.name}”"]
    assert (line[0], words in line[1]) == (state, True)


def test_the_checklist_names_every_host_with_how_many_twins_it_writes_for(
    session, settings, draft, twin, token, model_server
):
    builders.make_twin(draft, token=token)
    builders.make_twin(draft, llm_url="https://llm.example.org/v1", llm_model="m")
    lines = lines_of(session, draft, settings)
    host = model_server.base_url.removeprefix("http://").partition("/")[0]
    assert lines[f"Host {host}"][1].endswith("for 2 active twins.")
    assert lines["Host llm.example.org"] == (
        "note", "Will receive personas and posts, for 1 active twin.",
    )  # fmt: skip


def test_the_checklist_asks_whether_utc_is_meant_and_says_what_is_switched_off(session, settings, token):
    study = builders.make_experiment("Abroad", zone="UTC", state=DRAFT)
    builders.make_twin(study, token=token)
    lines = lines_of(session, study, settings)
    assert lines["Time zone"][0] == "look"
    assert lines["Schedules"][0] == "look"
    assert lines["Worker"][0] == lines["Scheduler"][0] == "look"
    assert lines["Disclosure"] == ("ready", "Never claims to be human.")
    make_schedule(study, now=utc_now())
    assert lines_of(session, study, settings)["Schedules"] == (
        "ready", "1 schedule of its own will ask its twins.",
    )  # fmt: skip


def test_a_draft_whose_last_day_has_passed_is_not_started(session, write, settings, draft, twin):
    with write() as writing:
        writing.get_one(Experiment, draft.id).ends_at = NOON
    with pytest.raises(BadInput, match="It would have ended at the end of 21 Nov 2026"):
        start(write, settings, draft)


# Ending


@pytest.fixture
def study(token):
    """A running experiment that ends with 21 November in Rome: at 23:00 UTC."""
    study = builders.make_experiment("Study")
    builders.make_twin(study, "ada", token)
    return study


END = datetime(2026, 11, 21, 23, 0, tzinfo=UTC)


def plan_end(write, study, at=END):
    with write() as session:
        session.get_one(Experiment, study.id).ends_at = at


def test_a_last_day_is_the_midnight_after_it_in_the_zone(session, write, study):
    with write() as writing:
        found = writing.get_one(Experiment, study.id)
        edits.change_experiment(
            writing, found, found.edit_version, NOON,
            name="Study", description="", zone="Europe/Rome", last_day=date(2026, 11, 21),
            reason="as planned",
        )  # fmt: skip
    assert load(session, study).ends_at == END


def test_a_last_day_that_is_over_is_refused_at_its_field(write, study):
    with pytest.raises(BadInput, match="20 Nov 2026 is over in Europe/Rome") as caught, write() as writing:
        found = writing.get_one(Experiment, study.id)
        edits.change_experiment(
            writing, found, found.edit_version, NOON,
            name="Study", description="", zone="Europe/Rome", last_day=date(2026, 11, 20),
        )  # fmt: skip
    assert caught.value.field == "last_day"


def test_before_its_end_date_nothing_ends(session, write, study):
    plan_end(write, study)
    assert lifecycle.end_what_is_over(END - timedelta(seconds=1)) == []
    assert load(session, study).state == RUNNING


@pytest.mark.parametrize("late", [timedelta(0), timedelta(days=3)], ids=["on time", "after three days off"])
def test_the_end_date_ends_it_however_late_that_is_noticed(session, write, study, late):
    schedule = make_schedule(study, now=END - 10 * MINUTE)
    plan_end(write, study)
    claim(END - 2 * MINUTE)
    finish_attempts()
    assert lifecycle.end_what_is_over(END + late) == [study.identifier]
    found = load(session, study)
    assert (found.state, found.ended_at) == (ENDED, END)
    assert not load(session, schedule).is_enabled
    last = max(row.covers_until or row.slot_at for row in session.scalars(select(Slot)))
    assert last == END - MINUTE, "what was due before the end is told, nothing behind it is"
    claim(END + late + MINUTE)
    books = ledger(session, found, now=END + late + MINUTE)
    assert books.problems == ()
    event = session.scalars(select(AuditEvent).where(AuditEvent.action == "end")).one()
    assert event.actor == "system"
    assert (
        session.scalars(select(ProtocolChange.made_by).where(ProtocolChange.part == "life")).one() == "system"
    )


def test_no_slot_behind_the_end_date_fires_even_before_anybody_ends_it(session, write, study):
    schedule = make_schedule(study, now=END - 2 * MINUTE)
    plan_end(write, study)
    claim(END + 5 * MINUTE)
    assert {row[0] for row in rows_of(session, schedule)} == {"missed"}
    assert max(slot.covers_until or slot.slot_at for slot in session.scalars(select(Slot))) < END
    lifecycle.end_what_is_over(END + 5 * MINUTE)
    assert ledger(session, load(session, study), now=END + 5 * MINUTE).problems == ()


def test_a_slot_that_was_claimed_behind_the_end_date_still_adds_up(session, write, study):
    schedule = make_schedule(study, now=END - 2 * MINUTE)
    claim(END + MINUTE)
    finish_attempts()
    plan_end(write, study)
    lifecycle.end_what_is_over(END + 2 * MINUTE)
    assert SlotKind.fired in {row[0] for row in rows_of(session, schedule)}
    assert ledger(session, load(session, study), now=END + 2 * MINUTE).problems == ()


def test_a_paused_study_ends_on_its_day_too(session, write, study):
    schedule = make_schedule(study, now=END - 3 * MINUTE)
    plan_end(write, study)
    with write() as writing:
        pauses.pause_experiment(writing, writing.get_one(Experiment, study.id), END - 3 * MINUTE)
    lifecycle.end_what_is_over(END + MINUTE)
    found = load(session, study)
    assert (found.state, found.paused_at) == (ENDED, None)
    assert {row[0] for row in rows_of(session, schedule)} == {"paused"}
    assert ledger(session, found, now=END + MINUTE).problems == ()


def test_a_draft_has_no_end_date_to_keep_yet(session, write, draft, twin):
    make_schedule(draft)
    plan_end(write, draft, NOON)
    claim(START + MINUTE)
    assert lifecycle.end_what_is_over(START + MINUTE) == []
    assert load(session, draft).state == DRAFT
    assert session.scalars(select(Slot.kind)).one() == SlotKind.fired


def test_ending_cancels_what_waits_and_says_when_it_ended(session, write, settings, study):
    twin = session.scalars(select(DigitalTwin)).one()
    waiting = builders.add_attempt(twin)
    effect = end(write, study)
    attempt = builders.load_attempt(session, waiting)
    assert (effect.cancelled, attempt.state, attempt.reason) == (1, "cancelled", Reason.experiment_over)
    assert attempt.detail.startswith("The experiment ended on ")
    assert ledger(session, study).problems == ()


def test_what_is_being_written_when_it_ends_is_not_published(session, write, settings, study):
    twin = session.scalars(select(DigitalTwin)).one()
    attempt_id = builders.add_attempt(twin)
    builders.run_due(settings, While(lambda: end(write, study)))
    attempt = builders.load_attempt(session, attempt_id)
    assert (attempt.state, attempt.reason) == ("cancelled", Reason.experiment_over)
    assert session.scalar(select(func.count(Post.id))) == 0


def test_no_rewrite_is_paid_for_once_it_has_ended(session, write, settings, study, model_server):
    class EndsBeforeTheRewrite(DTService):
        def clean(self, brief, raw):
            end(write, study)
            return super().clean(brief, raw)

    model_server.enqueue("Tiny.")
    attempt_id = builders.add_attempt(session.scalars(select(DigitalTwin)).one())
    builders.run_due(settings, EndsBeforeTheRewrite())
    attempt = builders.load_attempt(session, attempt_id)
    assert (attempt.state, attempt.reason) == ("cancelled", Reason.experiment_over)
    assert (attempt.draft, len(model_server.history)) == ("Tiny.", 1)


def test_what_waited_over_the_end_date_is_not_asked_even_if_nobody_has_ended_it(
    session, write, settings, study
):
    twin = session.scalars(select(DigitalTwin)).one()
    waiting = builders.add_attempt(twin)
    plan_end(write, study, utc_now() - timedelta(minutes=1))
    builders.run_due(settings)
    attempt = builders.load_attempt(session, waiting)
    assert (attempt.state, attempt.reason) == ("cancelled", Reason.experiment_over)


def test_a_reason_for_ending_by_hand_may_be_left_out(session, write, study):
    with write() as writing:
        lifecycle.end(writing, writing.get_one(Experiment, study.id), utc_now())
    change = session.scalars(select(ProtocolChange)).one()
    assert (change.summary, change.reason, change.state) == ("Ended by hand", "", ENDED)


def test_the_ledger_adds_up_across_draft_start_and_end(session, write, settings, draft, twin):
    make_schedule(draft)
    for minute in (1, 2):
        claim(START + minute * MINUTE)
        finish_attempts()
    start(write, settings, draft, now=START + 2 * MINUTE)
    for minute in (3, 4):
        claim(START + minute * MINUTE)
        finish_attempts()
    end(write, draft, START + 5 * MINUTE)
    now = START + 20 * MINUTE
    claim(now)
    books = ledger(session, load(session, draft), now=now)
    assert (books.problems, books.slots) == ((), {"fired": 4, "missed": 1})
    assert [a.is_rehearsal for a in session.scalars(select(Attempt).order_by(Attempt.id))] == [
        True, True, False, False,
    ]  # fmt: skip
