"""The frame: areas, the experiment that is shown, life signs, theme, pausing."""

import re

import pytest
from sqlalchemy import select

from pdsapp.domain.reasons import ExperimentState
from pdsapp.models import Attempt, AuditEvent, Experiment, ProcessKind, utc_now
from pdsapp.services import experiments, heartbeats, schedules, twins
from tests import builders
from tests.conftest import NOON


@pytest.fixture
def other(rows, write):
    """A second experiment, with a twin of its own."""
    with write() as session:
        experiment = experiments.add_experiment(session, "Second section", "UTC", NOON)
        session.flush()
        twins.add_twin(session, experiment, "zed", session.merge(rows.version), NOON)
        return experiment


def test_the_areas_lead_to_pages_that_exist(researcher, rows):
    page = researcher.get("/admin/experiment/").text
    nav = re.search(r'<nav class="side".*?</nav>', page, re.S)[0]
    links = re.findall(r'<a href="([^"]+)"', nav)
    assert len(links) == 12
    for link in links:
        assert researcher.get(link).status_code == 200, link


def test_the_area_one_is_in_is_marked(researcher, rows):
    page = researcher.get("/admin/persona/details/?id=1").text
    assert re.findall(r'aria-current="page">(\w+)', page) == ["Personas"]


def test_choosing_an_experiment_filters_every_list(researcher, rows, other):
    assert "@maya_reads" in researcher.get("/admin/digitaltwin/").text
    answer = researcher.post(
        "/switch", data={"experiment": other.identifier, "next": "/admin/digitaltwin/?page=3"}
    )
    assert answer.location == "/admin/digitaltwin/"
    page = researcher.get("/admin/digitaltwin/").text
    assert "@zed" in page
    assert "@maya_reads" not in page
    assert "@ada" not in researcher.get("/admin/userprofile/").text
    assert "Third bus" not in researcher.get("/admin/post/").text
    assert researcher.post("/switch", data={"experiment": "", "next": "//evil"}).location == "/admin/"
    assert "@maya_reads" in researcher.get("/admin/digitaltwin/").text


def test_a_button_of_the_frame_leads_back_only_to_pages_of_ours(researcher, rows):
    page = researcher.post("/admin/apitoken/test/", data={"id": rows.token.id}).text
    assert 'name="next" value="/admin/apitoken/test/"' in page, "a page that only a POST makes"
    for there, back in {
        "/admin/apitoken/test/": "/admin/",
        "/nowhere": "/admin/",
        "/experiments/aaaaa/pause": "/admin/",
        "/admin/persona": "/admin/persona",
        "/admin/persona/details/?id=1&url=/admin/persona/?page=2": (
            "/admin/persona/details/?id=1&url=/admin/persona/?page=2"
        ),
    }.items():
        assert researcher.post("/switch", data={"next": there}).location == back, there


def test_an_address_may_name_the_experiment_and_it_stays_chosen(researcher, rows, other):
    researcher.get(f"/admin/persona/?experiment={other.identifier}")
    assert "@maya_reads" not in researcher.get("/admin/digitaltwin/").text
    assert researcher.get("/admin/persona/?experiment=%00zzz").status_code == 200
    assert "@zed" in researcher.get("/admin/digitaltwin/").text


def test_pausing_names_its_scope_and_is_written_down(researcher, rows, session):
    identifier = rows.experiment.identifier
    assert "Pause this experiment" not in researcher.get("/admin/persona/?experiment=").text
    page = researcher.get(f"/admin/persona/?experiment={identifier}").text
    assert "Pause this experiment" in page
    data = {"next": "/admin/persona/", "reason": "exam week"}
    answer = researcher.post(f"/experiments/{identifier}/pause", data=data)
    assert answer.location == "/admin/persona/"
    assert session.scalars(select(Experiment.state)).one() == ExperimentState.paused
    page = researcher.get("/admin/persona/").text
    assert page.count("xperiment is paused") == 1 and "Nothing waits or is written." in page
    assert "Resume this experiment" in page
    event = session.scalars(select(AuditEvent).order_by(AuditEvent.id.desc()).limit(1)).one()
    assert (event.actor, event.action) == ("researcher@example.org", "pause")
    assert (event.after["state"], event.after["reason"]) == ("paused", "exam week")


def test_a_viewer_sees_the_state_but_no_button(viewer, rows):
    page = viewer.get(f"/admin/persona/?experiment={rows.experiment.identifier}").text
    assert "running" in page
    assert "Pause this experiment" not in page


def test_life_signs_are_words(researcher, rows, write):
    assert re.search(r"worker\s.*none alive", researcher.get("/admin/persona/").text)
    with write() as session:
        heartbeats.beat(session, ProcessKind.worker, "w1", utc_now(), "default")
    assert re.search(r"worker\s.*\d s ago", researcher.get("/admin/persona/").text)


@pytest.mark.parametrize(("theme", "kept"), [("dark", "dark"), ("light", "light"), ("", None), ("<b>", None)])
def test_the_theme_is_a_cookie(viewer, theme, kept):
    viewer.post("/theme", data={"theme": theme})
    page = viewer.get("/admin/persona/").text
    assert (f'data-theme="{kept}"' in page) if kept else ("data-theme=" not in page)


def test_the_frame_asks_the_same_few_questions_whatever_there_is(researcher, rows, write, count_queries):
    researcher.get("/admin/persona/")
    with count_queries() as few:
        researcher.get("/nowhere")
    with write() as session:
        for number in range(20):
            experiments.add_experiment(session, f"More {number}", "UTC", NOON)
    with count_queries() as many:
        researcher.get("/nowhere")
    assert len(few) == len(many) <= 8


def test_who_never_chose_sees_the_only_experiment_there_is(researcher, rows):
    assert "Pause this experiment" in researcher.get("/admin/persona/").text
    builders.make_experiment("A second one")
    assert "Pause this experiment" not in researcher.get("/admin/persona/").text


def top_of(page):
    return re.search(r'<section class="top".*?</section>', page.text, re.S)[0]


def test_the_page_of_a_row_never_offers_to_pause_another_experiment(researcher, rows, other, write):
    with write() as session:
        study = session.merge(rows.experiment)
        wish = schedules.Wish("Daytime", study, cron="0 9 * * *", is_enabled=True)
        schedule = schedules.add_schedule(session, wish, utc_now()).id
    key = builders.add_attempt(rows.twin)
    with write() as session:
        attempt = session.get_one(Attempt, key).uuid
    researcher.get(f"/admin/persona/?experiment={other.identifier}")
    own = rows.experiment.identifier
    pages = {
        f"/admin/schedule/details/?id={schedule}": "/admin/schedule/",
        f"/admin/schedule/edit/?id={schedule}": "/admin/schedule/",
        f"/admin/schedule/pause/?id={schedule}": "/admin/schedule/",
        f"/admin/digitaltwin/details/?id={rows.twin.id}": "/admin/digitaltwin/",
        f"/admin/post/details/?id={rows.post.id}": "/admin/post/",
        f"/admin/userprofile/details/?id={rows.person.id}": "/admin/userprofile/",
        f"/attempts/{attempt}": "/admin/attempt/",
        f"/experiments/{own}/feed": "/feed",
        f"/admin/experiment/details/?id={rows.experiment.id}": "/admin/experiment/",
    }
    for path, leads_to in pages.items():
        top = top_of(researcher.get(path))
        assert f'<option value="{own}" selected>' in top, path
        assert f'name="next" value="{leads_to}"' in top, path
        assert f"/experiments/{other.identifier}/pause" not in top, path
        is_own_page = path.startswith("/admin/experiment/")
        assert (f"/experiments/{own}/pause" in top) is not is_own_page, path
    assert f'<option value="{other.identifier}" selected>' in top_of(researcher.get("/admin/digitaltwin/"))
    assert "@maya_reads" not in researcher.get("/admin/digitaltwin/").text


def test_the_page_of_what_asks_all_experiments_offers_to_pause_none_of_them(researcher, rows, other, write):
    with write() as session:
        wish = schedules.Wish("All", None, cron="0 9 * * *", zone="UTC", is_enabled=True)
        schedule = schedules.add_schedule(session, wish, utc_now()).id
    researcher.get(f"/admin/persona/?experiment={other.identifier}")
    top = top_of(researcher.get(f"/admin/schedule/details/?id={schedule}"))
    assert " selected>" not in top and "Pause this experiment" not in top


def test_an_archived_experiment_is_named_on_its_own_page(researcher, rows, other, write):
    with write() as session:
        session.merge(rows.experiment).state = ExperimentState.archived
    top = top_of(researcher.get(f"/admin/experiment/details/?id={rows.experiment.id}"))
    assert f'<option value="{rows.experiment.identifier}" selected>' in top
    assert rows.experiment.identifier not in top_of(researcher.get("/admin/persona/"))
