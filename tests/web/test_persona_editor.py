"""The editor of a persona: what a twin would be sent with the text, which twins move, its history."""

import re

import pytest
from sqlalchemy import select

from pdsapp.domain.reasons import ExperimentState
from pdsapp.models import DigitalTwin, Experiment, ModelCall, PersonaVersion, ProtocolChange
from pdsapp.services import personas, twins
from tests.conftest import NOON
from tests.web.looking import assert_nothing_inline, fields_of, words_of

EVIL = '<script>alert(1)</script> {{7*7}} "><img src=x onerror=alert(1)>'
SHOW = {"X-Part": "effect"}


def page_of(rows, **more):
    return "&".join([f"/admin/persona/edit/?id={rows.persona.id}", *(f"{k}={v}" for k, v in more.items())])


def filled(browser, rows, **values):
    fields = fields_of(browser.get(page_of(rows)), "text")
    return {name: value for name, value in fields.items() if name != "moves"} | values


def versions(session):
    session.rollback()
    session.expire_all()
    return session.scalars(select(PersonaVersion.text).order_by(PersonaVersion.id)).all()


def version_of_the_twin(session):
    session.rollback()
    session.expire_all()
    return session.scalars(select(DigitalTwin)).one().persona_version.number


@pytest.fixture
def draft(rows, write):
    """The experiment has not begun."""
    with write() as session:
        session.get_one(Experiment, rows.experiment.id).state = ExperimentState.draft


def test_the_page_shows_what_a_twin_with_the_persona_would_be_sent(researcher, rows):
    page = researcher.get(page_of(rows))
    words = words_of(page)
    assert "What @maya_reads would be sent now" in words
    assert "You drove buses for thirty years." in words and "@ada" in words and "Third bus in a row." in words
    assert "The text: 33 characters, about 9 tokens." in words
    assert "Tokens are an estimate: characters ÷ 4." in words
    assert_nothing_inline(page)


def test_the_text_as_typed_is_in_the_messages_and_nothing_is_stored(researcher, rows, session):
    form = filled(researcher, rows, text="You are new here.", preview="1")
    part = researcher.post(page_of(rows), data=form, headers=SHOW)
    assert part.status_code == 200 and "<html" not in part.text
    words = words_of(part)
    assert "You are new here." in words and "You drove buses" not in words
    assert "17 characters, about 5 tokens" in words
    assert versions(session) == ["You drove buses for thirty years."]
    assert session.scalars(select(ModelCall)).all() == []


def test_without_a_script_the_button_shows_the_whole_page_with_what_was_typed(researcher, rows, session):
    answer = researcher.post(page_of(rows), data=filled(researcher, rows, text="Typed.", preview="1"))
    assert answer.status_code == 200
    assert fields_of(answer, "text")["text"].strip() == "Typed."
    assert "What @maya_reads would be sent now" in words_of(answer)
    assert len(versions(session)) == 1


def test_a_new_persona_is_shown_with_a_twin_that_is_there(researcher, rows, session):
    fields = fields_of(researcher.get("/admin/persona/new/"), "text")
    part = researcher.post(
        "/admin/persona/new/", data=fields | {"text": "You bake.", "preview": "1"}, headers=SHOW
    )
    assert "What @maya_reads would be sent now" in words_of(part) and "You bake." in part.text
    assert len(versions(session)) == 1


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"text": "x" * 20_001}, "This text cannot be used yet This has 20,001 characters"),
        ({"text": "a\x07b"}, "Remove the control character U+0007"),
        ({"text": " "}, "Write a text and choose a twin"),
        ({"twin": ""}, "Write a text and choose a twin"),
        ({"twin": "999999"}, "Write a text and choose a twin"),
        ({"twin": "x' OR 1=1"}, "Write a text and choose a twin"),
    ],
    ids=["too long", "control", "empty", "no twin", "unknown twin", "no number"],
)
def test_what_cannot_be_shown_says_why(researcher, rows, values, words):
    form = filled(researcher, rows, preview="1", **values)
    assert words in words_of(researcher.post(page_of(rows), data=form, headers=SHOW))


def test_a_hostile_text_is_inert_in_preview_history_and_form(researcher, rows, session):
    for data in (filled(researcher, rows, text=EVIL, preview="1"), filled(researcher, rows, text=EVIL)):
        answer = researcher.post(page_of(rows), data=data, follow_redirects=True)
        assert answer.status_code == 200
        assert "<script>alert" not in answer.text and "<img" not in answer.text
    assert versions(session)[-1] == EVIL
    for path in ("history", "details", "edit", "move"):
        page = researcher.get(f"/admin/persona/{path}/?id={rows.persona.id}")
        assert "<script>alert" not in page.text and "<img" not in page.text


def test_a_viewer_sees_the_history_and_neither_form_nor_preview(viewer, rows):
    assert viewer.post(page_of(rows), data={"preview": "1"}, headers=SHOW).status_code == 403
    assert viewer.get(f"/admin/persona/move/?id={rows.persona.id}").status_code == 403
    assert viewer.get("/admin/persona/import/").status_code == 403
    page = viewer.get(f"/admin/persona/history/?id={rows.persona.id}")
    assert page.status_code == 200 and "Restore this text" not in page.text


def test_twins_of_a_study_under_way_are_unticked_and_stay(researcher, rows, session):
    page = researcher.get(page_of(rows))
    assert "running: 1 twin, on version 1" in words_of(page)
    assert not re.search(r'name="moves"[^>]*checked', page.text)
    answer = researcher.post(
        page_of(rows), data=filled(researcher, rows, text="Other."), follow_redirects=True
    )
    assert "Version 2 is the latest now. No twin was moved to it." in words_of(answer)
    assert version_of_the_twin(session) == 1
    assert session.scalars(select(ProtocolChange)).all() == []


def test_moving_them_needs_a_reason_and_is_listed_among_the_protocol_changes(researcher, rows, session):
    form = filled(researcher, rows, text="Other.", moves=[rows.experiment.id])
    answer = researcher.post(page_of(rows), data=form)
    assert answer.status_code == 400
    assert "Say in a few words why" in re.search(r'id="reason-error">(.*?)</div>', answer.text, re.S)[1]
    assert re.search(r'name="moves"[^>]*checked', answer.text)
    assert fields_of(answer, "text")["text"].strip() == "Other."
    assert versions(session) == ["You drove buses for thirty years."]
    answer = researcher.post(page_of(rows), data=form | {"reason": "typo"}, follow_redirects=True)
    assert "1 twin was moved to it." in words_of(answer)
    assert version_of_the_twin(session) == 2
    listed = words_of(researcher.get(f"/admin/experiment/protocol/?id={rows.experiment.id}"))
    assert "Persona “Bus driver”: 1 twin to version 2" in listed and "typo" in listed
    assert "twins on version 1 1 → – twins on version 2 – → 1" in listed


def test_a_form_that_does_not_say_what_was_seen_is_refused(researcher, rows, session):
    answer = researcher.post(page_of(rows), data={"name": "Bus driver", "text": "Other."})
    assert answer.status_code == 400 and "Somebody else has saved this" in words_of(answer)
    assert len(versions(session)) == 1


def test_twins_of_a_draft_are_ticked_and_move_without_a_reason(researcher, rows, draft, session):
    page = researcher.get(page_of(rows))
    assert re.search(r'name="moves"[^>]*checked', page.text) and 'name="reason"' not in page.text
    form = filled(researcher, rows, text="Other.", moves=[rows.experiment.id])
    assert researcher.post(page_of(rows), data=form).status_code == 302
    assert version_of_the_twin(session) == 2


def test_a_study_that_began_while_the_form_was_open_asks_for_its_reason(
    researcher, rows, draft, session, write
):
    form = filled(researcher, rows, text="Other.", moves=[rows.experiment.id])
    with write() as writing:
        writing.get_one(Experiment, rows.experiment.id).state = ExperimentState.running
    answer = researcher.post(page_of(rows), data=form)
    assert answer.status_code == 400 and 'name="reason"' in answer.text
    assert version_of_the_twin(session) == 1


@pytest.mark.parametrize("moves", ["999", "x", "1; DROP TABLE persona", "\u0661"])
def test_an_experiment_that_is_not_offered_is_refused_at_the_field(researcher, rows, session, moves):
    form = filled(researcher, rows, text="Other.", moves=[moves], reason="why")
    answer = researcher.post(page_of(rows), data=form)
    assert answer.status_code == 400
    assert "is not offered here any more" in re.search(r'id="moves-error">(.*?)</div>', answer.text, re.S)[1]
    assert len(versions(session)) == 1


def test_twins_of_an_ended_study_are_named_and_not_offered(researcher, rows, session, write):
    with write() as writing:
        writing.get_one(Experiment, rows.experiment.id).state = ExperimentState.ended
    page = researcher.get(page_of(rows))
    assert 'name="moves"' not in page.text
    assert "These stay as they are, their study is over: Campus climate" in words_of(page)


def test_twins_left_behind_are_moved_from_the_personas_page(researcher, rows, session):
    researcher.post(page_of(rows), data=filled(researcher, rows, text="Other."))
    details = researcher.get(f"/admin/persona/details/?id={rows.persona.id}")
    assert "Move 1 to version 2 …" in words_of(details)
    address = f"/admin/persona/move/?id={rows.persona.id}"
    fields = fields_of(researcher.get(address), "edit_version")
    assert "moves" not in fields
    assert "Choose at least one experiment." in researcher.post(address, data=fields).text
    fields |= {"moves": rows.experiment.id}
    assert researcher.post(address, data=fields).status_code == 400
    answer = researcher.post(address, data=fields | {"reason": "agreed"}, follow_redirects=True)
    assert "1 twin was moved to version 2." in words_of(answer)
    assert version_of_the_twin(session) == 2
    assert "is on version 2 already" in words_of(researcher.get(address))


def test_the_history_names_who_and_marks_what_differs(researcher, rows):
    text = "You drove trams for thirty years."
    researcher.post(page_of(rows), data=filled(researcher, rows, text=text))
    page = researcher.get(f"/admin/persona/history/?id={rows.persona.id}")
    words = words_of(page)
    assert "researcher@example.org" in words and "command line" in words
    assert "<del>buses</del><ins>trams</ins>" in page.text
    assert "Posts made with version 2: 0 · 0 twins have it now" in words
    assert "Posts made with version 1: 0 · 1 twin has it now" in words
    assert_nothing_inline(page)


def test_an_older_text_is_restored_as_a_new_version(researcher, rows, session):
    researcher.post(page_of(rows), data=filled(researcher, rows, text="Other."))
    history = researcher.get(f"/admin/persona/history/?id={rows.persona.id}")
    assert f'href="/admin/persona/edit/?id={rows.persona.id}&amp;version=1"' in history.text
    page = researcher.get(page_of(rows, version=1))
    assert "The text of version 1 is filled in. Saving it makes version 3" in words_of(page)
    fields = fields_of(page, "text")
    assert len(versions(session)) == 2
    researcher.post(page_of(rows, version=1), data=fields)
    assert versions(session) == [
        "You drove buses for thirty years.", "Other.", "You drove buses for thirty years.",
    ]  # fmt: skip


@pytest.mark.parametrize("number", ["7", "0"])
def test_a_version_that_is_not_there_cannot_be_restored(researcher, rows, number):
    answer = researcher.get(page_of(rows, version=number))
    assert answer.status_code == 404 and f"has no version {number}." in answer.text
    assert researcher.get(page_of(rows, version="x")).status_code == 200


def test_the_list_shows_text_and_uses_and_finds_those_nobody_uses(researcher, rows, write):
    with write() as session:
        spare = personas.add_persona(session, "Spare", "You wait.", NOON)
        twins.add_twin(session, session.get_one(Experiment, rows.experiment.id), "two", rows.version, NOON)
        assert spare.number == 1
    words = words_of(researcher.get("/admin/persona/"))
    assert "You drove buses for thirty years." in words and "2 twins 1 experiment" in words
    unused = words_of(researcher.get("/admin/persona/?used=no"))
    assert "Spare" in unused and "Bus driver" not in unused
    assert "Spare" not in words_of(researcher.get("/admin/persona/?used=yes"))
