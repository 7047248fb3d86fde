"""Limits on attempts: quiet hours, posts a day, the gap between posts, the age of a draft."""

from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import select

from pdsapp.attempts import deciding
from pdsapp.attempts.preview import preview
from pdsapp.attempts.replay import replay
from pdsapp.database import transaction
from pdsapp.domain.limits import Limits, day_bounds
from pdsapp.domain.reasons import AttemptState, Reason, ReasonClass, Trigger, Visibility
from pdsapp.dt_service import DTService
from pdsapp.errors import BadInput
from pdsapp.models import (
    Attempt,
    AuditEvent,
    DigitalTwin,
    Experiment,
    Post,
    PostingPolicyVersion,
    UserProfile,
    utc_now,
)
from pdsapp.services import limits, reports
from pdsapp.services.ledger import ledger
from pdsapp.services.rollups import read_marks
from tests import builders
from tests import model_server as fake
from tests.builders import SHORT_POST, ask_and_run

pytestmark = pytest.mark.database
ROME = ZoneInfo("Europe/Rome")
TRIGGERS = pytest.mark.parametrize("trigger", [Trigger.schedule, Trigger.button, Trigger.cli, Trigger.api])


def set_limits(study, **changes):
    """Sets limits of an experiment, committed."""
    with transaction() as session:
        limits.change_limits(session, session.get_one(Experiment, study.id), changes, utc_now())


def quiet_now():
    """Quiet hours that began an hour ago and end in an hour."""
    local = utc_now().astimezone(ROME)
    hour = timedelta(hours=1)
    return {"quiet_from": f"{local - hour:%H:%M}", "quiet_until": f"{local + hour:%H:%M}"}


def post_of(twin, minutes=0, **changes):
    """A top-level post of the twin, some minutes old."""
    with transaction() as session:
        profile = session.get_one(DigitalTwin, twin.id).user_profile
    post = builders.make_post(profile, minutes=minutes)
    if changes:
        with transaction() as session:
            row = session.get_one(Post, post.id)
            for name, value in changes.items():
                setattr(row, name, value)


def hold_back(study, twin, limit):
    """Makes one limit hold for the twin."""
    if limit == Reason.quiet_hours:
        set_limits(study, **quiet_now())
    elif limit == Reason.daily_limit:
        set_limits(study, posts_per_day=1)
        post_of(twin)
    else:
        set_limits(study, min_gap_seconds=900)
        post_of(twin, minutes=5)


LIMITS = pytest.mark.parametrize("limit", [Reason.quiet_hours, Reason.daily_limit, Reason.min_gap])


@LIMITS
@TRIGGERS
@pytest.mark.parametrize("forced", [False, True], ids=["respecting the rule", "forced"])
def test_a_limit_silences_a_twin_whoever_asks_and_keeps_what_the_rule_said(
    session, settings, study, twin, model_server, limit, trigger, forced
):
    hold_back(study, twin, limit)
    attempt = ask_and_run(session, settings, twin, forced=forced, trigger=trigger)
    assert (attempt.state, attempt.reason, attempt.reason_class) == (
        AttemptState.skipped,
        limit,
        ReasonClass.limit,
    )
    assert model_server.calls == [] and attempt.post is None
    assert attempt.would_post == (attempt.draw >= attempt.skip_probability)
    assert (attempt.is_forced, attempt.decided_at is not None, attempt.target_length > 0) == (
        forced,
        True,
        True,
    )
    assert replay(session, attempt, DTService()).verdict == "same"
    assert ledger(session).adds_up


def test_the_sentence_has_the_numbers(session, settings, study, twin):
    hold_back(study, twin, Reason.min_gap)
    words = ask_and_run(session, settings, twin).detail
    assert words.startswith("Its last post is 5 min") and "15 min is the least between two." in words
    set_limits(study, posts_per_day=1)
    words = ask_and_run(session, settings, twin).detail
    assert words.startswith("It has posted once today, and 1 a day is the most.")
    assert ", 00:00 CE" in words
    set_limits(study, **quiet_now())
    words = ask_and_run(session, settings, twin).detail
    assert words.startswith("Quiet hours are ") and "in Europe/Rome. They end on " in words


def test_every_published_post_of_the_day_counts_hidden_and_erased_ones_too(session, settings, study, twin):
    set_limits(study, posts_per_day=3)
    post_of(twin)
    post_of(twin, visibility=Visibility.hidden)
    assert ask_and_run(session, settings, twin).state == AttemptState.posted
    assert ask_and_run(session, settings, twin).reason == Reason.daily_limit
    set_limits(study, posts_per_day=4)
    post_of(twin, visibility=Visibility.erased)
    assert ask_and_run(session, settings, twin).reason == Reason.daily_limit


def test_replies_posts_of_others_and_posts_of_another_day_do_not_count(session, settings, study, twin):
    set_limits(study, posts_per_day=1, min_gap_seconds=60)
    start, end = day_bounds(utc_now(), ROME)
    post_of(twin, created_at=start - timedelta(seconds=61))
    builders.make_post(builders.make_person(study), minutes=0)
    parent = session.scalars(select(Post.id)).first()
    post_of(twin, parent_id=parent)
    post_of(builders.make_twin(study))
    if utc_now() - start < timedelta(seconds=2) or end - utc_now() < timedelta(seconds=5):
        post_of(twin, created_at=start - timedelta(days=1))  # at midnight there is less to show
    assert ask_and_run(session, settings, twin).state == AttemptState.posted
    assert ask_and_run(session, settings, twin).reason == Reason.daily_limit


def test_a_twin_without_a_post_has_no_gap_to_keep(session, settings, study, twin):
    set_limits(study, min_gap_seconds=86_400)
    assert ask_and_run(session, settings, twin).state == AttemptState.posted
    assert ask_and_run(session, settings, twin).reason == Reason.min_gap


def test_limits_are_those_of_each_experiment(session, settings, study, twin, model_server):
    set_limits(study, **quiet_now())
    other = builders.make_twin(
        builders.make_experiment("Other"), token=builders.make_token(settings, model_server.base_url)
    )
    assert ask_and_run(session, settings, other).state == AttemptState.posted
    assert ask_and_run(session, settings, twin).reason == Reason.quiet_hours


def _too_old(study):
    set_limits(study, max_draft_age_seconds=60)
    with transaction() as session:
        attempt = session.scalars(select(Attempt).where(Attempt.state == AttemptState.running)).one()
        attempt.decided_at -= timedelta(seconds=61)


@pytest.mark.parametrize(
    "limit", [Reason.quiet_hours, Reason.daily_limit, Reason.min_gap, Reason.too_late], ids=str
)
def test_a_limit_that_begins_while_the_model_writes_keeps_the_draft_from_being_published(
    app, session, settings, study, twin, model_server, limit
):
    def write(_request):
        with app.app_context():
            _too_old(study) if limit == Reason.too_late else hold_back(study, twin, limit)
        return fake.text(SHORT_POST)

    model_server.default = write
    before = study.policy_id
    attempt = ask_and_run(session, settings, twin)
    assert (attempt.state, attempt.reason, attempt.reason_class) == (
        AttemptState.cancelled,
        limit,
        ReasonClass.limit,
    )
    assert attempt.detail.endswith("What was written by then is kept as a draft and was not published.")
    assert attempt.draft == SHORT_POST
    assert attempt.post is None
    assert session.scalars(select(Post).where(Post.attempt_id.is_not(None))).all() == []
    assert attempt.policy_id == before, "it keeps the policy it was decided by"
    assert attempt.experiment.policy_id != before
    assert ledger(session).adds_up


def test_a_decision_that_is_too_old_is_not_written_any_more(session, settings, study, twin, model_server):
    """A worker was lost after the decision; when another takes the attempt, the feed has moved on."""
    set_limits(study, max_draft_age_seconds=600)
    attempt_id = builders.add_attempt(twin)
    with transaction() as writing:
        attempt = writing.get_one(Attempt, attempt_id)
        assert deciding._decide(writing, attempt, DTService(), utc_now() - timedelta(seconds=601), [])
        attempt.messages_sha256 = "0" * 64
    builders.run_due(settings)
    attempt = builders.load_attempt(session, attempt_id)
    assert (attempt.state, attempt.reason) == (AttemptState.cancelled, Reason.too_late)
    assert "was not written any more" in attempt.detail
    assert model_server.calls == []


def test_one_that_had_to_wait_is_as_old_as_the_feed_it_reads_when_its_turn_comes(
    session, settings, study, twin, model_server
):
    set_limits(study, max_draft_age_seconds=600)
    attempt_id = builders.add_attempt(twin)
    with transaction() as writing:
        attempt = writing.get_one(Attempt, attempt_id)
        assert deciding._decide(writing, attempt, DTService(), utc_now() - timedelta(seconds=3000), [])
    builders.run_due(settings)
    attempt = builders.load_attempt(session, attempt_id)
    assert attempt.state == AttemptState.posted
    assert attempt.feed_read_at - attempt.decided_at > timedelta(seconds=2990)


def test_taking_limits_away_works_at_once(session, settings, study, twin):
    set_limits(study, **quiet_now())
    assert ask_and_run(session, settings, twin).state == AttemptState.skipped
    set_limits(study, quiet_from=None, quiet_until=None)
    assert ask_and_run(session, settings, twin).state == AttemptState.posted


def test_other_limits_are_another_stored_policy_and_stand_in_the_audit_trail(session, settings, study, twin):
    first = ask_and_run(session, settings, twin)
    set_limits(study, posts_per_day=5)
    set_limits(study, posts_per_day=5)
    set_limits(study, posts_per_day=6)
    second = ask_and_run(session, settings, twin)
    assert first.policy_id != second.policy_id
    assert first.policy.body == {k: v for k, v in second.policy.body.items() if k != "limits"}
    assert second.policy.body["limits"] == {"posts_per_day": 6}
    events = session.scalars(select(AuditEvent).where(AuditEvent.action == "change").order_by(AuditEvent.id))
    assert [(event.before, event.after) for event in events] == [
        ({"limits.posts_per_day": None}, {"limits.posts_per_day": 5, "reason": "no reason was given"}),
        ({"limits.posts_per_day": 5}, {"limits.posts_per_day": 6, "reason": "no reason was given"}),
    ]
    set_limits(study, posts_per_day=None)
    session.rollback()
    experiment = session.get_one(Experiment, study.id, populate_existing=True)
    assert experiment.policy_id == first.policy_id, "no limits: the policy it began with"
    assert experiment.edit_version == 4
    assert len(session.scalars(select(PostingPolicyVersion)).all()) == 3


def test_limits_that_cannot_be_used_change_nothing(session, study):
    with pytest.raises(BadInput, match="fill in both"):
        set_limits(study, quiet_from="22:00", posts_per_day=2)
    experiment = session.get_one(Experiment, study.id)
    assert "limits" not in experiment.policy.body
    assert experiment.edit_version == 1


@LIMITS
def test_a_dry_run_names_the_limit(session, settings, study, twin, limit):
    hold_back(study, twin, limit)
    found = preview(
        session, session.get_one(DigitalTwin, twin.id), DTService(), settings, "k", utc_now(), True
    )
    assert found.obstacle.reason == limit
    assert not found.posts
    assert found.to_dict()["obstacle"] == limit.value


def test_a_pause_comes_before_a_limit(session, settings, study, twin):
    hold_back(study, twin, Reason.quiet_hours)
    with transaction() as writing:
        profile = writing.get_one(UserProfile, twin.user_profile_id)
        profile.is_banned = True
    assert ask_and_run(session, settings, twin).reason == Reason.banned


def test_skip_rates_leave_out_what_a_limit_decided(app, session, settings, study, twin, model_server):
    """An attempt that a limit called off later was decided by the rule, and counts."""
    for _ in range(2):
        set_limits(study, **quiet_now())
        ask_and_run(session, settings, twin, forced=False)
    set_limits(study, quiet_from=None, quiet_until=None)

    def write(_request):
        with app.app_context():
            set_limits(study, **quiet_now())
        return fake.text(SHORT_POST)

    model_server.default = write
    assert ask_and_run(session, settings, twin, forced=False).state == AttemptState.cancelled
    found = reports.tallies(
        session, None, reports.PERIODS["24h"], utc_now() + timedelta(seconds=1), read_marks(session)
    )
    counts = reports.counts(found)
    assert (counts.asked, counts.held_by_limits, counts.cancelled) == (3, 3, 0)
    assert (counts.ruled, counts.ruled_silent) == (1, 0)
    assert reports.reasons(found, reports.SILENT)[ReasonClass.limit] == {Reason.quiet_hours: 3}


def test_the_limits_of_a_policy_are_what_was_set(study, session):
    set_limits(
        study,
        quiet_from="22:00",
        quiet_until="07:00",
        posts_per_day=3,
        min_gap_seconds=900,
        max_draft_age_seconds=600,
    )
    session.expire_all()
    assert limits.policy_of(session.get_one(Experiment, study.id)).limits == Limits(
        "22:00", "07:00", 3, 900, 600
    )
