"""The screen of digital twins: one form, activity, tags."""

import pytest
from sqlalchemy import select

from pdsapp.admin import choices, forms
from pdsapp.domain.reasons import ExperimentState
from pdsapp.models import ApiToken, DigitalTwin, Experiment, ProtocolChange, TwinTag, UserProfile
from pdsapp.services import personas, twins
from tests import builders
from tests.conftest import NOON
from tests.web.looking import fields_of, words_of


@pytest.fixture
def form(rows):
    """`form(name=…)` gives the fields of a usable twin, with those values."""

    def fields(**values):
        return {
            "experiment": rows.experiment.id,
            "username": "kim",
            "display_name": "Kim",
            "bio": "Night owl.",
            "persona_version": rows.version.id,
            "api_token": rows.token.id,
            "llm_url": "",
            "llm_model": "large",
            "parameters": "temperature=0.5",
            "tags": "pilot, Section 2, pilot",
            "is_active": "y",
            "reason": "as agreed",
        } | values

    return fields


def twin_named(session, username):
    session.rollback()
    query = select(DigitalTwin).join(UserProfile, UserProfile.id == DigitalTwin.user_profile_id)
    return session.scalars(query.where(UserProfile.username == username)).one()


def test_one_form_makes_profile_and_twin(researcher, rows, form, session):
    answer = researcher.post("/admin/digitaltwin/new/", data=form(), follow_redirects=True)
    twin = twin_named(session, "kim")
    assert (twin.user_profile.display_name, twin.user_profile.is_bot) == ("Kim", True)
    assert (twin.persona_version_id, twin.api_token_id, twin.llm_model) == (
        rows.version.id,
        rows.token.id,
        "large",
    )
    assert twin.parameters == {"temperature": 0.5}
    assert [tag.tag for tag in twin.tags] == ["Section 2", "pilot"]
    assert (twin.is_active, twin.active_rank) == (True, 1)
    assert session.get(Experiment, rows.experiment.id).active_twin_count == 2
    assert "large at https://llm.example.org/v1" in answer.text


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"username": "MAYA_reads"}, "exists in this experiment already"),
        ({"username": "two words"}, "Use 1 to 30 letters"),
        ({"persona_version": "999"}, "Not a valid choice"),
        ({"experiment": ""}, "This must not be empty."),
        ({"llm_url": "https://elsewhere.example.org/v1"}, "its key is not sent to another address"),
        ({"llm_url": "ftp://x"}, "must begin with https:// or http://"),
        ({"parameters": "temperature=hot"}, "temperature must be a number"),
        ({"tags": ",".join(map(str, range(21)))}, "Use at most 20 tags."),
        ({"tags": "x" * 41}, "at most 40 fit"),
    ],
    ids=lambda value: next(iter(value.items()))[0] if isinstance(value, dict) else "",
)
def test_what_cannot_be_used_is_said_and_nothing_is_half_saved(
    researcher, rows, form, session, values, words
):
    answer = researcher.post("/admin/digitaltwin/new/", data=form(**values))
    assert answer.status_code == 400
    assert words in answer.text
    assert "Night owl." in answer.text
    assert len(session.scalars(select(DigitalTwin)).all()) == 1
    assert len(session.scalars(select(UserProfile)).all()) == 2
    assert session.scalars(select(TwinTag)).all() == []
    assert session.get(Experiment, rows.experiment.id).active_twin_count == 1


def test_the_form_begins_with_the_chosen_experiment_and_the_latest_version(researcher, rows, write):
    with write() as session:
        personas.add_version(session, session.merge(rows.persona), "You retired.", NOON)
    page = researcher.get(f"/admin/digitaltwin/new/?experiment={rows.experiment.identifier}").text
    assert f'<option selected value="{rows.experiment.id}">Campus climate' in page
    assert "Bus driver, version 2" in page
    assert "version 1" not in page


def test_an_edit_changes_profile_and_twin_and_keeps_an_older_persona_version(
    researcher, rows, form, session, write
):
    with write() as own:
        personas.add_version(own, own.merge(rows.persona), "You retired.", NOON)
    page = f"/admin/digitaltwin/edit/?id={rows.twin.id}"
    shown = researcher.get(page).text
    assert "Bus driver, version 1 (older; stays on it)" in shown
    assert 'name="experiment" id' not in shown
    values = form(username="maya", is_active="", edit_version=1, tags="b")
    values.pop("is_active")
    answer = researcher.post(page, data=values)
    assert answer.status_code == 302
    twin = twin_named(session, "maya")
    assert twin.persona_version_id == rows.version.id
    assert (twin.is_active, twin.active_rank, twin.edit_version) == (False, None, 2)
    assert [tag.tag for tag in twin.tags] == ["b"]
    assert twin.experiment_id == rows.experiment.id
    assert session.get(Experiment, rows.experiment.id).active_twin_count == 0


def test_another_model_in_a_running_study_needs_a_reason_and_is_a_protocol_change(
    researcher, rows, form, session
):
    page = f"/admin/digitaltwin/edit/?id={rows.twin.id}"
    assert "This study has begun" in researcher.get(page).text
    values = form(edit_version=1, parameters="temperature=0.8", reason="")
    answer = researcher.post(page, data=values)
    assert answer.status_code == 400
    assert "Say in a few words why" in answer.text
    assert twin_named(session, "maya_reads").llm_model == ""
    assert researcher.post(page, data=values | {"reason": "the small one repeats itself"}).status_code == 302
    change = session.scalars(select(ProtocolChange)).one()
    assert (change.part, change.reason) == ("model", "the small one repeats itself")
    assert change.summary == "Twin @kim: model, parameters"
    assert change.after == {"llm_model": "large", "parameters": {"temperature": 0.8}}


def test_another_persona_is_a_protocol_change_too(researcher, rows, form, session, write):
    with write() as own:
        version = personas.add_version(own, own.merge(rows.persona), "You retired.", NOON)
        own.flush()
        number = version.id
    page = f"/admin/digitaltwin/edit/?id={rows.twin.id}"
    values = form(edit_version=1, persona_version=number, llm_model="", parameters="", reason="he retired")
    assert researcher.post(page, data=values).status_code == 302
    change = session.scalars(select(ProtocolChange)).one()
    assert (change.part, change.before["persona"], change.after["persona"]) == (
        "persona",
        "Bus driver, version 1",
        "Bus driver, version 2",
    )


def test_with_more_tokens_than_are_offered_a_twin_keeps_its_own_and_the_form_says_so(
    researcher, rows, settings, session, monkeypatch
):
    builders.make_token(settings, "https://llm.example.org/v1", "Aardvark")
    for module in (choices, forms):
        monkeypatch.setattr(module, "MOST" if module is choices else "MOST_OFFERED", 1)
    page = f"/admin/digitaltwin/edit/?id={rows.twin.id}"
    shown = researcher.get(page)
    assert "only the first 1 are offered" in words_of(shown)
    sent = fields_of(shown, "username") | {"bio": "Reads more."}
    assert researcher.post(page, data=sent).status_code == 302
    twin = twin_named(session, "maya_reads")
    assert (twin.api_token_id, twin.user_profile.bio) == (rows.token.id, "Reads more.")


def test_in_a_draft_a_twin_is_changed_without_a_reason(researcher, rows, form, session, write):
    with write() as own:
        own.get(Experiment, rows.experiment.id).state = ExperimentState.draft
    page = f"/admin/digitaltwin/edit/?id={rows.twin.id}"
    assert 'name="reason"' not in researcher.get(page).text.split("<main", 1)[1].split("</main")[0]
    assert researcher.post(page, data=form(edit_version=1, parameters="", reason="")).status_code == 302
    assert [c.state for c in session.scalars(select(ProtocolChange))] == [ExperimentState.draft]


def test_a_workers_write_never_makes_an_edit_fail(researcher, rows, form, write):
    with write() as session:
        session.get(DigitalTwin, rows.twin.id).last_post = NOON
    answer = researcher.post(f"/admin/digitaltwin/edit/?id={rows.twin.id}", data=form(edit_version=1))
    assert answer.status_code == 302


def test_an_edit_of_what_somebody_else_changed_is_refused(researcher, rows, form, session):
    researcher.post("/admin/digitaltwin/action/", data={"action": "deactivate", "rowid": rows.twin.id})
    answer = researcher.post(f"/admin/digitaltwin/edit/?id={rows.twin.id}", data=form(edit_version=1))
    assert "Somebody else has saved this" in answer.text
    assert twin_named(session, "maya_reads").is_active is False


def test_activating_the_selected_names_and_counts_them(researcher, rows, session, write):
    with write() as own:
        version, experiment = own.merge(rows.version), own.merge(rows.experiment)
        keys = [
            twins.add_twin(own, experiment, f"twin{n:02}", version, NOON, is_active=n == 0).id
            for n in range(12)
        ]
    page = researcher.get("/admin/digitaltwin/").text
    assert 'data-confirm="They are asked by schedules from now on."' in page

    def act(action, ids):
        return researcher.post(
            "/admin/digitaltwin/action/",
            data={"action": action, "rowid": ids, "url": "/admin/digitaltwin/?page_size=20"},
            follow_redirects=True,
        ).text

    text = act("activate", keys)
    assert (
        "Activated 11 twins: @twin01, @twin02, @twin03, @twin04, @twin05, @twin06, @twin07, @twin08" in text
    )
    assert "and 3 more. 1 was active already." in text
    session.rollback()
    ranks = session.scalars(select(DigitalTwin.active_rank).order_by(DigitalTwin.active_rank)).all()
    assert ranks == list(range(13))
    assert "Deactivated 1 twin: @twin00." in act("deactivate", keys[:1])
    assert "Select at least one twin first." in act("activate", [])
    assert "Nothing had to change." in act("activate", ["999", "abc", "²"])


def test_a_twin_without_a_token_says_what_writes_it(researcher, rows, write, session):
    with write() as own:
        own.get(DigitalTwin, rows.twin.id).api_token_id = None
    page = researcher.get(f"/admin/digitaltwin/details/?id={rows.twin.id}").text
    assert "Nothing to ask: give the twin an API token or a URL" in page
    assert "nothing yet" in researcher.get("/admin/digitaltwin/").text


def test_filters_by_persona_token_tag_and_activity(researcher, rows, form):
    researcher.post("/admin/digitaltwin/new/", data=form(api_token="", llm_model=""))
    for query, found in {
        f"persona={rows.persona.id}": {"kim", "maya_reads"},
        f"token={rows.token.id}": {"maya_reads"},
        "tag=pilot": {"kim"},
        "active=no": set(),
        "search=night": {"kim"},
    }.items():
        page = researcher.get(f"/admin/digitaltwin/?{query}").text
        table = page[page.find("<tbody>") :] if "<tbody>" in page else ""
        assert {name for name in ("kim", "maya_reads") if f"@{name}" in table} == found, query


def test_a_twin_that_was_never_asked_is_deleted_whole(researcher, rows, form, session):
    researcher.post("/admin/digitaltwin/new/", data=form())
    twin = twin_named(session, "kim")
    answer = researcher.post("/admin/digitaltwin/delete/", data={"id": twin.id}, follow_redirects=True)
    assert "Deleted @kim." in answer.text
    session.rollback()
    assert session.scalars(select(UserProfile.username).order_by(UserProfile.id)).all() == [
        "maya_reads",
        "ada",
    ]
    assert session.scalars(select(TwinTag)).all() == []
    assert session.get(Experiment, rows.experiment.id).active_twin_count == 1
    assert session.get(ApiToken, rows.token.id) is not None
