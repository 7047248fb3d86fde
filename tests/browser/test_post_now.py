"""The dialog a twin is asked in: before, while and after; keys and focus; never two attempts."""

import os
import re
import threading
from contextlib import contextmanager

import pytest
from playwright.sync_api import expect

from . import screens, steps
from .test_axe import grave_violations

pytestmark = [pytest.mark.browser, pytest.mark.stack]
NARROW = {"width": 390, "height": 844}
SIZES = pytest.mark.parametrize("size", [None, NARROW], ids=["wide", "narrow"])


def picture(page, name):
    """Keeps a picture for whoever wants to look, where PDS_PICTURES says."""
    if folder := os.environ.get("PDS_PICTURES"):
        page.screenshot(path=f"{folder}/{name}.png")


@contextmanager
def holding(lab):
    """Within it the model answers nobody."""
    release, default = threading.Event(), lab.default

    def late(request):
        release.wait(20)
        return default(request)

    lab.default = late
    try:
        yield
    finally:
        lab.default = default
        release.set()


def test_escape_asks_nobody_and_enter_posts_once_with_the_result_in_place(page, studio):
    before = steps.attempts_of(page, studio.twin)
    dialog = steps.open_asking(page, studio.twin)
    expect(dialog.get_by_role("button", name="Post now")).to_be_focused()
    expect(dialog).to_contain_text("Skip probability")
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    assert page.evaluate("document.activeElement.textContent") == "Post now …"
    steps.stay(page)
    page.keyboard.press("Enter")
    expect(dialog.get_by_role("button", name="Post now")).to_be_focused()
    page.keyboard.press("Enter")
    expect(dialog.get_by_role("heading", level=2)).to_contain_text(
        f"@{studio.twin} posted", timeout=steps.OUTCOME_MS
    )
    expect(dialog.locator(".post")).to_have_text(re.compile("^Note "))
    expect(dialog).to_contain_text(re.compile(r"\d+ characters, asked for about \d+"))
    expect(dialog).to_contain_text(re.compile(r"\d s in all, \d+ tokens in, \d+ out"))
    expect(dialog.get_by_role("status")).to_have_text(f"@{studio.twin} posted")
    expect(dialog.get_by_role("heading", level=2)).to_be_focused()
    assert steps.has_stayed(page)
    dialog.get_by_role("link", name="See it in the feed").click()
    expect(page.locator(".feed-post").first).to_contain_text("Note ")
    assert steps.attempts_of(page, studio.twin) == before + 1


def test_a_double_click_in_the_dialog_asks_once(page, studio):
    before = steps.attempts_of(page, studio.twin)
    steps.open_asking(page, studio.twin).get_by_role("button", name="Post now").dblclick()
    steps.to_whole_attempt(page)
    steps.expect_end(page, "posted")
    assert steps.attempts_of(page, studio.twin) == before + 1


def test_a_lost_connection_and_pressing_again_ask_once(open_window, administrator, studio):
    page = open_window(may_fail=("ERR_CONNECTION_RESET",), storage_state=str(administrator.state))
    before = steps.attempts_of(page, studio.twin)
    dialog = steps.open_asking(page, studio.twin)
    sent = []

    def lose_the_answer(route):
        sent.append(route.request.post_data)
        if len(sent) == 1:
            route.fetch()  # it arrives, and what it answers is lost
            route.abort("connectionreset")
        else:
            route.continue_()

    page.route("**/digitaltwin/post-now/", lose_the_answer)
    button = dialog.get_by_role("button", name="Post now")
    button.click()
    expect(dialog.get_by_text("The connection was lost.").first).to_be_visible()
    button.click()
    steps.to_whole_attempt(page)
    steps.expect_end(page, "posted")
    assert len(sent) == 2
    assert steps.attempts_of(page, studio.twin) == before + 1


def test_closed_and_opened_again_it_says_that_the_twin_is_being_asked_and_shows_it(page, studio, lab):
    with holding(lab):
        dialog = steps.open_asking(page, studio.twin)
        dialog.get_by_role("button", name="Post now").click()
        expect(dialog.locator("[aria-current=step]")).to_have_text(
            "Asking the model", timeout=steps.OUTCOME_MS
        )
        for width in (390, 1280, 1700):
            page.set_viewport_size({"width": width, "height": 844})
            tops = [stage.bounding_box()["y"] for stage in dialog.locator(".stages li").all()]
            assert tops == sorted(tops), f"the stages stand in their order at {width} px"
        dialog.get_by_role("button", name="Close, it goes on").click()
        dialog = steps.open_asking(page, studio.twin)
        expect(dialog).to_contain_text("It is being asked now.")
        dialog.get_by_role("button", name="Watch it here").click()
        expect(dialog.locator(".stages .done")).to_have_count(2)
    expect(dialog.get_by_role("heading", level=2)).to_contain_text("posted", timeout=steps.OUTCOME_MS)


@pytest.mark.parametrize("answer", ["signed out", "broken"])
def test_without_answers_it_says_so_and_goes_on_by_itself(open_window, administrator, studio, lab, answer):
    page = open_window(may_fail=("500",), storage_state=str(administrator.state))
    pages = {
        "signed out": {"status": 200, "content_type": "text/html", "body": "<h1>Sign in</h1> data-progress"},
        "broken": {"status": 500, "content_type": "text/html", "body": "<h1>Something broke</h1>"},
    }
    with holding(lab):
        dialog = steps.open_asking(page, studio.twin)
        dialog.get_by_role("button", name="Post now").click()
        expect(dialog.locator("[aria-current=step]")).to_have_text(
            "Asking the model", timeout=steps.OUTCOME_MS
        )
        page.route("**/progress*", lambda route: route.fulfill(**pages[answer]))
        expect(dialog.locator(".lost")).to_contain_text("No answer about this attempt; trying again.")
        expect(dialog.get_by_role("status")).to_contain_text("No answer")
        picture(page, f"no-answer-{answer.replace(' ', '-')}")
        assert not grave_violations(page)
        page.unroute("**/progress*")
        expect(dialog.locator(".lost")).to_have_count(0)
    expect(dialog.get_by_role("heading", level=2)).to_contain_text("posted", timeout=steps.OUTCOME_MS)


def test_a_chosen_band_is_the_band_of_the_post(page, studio):
    dialog = steps.open_asking(page, studio.twin)
    dialog.get_by_label("Length").select_option("long")
    dialog.get_by_role("button", name="Post now").click()
    expect(dialog).to_contain_text("(long, 200–280, chosen by who asked)", timeout=steps.OUTCOME_MS)


def test_without_scripts_the_link_leads_to_a_plain_form(open_window, administrator, studio):
    plain = open_window(storage_state=str(administrator.state), java_script_enabled=False)
    steps.twin_row(plain, studio.twin).get_by_role("link", name="Post now …").click()
    plain.get_by_role("main").get_by_role("button", name="Post now").click()
    plain.wait_for_url("**/attempts/*")
    steps.expect_end(plain, "posted")


def test_from_the_feed_and_from_the_attempt_it_is_asked_in_the_same_dialog(page, studio):
    steps.post_now(page, studio.twin)
    steps.expect_end(page, "posted")
    dialog = page.get_by_role("dialog", name="Ask this twin")
    page.get_by_role("link", name="Post now …").click()
    expect(dialog.get_by_role("button", name="Post now")).to_be_focused()
    page.keyboard.press("Escape")
    page.get_by_role("link", name="See it in the feed").click()
    page.locator(".feed-post").first.get_by_role("link", name="Post now …").click()
    expect(dialog.get_by_role("button", name="Ask now")).to_be_visible()


@SIZES
def test_the_dialog_fits_and_is_accessible_in_light_and_dark(page, studio, size):
    if size:
        page.set_viewport_size(size)
    dialog = steps.open_asking(page, studio.twin)
    looked_at(page, dialog, size, "ask")
    dialog.get_by_role("button", name="Post now").click()
    expect(dialog.get_by_role("heading", level=2)).to_contain_text("posted", timeout=steps.OUTCOME_MS)
    looked_at(page, dialog, size, "asked")


def looked_at(page, dialog, size, name):
    screens.assert_fits(page)
    if size:
        assert dialog.bounding_box()["width"] == size["width"]
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert grave_violations(page) == []
        picture(page, f"{name}-{size['width'] if size else 1280}-{scheme}")
