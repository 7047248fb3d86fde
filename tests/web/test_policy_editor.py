"""The page of a posting policy: what is typed, what it does, what is written down."""

import re

import pytest
from sqlalchemy import func, select

from pdsapp.database import transaction
from pdsapp.domain.reasons import ExperimentState
from pdsapp.models import Experiment, ProtocolChange
from tests.web.looking import fields_of, words_of


def page_of(rows):
    return f"/admin/experiment/policy/?id={rows.experiment.id}"


def filled(browser, rows, **values):
    return fields_of(browser.get(page_of(rows)), "share_cap") | values


def policy(session):
    session.rollback()
    session.expire_all()
    return session.scalars(select(Experiment)).one().policy.body


def count(session):
    session.rollback()
    return session.scalar(select(func.count(ProtocolChange.id)))


def test_it_shows_the_document_s_numbers_and_what_they_do(researcher, rows):
    answer = researcher.get(page_of(rows))
    for name, value in {"under_1": "1 h", "skip_1": "80", "band_percent_4": "10", "share_cap": "70"}.items():
        assert re.search(rf'name="{name}"[^>]*value="{value}"', answer.text), name
    words = words_of(answer)
    assert "less than 1 h 0.80 1.00 1.00 1.00" in words
    assert "8 h or more, or none 0.00 0.25 0.50 0.70" in words
    assert "This study has begun" in words


def test_saved_numbers_are_a_protocol_change_with_its_reason(researcher, rows, session):
    form = filled(researcher, rows, skip_1="60", band_percent_1="30", band_percent_2="40", reason="pilot")
    answer = researcher.post(page_of(rows), data=form, follow_redirects=True)
    words = words_of(answer)
    assert "Saved. Posting policy: skip by recency, lengths of Campus climate" in words
    assert "Step 1 skips with 0.80 → 0.60" in words
    assert "pilot" in words and "researcher@example.org" in words and "while it was running" in words
    assert policy(session)["recency_steps"][0] == {"under_seconds": 3600.0, "probability": 0.6}


def test_without_a_reason_nothing_is_saved_and_the_input_is_kept(researcher, rows, session):
    answer = researcher.post(page_of(rows), data=filled(researcher, rows, skip_1="60"))
    assert answer.status_code == 400
    assert "Say in a few words why" in re.search(r'id="reason-error">(.*?)</div>', answer.text, re.S)[1]
    assert re.search(r'name="skip_1"[^>]*value="60"', answer.text)
    assert (policy(session)["recency_steps"][0]["probability"], count(session)) == (0.8, 0)


def test_a_draft_is_saved_without_a_reason(researcher, rows, session):
    with transaction() as writing:
        writing.get_one(Experiment, rows.experiment.id).state = ExperimentState.draft
    form = filled(researcher, rows, skip_1="60")
    assert "This study has begun" not in words_of(researcher.get(page_of(rows)))
    assert researcher.post(page_of(rows), data=form).status_code == 302
    assert policy(session)["recency_steps"][0]["probability"] == 0.6


def test_the_preview_draws_what_is_typed_and_stores_nothing(researcher, rows, session):
    form = filled(researcher, rows, skip_1="60", preview="1")
    whole = researcher.post(page_of(rows), data=form)
    part = researcher.post(page_of(rows), data=form, headers={"X-Part": "effect"})
    for answer in (whole, part):
        assert answer.status_code == 200
        assert "less than 1 h 0.60 0.85 1.00 1.00" in words_of(answer)
    assert "<html" in whole.text and "<html" not in part.text
    assert (policy(session)["recency_steps"][0]["probability"], count(session)) == (0.8, 0)


def test_the_preview_says_what_makes_no_policy(researcher, rows):
    form = filled(researcher, rows, band_percent_1="36", preview="1")
    part = researcher.post(page_of(rows), data=form, headers={"X-Part": "effect"})
    assert "The bands sum to 101 %. They must sum to 100 %." in words_of(part)


def test_the_document_s_values_are_offered_and_saved_only_when_asked(researcher, rows, session):
    researcher.post(page_of(rows), data=filled(researcher, rows, skip_1="60", reason="pilot"))
    answer = researcher.post(page_of(rows), data=filled(researcher, rows, skip_1="10", reset="1"))
    assert re.search(r'name="skip_1"[^>]*value="80"', answer.text)
    assert policy(session)["recency_steps"][0]["probability"] == 0.6
    back = fields_of(answer, "share_cap") | {"reason": "back"}
    assert researcher.post(page_of(rows), data=back).status_code == 302
    assert (policy(session)["recency_steps"][0]["probability"], policy(session)["label"]) == (
        0.8,
        "natural posting",
    )


def test_what_somebody_else_saved_meanwhile_is_not_overwritten(researcher, rows, session):
    form = filled(researcher, rows, skip_1="60", reason="one")
    researcher.post(page_of(rows), data=filled(researcher, rows, skip_1="50", reason="other"))
    answer = researcher.post(page_of(rows), data=form)
    assert answer.status_code == 400
    assert "Somebody else has saved this" in words_of(answer)
    assert policy(session)["recency_steps"][0]["probability"] == 0.5


@pytest.mark.parametrize("page", ["policy", "prompt"])
@pytest.mark.parametrize("state", [ExperimentState.ended, ExperimentState.archived])
def test_what_a_finished_experiment_was_run_by_stays_as_it_is(researcher, rows, session, state, page):
    address = f"/admin/experiment/{page}/?id={rows.experiment.id}"
    form = fields_of(researcher.get(address), "reason") | {"skip_1": "1", "system": "x", "reason": "late"}
    with transaction() as writing:
        writing.get_one(Experiment, rows.experiment.id).state = state
    assert researcher.post(address, data=form).status_code == 409
    assert count(session) == 0


@pytest.mark.parametrize("page", ["policy", "prompt"])
def test_a_viewer_reads_changes_and_changes_nothing(viewer, rows, session, page):
    address = f"/admin/experiment/{page}/?id={rows.experiment.id}"
    assert viewer.get(address).status_code == 403
    assert viewer.post(address, data={"share_cap": "1", "edit_version": "1"}).status_code == 403
    listed = viewer.get(f"/admin/experiment/protocol/?id={rows.experiment.id}")
    assert "Nothing has been changed since" in words_of(listed)
    assert count(session) == 0
