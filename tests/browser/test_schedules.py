"""A schedule asks by itself."""

import pytest
from playwright.sync_api import expect

from . import steps
from .screens import assert_fits

pytestmark = [pytest.mark.browser, pytest.mark.stack]

MINUTE_MS = 75_000


def test_a_schedule_that_fires_every_minute_asks_its_twin_by_itself(page, every_minute):
    page.goto(f"/activity?trigger=schedule&twin=@{every_minute.twin}")
    page.get_by_label("Refresh").select_option(label="every second")
    row = page.locator("#attempts tr").first
    expect(row).to_be_visible(timeout=MINUTE_MS)
    row.get_by_role("link").first.click()
    expect(page.locator(".lead")).to_contain_text(f"slot of “{every_minute.schedule}”")
    expect(page.get_by_text("Asked by")).to_be_visible()

    page.goto("/admin/")
    latest = page.locator("table.attempt-rows tbody tr").filter(has_text=f"@{every_minute.twin}")
    expect(latest.first).to_be_visible()
    page.goto("/admin/schedule/")
    expect(page.locator("table.rows tbody tr").filter(has_text=every_minute.schedule)).to_contain_text(
        "fired"
    )


@pytest.mark.parametrize("width", [1280, 390])
def test_a_twin_is_found_ticked_and_chosen_while_the_page_says_what_that_means(page, studio, width):
    page.set_viewport_size({"width": width, "height": 844})
    page.goto("/admin/schedule/new/")
    steps.fill(page, Name=f"Chosen at {width}", Experiment=studio.experiment)
    page.get_by_label("chosen twins", exact=True).check()
    page.get_by_label("Find a twin").fill(studio.twin[:5])
    page.get_by_label("Find a twin").press("Enter")
    box = page.get_by_label(f"@{studio.twin}")
    expect(box).to_be_visible()
    box.focus()
    box.press("Space")
    expect(page.locator("#effect")).to_contain_text("It asks the chosen twin, about one turn per twin every")
    page.get_by_label("Find a twin").fill("nobody is called this")
    expect(page.get_by_label(f"@{studio.twin}")).to_be_checked()
    assert_fits(page)
    if page.get_by_label("Reason for the change").count():
        page.get_by_label("Reason for the change").fill("one voice is enough")
    page.get_by_role("button", name="Save", exact=True).last.click()
    page.wait_for_url("**/details/**")
    expect(page.get_by_role("main")).to_contain_text(f"@{studio.twin}")
    page.goto("/admin/schedule/")
    row = page.locator("table.rows tbody tr").filter(has_text=f"Chosen at {width}")
    expect(row).to_contain_text("the chosen twin")


def test_the_last_slots_are_marks_that_say_what_they_are(page, every_minute):
    page.goto("/admin/schedule/")
    row = page.locator("table.rows tbody tr").filter(has_text=every_minute.schedule)
    mark = row.get_by_role("list").get_by_role("listitem").first
    expect(mark).to_be_attached(timeout=MINUTE_MS)
    assert ": " in mark.get_attribute("title")
    expect(page.get_by_role("list", name="Marks of slots")).to_be_visible()
