"""Copies of an experiment: the same set-up, a life of their own."""

from dataclasses import replace

import pytest
from sqlalchemy import func, select

from pdsapp.domain.policy import PostingPolicy
from pdsapp.domain.protocol import ProtocolPart
from pdsapp.domain.reasons import ExperimentState
from pdsapp.errors import BadInput
from pdsapp.models import Attempt, DigitalTwin, Experiment, Post, ProtocolChange, Schedule
from pdsapp.services import cloning, edits, protocol, schedules, twins
from tests import builders
from tests.conftest import NOON

pytestmark = pytest.mark.database
OTHER = replace(PostingPolicy(), share_cap=0.5)


@pytest.fixture
def source(app, settings, write):
    """An experiment with own numbers, two twins (one inactive), a person, a post and two schedules."""
    study = builders.make_experiment("Course")
    token = builders.make_token(settings, "https://llm.example.org/v1")
    active = builders.make_twin(study, "maya", token, parameters={"temperature": 0.5}, llm_model="large")
    silent = builders.make_twin(study, "kim")
    builders.make_post(builders.make_person(study))
    builders.add_attempt(active)
    with write() as session:
        row = session.get_one(Experiment, study.id)
        protocol.save_policy(session, row, row.edit_version, OTHER, NOON, "own numbers")
        edits.set_tags(session, session.get_one(DigitalTwin, active.id), "pilot, a")
        twins.set_twin_active(session, session.get_one(DigitalTwin, silent.id), False, NOON)
        for name, is_enabled in (("Hourly", True), ("Gone", False)):
            wish = schedules.Wish(name, row, cron="0 * * * *", twins_per_slot=2, is_enabled=is_enabled)
            made = schedules.add_schedule(session, wish, NOON)
        session.flush()
        schedules.archive(session, made, NOON)
    return study


def clone(write, source, *names, with_twins=True, with_schedules=True):
    with write() as session:
        copies = cloning.clone(
            session, session.get_one(Experiment, source.id), list(names), NOON,
            with_twins=with_twins, with_schedules=with_schedules,
        )  # fmt: skip
        return [copy.id for copy in copies]


def count(session, kind, experiment_id):
    return session.scalar(select(func.count(kind.id)).where(kind.experiment_id == experiment_id))


def test_a_copy_has_policy_prompt_twins_and_schedules_and_nothing_that_happened(session, source, write):
    (number,) = clone(write, source, "Section 1")
    copy, old = session.get_one(Experiment, number), session.get_one(Experiment, source.id)
    assert (copy.policy_id, copy.prompt_version_id, copy.zone) == (
        old.policy_id,
        old.prompt_version_id,
        old.zone,
    )
    assert (count(session, Post, number), count(session, Attempt, number)) == (0, 0)
    changes = session.scalars(select(ProtocolChange).where(ProtocolChange.experiment_id == number)).all()
    assert [(change.part, change.reason) for change in changes] == [("schedule", f"Copied from {old}.")]
    found = {twin.user_profile.username: twin for twin in session.scalars(
        select(DigitalTwin).where(DigitalTwin.experiment_id == number)
    )}  # fmt: skip
    assert set(found) == {"maya", "kim"}
    maya = found["maya"]
    assert (maya.llm_model, maya.parameters, maya.api_token.base_url) == (
        "large", {"temperature": 0.5}, "https://llm.example.org/v1",
    )  # fmt: skip
    assert edits.tag_words(maya) == "a, pilot"
    assert (maya.is_active, found["kim"].is_active, copy.active_twin_count) == (True, False, 1)
    assert maya.last_post is None
    schedule = session.scalars(select(Schedule).where(Schedule.experiment_id == number)).one()
    assert (schedule.name, schedule.cron, schedule.twins_per_slot) == ("Hourly", "0 * * * *", 2)
    assert (schedule.is_enabled, schedule.next_slot_at) == (False, None)


def test_six_sections_have_six_seeds_and_one_family(session, source, write):
    clone(write, source, *(f"Section {n}" for n in range(1, 7)))
    rows = session.scalars(select(Experiment)).all()
    assert len({row.seed for row in rows}) == len({row.identifier for row in rows}) == 7
    assert {row.family_uuid for row in rows} == {session.get_one(Experiment, source.id).uuid}
    found = cloning.siblings_of(session, session.get_one(Experiment, source.id))
    assert [each.experiment.name for each in found] == ["Course", *(f"Section {n}" for n in range(1, 7))]
    assert [(each.twins, each.schedules, each.posts) for each in found[:2]] == [(2, 1, 1), (2, 1, 0)]


def test_a_copy_of_a_copy_belongs_to_the_same_family(session, source, write):
    (first,) = clone(write, source, "A", with_twins=False, with_schedules=False)
    with write() as writing:
        cloning.clone(
            writing, writing.get_one(Experiment, first), ["B"], NOON, with_twins=False, with_schedules=False
        )
    assert len(cloning.siblings_of(session, session.get_one(Experiment, source.id))) == 3


@pytest.mark.parametrize("what", ["with_twins", "with_schedules"])
def test_what_is_not_wanted_is_not_copied(session, source, write, what):
    (number,) = clone(write, source, "Bare", **{what: False})
    kind = DigitalTwin if what == "with_twins" else Schedule
    assert count(session, kind, number) == 0


def test_one_copy_that_cannot_be_made_is_none_at_all(session, source, write, monkeypatch):
    monkeypatch.setattr(cloning, "MOST_TWINS", 3)
    with pytest.raises(BadInput, match="2 copies of 2 twins are 4; at most 3"):
        clone(write, source, "A", "B")
    session.rollback()
    assert session.scalar(select(func.count(Experiment.id))) == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "one a line"), (" \n ", "one a line"), ("A\na", "stands here twice"),
     ("x" * 121, "at most 120 fit"), ("\n".join(map(str, range(51))), "at most 50 copies")],
)  # fmt: skip
def test_names_that_cannot_be_used_are_refused(text, words):
    with pytest.raises(BadInput, match=words) as refused:
        cloning.read_names(text)
    assert refused.value.field == "names"


def test_a_policy_is_copied_to_those_chosen_with_a_reason(session, source, write):
    first, second = clone(write, source, "A", "B", with_twins=False, with_schedules=False)
    with write() as writing:
        row = writing.get_one(Experiment, source.id)
        protocol.save_policy(writing, row, row.edit_version, PostingPolicy(), NOON, "back")
    with write() as writing:
        rows = [writing.get_one(Experiment, number) for number in (source.id, first)]
        made = cloning.copy_part(writing, rows[0], rows[1:], ProtocolPart.policy, NOON, "all alike")
        assert [change.reason for change in made] == ["all alike"]
    same = [
        each.has_same_policy for each in cloning.siblings_of(session, session.get_one(Experiment, source.id))
    ]
    assert same == [True, True, False]
    assert count(session, ProtocolChange, second) == 0


def test_without_a_reason_none_of_those_that_have_begun_is_changed(session, source, write):
    first, second = clone(write, source, "A", "B", with_twins=False, with_schedules=False)
    with write() as writing:
        writing.get_one(Experiment, second).state = ExperimentState.running
        row = writing.get_one(Experiment, source.id)
        protocol.save_policy(writing, row, row.edit_version, PostingPolicy(), NOON, "back")
    with pytest.raises(BadInput, match="Say in a few words why"), write() as writing:
        rows = [writing.get_one(Experiment, number) for number in (source.id, first, second)]
        cloning.copy_part(writing, rows[0], rows[1:], ProtocolPart.policy, NOON)
    session.rollback()
    assert {session.get_one(Experiment, number).policy.body["share_cap"] for number in (first, second)} == {
        0.5
    }


def test_nothing_is_copied_to_a_stranger_or_to_one_that_is_over(source, write):
    (first,) = clone(write, source, "A", with_twins=False, with_schedules=False)
    stranger = builders.make_experiment("Elsewhere")
    with write() as writing:
        writing.get_one(Experiment, first).state = ExperimentState.ended
    for number, words in ((stranger.id, "is no copy of"), (first, "stays as it is")):
        with pytest.raises(BadInput, match=words), write() as writing:
            rows = [writing.get_one(Experiment, each) for each in (source.id, number)]
            cloning.copy_part(writing, rows[0], rows[1:], ProtocolPart.prompt, NOON, "why")
