"""Starting, ending and deleting experiments on their pages, and what ended ones no longer offer."""

import csv
import io
import re

import pytest
from sqlalchemy import select, update

from pdsapp.domain.reasons import ExperimentState, Visibility
from pdsapp.models import Attempt, AuditEvent, DigitalTwin, Experiment, Post, Schedule, utc_now
from pdsapp.services import deletion, schedules
from tests import builders

from .looking import assert_nothing_inline, counted_queries, fields_of, words_of

pytestmark = pytest.mark.database
NEW = {"name": "Pilot", "zone": "Europe/Rome", "description": ""}


@pytest.fixture
def draft(rows, write):
    put(write, rows.experiment, ExperimentState.draft)
    with write() as session:
        session.execute(update(Experiment).values(started_at=None))
    return rows.experiment


def put(write, experiment, state):
    with write() as session:
        session.execute(update(Experiment).where(Experiment.id == experiment.id).values(state=state))


def state(session):
    session.rollback()
    return session.scalars(select(Experiment.state)).one()


def start_page(experiment):
    return f"/admin/experiment/start/?id={experiment.id}"


def test_what_is_added_in_the_browser_is_a_draft_with_its_last_day(researcher, session):
    researcher.post("/admin/experiment/new/", data=NEW | {"last_day": "2999-12-14"})
    found = session.scalars(select(Experiment)).one()
    assert (found.state, found.started_at) == (ExperimentState.draft, None)
    words = words_of(researcher.get(f"/admin/experiment/details/?id={found.id}"))
    assert "at the end of 14 Dec 2999 (Sun 15 Dec 2999, 00:00 CET)" in words
    edit = researcher.get(f"/admin/experiment/edit/?id={found.id}")
    assert fields_of(edit, "last_day")["last_day"] == "2999-12-14"


def test_a_last_day_that_is_over_is_named_and_kept_in_the_form(researcher, session):
    answer = researcher.post("/admin/experiment/new/", data=NEW | {"last_day": "2020-02-01"})
    assert answer.status_code == 400
    assert "1 Feb 2020 is over in Europe/Rome" in words_of(answer)
    assert fields_of(answer, "last_day")["last_day"] == "2020-02-01"
    assert session.scalars(select(Experiment)).all() == []


def test_the_page_of_a_start_shows_each_line_with_its_state_and_remedy(researcher, draft):
    answer = researcher.get(start_page(draft))
    assert_nothing_inline(answer)
    words = words_of(answer)
    for line in (
        "ready Twins 1 twin is active.",
        "look Schedules None is enabled",
        "look Worker None is alive.",
    ):
        assert line in words
    only = f"?experiment={draft.identifier}"
    for address in (f"/admin/digitaltwin/{only}", f"/admin/schedule/{only}", f"/activity{only}"):
        assert f'href="{address}"' in answer.text, "the lists show this experiment only"
    assert 'href="/admin/apitoken/details/?id=' in answer.text


def test_a_start_without_the_tick_is_refused_at_it_and_keeps_what_was_chosen(researcher, draft, session):
    answer = researcher.post(start_page(draft), data={"id": draft.id})
    assert answer.status_code == 400
    assert "Mend this, or say that it is meant" in words_of(answer)
    assert "archives_rehearsal" not in fields_of(answer, "edit_version"), "the tick that was taken away"
    assert state(session) == ExperimentState.draft


def test_a_start_archives_the_rehearsal_and_says_so(researcher, draft, rows, session, write):
    with write() as writing:
        writing.execute(update(Post).values(is_rehearsal=True))
    data = {"id": draft.id, "archives_rehearsal": "y", "accepts_warnings": "y"}
    answer = researcher.post(start_page(draft), data=data, follow_redirects=True)
    words = words_of(answer)
    assert "is running. 1 post of the rehearsal was archived." in words
    assert "Started; the rehearsal was archived" in words
    assert state(session) == ExperimentState.running
    assert session.scalars(select(Post.visibility)).one() == Visibility.hidden


def test_a_start_switches_on_its_schedules_if_that_is_ticked(researcher, draft, session, write):
    with write() as writing:
        found = writing.get_one(Experiment, draft.id)
        for name in ("Morning", "Evening"):
            schedules.add_schedule(writing, schedules.Wish(name, found, cron="@daily"), utc_now())
    page = researcher.get(start_page(draft))
    assert "“Morning”, “Evening”: off as yet; fires with its next slot, not at once." in words_of(page)
    data = {"id": draft.id, "archives_rehearsal": "y", "switches_on": "y"}
    refused = researcher.post(start_page(draft), data=data)
    assert "2 schedules of its own will ask its twins." in words_of(refused)
    session.rollback()
    assert not any(session.scalars(select(Schedule.is_enabled)))
    answer = researcher.post(start_page(draft), data=data | {"accepts_warnings": "y"}, follow_redirects=True)
    assert "is running. 2 schedules switched on." in words_of(answer)
    session.rollback()
    assert all(session.scalars(select(Schedule.is_enabled))) and state(session) == ExperimentState.running


def test_a_start_without_a_twin_is_blocked_and_offers_no_button(researcher, draft, session, write):
    with write() as writing:
        writing.execute(update(Experiment).values(active_twin_count=0))
    answer = researcher.get(start_page(draft))
    assert "missing Twins No twin is active" in words_of(answer)
    assert "What is marked “missing” has to be mended first." in words_of(answer)
    data = {"id": draft.id, "accepts_warnings": "y"}
    refused = researcher.post(start_page(draft), data=data)
    assert (refused.status_code, state(session)) == (400, ExperimentState.draft)


def test_only_a_draft_has_a_page_to_start_it(researcher, rows):
    assert researcher.get(start_page(rows.experiment)).status_code == 400
    assert "/admin/experiment/start/?id=" not in researcher.get("/admin/experiment/").text


def test_the_checklist_costs_the_same_for_many_twins(researcher, draft, rows):
    researcher.get(start_page(draft))
    with counted_queries() as few:
        researcher.get(start_page(draft))
    for _ in range(6):
        builders.make_twin(draft, token=rows.token)
    with counted_queries() as many:
        researcher.get(start_page(draft))
    assert len(many) == len(few)


@pytest.mark.parametrize("page", ["start", "end", "deletion"])
def test_a_viewer_is_refused(viewer, draft, session, page):
    address = f"/admin/experiment/{page}/?id={draft.id}"
    assert viewer.get(address).status_code == 403
    assert viewer.post(address, data={"id": draft.id, "accepts_warnings": "y"}).status_code == 403
    assert state(session) == ExperimentState.draft


def test_ending_asks_first_and_then_says_what_became_of_attempts(researcher, rows, session):
    builders.add_attempt(rows.twin)
    address = f"/admin/experiment/end/?id={rows.experiment.id}"
    assert "1 waiting attempt is cancelled." in words_of(researcher.get(address))
    answer = researcher.post(
        address, data={"id": rows.experiment.id, "reason": "all finished"}, follow_redirects=True
    )
    words = words_of(answer)
    assert "has ended. 1 waiting attempt was cancelled." in words
    assert "Ended by hand" in words and "all finished" in words
    assert state(session) == ExperimentState.ended


def test_a_draft_is_not_ended(researcher, draft, session):
    answer = researcher.post(f"/admin/experiment/end/?id={draft.id}", data={"id": draft.id})
    assert (answer.status_code, state(session)) == (400, ExperimentState.draft)


@pytest.fixture
def ended(rows, write):
    with write() as session:
        found = session.get_one(Experiment, rows.experiment.id)
        rows.schedule = schedules.add_schedule(
            session, schedules.Wish("S", found, cron="0 9 * * *"), utc_now()
        )
    put(write, rows.experiment, ExperimentState.ended)
    return rows


CHANGING = {
    "Edit", "Post now", "Ask now", "Ban", "Hide", "Deactivate", "Fire once now", "Enable …", "Enable",
    "Disable …", "Pause …", "Archive …", "Delete", "Start …", "End now …", "Pause or stop …",
    "Resume",
}  # fmt: skip
PAGES = {
    "experiment": "experiment", "digitaltwin": "twin", "userprofile": "person", "post": "post",
    "schedule": "schedule",
}  # fmt: skip


@pytest.mark.parametrize("area", PAGES)
def test_an_ended_experiment_offers_no_button_that_changes_it(researcher, ended, area):
    key = getattr(ended, PAGES[area]).id
    identifier = ended.experiment.identifier
    pages = (f"/admin/?experiment={identifier}", f"/experiments/{identifier}/feed")
    for address in (f"/admin/{area}/details/?id={key}", f"/admin/{area}/", *pages):
        main = researcher.get(address).text.split("<main", 1)[1]
        buttons = {text.strip() for text in re.findall(r"<(?:a|button)\b[^>]*>([^<]+)</(?:a|button)>", main)}
        assert not buttons & CHANGING, address
        if address in pages:
            assert not buttons & {"Write a post", "Post now …"}, address


@pytest.mark.parametrize("area", PAGES)
def test_its_forms_answer_that_it_is_only_read(researcher, ended, area):
    key = getattr(ended, PAGES[area]).id
    for answer in (
        researcher.get(f"/admin/{area}/edit/?id={key}"),
        researcher.post(f"/admin/{area}/edit/?id={key}", data={"edit_version": "1", "name": "x"}),
    ):
        assert answer.status_code == 409
        assert "it is only read now, and nothing of it changes" in words_of(answer)


@pytest.mark.parametrize(
    ("address", "row"),
    [
        ("/admin/digitaltwin/post-now/", "twin"),
        ("/admin/digitaltwin/ask-now/", "twin"),
        ("/admin/userprofile/ban/", "person"),
        ("/admin/post/hide/", "post"),
    ],
)
def test_a_button_of_a_page_from_before_changes_nothing(researcher, ended, session, address, row):
    before = session.scalars(select(AuditEvent.id)).all()
    data = {"id": getattr(ended, row).id, "request_id": "web-0123456789abcdef"}
    assert researcher.post(address, data=data).status_code == 409
    session.rollback()
    assert session.scalars(select(AuditEvent.id)).all() == before
    assert session.scalars(select(Attempt)).all() == []


def test_nothing_is_added_to_it_either(researcher, ended, session):
    for page in ("digitaltwin", "userprofile"):
        choices = researcher.get(f"/admin/{page}/new/").text
        assert "Campus climate (" not in choices.split("<main", 1)[1]
    data = {"experiment": ended.experiment.id, "username": "late", "display_name": "Late"}
    assert researcher.post("/admin/userprofile/new/", data=data).status_code == 400
    written = {"user_profile": ended.person.id, "text": "Too late."}
    assert researcher.post("/admin/post/new/", data=written).status_code == 400
    assert len(session.scalars(select(Post)).all()) == 1


def test_it_can_be_copied_exported_and_archived(researcher, ended, session):
    assert researcher.get(f"/admin/experiment/clone/?id={ended.experiment.id}").status_code == 200
    assert "Campus climate" in researcher.get("/admin/experiment/export/csv/").text
    assert researcher.get(f"/experiments/{ended.experiment.identifier}/feed").status_code == 200
    researcher.post("/admin/experiment/archive/", data={"id": ended.experiment.id})
    assert state(session) == ExperimentState.archived


def test_rehearsals_are_marked_in_every_list_and_column_and_can_be_filtered(
    researcher, draft, rows, session, write
):
    attempt_id = builders.add_attempt(rows.twin)
    with write() as writing:
        writing.execute(update(Post).values(is_rehearsal=True))
    attempt = builders.load_attempt(session, attempt_id)
    for page in (
        "/admin/attempt/", "/activity", f"/attempts/{attempt.uuid}", "/admin/post/", "/feed", "/admin/",
        "/admin/attempt/?rehearsal=yes", "/activity?part=rehearsal", "/admin/post/?rehearsal=yes",
    ):  # fmt: skip
        assert "</svg>rehearsal</span>" in researcher.get(page, follow_redirects=True).text, page
    for page in ("/admin/attempt/?rehearsal=no", "/activity?part=study", "/admin/post/?rehearsal=no"):
        assert "</svg>rehearsal</span>" not in researcher.get(page).text, page
    for area, column in (("attempt", "is_rehearsal"), ("post", "Rehearsal")):
        (row,) = csv.DictReader(io.StringIO(researcher.get(f"/admin/{area}/export/csv/").text))
        assert row[column] == "yes"


def test_the_dashboard_of_a_draft_says_that_it_rehearses_and_counts_nothing(researcher, draft, rows):
    builders.add_attempt(rows.twin)
    words = words_of(researcher.get(f"/admin/?experiment={draft.identifier}"))
    assert "This experiment is a draft. What happens now is a rehearsal" in words
    assert "1 asked" in words and "1 of them in rehearsal" in words
    assert "Nothing happened in this period." in words


def test_a_draft_is_not_paused_and_its_page_offers_no_pause(researcher, draft, session):
    assert "Pause or stop" not in words_of(researcher.get(f"/admin/experiment/details/?id={draft.id}"))
    answer = researcher.post(
        f"/experiments/{draft.identifier}/pause", data={"next": "/activity"}, follow_redirects=True
    )
    assert "is a draft: there is no study yet to pause or resume" in words_of(answer)
    assert state(session) == ExperimentState.draft


# Deletion


@pytest.fixture
def archived(rows, write):
    put(write, rows.experiment, ExperimentState.archived)
    return rows.experiment


def deletion_page(experiment):
    return f"/admin/experiment/deletion/?id={experiment.id}"


def test_the_page_says_what_goes_what_stays_and_that_backups_hold_it(administrator, archived):
    words = words_of(administrator.get(deletion_page(archived)))
    assert "Posts 1" in words and "Digital twins 1" in words
    assert "Backups made until now still hold all of it" in words
    assert "audit event" in words


@pytest.mark.parametrize("typed", ["", "campus climate", "Campus climate (x)"])
def test_another_name_deletes_nothing_and_stays_in_the_form(administrator, archived, session, typed):
    answer = administrator.post(deletion_page(archived), data={"id": archived.id, "name": typed})
    assert answer.status_code == 400
    assert fields_of(answer, "name")["name"] == typed
    assert session.scalars(select(Experiment.delete_asked_at)).one() is None


def test_with_its_name_it_is_gone_from_the_lists_and_a_scheduler_deletes_it(administrator, archived, session):
    answer = administrator.post(
        deletion_page(archived), data={"id": archived.id, "name": "Campus climate"}, follow_redirects=True
    )
    assert "is being deleted. A scheduler does it, piece by piece." in words_of(answer)
    assert "Campus climate" not in administrator.get("/admin/experiment/?state=archived").text
    assert administrator.get(f"/admin/experiment/details/?id={archived.id}").status_code == 404
    deletion.delete_for(60)
    session.rollback()
    assert session.scalars(select(Experiment)).all() == session.scalars(select(DigitalTwin)).all() == []
    assert session.scalars(select(Schedule)).all() == []


def test_a_researcher_deletes_no_experiment(researcher, archived, session):
    assert researcher.get(deletion_page(archived)).status_code == 403
    data = {"id": archived.id, "name": "Campus climate"}
    assert researcher.post(deletion_page(archived), data=data).status_code == 403
    assert session.scalars(select(Experiment.delete_asked_at)).one() is None
    assert "Delete …" not in words_of(researcher.get(f"/admin/experiment/details/?id={archived.id}"))


def test_what_is_not_archived_has_no_page_to_delete_it(administrator, rows):
    assert administrator.get(deletion_page(rows.experiment)).status_code == 400
