"""What happens in draft is rehearsal; what is looked at before a start, and what a start does."""

from datetime import timedelta

import pytest
from sqlalchemy import select, update

from pdsapp.attempts.feed import latest_posts
from pdsapp.domain.policy import PostingPolicy
from pdsapp.domain.protocol import ProtocolPart
from pdsapp.domain.reasons import AttemptState, Reason, Visibility
from pdsapp.errors import BadInput
from pdsapp.models import (
    Attempt,
    AuditEvent,
    Experiment,
    Post,
    ProtocolChange,
    Schedule,
    UserProfile,
    utc_now,
)
from pdsapp.services import lifecycle, pauses, posts, protocol, reports, rollups, start_checks
from pdsapp.services.ledger import ledger
from tests import builders
from tests.conftest import NOON

from .pause_helpers import While
from .slot_helpers import MINUTE, START, claim, make_schedule, rows_of
from .states import DRAFT, RUNNING, load, start

# Rehearsal


def test_in_draft_a_twin_posts_and_both_rows_are_a_rehearsal(session, settings, draft_twin):
    attempt = builders.ask_and_run(session, settings, draft_twin)
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


def test_a_schedule_rehearses_too_and_its_slots_are_accounted_for(session, draft, draft_twin):
    schedule = make_schedule(draft)
    claim(START + MINUTE)
    assert rows_of(session, schedule) == [("fired", "12:01", 1)]
    assert session.scalars(select(Attempt.is_rehearsal)).one()
    assert ledger(session, draft, now=START + MINUTE).problems == ()


def test_a_schedule_of_all_experiments_asks_no_draft(session, draft, draft_twin, token):
    study = builders.make_experiment("Study")
    mine = builders.make_twin(study, token=token)
    make_schedule(None, twins_per_slot=5)
    claim(START + MINUTE)
    assert session.scalars(select(Attempt.digital_twin_id)).all() == [mine.id]


def test_counts_and_charts_leave_rehearsals_out_and_the_ledger_counts_them(
    session, settings, draft, draft_twin
):
    builders.ask_and_run(session, settings, draft_twin)
    period, now = reports.PERIODS["24h"], utc_now()
    tallies = reports.tallies(session, draft, period, now, rollups.read_marks(session))
    assert ([each.is_rehearsal for each in tallies], reports.counts(tallies).asked) == ([True], 0)
    books = ledger(session, draft)
    assert (books.asked, books.problems) == (1, ())


# Starting


def test_a_start_that_archives_the_rehearsal_begins_clean(session, write, settings, draft, draft_twin):
    builders.ask_and_run(session, settings, draft_twin)
    assert load(session, draft_twin).last_post is not None
    effect = start(write, settings, draft)
    found = load(session, draft)
    assert (found.state, effect.hidden, found.started_at is not None) == (RUNNING, 1, True)
    assert load(session, draft_twin).last_post is None
    assert session.scalars(latest_posts(draft.id)).all() == []
    post = session.scalars(select(Post)).one()
    assert (post.visibility, post.is_rehearsal) == (Visibility.hidden, True)
    assert ledger(session, draft).problems == ()


def test_a_start_that_keeps_the_rehearsal_leaves_it_marked_in_the_feed(
    session, write, settings, draft, draft_twin
):
    builders.ask_and_run(session, settings, draft_twin)
    effect = start(write, settings, draft, archives_rehearsal=False)
    assert (effect.hidden, load(session, draft_twin).last_post is not None) == (0, True)
    assert [post.is_rehearsal for post in session.scalars(latest_posts(draft.id))] == [True]


def test_an_archived_rehearsal_does_not_use_up_a_daily_limit(session, write, settings, draft, draft_twin):
    with write() as writing:
        found = writing.get_one(Experiment, draft.id)
        policy = PostingPolicy.from_dict(PostingPolicy().to_dict() | {"limits": {"posts_per_day": 1}})
        protocol.save_policy(writing, found, found.edit_version, policy, utc_now())
    assert builders.ask_and_run(session, settings, draft_twin).state == "posted"
    assert builders.ask_and_run(session, settings, draft_twin).reason == Reason.daily_limit
    start(write, settings, draft)
    assert builders.ask_and_run(session, settings, draft_twin).state == "posted"
    assert builders.ask_and_run(session, settings, draft_twin).reason == Reason.daily_limit


def test_a_start_calls_off_rehearsals_that_wait(session, write, settings, draft, draft_twin):
    waiting = builders.add_attempt(draft_twin)
    effect = start(write, settings, draft)
    attempt = builders.load_attempt(session, waiting)
    assert (effect.cancelled, attempt.state, attempt.reason) == (1, "cancelled", Reason.rehearsal_over)
    assert attempt.detail.startswith("It was a rehearsal, and the experiment was started on ")
    assert attempt.is_rehearsal


def test_a_rehearsal_that_is_being_written_at_the_start_is_not_published(
    session, write, settings, draft, draft_twin
):
    attempt_id = builders.add_attempt(draft_twin)
    effects = []
    builders.run_due(settings, While(lambda: effects.append(start(write, settings, draft))))
    attempt = builders.load_attempt(session, attempt_id)
    assert effects[0].running == 1
    assert (attempt.state, attempt.reason) == ("cancelled", Reason.rehearsal_over)
    assert (attempt.draft is not None, attempt.post) == (True, None)
    assert ledger(session, draft).problems == ()


def test_an_attempt_marked_as_rehearsal_that_comes_after_the_start_is_cancelled(
    session, write, settings, draft, draft_twin
):
    start(write, settings, draft)
    late = builders.add_attempt(draft_twin)
    with write() as writing:
        writing.execute(update(Attempt).where(Attempt.id == late).values(is_rehearsal=True))
    builders.run_due(settings)
    attempt = builders.load_attempt(session, late)
    assert (attempt.state, attempt.reason) == (AttemptState.cancelled, Reason.rehearsal_over)


def test_a_slot_of_the_draft_that_nobody_has_claimed_never_fires_as_the_studys(
    session, write, settings, draft, draft_twin
):
    schedule = make_schedule(draft)
    start(write, settings, draft, now=START + MINUTE)
    claim(START + 2 * MINUTE)
    assert [row[0] for row in rows_of(session, schedule)] == ["missed", "fired"]
    assert [a.is_rehearsal for a in session.scalars(select(Attempt))] == [False]
    assert ledger(session, draft, now=START + 2 * MINUTE).problems == ()


def test_a_start_is_in_the_audit_trail_and_heads_the_protocol(session, write, settings, draft, draft_twin):
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


def test_what_is_to_be_looked_at_has_to_be_accepted(session, write, settings, draft, draft_twin):
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
    session, write, settings, draft, draft_twin, token, values, state, words
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
    session, settings, draft, draft_twin, token, model_server
):
    builders.make_twin(draft, token=token)
    builders.make_twin(draft, llm_url="https://llm.example.org/v1", llm_model="m")
    lines = lines_of(session, draft, settings)
    host = model_server.base_url.removeprefix("http://").partition("/")[0]
    assert lines[f"Host {host}"][1].endswith("for 2 active twins.")
    assert lines["Host llm.example.org"] == (
        "note", "Will receive personas and posts, for 1 active twin.",
    )  # fmt: skip


def test_a_twin_without_a_model_is_found_behind_others_that_have_one(session, settings, draft, model_server):
    bare = builders.make_token(settings, model_server.base_url, "Bare", model="")
    builders.make_twin(draft, token=bare, llm_model="own")
    builders.make_twin(draft, token=bare)
    builders.make_twin(draft, llm_url="https://llm.example.org/v1", llm_model="own")
    builders.make_twin(draft, llm_url="https://llm.example.org/v1")
    lines = lines_of(session, draft, settings)
    assert lines["API token “Bare”"] == ("look", "Token “Bare” names no default model. Give it one.")
    assert ("look", "The twin has a URL but no model. Name the model on the twin.") in lines.values()


def test_the_checklist_says_that_more_endpoints_are_used_than_it_names(
    session, settings, draft, draft_twin, monkeypatch
):
    monkeypatch.setattr(start_checks, "MOST_ENDPOINTS", 1)
    assert "Endpoints of 1 more twin" not in lines_of(session, draft, settings)
    builders.make_twin(draft, llm_url="https://llm.example.org/v1", llm_model="m")
    state, words = lines_of(session, draft, settings)["Endpoints of 1 more twin"]
    assert (state, "Other hosts will receive text too" in words) == ("look", True)


def test_a_paused_schedule_is_none_that_will_ask(session, write, settings, draft):
    schedule = make_schedule(draft, now=utc_now())
    assert lines_of(session, draft, settings)["Schedules"][0] == "ready"
    with write() as writing:
        pauses.pause_schedule(writing, writing.get_one(Schedule, schedule.id), utc_now(), "exam week")
    state, words = lines_of(session, draft, settings)["Schedules"]
    assert (state, "what is enabled is paused" in words) == ("look", True)


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


def test_a_draft_whose_last_day_has_passed_is_not_started(session, write, settings, draft, draft_twin):
    with write() as writing:
        writing.get_one(Experiment, draft.id).ends_at = NOON
    with pytest.raises(BadInput, match="It would have ended at the end of 21 Nov 2026"):
        start(write, settings, draft)
