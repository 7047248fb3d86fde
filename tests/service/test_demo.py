"""The demo of an empty local database."""

import pytest
from sqlalchemy import func, select

from pdsapp.database import transaction
from pdsapp.domain.policy import PostingPolicy
from pdsapp.domain.reasons import AttemptState
from pdsapp.llm.offline_writer import running_offline_writer
from pdsapp.models import (
    Attempt,
    DigitalTwin,
    Experiment,
    Persona,
    Post,
    Schedule,
    UserProfile,
    utc_now,
)
from pdsapp.services.demo import ensure_demo
from pdsapp.services.ledger import ledger
from tests import builders

pytestmark = pytest.mark.database


def _make(settings, **changes):
    with transaction() as session:
        return ensure_demo(session, settings.model_copy(update=changes), utc_now())


def test_the_demo_has_people_with_posts_twins_and_a_lively_schedule(app, settings, session):
    assert "demo experiment" in _make(settings)
    experiment = session.scalars(select(Experiment)).one()
    assert experiment.is_demo
    policy = PostingPolicy.from_dict(experiment.policy.body)
    assert "demo pace" in policy.label
    assert [step.under_seconds for step in policy.recency_steps] == [60, 240, 480]
    assert session.scalar(select(func.count(DigitalTwin.id))) >= 8
    assert session.scalar(select(func.count(Persona.id))) >= 8
    people = session.scalars(select(UserProfile).where(UserProfile.is_bot.is_(False))).all()
    assert len(people) >= 3
    assert session.scalar(select(func.count(Post.id))) >= 6
    schedule = session.scalars(select(Schedule)).one()
    assert (schedule.cron, schedule.twins_per_slot, schedule.is_enabled) == ("* * * * *", 3, True)


def test_a_second_start_adds_no_second_demo(app, settings, session):
    _make(settings)
    assert _make(settings) == ""
    assert session.scalar(select(func.count(Experiment.id))) == 1


def test_a_real_study_is_never_joined_by_a_demo(app, settings, session):
    builders.make_experiment()
    assert _make(settings) == ""


def test_with_a_real_endpoint_the_demo_is_quiet_and_says_so(app, settings, session):
    said = _make(settings, openai_base_url="https://api.example/v1")
    assert "disabled" in said
    assert session.scalars(select(Schedule)).one().is_enabled is False
    assert session.scalar(select(func.count(Attempt.id))) == 0


def test_a_demo_twin_never_uses_the_platform_s_endpoint(app, settings, session, model_server):
    _make(settings)
    with running_offline_writer() as url:
        spending = settings.model_copy(
            update={
                "offline_writer_url": url,
                "openai_base_url": model_server.base_url,
                "llm_model": "fake-model",
            }
        )
        welcomed = select(Attempt.digital_twin_id)
        twin = session.scalars(select(DigitalTwin).where(DigitalTwin.id.not_in(welcomed))).first()
        attempt_id = builders.add_attempt(twin)
        builders.run_due(spending)
    attempt = builders.load_attempt(session, attempt_id)
    assert (attempt.state, attempt.is_stand_in) == (AttemptState.posted, True)
    assert attempt.post.is_stand_in
    assert model_server.history == []


def test_the_first_round_posts_at_once_and_adds_up(app, settings, session):
    _make(settings)
    with running_offline_writer() as url, transaction() as writing:
        for attempt in writing.scalars(select(Attempt)):
            attempt.not_before = attempt.created_at
        writing.commit()
        builders.run_due(settings.model_copy(update={"offline_writer_url": url}))
    states = dict(session.execute(select(Attempt.state, func.count()).group_by(Attempt.state)).all())
    assert states == {AttemptState.posted: 6}
    assert ledger(session).adds_up
