"""What somebody meets who is new here: lists and pages on which there is nothing yet, names that are long."""

import pytest

from pdsapp.admin import cells
from pdsapp.models import Experiment
from tests.web.looking import words_of


def test_an_empty_list_of_attempts_leads_to_the_twins_that_can_be_asked(viewer):
    page = viewer.get("/admin/attempt/")
    assert "No twin has been asked yet." in words_of(page)
    assert 'href="/admin/digitaltwin/">See the twins</a>' in page.text


def test_who_has_nobody_to_grant_an_experiment_to_is_led_to_add_an_account(administrator, session):
    administrator.post("/admin/experiment/new/", data={"name": "Pilot", "zone": "Europe/Rome"})
    row = session.query(Experiment).one()
    page = administrator.get(f"/admin/experiment/grants/?id={row.id}")
    assert "There is no account that needs a grant" in words_of(page)
    assert 'href="/admin/account/new/">Add account</a>' in page.text
    assert ">Save</button>" not in page.text


def test_who_can_grant_an_experiment_saves_it(administrator, sign_in, session):
    sign_in("viewer", sees_all=False)
    administrator.post("/admin/experiment/new/", data={"name": "Pilot", "zone": "Europe/Rome"})
    row = session.query(Experiment).one()
    page = administrator.get(f"/admin/experiment/grants/?id={row.id}")
    assert "viewer@example.org" in page.text and ">Save</button>" in page.text
    assert ">Add account</a>" not in page.text


def test_a_long_zone_breaks_between_its_parts(administrator):
    zone = "America/Argentina/Buenos_Aires"
    administrator.post("/admin/experiment/new/", data={"name": "Pilot", "zone": zone})
    assert "America/<wbr>Argentina/<wbr>Buenos_Aires" in administrator.get("/admin/experiment/").text


def test_a_zone_is_escaped():
    assert cells.zone("a/<b>") == "a/<wbr>&lt;b&gt;"


@pytest.mark.parametrize(
    ("page", "endpoints"),
    [
        ("/admin/digitaltwin/new/", ("/admin/experiment/new/", "/admin/persona/new/")),
        ("/admin/digitaltwin/bulk/", ("/admin/experiment/new/",)),
        ("/admin/schedule/new/", ("/admin/experiment/new/",)),
        ("/admin/post/new/", ("/admin/userprofile/new/",)),
    ],
)
def test_a_form_with_nothing_to_choose_leads_to_where_one_is_added(researcher, page, endpoints):
    text = researcher.get(page).text
    assert text.count("There is none to choose yet: add one") == len(endpoints)
    assert all(f'<a href="{endpoint}">There is none' in text for endpoint in endpoints)


def test_all_experiments_at_once_are_none_to_choose(administrator):
    text = administrator.get("/admin/schedule/new/").text
    assert "all running experiments" in text and "There is none to choose yet: add one" in text


def test_a_form_with_something_to_choose_does_not(researcher, rows):
    assert "There is none to choose yet" not in researcher.get("/admin/digitaltwin/new/").text
