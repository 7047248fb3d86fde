"""The screen of personas."""

import pytest
from sqlalchemy import select

from pdsapp.models import Persona, PersonaVersion
from pdsapp.services import removals
from pdsapp.services.fields import PERSONA_LIMIT


def form(**values):
    return {"name": "Nurse", "text": "You work nights.", "notes": "Pilot"} | values


def test_a_persona_is_added_with_its_first_version(researcher, session):
    answer = researcher.post("/admin/persona/new/", data=form(), follow_redirects=True)
    version = session.scalars(select(PersonaVersion)).one()
    assert (version.number, version.text, version.persona.name) == (1, "You work nights.", "Nurse")
    assert "You work nights." in answer.text


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"text": ""}, "This must not be empty."),
        ({"text": "x" * 100_000}, f"at most {PERSONA_LIMIT:,} fit"),
        ({"name": "BUS DRIVER"}, "Choose another name."),
    ],
    ids=["empty", "100 kB", "taken name"],
)
def test_what_cannot_be_used_is_said_and_nothing_is_saved(researcher, rows, session, values, words):
    answer = researcher.post("/admin/persona/new/", data=form(**values))
    assert answer.status_code == 400
    assert words in answer.text
    assert session.scalars(select(Persona.name)).all() == ["Bus driver"]


def test_the_text_field_counts_up_to_its_limit(researcher):
    assert f'maxlength="{PERSONA_LIMIT}"' in researcher.get("/admin/persona/new/").text


def test_the_same_text_is_no_new_version(researcher, rows, session):
    researcher.post(
        f"/admin/persona/edit/?id={rows.persona.id}",
        data=form(
            name="Driver",
            text="You drove buses for thirty years.",
            edit_version=1,
            moves=[rows.experiment.id],
        ),
    )
    assert session.scalars(select(Persona)).one().name == "Driver"
    assert session.scalars(select(PersonaVersion.number)).all() == [1]


def test_a_conflict_tells_nobody_of_studies_they_are_not_granted(researcher, sign_in, rows):
    page = f"/admin/persona/edit/?id={rows.persona.id}"
    same = {"name": "Bus driver", "notes": "", "edit_version": 1}
    moved = form(text="First", moves=[rows.experiment.id], reason="secret pilot", **same)
    assert researcher.post(page, data=moved).status_code == 302
    late = form(text="Second", **same)
    assert "secret pilot" in researcher.post(page, data=late).text
    limited = sign_in("researcher", "limited@example.org", sees_all=False).post(page, data=late)
    assert "Last was researcher@example.org, " in limited.text
    assert "secret pilot" not in limited.text and "twins moved" not in limited.text


def test_a_concurrent_edit_leaves_no_version_behind(researcher, rows, session):
    page = f"/admin/persona/edit/?id={rows.persona.id}"
    researcher.post(page, data=form(name="Bus driver", text="First", edit_version=1))
    answer = researcher.post(page, data=form(name="Bus driver", text="Second", edit_version=1))
    assert "Somebody else has saved this since you opened it." in answer.text
    assert "Last was researcher@example.org, " in answer.text
    assert "version: “1” → “2”)" in answer.text
    assert session.scalars(select(PersonaVersion.text).order_by(PersonaVersion.id)).all() == [
        "You drove buses for thirty years.",
        "First",
    ]


def test_the_search_looks_into_the_latest_text(researcher, rows):
    assert "Bus driver" in researcher.get("/admin/persona/?search=THIRTY+drove").text
    assert "Nothing matches." in researcher.get("/admin/persona/?search=thirty+nurses").text


def test_a_used_persona_is_archived_and_not_deleted(researcher, rows, session):
    answer = researcher.post("/admin/persona/delete/", data={"id": rows.persona.id}, follow_redirects=True)
    assert "1 twin uses this persona. Archive it" in answer.text
    assert session.get(Persona, rows.persona.id) is not None
    answer = researcher.post("/admin/persona/archive/", data={"id": rows.persona.id}, follow_redirects=True)
    assert "Archived “Bus driver”." in answer.text
    assert "Bus driver" not in researcher.get("/admin/persona/").text
    assert "Bus driver" in researcher.get("/admin/persona/?archived=yes").text
    researcher.post("/admin/persona/bring-back/", data={"id": rows.persona.id})
    assert "Bus driver" in researcher.get("/admin/persona/").text


def test_a_persona_that_comes_into_use_while_it_is_deleted_stays(researcher, rows, session, monkeypatch):
    monkeypatch.setattr(removals, "_count", lambda *_: 0)  # as it was a moment ago
    answer = researcher.post("/admin/persona/delete/", data={"id": rows.persona.id}, follow_redirects=True)
    assert "Somebody else changed something that this depends on in this moment." in answer.text
    assert session.get(Persona, rows.persona.id) is not None


def test_an_unused_persona_is_deleted_with_its_versions(researcher, session):
    researcher.post("/admin/persona/new/", data=form())
    persona = session.scalars(select(Persona)).one()
    answer = researcher.post("/admin/persona/delete/", data={"id": persona.id}, follow_redirects=True)
    assert "Deleted Nurse." in answer.text
    session.rollback()
    assert session.scalars(select(PersonaVersion)).all() == []
    assert session.scalars(select(Persona)).all() == []
