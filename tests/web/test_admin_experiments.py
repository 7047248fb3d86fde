"""The screen of experiments."""

import re

import pytest
from sqlalchemy import select

from pdsapp.domain.reasons import ExperimentState
from pdsapp.models import AuditEvent, Experiment, ProtocolChange, utc_now
from pdsapp.services import schedules
from tests.attempt_rows import add_row
from tests.builders import make_experiment
from tests.conftest import NOON
from tests.web.looking import counted_queries, fields_of, words_of


def form(**values):
    return {"name": "Pilot", "zone": "Europe/Rome", "description": "Two\nlines"} | values


def test_an_experiment_is_added_through_the_form(researcher, session):
    answer = researcher.post("/admin/experiment/new/", data=form(), follow_redirects=True)
    experiment = session.scalars(select(Experiment)).one()
    assert (experiment.name, experiment.zone, experiment.description) == (
        "Pilot",
        "Europe/Rome",
        "Two\nlines",
    )
    assert (len(experiment.identifier), experiment.state, experiment.is_demo) == (
        5,
        ExperimentState.draft,
        False,
    )
    assert experiment.identifier in answer.text
    assert f'Added <a href="/admin/experiment/details/?id={experiment.id}">' in answer.text
    event = session.scalars(select(AuditEvent).where(AuditEvent.object_type == "experiment")).one()
    assert (event.action, event.actor) == ("create", "researcher@example.org")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"name": ""}, "This must not be empty."),
        ({"name": "x" * 121}, "at most 120 fit"),
        ({"zone": "Mars/Olympus"}, "Mars/Olympus” is not a"),
        ({"zone": "europe/rome"}, "Did you mean Europe/Rome?"),
        ({"description": "x" * 4001}, "at most 4,000 fit"),
        ({"name": "a\x00b"}, "Remove the control character U+0000."),
    ],
    ids=["no name", "long name", "no zone of Earth", "case", "long description", "NUL"],
)
def test_what_cannot_be_used_is_said_at_its_field_and_nothing_is_saved(researcher, session, values, words):
    answer = researcher.post("/admin/experiment/new/", data=form(**values))
    assert answer.status_code == 400
    assert words in answer.text
    assert 'aria-invalid="true"' in answer.text
    assert session.scalars(select(Experiment)).all() == []


def test_the_page_shows_the_numbers_of_the_policy_and_the_words_of_the_prompt(viewer, rows):
    page = viewer.get(f"/admin/experiment/details/?id={rows.experiment.id}").text
    for number in ("0.80", "0.50", "0.30", "0.70", "20–79", "80–139", "140–199", "200–280", "35 %", "10 %"):
        assert number in page
    assert "own posts ÷ posts looked at" in page
    assert "&lt;persona&gt;" in page
    assert str(rows.experiment.uuid) in page


def test_an_edit_keeps_what_it_does_not_touch(researcher, rows, session):
    page = f"/admin/experiment/edit/?id={rows.experiment.id}"
    assert 'value="Campus climate"' in researcher.get(page).text
    researcher.post(page, data=form(name="Campus, autumn", edit_version=1))
    experiment = session.get(Experiment, rows.experiment.id)
    assert (experiment.name, experiment.edit_version) == ("Campus, autumn", 2)
    assert experiment.identifier == rows.experiment.identifier


def test_the_zone_and_the_last_day_of_a_study_change_for_a_reason_that_is_listed(researcher, rows, session):
    page = f"/admin/experiment/edit/?id={rows.experiment.id}"
    wish = form(name=rows.experiment.name, zone="Europe/Athens", last_day="2099-12-20", description="")
    refused = researcher.post(page, data=fields_of(researcher.get(page), "edit_version") | wish)
    assert refused.status_code == 400 and "Say in a few words why" in words_of(refused)
    wish["reason"] = "two more weeks"
    saved = researcher.post(page, data=fields_of(refused, "edit_version") | wish)
    assert saved.status_code == 302
    change = session.scalars(select(ProtocolChange)).one()
    assert (change.summary, change.reason) == ("Experiment: zone, last day", "two more weeks")
    assert change.before == {"zone": "Europe/Rome", "last_day": None}
    assert change.after == {"zone": "Europe/Athens", "last_day": "2099-12-20"}
    other = fields_of(researcher.get(page), "edit_version") | wish | {"name": "Autumn", "reason": ""}
    assert researcher.post(page, data=other).status_code == 302, "another name needs no reason"
    assert "two more weeks" in words_of(
        researcher.get(f"/admin/experiment/protocol/?id={rows.experiment.id}")
    )


def test_the_pause_at_another_model_is_ticked_shown_audited_and_a_change_of_the_protocol(
    researcher, rows, session
):
    page = f"/admin/experiment/edit/?id={rows.experiment.id}"
    assert fields_of(researcher.get("/admin/experiment/new/"), "name").get("pauses_at_model_change") is None
    sent = fields_of(researcher.get(page), "edit_version") | {"pauses_at_model_change": "y"}
    refused = researcher.post(page, data=sent)
    assert refused.status_code == 400 and "Say in a few words why" in words_of(refused)
    saved = researcher.post(page, data=sent | {"reason": "one model only"})
    assert saved.status_code == 302
    change = session.scalars(select(ProtocolChange)).one()
    assert (change.summary, change.reason) == ("Experiment: pauses at model change", "one model only")
    assert (change.before, change.after) == (
        {"pauses_at_model_change": False}, {"pauses_at_model_change": True},
    )  # fmt: skip
    event = session.scalars(select(AuditEvent).order_by(AuditEvent.id.desc()).limit(1)).one()
    assert event.after == {"pauses_at_model_change": True}
    assert fields_of(researcher.get(page), "edit_version")["pauses_at_model_change"] == "y"
    details = words_of(researcher.get(f"/admin/experiment/details/?id={rows.experiment.id}"))
    assert "At another model it pauses" in details
    protocol = words_of(researcher.get(f"/admin/experiment/protocol/?id={rows.experiment.id}"))
    assert "pauses at model change no → yes" in protocol and "one model only" in protocol


def test_a_new_experiment_pauses_at_another_model_where_that_is_ticked(researcher, session):
    for name, ticked in (("One", {}), ("Two", {"pauses_at_model_change": "y"})):
        researcher.post("/admin/experiment/new/", data=form(name=name) | ticked)
    found = session.scalars(select(Experiment).order_by(Experiment.id)).all()
    assert [each.pauses_at_model_change for each in found] == [False, True]
    details = words_of(researcher.get(f"/admin/experiment/details/?id={found[0].id}"))
    assert "it goes on, and the attention list tells" in details


def test_an_edit_of_what_somebody_else_changed_is_refused(researcher, rows, session):
    page = f"/admin/experiment/edit/?id={rows.experiment.id}"
    researcher.post(page, data=form(name="First", edit_version=1))
    answer = researcher.post(page, data=form(name="Second", edit_version=1))
    assert answer.status_code == 400
    assert "Somebody else has saved this since you opened it." in answer.text
    assert 'value="Second"' in answer.text
    assert session.scalars(select(Experiment.name)).one() == "First"


@pytest.mark.parametrize("version", ["", "x", "0", "-1", "99999999999999999999"])
def test_an_edit_without_a_version_is_refused(researcher, rows, session, version):
    page = f"/admin/experiment/edit/?id={rows.experiment.id}"
    assert researcher.post(page, data=form(name="Other", edit_version=version)).status_code == 400
    assert session.scalars(select(Experiment.name)).one() == "Campus climate"


def test_pause_resume_and_archive_from_the_row(researcher, rows, session):
    def state():
        session.rollback()
        return session.scalars(select(Experiment.state)).one()

    row = {"id": rows.experiment.id, "url": "/admin/experiment/"}
    assert researcher.post("/admin/experiment/pause/", data=row).location == "/admin/experiment/"
    assert state() == ExperimentState.paused
    assert "Resume" in researcher.get("/admin/experiment/").text
    researcher.post("/admin/experiment/resume/", data=row)
    assert state() == ExperimentState.running
    researcher.post("/admin/experiment/pause/", data=row)
    researcher.post("/admin/experiment/archive/", data=row)
    assert state() == ExperimentState.archived
    researcher.get("/admin/")  # the messages
    assert "Campus climate" not in researcher.get("/admin/experiment/").text
    assert "Campus climate" in researcher.get("/admin/experiment/?state=archived").text
    answer = researcher.post("/admin/experiment/resume/", data=row, follow_redirects=True)
    assert "is archived and stays so." in answer.text
    assert state() == ExperimentState.archived


def test_an_experiment_cannot_be_deleted(researcher, rows, session):
    assert researcher.post("/admin/experiment/delete/", data={"id": rows.experiment.id}).status_code == 404
    assert session.get(Experiment, rows.experiment.id) is not None


def test_its_page_shows_what_comes_next_and_what_was_last(viewer, rows, write):
    empty = words_of(viewer.get(f"/admin/experiment/details/?id={rows.experiment.id}"))
    assert "No schedule is enabled for it" in empty and "No twin of it has been asked yet." in empty
    with write() as session:
        row = session.get_one(Experiment, rows.experiment.id)
        schedules.add_schedule(
            session, schedules.Wish("Hourly", row, cron="0 * * * *", is_enabled=True), NOON
        )
    add_row(rows.twin, "skipped", "recency", utc_now(), draw=0.1)
    words = words_of(viewer.get(f"/admin/experiment/details/?id={rows.experiment.id}"))
    assert "Hourly" in words.split("Next slots", 1)[1].split("Latest attempts", 1)[0]
    assert "@maya_reads" in words.split("Latest attempts", 1)[1]


def test_the_first_button_of_an_empty_experiment_adds_twins_and_of_another_copies_it(researcher, rows):
    empty = make_experiment("Empty", "UTC")
    heads = [
        re.search(r'<div class="actions">\s*<a class="button" href="[^"]*">([^<]+)<', page.text)[1]
        for page in (
            researcher.get(f"/admin/experiment/details/?id={each.id}") for each in (empty, rows.experiment)
        )
    ]
    assert heads == ["Add twins", "Copy …"]


def test_a_schedule_added_from_its_page_is_for_it_and_not_for_all(administrator, rows):
    make_experiment("Another", "UTC")
    page = administrator.get(f"/admin/experiment/details/?id={rows.experiment.id}")
    address = re.search(r'href="(/admin/schedule/new/[^"]*)"', page.text)[1]
    form = fields_of(administrator.get(address.replace("&amp;", "&")), "cron")
    assert form["experiment"] == str(rows.experiment.id)


def test_its_page_costs_the_same_for_many_schedules_and_attempts(viewer, rows, write):
    def fill(count):
        with write() as session:
            row = session.get_one(Experiment, rows.experiment.id)
            for number in range(count):
                wish = schedules.Wish(f"S{count} {number}", row, cron=f"{number} * * * *", is_enabled=True)
                schedules.add_schedule(session, wish, NOON)
        for _ in range(count):
            add_row(rows.twin, "skipped", "recency", utc_now(), draw=0.1)

    page = f"/admin/experiment/details/?id={rows.experiment.id}"
    fill(4)
    with counted_queries() as few:
        viewer.get(page)
    fill(12)
    with counted_queries() as many:
        viewer.get(page)
    assert len(few) == len(many)
