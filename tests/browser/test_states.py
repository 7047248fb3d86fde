"""A study from its draft to its end: rehearsed, started by a checklist, ended, and then only read."""

import pytest
from playwright.sync_api import expect

from . import steps

pytestmark = [pytest.mark.browser, pytest.mark.stack]
TWIN = "first_row"


@pytest.fixture
def page(open_window, administrator):
    """A page that may hear of a form that was refused."""
    return open_window(storage_state=str(administrator.state), may_fail=("400",))


@pytest.mark.parametrize("width", [1280, 390], ids=["desk", "phone"])
def test_a_study_is_rehearsed_started_and_ended(page, endpoint, studio, width):
    page.set_viewport_size({"width": width, "height": 900})
    name, twin_name = f"Lecture hall {width}", f"{TWIN}_{width}"
    steps.add(page, "experiment", Name=name, Time_zone="Europe/Rome")
    expect(page.locator("main .pill").first).to_have_text("draft")
    page.get_by_role("link", name="Start …").click()
    expect(page.locator(".checks li").filter(has_text="Twins").first).to_contain_text("missing")
    expect(page.get_by_role("button", name="Start the experiment")).to_be_disabled()

    steps.add(
        page,
        "digitaltwin",
        Experiment=name,
        Username=twin_name,
        Persona=studio.persona,
        API_token=studio.token,
    )
    steps.post_now(page, twin_name)
    steps.expect_end(page, "posted")
    expect(page.locator("#attempt-page .lead")).to_contain_text("rehearsal")
    post = steps.posted_text(page)
    page.get_by_role("link", name="See it in the feed").click()
    expect(page.locator(".feed-post").filter(has_text=post)).to_contain_text("rehearsal")

    page.goto("/admin/experiment/")
    steps.row(page, name).get_by_role("link", name="Start …").click()
    expect(page.get_by_text("1 attempt, 1 post in the feed")).to_be_visible()
    expect(page.locator(".checks li").filter(has_text="Host ")).to_contain_text("for 1 active twin.")
    page.get_by_role("button", name="Start the experiment").click()
    expect(page.get_by_role("alert")).to_contain_text("Mend this, or say that it is meant")
    page.get_by_label("Start anyway").check()
    page.get_by_role("button", name="Start the experiment").click()
    expect(page.get_by_role("status")).to_contain_text("1 post of the rehearsal was archived.")
    expect(page.locator("#changes")).to_contain_text("Started; the rehearsal was archived")
    steps.more(page, "Feed")
    expect(page.get_by_text("Nobody has posted yet.")).to_be_visible()

    page.goto("/admin/experiment/")
    place = steps.row(page, name)
    place.get_by_text("More", exact=True).click()
    place.get_by_role("link", name="End now …").click()
    page.get_by_label("Reason").last.fill("all sections have finished")
    page.get_by_role("button", name="End the experiment").click()
    expect(page.get_by_role("status")).to_contain_text("has ended.")
    expect(page.get_by_role("main").get_by_role("link", name="Edit")).to_have_count(0)
    twin = steps.twin_row(page, twin_name)
    expect(twin).to_be_visible()
    expect(twin.get_by_role("button")).to_have_count(0)
