"""A new text of a persona: which twins go to it, and why, where a study has begun."""

import pytest
from sqlalchemy import select

from pdsapp.database import reading
from pdsapp.domain.protocol import ProtocolPart
from pdsapp.domain.reasons import ExperimentState
from pdsapp.errors import BadInput
from pdsapp.models import AuditEvent, DigitalTwin, Experiment, Persona, PersonaVersion, ProtocolChange
from pdsapp.services import edits, persona_history, persona_moves, personas, twins
from tests import builders
from tests.conftest import NOON
from tests.web.looking import counted_queries

pytestmark = pytest.mark.database


@pytest.fixture
def cast(app, write):
    """A persona with two twins in a running study, one in a draft, one in a study that has ended."""
    studies = {name: builders.make_experiment(name) for name in ("running", "draft", "ended")}
    with write() as session:
        version = personas.add_persona(session, "Nurse", "You work nights.", NOON)
        other = personas.add_persona(session, "Clerk", "You count.", NOON)
        for name, count in (("running", 2), ("draft", 1), ("ended", 1)):
            study = session.get_one(Experiment, studies[name].id)
            for number in range(count):
                twins.add_twin(session, study, f"{name}_{number}", version, NOON)
            twins.add_twin(session, study, f"{name}_clerk", other, NOON)
            study.state = ExperimentState[name]
    return studies | {"persona": version.persona}


def change(write, cast, text, *names, seen=1, reason=""):
    with write() as session:
        persona = session.get_one(Persona, cast["persona"].id)
        return edits.change_persona(
            session, persona, seen, NOON, name="Nurse", text=text, notes="",
            moves=[cast[name].id for name in names], reason=reason,
        )  # fmt: skip


def numbers(session):
    """The version of each twin that has the persona, by the name of its study."""
    session.rollback()
    session.expire_all()
    query = (
        select(Experiment.name, PersonaVersion.number)
        .join(DigitalTwin, DigitalTwin.experiment_id == Experiment.id)
        .join(PersonaVersion, PersonaVersion.id == DigitalTwin.persona_version_id)
        .join(Persona, Persona.id == PersonaVersion.persona_id)
        .where(Persona.name == "Nurse")
    )
    return dict(session.execute(query).all())


def test_only_the_twins_of_the_chosen_experiments_move(session, write, cast):
    version, moved = change(write, cast, "You work days.", "draft")
    assert (version.number, moved) == (2, 1)
    assert numbers(session) == {"running": 1, "draft": 2, "ended": 1}
    clerks = select(PersonaVersion.number).join(Persona).where(Persona.name == "Clerk")
    assert session.scalars(clerks).all() == [1]


def test_nobody_moves_unless_asked(session, write, cast):
    assert change(write, cast, "You work days.")[1] == 0
    assert set(numbers(session).values()) == {1}
    assert session.scalars(select(ProtocolChange)).all() == []


@pytest.mark.parametrize("state", [ExperimentState.running, ExperimentState.paused])
def test_a_study_under_way_is_not_moved_without_a_reason_and_nothing_is_saved(session, write, cast, state):
    with write() as writing:
        writing.get_one(Experiment, cast["running"].id).state = state
    with pytest.raises(BadInput, match="Say in a few words why") as refused:
        change(write, cast, "You work days.", "draft", "running", reason="  ")
    assert refused.value.field == "reason"
    assert set(numbers(session).values()) == {1}
    assert session.scalars(select(PersonaVersion.text)).all() == ["You work nights.", "You count."]
    assert session.scalars(select(ProtocolChange)).all() == []


def test_moving_a_study_under_way_is_a_protocol_change_with_numbers(session, write, cast):
    change(write, cast, "You work days.", "running", reason="typo in the pilot")
    found = session.scalars(select(ProtocolChange)).one()
    assert (found.experiment.name, found.part, found.state) == (
        "running", ProtocolPart.persona, ExperimentState.running,
    )  # fmt: skip
    assert (found.summary, found.reason) == ("Persona “Nurse”: 2 twins to version 2", "typo in the pilot")
    assert found.before == {"persona": "Nurse", "twins_on_version": {"1": 2}}
    assert found.after == {"persona": "Nurse", "twins_on_version": {"2": 2}}
    events = select(AuditEvent).where(AuditEvent.object_type == "persona", AuditEvent.action == "change")
    event = session.scalars(events).one()
    assert event.after == {"version": 2, "twins moved": 2, "reason": "typo in the pilot"}


def test_what_an_ended_study_was_run_by_stays(session, write, cast):
    with pytest.raises(BadInput, match="is ended: what it was run by stays as it is") as refused:
        change(write, cast, "You work days.", "ended")
    assert refused.value.field == "moves"
    assert set(numbers(session).values()) == {1}


def test_an_experiment_without_such_a_twin_is_refused(write, cast):
    elsewhere = builders.make_experiment("Elsewhere")
    with pytest.raises(BadInput, match="has no twin with this persona"):
        change(write, cast | {"elsewhere": elsewhere}, "You work days.", "elsewhere")


def test_twins_left_behind_are_moved_later_and_say_from_which_versions(session, write, cast):
    change(write, cast, "Second.", "draft")
    change(write, cast, "Third.", seen=2)
    with write() as writing:
        persona = writing.get_one(Persona, cast["persona"].id)
        groups = {g.experiment.name: g for g in persona_moves.groups_of(writing, persona, 3)}
        assert groups["draft"].counts == ((2, 1),) and groups["running"].counts == ((1, 2),)
        assert [groups[n].is_moved_by_default for n in ("draft", "running", "ended")] == [True, False, False]
        keys = [cast["draft"].id, cast["running"].id]
        assert edits.move_twins(writing, persona, 3, keys, NOON, "agreed") == 3
    assert numbers(session) == {"running": 3, "draft": 3, "ended": 1}
    with write() as writing, pytest.raises(BadInput, match="Choose at least one"):
        edits.move_twins(writing, writing.get_one(Persona, cast["persona"].id), 4, [], NOON)


def test_an_older_form_moves_nobody(session, write, cast):
    change(write, cast, "Second.")
    with pytest.raises(BadInput, match="Somebody else has saved"):
        change(write, cast, "Third.", "draft", seen=1)
    assert numbers(session)["draft"] == 1


def test_a_twins_own_form_from_before_the_move_is_refused(session, write, cast):
    before = session.scalars(select(DigitalTwin.edit_version)).all()
    change(write, cast, "You work days.", "draft")
    session.rollback()
    assert sum(session.scalars(select(DigitalTwin.edit_version))) == sum(before) + 1


def test_the_history_says_who_when_what_differs_and_what_was_posted(session, settings, write, model_server):
    twin = builders.make_twin(
        builders.make_experiment(),
        token=builders.make_token(settings, model_server.base_url),
        persona="Dry and short.",
    )
    builders.ask_and_run(session, settings, twin)
    persona = session.scalars(select(Persona)).one()
    with write() as writing:
        edits.change_persona(
            writing, writing.get_one(Persona, persona.id), 1, NOON,
            name=persona.name, text="Dry and long.", notes="",
        )  # fmt: skip
    session.rollback()
    session.expire_all()
    page = persona_history.history_of(session, persona)
    assert [(v.number, v.twins, v.posts, v.is_latest) for v in page.versions] == [
        (2, 0, 0, True),
        (1, 1, 1, False),
    ]
    assert [(p.kind, p.text) for p in page.versions[0].pieces] == [
        ("same", "Dry and "), ("removed", "short"), ("added", "long"), ("same", "."),
    ]  # fmt: skip
    assert (page.versions[0].by, page.versions[0].at, page.versions[1].pieces) == ("command line", NOON, ())


def test_a_long_history_comes_in_pages_and_asks_as_often(session, write, cast):
    asked = []
    for seen in (1, 12):
        for number in range(seen, seen + 11):
            change(write, cast, f"Text {number}", seen=number)
        with reading() as one:
            persona = one.get_one(Persona, cast["persona"].id)
            with counted_queries() as statements:
                page = persona_history.history_of(one, persona)
        asked.append(len(statements))
    assert asked == [3, 3]
    assert [v.number for v in page.versions] == [23, 22, 21, 20, 19]
    older = persona_history.history_of(session, persona, page.older)
    assert older.versions[0].number == 18 and older.versions[0].pieces
    last = persona_history.history_of(session, persona, 4)
    assert ([v.number for v in last.versions], last.older) == ([3, 2, 1], None)
