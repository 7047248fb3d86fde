"""Pausing by hand: what the top bar offers whom, what stands on every page, and the page that asks why."""

import re

import pytest
from sqlalchemy import func, select

from pdsapp.domain.reasons import AttemptState, ExperimentState, Reason
from pdsapp.models import ApiToken, Attempt, AuditEvent, Experiment, Installation, Schedule, utc_now
from pdsapp.services import pauses, schedules
from tests import builders
from tests.web.looking import assert_nothing_inline, words_of

PAGES = ("/admin/", "/activity", "/admin/persona/", "/admin/apitoken/", "/nowhere")


@pytest.fixture
def administrator(sign_in):
    """A browser of an administrator."""
    return sign_in("administrator")


@pytest.fixture
def schedule(rows, write):
    """An enabled schedule of the experiment."""
    with write() as session:
        found = session.get_one(Experiment, rows.experiment.id)
        wish = schedules.Wish("Daytime", found, cron="0 9 * * *", is_enabled=True)
        return schedules.add_schedule(session, wish, utc_now())


def stored(session, kind):
    session.rollback()
    session.expire_all()
    return session.scalars(select(kind)).one()


def pausing_of(page):
    found = re.search(r'<details class="pausing">.*?</details>', page, re.S)
    return found[0] if found else ""


def test_everything_is_an_administrator_s_and_says_how_much_that_is(administrator, rows):
    page = administrator.get("/admin/persona/")
    assert_nothing_inline(page)
    panel = pausing_of(page.text)
    for words in (
        "Pause this experiment",
        "Stop now",
        "Pause everything (1 experiment)",
        "Stop everything now",
    ):
        assert words in panel
    builders.make_experiment("A second one")
    panel = pausing_of(administrator.get("/admin/persona/?experiment=").text)
    assert '<summary class="button">Pause everything (2 experiments)</summary>' in panel
    assert "Pause this experiment" not in panel


def test_a_researcher_is_offered_what_is_one_experiment_s(researcher, rows, session):
    panel = pausing_of(researcher.get("/admin/persona/").text)
    assert "Pause this experiment" in panel and "everything" not in panel
    for act in ("pause", "stop", "resume"):
        assert researcher.post(f"/everything/{act}").status_code == 403
    assert not stored(session, Installation).is_paused


def test_a_viewer_sees_who_paused_it_and_why_but_may_not_press(viewer, researcher, rows, session):
    identifier = rows.experiment.identifier
    researcher.post(f"/experiments/{identifier}/pause", data={"reason": "exam week"})
    page = viewer.get("/admin/persona/")
    assert re.search(
        r"This experiment is paused since \w{3} \d+ \w{3} \d{4}, \d\d:\d\d CES?T by researcher@example.org: "
        r"exam week\. No twin of it is asked\. A researcher can resume it\.",
        words_of(page),
    )
    assert pausing_of(page.text) == "" and "/resume" not in page.text
    for path in (f"/experiments/{identifier}/{act}" for act in ("pause", "stop", "resume")):
        assert viewer.post(path).status_code == 403
    assert viewer.get(f"/admin/experiment/pause/?id={rows.experiment.id}").status_code == 403
    assert stored(session, Experiment).state == ExperimentState.paused


def test_a_pause_of_everything_stands_on_every_page_until_it_is_resumed(administrator, rows, session):
    answer = administrator.post("/everything/pause", data={"reason": "<b>alarm</b>", "next": "/activity"})
    assert answer.location == "/activity"
    assert (stored(session, Installation).is_paused, stored(session, Installation).paused_by) == (
        True, "administrator@example.org",
    )  # fmt: skip
    for path in PAGES:
        page = administrator.get(path)
        assert "Everything is paused since " in words_of(page), path
        assert "by administrator@example.org: <b>alarm</b>." in words_of(page)
        assert "<b>alarm</b>" not in page.text
        assert "Resume everything" in page.text
    administrator.post("/everything/resume")
    assert "Everything is resumed." in words_of(administrator.get("/activity"))
    assert "Everything is paused" not in administrator.get("/activity").text


def test_stopping_says_what_became_of_attempts(administrator, rows, session, write):
    builders.add_attempt(rows.twin)
    administrator.post("/everything/stop", data={"reason": "wrong prompt"})
    words = words_of(administrator.get("/admin/persona/"))
    assert "1 waiting attempt was cancelled; none is being written." in words
    assert "Everything is stopped since " in words
    assert stored(session, Installation).is_stopped
    assert (stored(session, Attempt).state, stored(session, Attempt).reason) == (
        AttemptState.cancelled, Reason.paused,
    )  # fmt: skip


def test_a_double_click_is_one_pause(researcher, rows, session):
    for _ in range(2):
        answer = researcher.post(f"/experiments/{rows.experiment.identifier}/pause", data={"next": "/admin/"})
        assert answer.status_code == 302
    query = select(func.count(AuditEvent.id)).where(AuditEvent.action == "pause")
    assert session.scalar(query) == 1


def test_what_is_over_says_so_instead_of_breaking(researcher, rows, session, write):
    with write() as writing:
        writing.get_one(Experiment, rows.experiment.id).state = ExperimentState.ended
    answer = researcher.post(
        f"/experiments/{rows.experiment.identifier}/stop", data={"next": "/activity"}, follow_redirects=True
    )
    assert "is ended and stays so." in words_of(answer)


def test_a_reason_too_long_changes_nothing(researcher, rows, session):
    answer = researcher.post(
        f"/experiments/{rows.experiment.identifier}/pause", data={"reason": "x" * 256}, follow_redirects=True
    )
    assert "at most 255 fit" in words_of(answer)
    assert stored(session, Experiment).state == ExperimentState.running


def test_over_all_experiments_the_paused_ones_are_named(researcher, rows, write):
    builders.make_experiment("A second one")
    with write() as session:
        pauses.pause_experiment(session, session.get_one(Experiment, rows.experiment.id), utc_now())
    words = words_of(researcher.get("/admin/persona/?experiment="))
    assert f"1 of 2 experiments is paused: Campus climate ({rows.experiment.identifier})." in words


# rows


def test_the_page_of_a_row_asks_why_and_says_what_will_happen(researcher, rows, session):
    builders.add_attempt(rows.twin)
    page = researcher.get(f"/admin/experiment/pause/?id={rows.experiment.id}&url=/admin/experiment/")
    assert_nothing_inline(page)
    words = words_of(page)
    assert "1 waiting attempt is cancelled." in words
    assert "0 are being written at this moment" in words
    data = {"id": rows.experiment.id, "url": "/admin/experiment/", "reason": "wrong prompt"}
    assert researcher.post("/admin/experiment/stop/", data=data).location == "/admin/experiment/"
    row = stored(session, Experiment)
    assert (row.state, row.is_stopped, row.paused_reason) == (ExperimentState.paused, True, "wrong prompt")
    assert "stopped" in words_of(researcher.get("/admin/experiment/"))
    details = words_of(researcher.get(f"/admin/experiment/details/?id={rows.experiment.id}"))
    assert "Stopped since " in details and "by researcher@example.org: wrong prompt." in details


def test_a_schedule_is_paused_with_its_reason_and_resumed_from_its_row(researcher, rows, session, schedule):
    assert "Pause …" in researcher.get("/admin/schedule/").text
    page = researcher.get(f"/admin/schedule/pause/?id={schedule.id}")
    assert "Pause schedule" in page.text and "Stop now" not in page.text.partition("<main")[2]
    researcher.post("/admin/schedule/pause/", data={"id": schedule.id, "reason": "holiday"})
    row = stored(session, Schedule)
    assert (row.paused_by, row.paused_reason, row.is_enabled) == ("researcher@example.org", "holiday", True)
    words = words_of(researcher.get("/admin/schedule/"))
    assert re.search(r"paused Paused since .* by researcher@example.org: holiday\.", words)
    assert "Schedule “Daytime” is paused since " in words_of(researcher.get("/admin/"))
    assert researcher.post("/admin/schedule/stop/", data={"id": schedule.id}).status_code == 404
    researcher.post("/admin/schedule/resume/", data={"id": schedule.id})
    assert stored(session, Schedule).paused_at is None


def test_a_schedule_of_all_experiments_is_not_a_researcher_s_to_pause(researcher, rows, session, write):
    with write() as writing:
        wish = schedules.Wish("All", None, cron="0 9 * * *", zone="UTC", is_enabled=True)
        key = schedules.add_schedule(writing, wish, utc_now()).id
    answer = researcher.post("/admin/schedule/pause/", data={"id": key}, follow_redirects=True)
    assert "Only administrators pause or resume a schedule of all experiments." in words_of(answer)
    assert stored(session, Schedule).paused_at is None


def test_a_token_s_row_says_who_paused_it(researcher, rows, session):
    researcher.post("/admin/apitoken/pause/", data={"id": rows.token.id, "reason": "new key"})
    assert stored(session, ApiToken).paused_by == "researcher@example.org"
    details = words_of(researcher.get(f"/admin/apitoken/details/?id={rows.token.id}"))
    assert "by researcher@example.org: new key." in details
