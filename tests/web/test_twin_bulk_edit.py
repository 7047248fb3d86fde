"""Many twins changed or copied in the browser: counts first."""

import pytest
from sqlalchemy import select

from pdsapp.models import DigitalTwin
from tests import builders
from tests.web.looking import assert_nothing_inline, fields_of, words_of

LIST = "/admin/digitaltwin/"
PAGE = f"{LIST}bulk-edit/"


@pytest.fixture
def herd(rows):
    return [builders.make_twin(rows.experiment, f"t{number}") for number in range(3)]


def ask(browser, twins, **values):
    """Ticks the twins, fills the form and asks what it would do."""
    keys = [str(twin.id) for twin in twins]
    form = browser.post(f"{LIST}action/", data={"action": "edit", "rowid": keys})
    assert form.status_code == 200
    return browser.post(PAGE, data=fields_of(form, "ids") | values)


def confirm(browser, page, **values):
    fingerprint = page.text.split('name="fingerprint" value="')[1].split('"')[0]
    data = fields_of(page, "ids") | {"fingerprint": fingerprint} | values
    return browser.post(PAGE, data=data, follow_redirects=True)


def models(session):
    session.rollback()
    session.expire_all()
    return session.scalars(select(DigitalTwin.llm_model).order_by(DigitalTwin.id)).all()


def test_counts_come_first_and_then_all_are_changed_with_a_reason(researcher, rows, herd, session):
    page = ask(researcher, herd[:2], llm_model="large", tags_added="pilot")
    words = words_of(page)
    assert "Model 2 of 2 2 none 2 large" in words and "Tags 2 of 2 2 none 2 pilot" in words
    assert models(session) == ["", "", "", ""]
    refused = confirm(researcher, page)
    assert refused.status_code == 400 and "has begun" in words_of(refused)
    done = confirm(researcher, refused, reason="Withdrawn")
    assert "Changed 2 twins." in words_of(done)
    assert models(session) == ["", "large", "large", ""]
    assert_nothing_inline(page)


def test_all_that_match_the_filter_are_changed(researcher, rows, herd, session):
    shown = researcher.get(f"{LIST}?search=t1")
    assert 'href="/admin/digitaltwin/bulk-edit/?search=t1"' in shown.text
    form = researcher.get(f"{PAGE}?search=t1")
    assert "Change or copy 1 twin @t1" in words_of(form)
    page = researcher.post(PAGE, data=fields_of(form, "ids") | {"is_active": "no"})
    confirm(researcher, page)
    session.rollback()
    inactive = session.scalars(select(DigitalTwin).where(DigitalTwin.is_active.is_(False))).all()
    assert [str(twin) for twin in inactive] == ["@t1"]
    every = researcher.get(f"{PAGE}?active=yes")
    assert "Change or copy 3 twins" in words_of(every)


def test_a_twin_edited_meanwhile_stops_it_and_shows_new_counts(researcher, rows, herd, session, write):
    page = ask(researcher, herd, llm_model="large")
    with write() as other:
        twin = other.get_one(DigitalTwin, herd[0].id)
        twin.llm_model, twin.edit_version = "huge", 2
    answer = confirm(researcher, page, reason="Withdrawn")
    words = words_of(answer)
    assert answer.status_code == 400 and "Somebody has changed one of these twins" in words
    assert "1 huge" in words and models(session)[1] == "huge"


def test_copies_go_to_another_experiment(researcher, rows, herd, session):
    other = builders.make_experiment("Other")
    builders.make_person(other, "t0")
    page = ask(researcher, herd, copy_to=str(other.id))
    words = words_of(page)
    assert "3 twins would be added, 0 active and 3 inactive." in words and "@t0 → @t0_2" in words
    assert "Copied 3 twins to Other" in words_of(confirm(researcher, page))
    found = session.scalars(select(DigitalTwin).filter_by(experiment_id=other.id).order_by("id")).all()
    assert [str(twin) for twin in found] == ["@t0_2", "@t1", "@t2"]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "Choose at least one thing to change."),
        ({"parameters": "heat=1"}, "“heat” is not a parameter"),
        ({"llm_model": "a", "clears_model": "y"}, "not both"),
        ({"tags_added": "x" * 41}, "at most 40 fit"),
        ({"api_token": "99"}, "Not a valid choice"),
        ({"llm_model": "a", "copy_to": "EXPERIMENT"}, "one after the other"),
    ],
)
def test_what_cannot_be_used_is_refused_and_kept_in_the_form(researcher, rows, herd, session, values, said):
    values = {k: str(rows.experiment.id) if v == "EXPERIMENT" else v for k, v in values.items()}
    answer = ask(researcher, herd, **values)
    assert answer.status_code == 400 and said in words_of(answer)
    for value in set(values.values()) - {"99"}:
        assert f'value="{value}"' in answer.text
    assert set(models(session)) == {""}


def test_back_leads_to_the_form_as_it_was(researcher, rows, herd):
    page = ask(researcher, herd, llm_model="large")
    form = researcher.post(PAGE, data=fields_of(page, "ids") | {"back": "1"})
    assert form.status_code == 200 and 'value="large"' in form.text


def test_a_token_is_given_and_taken_away(researcher, rows, herd, session):
    confirm(researcher, ask(researcher, herd, api_token=str(rows.token.id)), reason="x")
    session.rollback()
    assert session.scalars(select(DigitalTwin.api_token_id)).all() == [rows.token.id] * 4
    page = ask(researcher, herd, api_token="none")
    assert "API token 3 of 3 3 Lab 3 none" in words_of(page)


def test_a_viewer_changes_nobody(viewer, rows, herd):
    assert viewer.get(PAGE).status_code == 403
    assert viewer.post(PAGE, data={"ids": str(herd[0].id), "llm_model": "x"}).status_code == 403
    assert "bulk-edit" not in viewer.get(LIST).text


def test_counts_ask_the_database_no_more_for_more_twins(researcher, rows, count_queries):
    counts = []
    for number in (2, 12):
        twins = [builders.make_twin(rows.experiment) for _ in range(number)]
        with count_queries() as statements:
            ask(researcher, twins, llm_model="large")
        counts.append(len(statements))
    assert counts[0] == counts[1]
