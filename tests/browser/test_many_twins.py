"""Many twins: from a file to two hundred of them in four steps, then changed at once, on desk and phone."""

import pytest
from playwright.sync_api import expect

from . import steps
from .screens import assert_fits

pytestmark = [pytest.mark.browser, pytest.mark.stack]

SIZES = {"desk": {"width": 1280, "height": 900}, "phone": {"width": 390, "height": 844}}


def table(prefix, persona, count):
    """A CSV file as somebody chooses it."""
    lines = "".join(f"{prefix}_{number},{persona},pilot\n" for number in range(count))
    text = f"username,persona_name,tags\n{lines}"
    return {"name": f"{prefix}.csv", "mimeType": "text/csv", "buffer": text.encode()}


@pytest.mark.parametrize("size", SIZES)
def test_two_hundred_twins_from_a_file_in_four_steps(page, studio, size):
    page.set_viewport_size(SIZES[size])
    steps.add(page, "experiment", Name=f"Lecture on a {size}")
    page.get_by_role("link", name="Add twins").click()
    expect(page.get_by_label("Experiment", exact=True).last).to_contain_text(f"Lecture on a {size}")
    assert_fits(page)
    page.get_by_label("File", exact=True).set_input_files(table(f"{size}", studio.persona, 200))
    page.get_by_role("button", name="Show what it would do").click()
    expect(page.get_by_text("200 to create.")).to_be_visible()
    assert_fits(page)
    confirm = page.get_by_role("button", name="Set up all of it")
    expect(confirm).to_be_in_viewport()
    page.get_by_text("Show the other 180 rows").click()
    expect(page.get_by_text(f"@{size}_199")).to_be_visible()
    expect(confirm).to_be_in_viewport()
    page.get_by_role("button", name="Set up all of it").click()
    expect(page.get_by_text("200 twins set up, 0 updated, 0 skipped.")).to_be_visible()
    assert_fits(page)
    page.get_by_role("link", name="See the twins").click()
    expect(page.get_by_role("link", name=f"@{size}_199")).to_be_visible()

    steps.more(page, "Edit all that match")
    expect(page.get_by_role("heading", name="Change or copy 200 twins")).to_be_visible()
    assert_fits(page)
    page.get_by_label("Add tags").fill("section 2")
    page.get_by_label("Active", exact=False).last.scroll_into_view_if_needed()
    page.get_by_role("button", name="Show what it would do").click()
    expect(page.get_by_text("200 of 200")).to_be_visible()
    assert_fits(page)
    page.get_by_role("button", name="Change 200 twins").click()
    expect(page.get_by_text("Changed 200 twins.")).to_be_visible()
    expect(page.get_by_role("main").get_by_text("section 2").first).to_be_visible()


def test_six_hundred_are_set_up_by_a_worker_while_the_page_shows_how_far(page, studio):
    steps.add(page, "experiment", Name="Large lecture")
    page.get_by_role("link", name="Add twins").click()
    page.get_by_label("Personas of the library").check()
    page.get_by_label(studio.persona).check()
    page.get_by_role("spinbutton", name="Twins of each").fill("600")
    page.get_by_label("Usernames").fill("large_{n}")
    page.get_by_role("button", name="Show what it would do").click()
    expect(page.get_by_text("A worker sets them up")).to_be_visible()
    page.get_by_role("button", name="Set up all of it").click()
    expect(page.get_by_text("600 twins set up, 0 updated, 0 skipped.")).to_be_visible(timeout=30_000)


def test_the_page_of_a_twin_leads_to_its_preview_and_back(page, studio):
    page.goto(f"/admin/digitaltwin/?search={studio.twin}")
    page.get_by_role("link", name=f"@{studio.twin}", exact=True).click()
    expect(page.get_by_role("img", name="skip probability")).to_be_visible()
    page.get_by_role("link", name="Preview").click()
    expect(page.get_by_text("You study at night and write in plain sentences.")).to_be_visible()
    assert_fits(page)
