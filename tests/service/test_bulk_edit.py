"""Many twins changed or copied at once: counted first, then all of it or nothing."""

import pytest
from sqlalchemy import select

from pdsapp.database import transaction
from pdsapp.domain.reasons import AttemptState, ExperimentState
from pdsapp.errors import BadInput
from pdsapp.models import (
    ApiToken,
    AuditEvent,
    DigitalTwin,
    Experiment,
    PersonaVersion,
    ProtocolChange,
    utc_now,
)
from pdsapp.services import bulk_edit, personas, twins
from pdsapp.services.bulk_edit import Wish
from tests import builders

pytestmark = pytest.mark.database


@pytest.fixture
def herd(study):
    """Six active twins of the study."""
    return [builders.make_twin(study, f"t{number}").id for number in range(6)]


def wish_in(session, **values):
    kinds = {"persona": PersonaVersion, "token": ApiToken, "copy_to": Experiment}
    return Wish(**{k: session.get_one(kinds[k], v) if k in kinds else v for k, v in values.items()})


def plan(ids, **values):
    with transaction() as session:
        return bulk_edit.make_plan(session, ids, wish_in(session, **values))


def do(ids, reason="Pilot", fingerprint=None, **values):
    made = plan(ids, **values)
    with transaction() as session:
        wish = wish_in(session, **values)
        fingerprint = fingerprint or made.fingerprint
        return bulk_edit.carry_out(session, ids, wish, fingerprint, utc_now(), reason)


def ranks(session, experiment_id):
    session.rollback()
    session.expire_all()
    found = session.scalars(
        select(DigitalTwin.active_rank)
        .where(DigitalTwin.experiment_id == experiment_id, DigitalTwin.active_rank.is_not(None))
        .order_by(DigitalTwin.active_rank)
    ).all()
    assert session.get_one(Experiment, experiment_id).active_twin_count == len(found)
    return found


def test_the_counts_say_what_is_there_before_and_after(herd, session):
    with transaction() as other:
        maya = personas.add_persona(other, "Maya", "One.", utc_now())
        second = personas.add_version(other, maya.persona, "Two.", utc_now())
        for key in herd[:2]:
            other.get_one(DigitalTwin, key).persona_version = maya
        other.flush()
        target = second.id
    made = plan(herd[:3], persona=target, llm_model="large")
    words = {
        change.name: ([(c.words, c.twins) for c in change.before], [(c.words, c.twins) for c in change.after])
        for change in made.changes
    }
    assert words["Persona"][0][0] == ("Maya, version 1", 2)
    assert words["Persona"][1] == [("Maya, version 2", 3)]
    assert words["Model"] == ([("none", 3)], [("large", 3)])
    do(herd[:3], persona=target, llm_model="large")
    assert session.get_one(DigitalTwin, herd[2]).persona_version_id == target
    assert session.get_one(DigitalTwin, herd[3]).llm_model == ""
    parts = session.scalars(select(ProtocolChange).order_by(ProtocolChange.part)).all()
    assert [(c.part.value, c.summary, c.reason) for c in parts] == [
        ("model", "3 twins at once: model", "Pilot"), ("persona", "3 twins at once: persona", "Pilot"),
    ]  # fmt: skip


def test_a_study_under_way_asks_for_a_reason_but_not_for_tags(herd, session):
    assert not plan(herd, tags_added=("pilot",)).needs_reason
    do(herd, reason="", tags_added=("pilot", "b"))
    do(herd[:1], reason="", tags_removed=("b",))
    assert [t.tag for t in session.get_one(DigitalTwin, herd[0]).tags] == ["pilot"]
    assert [t.tag for t in session.get_one(DigitalTwin, herd[1]).tags] == ["b", "pilot"]
    with pytest.raises(BadInput, match="has begun") as caught:
        do(herd, reason="", llm_model="large")
    assert caught.value.field == "reason"
    assert session.scalars(select(DigitalTwin.llm_model)).all() == [""] * 6


def test_ranks_stay_dense_through_every_switch(herd, study, session):
    do([herd[0], herd[3], herd[5]], reason="", is_active=False)
    assert ranks(session, study.id) == [0, 1, 2]
    do([herd[3], herd[4]], reason="", is_active=True)
    assert ranks(session, study.id) == [0, 1, 2, 3]
    do(herd, reason="", is_active=False)
    assert ranks(session, study.id) == []
    do(herd, reason="", is_active=True)
    assert ranks(session, study.id) == [0, 1, 2, 3, 4, 5]


def test_a_banned_twin_is_activated_without_a_rank(herd, study, session):
    do(herd, reason="", is_active=False)
    with transaction() as other:
        twins.set_banned(other, other.get_one(DigitalTwin, herd[0]).user_profile, True, utc_now())
    do(herd, reason="", is_active=True)
    assert ranks(session, study.id) == [0, 1, 2, 3, 4]
    twin = session.get_one(DigitalTwin, herd[0])
    assert (twin.is_active, twin.active_rank) == (True, None)


def test_deactivating_cancels_what_waits_for_them(herd, session):
    waiting = builders.add_attempt(session.get_one(DigitalTwin, herd[0]))
    do(herd[:2], reason="", is_active=False)
    attempt = builders.load_attempt(session, waiting)
    assert attempt.state == AttemptState.cancelled and "was deactivated on" in attempt.detail


def test_a_twin_edited_since_the_counts_stops_all_of_it(herd, session):
    made = plan(herd, llm_model="large")
    with transaction() as other:
        other.get_one(DigitalTwin, herd[4]).edit_version += 1
    with pytest.raises(BadInput, match="nothing was changed"):
        do(herd, llm_model="large", fingerprint=made.fingerprint)
    assert session.scalars(select(DigitalTwin.llm_model)).all() == [""] * 6


def test_who_has_it_already_is_left_alone(herd, session):
    do(herd[:2], llm_model="large")
    made = do(herd, llm_model="large")
    assert len(made.edits) == 4
    versions = session.scalars(select(DigitalTwin.edit_version).order_by(DigitalTwin.id)).all()
    assert versions == [2] * 6
    events = session.scalars(select(AuditEvent).filter_by(object_type="digital_twin", action="change")).all()
    assert len(events) == 6 and events[0].after == {"llm_model": "large"}
    assert plan(herd, llm_model="large").changes_nothing


def test_copies_are_inactive_unless_said_and_dodge_usernames_that_are_taken(herd, settings, session):
    other = builders.make_experiment("Other")
    builders.make_person(other, "T0")
    do(herd[:2], reason="", tags_added=("pilot",))
    made = do(herd[:3], reason="", copy_to=other.id)
    assert [copy.new.username for copy in made.dodged] == ["t0_2"]
    found = session.scalars(select(DigitalTwin).filter_by(experiment_id=other.id).order_by("id")).all()
    assert [str(twin) for twin in found] == ["@t0_2", "@t1", "@t2"]
    assert not any(twin.is_active for twin in found)
    assert [tag.tag for tag in found[0].tags] == ["pilot"]
    assert found[0].persona_version_id == session.get_one(DigitalTwin, herd[0]).persona_version_id
    do(herd[:2], reason="", copy_to=other.id, copies_are_active=True)
    assert ranks(session, other.id) == [0, 1]


def test_a_copy_of_a_banned_twin_is_not_active(herd, session, write):
    other = builders.make_experiment("Other")
    with write() as writing:
        twins.set_banned(writing, writing.get_one(DigitalTwin, herd[0]).user_profile, True, utc_now())
    do(herd[:2], reason="", copy_to=other.id, copies_are_active=True)
    found = session.scalars(select(DigitalTwin).filter_by(experiment_id=other.id).order_by("id")).all()
    assert [twin.is_active for twin in found] == [False, True]
    assert ranks(session, other.id) == [0]


def test_an_experiment_that_is_over_keeps_its_twins_as_they_are(herd, study, session):
    with transaction() as other:
        other.get_one(Experiment, study.id).state = ExperimentState.ended
    assert plan(herd, llm_model="large").over
    with pytest.raises(BadInput, match="its twins stay as they are"):
        do(herd, llm_model="large")
    with pytest.raises(BadInput, match="takes no more twins"):
        plan(herd, copy_to=study.id)


def test_a_token_of_another_address_is_refused_for_a_twin_with_its_own_url(herd, settings, session):
    token = builders.make_token(settings, "https://llm.example.org/v1")
    with transaction() as other:
        other.get_one(DigitalTwin, herd[1]).llm_url = "https://other.example.org/v1"
    with pytest.raises(BadInput, match="@t1 has a URL of its own"):
        plan(herd, token=token.id)
    do(herd[2:], token=token.id)
    do(herd[2:3], drops_token=True)
    assert session.get_one(DigitalTwin, herd[2]).api_token_id is None
    assert session.get_one(DigitalTwin, herd[3]).api_token_id == token.id


def test_nothing_chosen_is_said(herd):
    with pytest.raises(BadInput, match="at least one thing"):
        plan(herd)
