"""Pausing by the top bar: by keyboard, by mouse, without scripts; what stands on every page meanwhile."""

import re

import pytest
from playwright.sync_api import Page, expect

from . import steps
from .screens import assert_fits
from .test_narrow import SMALL_PHONE

pytestmark = [pytest.mark.browser, pytest.mark.stack]

EXPERIMENT, TWIN = "Waiting room", "patient_zero"


@pytest.fixture(scope="package")
def waiting_room(chromium, address, administrator, studio) -> str:
    """The address of the start page that shows an experiment of these tests' own, with one twin."""
    context = chromium.new_context(base_url=address, storage_state=str(administrator.state))
    page = context.new_page()
    steps.add(page, "experiment", Name=EXPERIMENT)
    identifier = re.search(rf"{EXPERIMENT} \((\w+)\)", page.locator("h1").inner_text())[1]
    steps.add(
        page, "digitaltwin",
        Experiment=EXPERIMENT, Username=TWIN, Persona=studio.persona, API_token=studio.token,
    )  # fmt: skip
    steps.start(page, EXPERIMENT)
    context.close()
    return f"/admin/?experiment={identifier}"


def line(page: Page):
    """What says on every page that something is paused."""
    return page.get_by_role("status", name="Paused")


def test_an_experiment_is_paused_and_resumed_by_keyboard(page, waiting_room, administrator):
    page.goto(waiting_room)
    opener = page.locator("details.pausing > summary")
    expect(opener).to_have_text("Pause this experiment")
    reason = page.locator("details.pausing").get_by_label("Reason").first
    opener.focus()
    page.keyboard.press("Enter")
    expect(reason).to_be_visible()
    page.keyboard.press("Escape")
    expect(reason).to_be_hidden()
    expect(opener).to_be_focused()

    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(reason).to_be_focused()
    page.keyboard.type("exam week")
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Pause this experiment", exact=True)).to_be_focused()
    page.keyboard.press("Enter")
    expect(line(page)).to_contain_text(f"by {administrator.email}: exam week. No twin of it is asked.")

    for address in ("/activity", "/admin/persona/"):
        page.goto(address)
        expect(line(page)).to_contain_text("This experiment is paused since ")
    page.set_viewport_size(SMALL_PHONE)
    assert_fits(page)
    page.set_viewport_size({"width": 1280, "height": 900})

    steps.post_now(page, TWIN)
    expect(steps.state(page)).to_have_text("skipped")
    outcome = page.get_by_role("region", name="Outcome")
    expect(outcome).to_contain_text(re.compile(rf"paused since .* by {administrator.email}: exam week"))

    page.get_by_role("button", name="Resume this experiment").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("main")).to_contain_text("is running. It goes on with its next slots")
    expect(line(page)).to_have_count(0)
    steps.post_now(page, TWIN)
    steps.expect_end(page, "posted")


def test_everything_is_paused_then_stopped_with_another_reason_and_resumed(page, waiting_room, administrator):
    page.goto(waiting_room)
    page.get_by_text("Pause this experiment", exact=True).first.click()
    everything = page.locator("details.pausing form").filter(has_text="Everything")
    everything.get_by_label("Reason").fill("a new server")
    everything.get_by_role("button", name=re.compile(r"^Pause everything \(\d+ experiments\)$")).click()
    try:
        expect(line(page)).to_contain_text(f"by {administrator.email}: a new server. No twin of any")
        line(page).get_by_label("Reason").fill("wrong prompt")
        stop = line(page).get_by_role("button", name="Stop everything now")
        stop.click()
        dialog = page.get_by_role("dialog", name="Please confirm")
        expect(dialog).to_contain_text("Stop everything now? It is paused")
        dialog.get_by_role("button", name="Cancel").click()
        expect(line(page)).to_contain_text("Everything is paused since ")
        stop.click()
        dialog.get_by_role("button", name="Stop everything now").click()
        expect(line(page)).to_contain_text(re.compile(r"Everything is stopped since .*: wrong prompt\."))
        expect(stop).to_have_count(0)
    finally:
        page.get_by_role("button", name="Resume everything").click()
    expect(page.get_by_role("main")).to_contain_text("Everything is resumed.")
    expect(line(page)).to_have_count(0)


def test_without_scripts_an_experiment_is_stopped_and_resumed(open_window, waiting_room, administrator):
    page = open_window(storage_state=str(administrator.state), java_script_enabled=False)
    page.goto(waiting_room)
    page.get_by_text("Pause this experiment", exact=True).first.click()
    own = page.locator("details.pausing form").filter(has_text=EXPERIMENT)
    own.get_by_label("Reason").fill("no scripts here")
    own.get_by_role("button", name="Stop now").click()
    expect(line(page)).to_contain_text(re.compile(r"This experiment is stopped since .*: no scripts here\."))
    page.get_by_role("button", name="Resume this experiment").click()
    expect(page.get_by_role("main")).to_contain_text("is running. It goes on with its next slots")
    expect(line(page)).to_have_count(0)
