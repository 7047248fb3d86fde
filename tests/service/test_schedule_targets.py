"""A schedule that asks some twins of its experiment: drawn among those alone, by a key, and written down."""

from collections import Counter
from uuid import uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy import select

from pdsapp.attempts.replay import replay
from pdsapp.attempts.selection import draw_twins, ranks_for
from pdsapp.attempts.targets import candidates
from pdsapp.database import transaction
from pdsapp.domain.reasons import Trigger
from pdsapp.domain.targets import EVERYBODY, Target
from pdsapp.dt_service import DTService
from pdsapp.errors import BadInput, NobodyEligible
from pdsapp.models import (
    Attempt,
    AuditEvent,
    DigitalTwin,
    Experiment,
    ProtocolChange,
    Schedule,
    ScheduleRevision,
    Slot,
    utc_now,
)
from pdsapp.services import bulk, cloning, edits, removals, schedule_targets, schedules, twins
from pdsapp.services.ledger import ledger
from pdsapp.services.schedule_wishes import wish_of
from tests import builders
from tests.service.slot_helpers import MINUTE, START, claim, finish_attempts, make_schedule, rows_of
from tests.statistics import chi_square, p_value

pytestmark = pytest.mark.database
NAMES = ("maya", "jon", "kim", "ada", "bo")


@pytest.fixture
def study(app):
    return builders.make_experiment()


@pytest.fixture
def cast(study):
    """Five active twins by username; maya, jon and kim are tagged morning, bo evening."""
    found = {name: builders.make_twin(study, name) for name in NAMES}
    with transaction() as session:
        for name, tags in zip(NAMES, ("morning, pilot", "morning", "morning", "", "evening"), strict=True):
            edits.set_tags(session, session.get_one(DigitalTwin, found[name].id), tags)
    return found


def tagged(*tags):
    return Target.tagged(tags)


def chosen(cast, *names):
    return Target.chosen(cast[name].uuid for name in names)


def switch(twin, is_active):
    with transaction() as session:
        twins.set_twin_active(session, session.get_one(DigitalTwin, twin.id), is_active, utc_now())


def change(schedule, now, reason="why not", **values):
    with transaction() as session:
        row = session.get_one(Schedule, schedule.id)
        return schedules.change_schedule(session, row, wish_of(row, **values), now, reason=reason)


def asked(session):
    """The usernames asked so far, oldest first."""
    session.rollback()
    session.expire_all()
    query = select(Attempt).order_by(Attempt.id)
    return [attempt.digital_twin.user_profile.username for attempt in session.scalars(query)]


@pytest.mark.parametrize("kind", ["tags", "twins"])
def test_draws_are_uniform_among_the_active_twins_of_the_target_also_after_one_left(session, study, kind):
    with transaction() as writing:
        row = writing.get_one(Experiment, study.id)
        bulk.set_up_twins(writing, row, bulk.built_in_rows(), 40, utc_now())
        members = writing.scalars(select(DigitalTwin).order_by(DigitalTwin.id).offset(7).limit(20)).all()
        for twin in members:
            edits.set_tags(writing, twin, "morning")
        target = tagged("morning") if kind == "tags" else Target.chosen(twin.uuid for twin in members)
        keys = [twin.id for twin in members]
    for expected in (keys, keys[:4] + keys[5:]):
        experiment = session.get_one(Experiment, study.id)
        counts = Counter(
            pick.twin_id
            for number in range(600)
            for pick in draw_twins(session, experiment, 3, f"draw|{number}", target)
        )
        assert sorted(counts) == expected
        even = 1800 / len(expected)
        # Three of a draw are without replacement, which only makes the counts more alike.
        assert p_value(chi_square(list(counts.values()), [even] * len(expected)), len(expected) - 1) > 0.001
        session.rollback()
        with transaction() as writing:
            twins.set_twin_active(writing, writing.get_one(DigitalTwin, keys[4]), False, utc_now())


def test_the_rank_counts_the_eligible_twins_of_the_target_by_id_and_replay_gives_it_again(
    session, study, cast
):
    switch(cast["jon"], False)
    make_schedule(study, target=tagged("morning", "evening"), twins_per_slot=2)
    claim(START + MINUTE)
    eligible = [cast[name].id for name in ("maya", "kim", "bo")]
    found = session.scalars(select(Attempt).order_by(Attempt.ordinal)).all()
    assert len(found) == 2
    for attempt in found:
        assert attempt.candidate_count == 3
        assert eligible[attempt.drawn_rank] == attempt.digital_twin_id
        assert ranks_for(attempt.selection_key, 3, 2)[attempt.ordinal] == attempt.drawn_rank
        assert replay(session, attempt, DTService()).verdict == "same"
    found[0].drawn_rank = (found[0].drawn_rank + 1) % 3
    assert replay(session, found[0], DTService()).verdict == "different"


def test_without_a_target_the_draw_is_what_it_was(session, study, cast):
    """Picks, keys and ranks by `active_rank`, and a service that knows no targets is not given one."""
    experiment = session.get_one(Experiment, study.id)
    by_rank = {twin.active_rank: twin.id for twin in session.scalars(select(DigitalTwin))}
    for number in range(50):
        picks = draw_twins(session, experiment, 2, f"key|{number}")
        ranks = ranks_for(f"key|{number}", 5, 2)
        assert [(p.twin_id, p.rank, p.candidate_count) for p in picks] == [(by_rank[r], r, 5) for r in ranks]
        assert draw_twins(session, experiment, 2, f"key|{number}", EVERYBODY) == picks
    session.rollback()

    class Old(DTService):
        def get_random_digital_twins(self, session, experiment, count, key):
            return super().get_random_digital_twins(session, experiment, count, key)

    schedule = make_schedule(study)
    claim(START + MINUTE, service=Old())
    assert rows_of(session, schedule) == [("fired", "12:01", 1)]


def test_a_draw_reads_the_tagged_twins_and_not_the_whole_experiment(session, cast, study):
    query = candidates(study.id, tagged("morning")).compile(
        session.get_bind(), compile_kwargs={"literal_binds": True}
    )
    if session.get_bind().dialect.name != "sqlite":
        pytest.skip("its planner may well read a table this small")
    plan = " ".join(row[3] for row in session.execute(sa.text(f"EXPLAIN QUERY PLAN {query}")))
    assert "ix_twin_tag_tag" in plan and "SEARCH digital_twin USING INTEGER PRIMARY KEY" in plan
    assert "SCAN digital_twin" not in plan


def test_only_those_of_the_target_are_asked_and_more_than_there_are_is_all_of_them(session, study, cast):
    make_schedule(study, target=chosen(cast, "ada", "bo"), twins_per_slot=9)
    for number in (1, 2):
        claim(START + number * MINUTE)
        finish_attempts()
    assert sorted(asked(session)) == ["ada", "ada", "bo", "bo"]
    assert ledger(session).adds_up


def test_tags_count_as_they_stand_at_the_slot_and_the_target_as_the_revision_has_it(session, study, cast):
    schedule = make_schedule(study, target=tagged("evening"))
    claim(START + MINUTE)
    finish_attempts()
    with transaction() as writing:
        edits.set_tags(writing, writing.get_one(DigitalTwin, cast["bo"].id), "")
        edits.set_tags(writing, writing.get_one(DigitalTwin, cast["ada"].id), "evening")
    claim(START + 2 * MINUTE)
    finish_attempts()
    assert change(schedule, START + 2.5 * MINUTE, target=chosen(cast, "kim"))
    claim(START + 4 * MINUTE)
    assert asked(session) == ["bo", "ada", "kim"]
    revisions = session.scalars(select(ScheduleRevision).order_by(ScheduleRevision.number)).all()
    assert [each.target for each in revisions] == [{"tags": ["evening"]}, {"twins": [str(cast["kim"].uuid)]}]
    slots = session.scalars(select(Slot).where(Slot.kind == "fired").order_by(Slot.slot_at)).all()
    assert [slot.revision.number for slot in slots] == [1, 1, 2]
    assert ledger(session).adds_up


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda cast: chosen(cast, "maya", "jon", "kim"), "None of the 3 chosen twins is active."),
        (lambda cast: chosen(cast, "maya"), "The chosen twin is not active."),
        (lambda cast: tagged("morning"), "None of the 3 twins tagged “morning” is active."),
        (lambda cast: tagged("nobody"), "No twin has the tag “nobody”."),
    ],
    ids=["three", "one", "tag", "no such tag"],
)
def test_a_slot_with_nobody_to_ask_says_why(session, study, cast, make, words):
    schedule = make_schedule(study, target=make(cast))
    for name in ("maya", "jon"):
        switch(cast[name], False)
    with transaction() as writing:
        twins.set_banned(writing, writing.get_one(DigitalTwin, cast["kim"].id).user_profile, True, utc_now())
    claim(START + MINUTE)
    assert rows_of(session, schedule) == [("nobody_eligible", "12:01", 1)]
    assert session.scalars(select(Slot.detail)).one() == words
    with pytest.raises(NobodyEligible, match=words), transaction() as writing:
        schedules.fire_once(
            writing,
            writing.get_one(Schedule, schedule.id),
            DTService(),
            "once",
            utc_now(),
            trigger=Trigger.cli,
        )
    assert ledger(session).adds_up


def test_a_change_of_the_target_is_a_protocol_change_and_audited_in_words(session, study, cast):
    schedule = make_schedule(study)
    assert change(schedule, START, "only mornings", target=tagged("morning", "evening"))
    assert not change(schedule, START, target=tagged("evening", "morning")), "it wants the same"
    assert change(schedule, START + MINUTE, target=chosen(cast, "maya", "jon"))
    changes = session.scalars(select(ProtocolChange).order_by(ProtocolChange.id)).all()[1:]
    assert [(each.before["target"], each.after["target"]) for each in changes] == [
        ("all active twins", "twins tagged “evening” or “morning”"),
        ("twins tagged “evening” or “morning”", "@jon, @maya"),
    ]
    assert changes[0].summary == "Schedule “Test”: target" and changes[0].reason == "only mornings"
    audited = session.scalars(select(AuditEvent).order_by(AuditEvent.id.desc())).first()
    assert audited.before["target"].startswith("twins tagged") and audited.after["target"] == "@jon, @maya"


@pytest.mark.parametrize(
    ("tags", "names", "field", "words"),
    [
        ((), ("may",), "twins", "has no twin @may. Did you mean @maya?"),
        ((), ("zoe", "quentin"), "twins", "@zoe, @quentin are no twins of Study"),
        ((), ("walt",), "twins", "@walt is a person, not a twin."),
        ((), ("stranger",), "twins", "has no twin @stranger."),
        (("morning",), ("maya",), "target", "not both"),
        (("x" * 41,), (), "tags", "41 characters"),
        ([f"tag {n}" for n in range(21)], (), "tags", "at most 20"),
        ((), [f"twin_{n}" for n in range(501)], "twins", "at most 500 are chosen by hand"),
    ],
    ids=["near", "several", "person", "other experiment", "both", "long tag", "many tags", "many twins"],
)  # fmt: skip
def test_what_is_no_target_is_said_at_its_field(session, study, cast, tags, names, field, words):
    builders.make_person(study)
    builders.make_twin(builders.make_experiment("Other"), "stranger")
    with pytest.raises(BadInput) as error:
        schedule_targets.target_of(session, session.get_one(Experiment, study.id), tags, names)
    assert words in str(error.value) and error.value.field == field


def test_all_experiments_have_no_target_and_no_twin_of_another_is_smuggled_in(session, study, cast):
    stranger = builders.make_twin(builders.make_experiment("Other"), "stranger")
    for experiment, target, field in (
        (None, tagged("morning"), "target"),
        (study, Target.chosen([stranger.uuid]), "twins"),
        (study, Target.chosen(["no uuid"]), "twins"),
    ):
        with pytest.raises(BadInput) as error:
            make_schedule(experiment, target=target)
        assert error.value.field == field
    assert session.scalars(select(Schedule)).all() == []


@pytest.mark.parametrize("value", ["null", "[]", '{"tags": 3}', '{"twins": ["x"], "tags": ["y"]}'])
def test_a_target_written_by_hand_breaks_its_schedule_alone(session, study, cast, value):
    broken, sound = make_schedule(study), make_schedule(study)
    with transaction() as writing:
        for table in ("schedule", "schedule_revision"):
            key = "id" if table == "schedule" else "schedule_id"
            writing.execute(sa.text(f"UPDATE {table} SET target = '{value}' WHERE {key} = {broken.id}"))
    claim(START + MINUTE)
    assert rows_of(session, sound) == [("fired", "12:01", 1)] and rows_of(session, broken) == []
    assert "Save it again" in session.get_one(Schedule, broken.id).broken_reason


def test_a_twin_is_not_deleted_while_a_revision_has_chosen_it_and_deactivating_leaves_it_out(
    session, study, cast
):
    schedule = make_schedule(study, target=chosen(cast, "maya", "jon"))
    change(schedule, START, target=chosen(cast, "jon"))
    for name in ("maya", "jon"):
        with pytest.raises(BadInput, match=r"“Test”.*Deactivate it instead"), transaction() as writing:
            removals.remove_twin(writing, writing.get_one(DigitalTwin, cast[name].id), utc_now())
    with transaction() as writing:
        removals.remove_twin(writing, writing.get_one(DigitalTwin, cast["kim"].id), utc_now())
    assert len(session.scalars(select(DigitalTwin)).all()) == 4


def clone(study, **options):
    with transaction() as session:
        row = session.get_one(Experiment, study.id)
        (copy,) = cloning.clone(session, row, ["Copy"], utc_now(), with_schedules=True, **options)
        session.flush()
        return copy.id, session.scalars(select(Schedule).where(Schedule.experiment_id == copy.id)).one()


def test_a_copy_chooses_its_own_twins_of_the_same_names(session, study, cast):
    make_schedule(study, target=chosen(cast, "maya", "bo"), twins_per_slot=2)
    copy_id, made = clone(study, with_twins=True)
    target = Target.from_dict(made.target)
    query = select(DigitalTwin).where(DigitalTwin.experiment_id == copy_id)
    own = {str(twin.uuid): twin.user_profile.username for twin in session.scalars(query)}
    assert sorted(own[uuid] for uuid in target.twins) == ["bo", "maya"]
    assert not set(target.twins) & set(chosen(cast, "maya", "bo").twins)


def test_a_copy_without_twins_keeps_tags_and_refuses_chosen_twins(session, study, cast):
    kept = make_schedule(study, target=tagged("morning"))
    assert clone(study, with_twins=False)[1].target == {"tags": ["morning"]}
    change(kept, START, target=chosen(cast, "maya"))
    with pytest.raises(BadInput, match="it asks chosen twins, and they are not copied"):
        clone(study, with_twins=False)


def test_what_is_offered_is_the_chosen_first_and_then_those_looked_for(session, study, cast):
    experiment = session.get_one(Experiment, study.id)
    found, more = schedule_targets.offered_twins(session, experiment, ["kim", "gone"], "A")
    assert [(each.username, each.is_chosen, each.is_there) for each in found] == [
        ("gone", True, False), ("kim", True, True), ("ada", False, True), ("maya", False, True),
    ]  # fmt: skip
    assert more == 0
    tags = schedule_targets.offered_tags(session, experiment, ["later"])
    assert [(each.tag, each.twins, each.is_chosen) for each in tags] == [
        ("evening", 1, False), ("later", 0, True), ("morning", 3, False), ("pilot", 1, False),
    ]  # fmt: skip


def test_only_fifty_twins_are_offered_at_once_and_the_rest_counted(session, study):
    with transaction() as writing:
        row = writing.get_one(Experiment, study.id)
        bulk.set_up_twins(writing, row, bulk.built_in_rows(), 70, utc_now())
    found, more = schedule_targets.offered_twins(session, session.get_one(Experiment, study.id), [])
    assert (len(found), more) == (50, 20)


def test_the_chosen_of_seventy_schedules_are_named_at_once(session, cast):
    targets = [Target.chosen(uuid4() for _ in range(500)) for _ in range(70)]
    names = schedule_targets.names_of(session, [*targets, chosen(cast, "maya")])
    assert names == {str(cast["maya"].uuid): "maya"}
