"""What each state of an experiment allows, and where it leads."""

import pytest
from sqlalchemy import func, select

from pdsapp.attempts.create import Request, add_for_twin
from pdsapp.domain.policy import PostingPolicy
from pdsapp.domain.reasons import ExperimentState, Trigger, Visibility
from pdsapp.errors import BadInput, ReadOnly
from pdsapp.models import AuditEvent, DigitalTwin, Experiment, Post, Schedule, UserProfile, utc_now
from pdsapp.services import cloning, edits, lifecycle, pauses, posts, protocol, removals, schedules, twins
from pdsapp.services.visibility import set_visibility
from tests import builders

from .slot_helpers import make_schedule
from .states import ARCHIVED, DRAFT, ENDED, PAUSED, RUNNING, load, put


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
    "hide a post": lambda s, r, now: set_visibility(s, s.get_one(Post, r["post"].id), Visibility.hidden, now),
    "switch a schedule off": lambda s, r, now: schedules.disable(s, _schedule(s, r), now),
    "archive a schedule": lambda s, r, now: schedules.archive(s, _schedule(s, r), now),
}


@pytest.fixture
def rows(draft, draft_twin):
    person = builders.make_person(draft)
    return {
        "experiment": draft, "twin": draft_twin, "person": person, "post": builders.make_post(person),
        "silent": builders.make_person(draft, "silent"), "schedule": make_schedule(draft),
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
