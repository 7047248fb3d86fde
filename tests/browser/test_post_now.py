"""The dialog before a twin is asked: what it shows, keys and focus, both widths, one attempt of one form."""

import os

import pytest
from playwright.sync_api import expect

from . import screens, steps
from .test_axe import grave_violations

pytestmark = [pytest.mark.browser, pytest.mark.stack]
NARROW = {"width": 390, "height": 844}


def open_dialog(page, username):
    place = steps.twin_row(page, username)
    place.get_by_text("More", exact=True).click()
    place.get_by_role("link", name="Look and ask …").click()
    dialog = page.get_by_role("dialog", name="Ask this twin")
    expect(dialog).to_be_visible()
    return dialog


def picture(page, name):
    """Keeps a picture for whoever wants to look, where PDS_PICTURES says."""
    if folder := os.environ.get("PDS_PICTURES"):
        page.screenshot(path=f"{folder}/{name}.png")


def test_escape_asks_nobody_and_enter_posts_once(page, studio):
    before = steps.attempts_of(page, studio.twin)
    dialog = open_dialog(page, studio.twin)
    expect(dialog.get_by_role("button", name="Post now")).to_be_focused()
    expect(dialog).to_contain_text("Skip probability")
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    assert page.evaluate("document.activeElement.textContent") == "Look and ask …"
    open_dialog(page, studio.twin)
    page.keyboard.press("Enter")
    page.wait_for_url("**/attempts/*")
    steps.expect_end(page, "posted")
    assert steps.attempts_of(page, studio.twin) == before + 1


def test_a_double_click_in_the_dialog_asks_once(page, studio):
    before = steps.attempts_of(page, studio.twin)
    open_dialog(page, studio.twin).get_by_role("button", name="Post now").dblclick()
    page.wait_for_url("**/attempts/*")
    steps.expect_end(page, "posted")
    assert steps.attempts_of(page, studio.twin) == before + 1


def test_without_scripts_the_link_leads_to_a_plain_form(open_window, administrator, studio):
    plain = open_window(storage_state=str(administrator.state), java_script_enabled=False)
    place = steps.twin_row(plain, studio.twin)
    place.get_by_text("More", exact=True).click()
    place.get_by_role("link", name="Look and ask …").click()
    plain.get_by_role("main").get_by_role("button", name="Post now").click()
    plain.wait_for_url("**/attempts/*")
    steps.expect_end(plain, "posted")


@pytest.mark.parametrize("size", [None, NARROW], ids=["wide", "narrow"])
def test_the_dialog_fits_and_is_accessible_in_light_and_dark(page, studio, size):
    if size:
        page.set_viewport_size(size)
    dialog = open_dialog(page, studio.twin)
    screens.assert_fits(page)
    if size:
        assert dialog.bounding_box()["width"] == size["width"]
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert grave_violations(page) == []
        picture(page, f"ask-{size['width'] if size else 1280}-{scheme}")
