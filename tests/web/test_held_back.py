"""Doors that were found open once, and stay shut."""

import pytest
from sqlalchemy import func, select

from pdsapp.database import transaction
from pdsapp.models import Attempt, AuditEvent, Experiment, Schedule, utc_now
from pdsapp.services import schedules
from pdsapp.web.access import is_relative
from tests import builders


@pytest.mark.parametrize(
    "screen", ["experiment", "persona", "apitoken", "userprofile", "digitaltwin", "post"]
)
@pytest.mark.parametrize("kind", ["json", "xlsx", "html"])
def test_an_export_of_another_type_leads_nowhere(viewer, screen, kind):
    answer = viewer.get(f"/admin/{screen}/export/{kind}/?url=http:/evil.example")
    assert answer.status_code == 404
    assert "Location" not in answer.headers


@pytest.mark.parametrize(
    "target", ["http:/evil.example", "http:evil.example", "//evil.example", "/\\evil.example"]
)
def test_cancel_and_crumbs_never_leave_the_site(researcher, target):
    page = researcher.get("/admin/persona/new/", query_string={"url": target}).text
    assert "evil.example" not in page
    assert not is_relative(target)


@pytest.fixture
def for_all(app):
    """An administrator's schedule of all experiments, enabled."""
    builders.make_twin(builders.make_experiment())
    with transaction() as session:
        wish = schedules.Wish("All", None, cron="0 9 * * *", zone="UTC", is_enabled=True)
        return schedules.add_schedule(session, wish, utc_now())


@pytest.mark.parametrize("what", ["fire", "disable", "archive", "enable"])
def test_a_researcher_cannot_touch_a_schedule_of_all_experiments(researcher, session, for_all, what):
    data = {"id": for_all.id, "request_id": "web-" + "a" * 32}
    answer = researcher.post(f"/admin/schedule/{what}/", data=data, follow_redirects=True)
    assert "Only administrators" in answer.text
    row = session.get_one(Schedule, for_all.id)
    assert (row.is_enabled, row.is_archived) == (True, False)
    assert session.scalar(select(func.count(Attempt.id))) == 0


def test_firing_with_one_request_id_many_times_is_one_line_in_the_audit_trail(app, session, for_all):
    from pdsapp.domain.reasons import Trigger
    from pdsapp.dt_service import DTService

    for _ in range(3):
        with transaction() as writing:
            row = writing.get_one(Schedule, for_all.id)
            schedules.fire_once(writing, row, DTService(), "web-once", utc_now(), trigger=Trigger.button)
    query = select(func.count(AuditEvent.id)).where(AuditEvent.action == "fire")
    assert session.scalar(query) == 1


def test_a_running_experiment_is_not_archived(researcher, session):
    study = builders.make_experiment()
    answer = researcher.post("/admin/experiment/archive/", data={"id": study.id}, follow_redirects=True)
    assert "Pause or end it before you archive it" in answer.text
    assert session.get_one(Experiment, study.id).state == "running"


def test_a_copied_cookie_is_dead_after_signing_out(app, researcher):
    copied = app.test_client()
    for cookie in list(researcher._cookies.values()):
        copied.set_cookie(cookie.key, cookie.value)
    assert copied.get("/admin/").status_code == 200
    researcher.post("/logout")
    assert copied.get("/admin/").status_code == 302


@pytest.mark.parametrize(
    "parameters",
    [
        pytest.param('{"a":' * 5000, id="nested deeply"),
        pytest.param('{"a\\ud800": 1}', id="a lone surrogate in a name"),
        pytest.param("x" * 100_000, id="long"),
    ],
)
def test_absurd_parameters_are_a_field_error(researcher, parameters):
    data = {"name": "t", "base_url": "https://api.example/v1", "parameters": parameters}
    answer = researcher.post("/admin/apitoken/new/", data=data)
    assert answer.status_code == 400


def test_an_absurd_address_of_a_form_is_an_empty_form(researcher):
    assert researcher.get("/admin/schedule/new/?anchor_at=abc&name=x").status_code == 200
