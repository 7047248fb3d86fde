"""The screens of API tokens beyond storing a key: presets, the ladder, models, use, protocol changes."""

import asyncio
import re
from datetime import timedelta
from types import SimpleNamespace

import pytest
from sqlalchemy import func, select

from pdsapp.domain.protocol import ProtocolPart
from pdsapp.domain.reasons import CallPurpose, CallState, ExperimentState
from pdsapp.llm.presets import PRESETS
from pdsapp.models import ApiToken, AuditEvent, Experiment, ModelCall, ProtocolChange, utc_now
from pdsapp.services import token_tests
from tests import builders
from tests.model_server import error
from tests.web.test_admin_tokens import KEY, edit, form

LAB = "https://llm.example.org/v1"


def squeezed(text):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text))


@pytest.fixture
def begun(rows, write):
    """`begun("paused")` brings the experiment whose twin uses the token into a state."""

    def put(state="running"):
        with write() as session:
            session.get_one(Experiment, rows.experiment.id).state = ExperimentState(state)

    put()
    return put


@pytest.fixture
def token(session, settings, model_server):
    """A token of the model server that has been tested."""
    found = builders.make_token(settings, model_server.base_url, "Tested", secret=KEY)

    def test():
        asyncio.run(token_tests.test_token(found.id, settings, utc_now))
        session.rollback()
        return session.get_one(ApiToken, found.id, populate_existing=True)

    found.test = test
    return found


# presets and what is asked


def test_presets_are_a_table_and_a_list_to_choose_from_without_any_script(researcher):
    page = researcher.get("/admin/apitoken/new/").text
    for preset in PRESETS:
        assert preset.name in page
        if preset.base_url:
            assert f'<option value="{preset.base_url}" label="{preset.name}">' in page
            assert f"<code>{preset.base_url}</code>" in page
            assert f'hidden data-url="{preset.base_url}"' in page
    assert 'list="preset-urls"' in page
    words = squeezed(page)
    assert "OpenRouter Use OpenRouter https://openrouter.ai/api/v1" in words
    assert "llama3.1 none" in words


def test_presets_are_those_of_the_readme():
    from pathlib import Path

    readme = (Path(__file__).parents[2] / "README.md").read_text()
    words = {"needed": "yes", "none": "no", "optional": "if started with one"}
    for preset in PRESETS:
        if preset.base_url:
            assert f"| {preset.name} | `{preset.base_url}` | {words[preset.key]} |" in readme


def preview(browser, url="/admin/apitoken/new/", is_part=True, **values):
    headers = {"X-Part": "effect"} if is_part else {}
    return browser.post(url, data=form(preview="1", **values), headers=headers)


def test_the_address_is_shown_in_its_one_spelling_while_one_types(researcher, session):
    answer = preview(researcher, base_url=" HTTPS://API.Example.org/v1/chat/completions ")
    assert answer.status_code == 200
    assert "<code>https://api.example.org/v1/chat/completions</code>" in answer.text
    assert "<form" not in answer.text
    assert session.scalar(select(func.count(ApiToken.id))) == 0


def test_without_script_the_button_shows_the_same_on_the_whole_page(researcher, session):
    answer = preview(researcher, is_part=False, base_url="https://api.example.org/v1/")
    assert answer.status_code == 200
    assert "<code>https://api.example.org/v1/chat/completions</code>" in answer.text
    assert 'value="Ollama"' in answer.text, "what was typed is kept"
    assert KEY not in answer.text
    assert session.scalar(select(func.count(ApiToken.id))) == 0


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("api.example.org/v1", "did you mean https://api.example.org/v1?"),
        ("http://8.8.8.8/v1", "would be asked over plain http"),
        ("http://10.0.0.1/v1", "PDS_LLM_ALLOWED_HOSTS"),
    ],
    ids=["no scheme", "plain http", "private"],
)
def test_what_cannot_be_asked_is_said_while_one_types(researcher, url, words):
    assert words in preview(researcher, base_url=url).text


def test_a_well_known_endpoint_without_a_key_says_so(researcher):
    assert (
        "OpenAI asks for a key." in preview(researcher, base_url="https://api.openai.com/v1", secret="").text
    )
    assert "asks for a key" not in preview(researcher, base_url="https://api.openai.com/v1").text
    assert "asks for a key" not in preview(researcher, base_url="http://127.0.0.1:11434/v1", secret="").text


def test_a_viewer_sees_no_preview(viewer):
    assert preview(viewer).status_code == 403


# which addresses are kept


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://8.8.8.8/v1", "plain http, which shows the key to everybody on the way"),
        ("http://unknown.invalid/v1", "plain http is only for what PDS_LLM_ALLOWED_HOSTS lists"),
        ("https://10.0.0.1/v1", "An administrator can allow it in PDS_LLM_ALLOWED_HOSTS."),
        ("http://169.254.169.254/v1", "An administrator can allow it in PDS_LLM_ALLOWED_HOSTS."),
    ],
    ids=["public over http", "unknown over http", "private", "metadata"],
)
def test_an_address_that_is_never_asked_is_not_saved_and_names_the_setting(researcher, session, url, words):
    answer = researcher.post("/admin/apitoken/new/", data=form(base_url=url))
    assert answer.status_code == 400
    assert re.search(rf'id="base_url-error">.*?{re.escape(words)}', answer.text, re.DOTALL)
    assert f'value="{url}"' in answer.text, "what was typed is kept"
    assert session.scalar(select(func.count(ApiToken.id))) == 0


def test_nor_is_a_token_moved_there(researcher, rows, session):
    answer = edit(researcher, rows, base_url="http://8.8.8.8/v1", secret=KEY)
    assert answer.status_code == 400
    assert "plain http" in answer.text
    assert session.get_one(ApiToken, rows.token.id).base_url == LAB


def test_a_token_whose_address_is_allowed_no_more_can_still_be_renamed(researcher, session, settings):
    found = builders.make_token(settings, "http://10.0.0.1/v1", "Old")
    data = form(
        name="Older", base_url="http://10.0.0.1/v1", secret="", default_model="fake-model", edit_version=1
    )
    assert researcher.post(f"/admin/apitoken/edit/?id={found.id}", data=data).status_code == 302
    session.rollback()
    assert session.get_one(ApiToken, found.id).name == "Older"


def test_a_test_of_an_address_that_is_not_allowed_says_so(researcher, session, settings):
    token = builders.make_token(settings, "http://10.0.0.1/v1")
    answer = researcher.post("/admin/apitoken/test/", data={"id": token.id})
    assert "The endpoint cannot be used with this token as it is." in answer.text
    assert "PDS_LLM_ALLOWED_HOSTS" in answer.text
    session.rollback()
    assert session.get_one(ApiToken, token.id).last_test_ok is False


# the ladder


def test_a_test_shows_its_rungs_and_those_it_did_not_reach(researcher, session, token, model_server):
    model_server.enqueue(error(401, f"Incorrect API key provided: {KEY}"))
    page = researcher.post("/admin/apitoken/test/", data={"id": token.id}).text
    words = squeezed(page)
    assert "Models listed ok fake-model is one of 1 model." in words
    assert "Key accepted failed The endpoint does not accept the key (401)" in words
    assert "A tiny completion not tried" in words
    assert KEY not in page


def test_the_last_test_stands_on_the_page_and_in_the_list(researcher, token, model_server):
    token.test()
    words = squeezed(researcher.get(f"/admin/apitoken/details/?id={token.id}").text)
    assert "Last test" in words
    assert re.search(r"Connected ok Connected to 127\.0\.0\.1, port \d+\. \d+ ms", words)
    assert re.search(r"A tiny completion ok fake-model answered\. \d+ ms", words)
    assert re.search(r"answers in \d+ ms", researcher.get("/admin/apitoken/").text)
    model_server.enqueue(error(402, "no credits"))
    token.test()
    assert "fails: A tiny completion" in researcher.get("/admin/apitoken/").text


def test_while_disk_is_low_the_page_says_why_nobody_was_asked(researcher, token, monkeypatch, model_server):
    from pdsapp.services import disk

    token.test()
    asked = len(model_server.history)
    low = SimpleNamespace(is_low=True, sentence="Only 3 MB are free.")
    monkeypatch.setattr(disk, "look", lambda _settings: low)
    words = squeezed(researcher.post("/admin/apitoken/test/", data={"id": token.id}).text)
    assert "Disk failed Only 3 MB are free. Address allowed not tried" in words
    assert len(model_server.history) == asked


def test_a_viewer_sees_the_last_test_but_cannot_ask_for_one(viewer, token):
    token.test()
    assert "Key accepted" in viewer.get(f"/admin/apitoken/details/?id={token.id}").text
    assert viewer.post("/admin/apitoken/test/", data={"id": token.id}).status_code == 403


# models


def test_the_model_field_offers_what_the_last_test_listed_and_takes_other_names(
    researcher, session, token, model_server
):
    model_server.models = ("fake-model", 'odd"<name>')
    token.test()
    page = researcher.get(f"/admin/apitoken/edit/?id={token.id}").text
    offered = page[page.index('<datalist id="offered-models">') :].split("</datalist>")[0]
    assert offered.count("<option") == 2
    assert 'value="odd&#34;&lt;name&gt;"' in offered
    assert 'list="offered-models"' in page
    data = form(
        name="Tested", base_url=model_server.base_url, default_model="another", secret="", edit_version=1
    )
    assert researcher.post(f"/admin/apitoken/edit/?id={token.id}", data=data).status_code == 302
    session.rollback()
    found = session.get_one(ApiToken, token.id, populate_existing=True)
    assert (found.default_model, found.last_test_at, found.last_test_steps) == ("another", None, None)
    assert found.last_test_models == ["fake-model", 'odd"<name>'], "another model has the same list"


def test_another_address_forgets_what_the_last_one_listed(researcher, session, token):
    token.test()
    data = form(name="Tested", base_url="https://api.example.org/v1", edit_version=1)
    assert researcher.post(f"/admin/apitoken/edit/?id={token.id}", data=data).status_code == 302
    session.rollback()
    assert session.get_one(ApiToken, token.id, populate_existing=True).last_test_models is None


# use


def test_the_page_names_the_twins_and_their_experiments(researcher, rows, begun):
    words = squeezed(researcher.get(f"/admin/apitoken/details/?id={rows.token.id}").text)
    assert re.search(r"@maya_reads Campus climate \(\w{5}\) running small", words)


def test_the_list_of_twins_is_cut_and_leads_to_all(researcher, rows, monkeypatch, write):
    for _ in range(3):
        builders.make_twin(rows.experiment, token=rows.token)
    monkeypatch.setattr("pdsapp.services.token_use.twins_of.__defaults__", (2,))
    page = researcher.get(f"/admin/apitoken/details/?id={rows.token.id}").text
    assert page.count('data-label="Twin"') == 2
    assert f'href="/admin/digitaltwin/?token={rows.token.id}">All 4 twins</a>' in page


def call(token_id, hours, state=CallState.answered, **values):
    return ModelCall(
        api_token_id=token_id, purpose=CallPurpose.attempt, endpoint=LAB, model_asked="small", state=state,
        started_at=utc_now() - timedelta(hours=hours), **values,
    )  # fmt: skip


def test_calls_failures_and_tokens_of_a_day_and_of_a_month(researcher, rows, write):
    with write() as session:
        session.add_all(
            [
                call(rows.token.id, 1, prompt_tokens=1000, completion_tokens=20),
                call(rows.token.id, 23, CallState.failed),
                call(rows.token.id, 25, prompt_tokens=500, completion_tokens=7),
                call(rows.token.id, 24 * 29, CallState.failed),
                call(rows.token.id, 24 * 31, prompt_tokens=9),
            ]
        )
    words = squeezed(researcher.get(f"/admin/apitoken/details/?id={rows.token.id}").text)
    assert "Calls, 24 h 2 calls, 1 failed; 1,000 tokens in, 20 out" in words
    assert "Calls, 30 d 4 calls, 2 failed; 1,500 tokens in, 27 out" in words
    assert "untested 2 1 failed 1 Test" in squeezed(researcher.get("/admin/apitoken/").text)


def test_without_calls_it_says_so(researcher, rows):
    words = squeezed(researcher.get(f"/admin/apitoken/details/?id={rows.token.id}").text)
    assert "Calls, 24 h no call" in words
    assert "Calls, 30 d no call" in words


def test_a_page_asks_as_often_for_thirty_twins_and_calls_as_for_one(
    researcher, rows, begun, write, count_queries
):
    def asked(path):
        researcher.get(path)
        with count_queries() as statements:
            assert researcher.get(path).status_code == 200
        return len(statements)

    paths = [f"/admin/apitoken/{view}/?id={rows.token.id}" for view in ("details", "edit")]
    before = [asked(path) for path in paths]
    for number in range(30):
        study = builders.make_experiment(f"Study {number}") if number % 10 == 0 else rows.experiment
        builders.make_twin(study, token=rows.token)
    with write() as session:
        session.add_all([call(rows.token.id, 1) for _ in range(30)])
    assert [asked(path) for path in paths] == before


# protocol changes


@pytest.mark.parametrize("state", ["running", "paused"])
@pytest.mark.parametrize(
    "values",
    [
        {"default_model": "large"},
        {"base_url": "https://elsewhere.example.org/v1", "secret": KEY},
        {"parameters": "temperature=0.2"},
    ],
    ids=["model", "URL", "parameters"],
)
def test_a_change_that_touches_a_study_under_way_asks_for_a_reason(
    researcher, rows, begun, session, state, values
):
    begun(state)
    answer = edit(researcher, rows, **values)
    assert answer.status_code == 400
    assert 'id="reason-error"' in answer.text
    assert "Say in a few words why" in answer.text
    assert next(iter(values.values())) in answer.text, "what was typed is kept"
    assert KEY not in answer.text
    token = session.get_one(ApiToken, rows.token.id)
    assert (token.base_url, token.default_model, token.parameters) == (LAB, "small", {})
    assert session.scalar(select(func.count(ProtocolChange.id))) == 0


def test_with_a_reason_it_is_a_protocol_change_of_each_such_study(researcher, rows, begun, session, write):
    other = builders.make_experiment("Second wave")
    builders.make_twin(other, token=rows.token)
    draft = builders.make_experiment("Not begun")
    builders.make_twin(draft, token=rows.token)
    builders.make_experiment("Without the token")
    with write() as writing:
        writing.get_one(Experiment, other.id).state = ExperimentState.paused
        writing.get_one(Experiment, draft.id).state = ExperimentState.draft
    answer = edit(researcher, rows, default_model="large", reason="  small was retired ")
    assert answer.status_code == 302
    changes = session.scalars(select(ProtocolChange).order_by(ProtocolChange.experiment_id)).all()
    assert [change.experiment_id for change in changes] == [rows.experiment.id, other.id]
    for change in changes:
        assert (change.part, change.reason) == (ProtocolPart.model, "small was retired")
        assert change.made_by == "researcher@example.org"
        assert change.summary == "API token “Lab”: default model"
        assert (change.before, change.after) == ({"default_model": "small"}, {"default_model": "large"})
    event = session.scalars(select(AuditEvent).where(AuditEvent.object_type == "api_token")).all()[-1]
    assert event.after == {"default_model": "large", "reason": "small was retired"}
    page = researcher.get(f"/admin/experiment/protocol/?id={other.id}").text
    assert "small was retired" in page


def test_another_name_or_key_needs_no_reason(researcher, rows, begun, session):
    assert edit(researcher, rows, name="Laboratory", secret=KEY).status_code == 302
    assert session.scalar(select(func.count(ProtocolChange.id))) == 0


def test_where_no_study_has_begun_no_reason_is_asked_for(researcher, rows, begun, session):
    begun("draft")
    page = researcher.get(f"/admin/apitoken/edit/?id={rows.token.id}").text
    assert 'name="reason"' not in page
    assert "Studies that have begun use it" not in page
    assert edit(researcher, rows, default_model="large").status_code == 302
    assert session.scalar(select(func.count(ProtocolChange.id))) == 0


def test_the_form_says_beforehand_which_studies_a_change_touches(researcher, rows, begun):
    builders.make_twin(rows.experiment, token=rows.token)
    page = researcher.get(f"/admin/apitoken/edit/?id={rows.token.id}").text
    assert 'name="reason"' in page
    assert re.search(
        r"Studies that have begun use it.*Campus climate \(\w{5}\) running 2 twins", squeezed(page)
    )
    part = preview(
        researcher, f"/admin/apitoken/edit/?id={rows.token.id}", base_url="https://b.example/v1"
    ).text
    assert re.search(r"Campus climate \(\w{5}\) running 2 twins", squeezed(part))
    assert f"Now it is <code>{LAB}</code>" in part
