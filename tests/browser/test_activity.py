"""The activity page renews itself while somebody looks at it."""

import pytest
from playwright.sync_api import expect

from . import steps
from .test_axe import grave_violations

pytestmark = [pytest.mark.browser, pytest.mark.stack]
PHONE = {"width": 390, "height": 844}


@pytest.fixture
def other_window(open_window, administrator):
    """A second window of the same person."""
    return open_window(storage_state=str(administrator.state))


def test_a_new_attempt_comes_up_and_changes_its_state_without_a_reload(page, other_window, studio):
    page.goto(f"/activity?twin=@{studio.twin}")
    page.get_by_label("Refresh").select_option(label="every second")
    expect(page.get_by_text("Up to date.")).to_be_visible()
    page.mouse.move(0, 0)
    steps.stay(page)
    steps.post_now(other_window, studio.twin)
    key = other_window.url.rpartition("/")[2]
    arrived = page.locator(f"#attempt-{key}")
    expect(arrived).to_be_visible()
    expect(arrived.locator(".pill").first).to_have_text("posted", timeout=steps.OUTCOME_MS)
    expect(arrived).to_contain_text("Note ")
    assert steps.has_stayed(page)


def test_new_rows_wait_behind_a_button_while_somebody_has_the_pointer_in_the_list(page, other_window, studio):
    steps.post_now(other_window, studio.twin)
    steps.expect_end(other_window, "posted")
    page.goto(f"/activity?twin=@{studio.twin}")
    page.get_by_label("Refresh").select_option(label="every second")
    page.locator("#attempts tr").first.hover()
    steps.post_now(other_window, studio.twin)
    key = other_window.url.rpartition("/")[2]
    show = page.get_by_role("button", name="Show 1 new attempt")
    expect(show).to_be_visible()
    expect(page.locator(f"#attempt-{key}")).to_have_count(0)
    show.click()
    expect(page.locator(f"#attempt-{key}")).to_be_visible()
    steps.expect_end(other_window, "posted")


def _watching(page, studio, size):
    """The stream of the studio's twin, renewed every second, with the pointer outside it."""
    page.set_viewport_size(size)
    page.goto(f"/activity?twin=@{studio.twin}")
    page.get_by_label("Refresh").select_option(label="every second")
    page.mouse.move(0, 0)


SIZES = [pytest.param({"width": 1280, "height": 900}, id="wide"), pytest.param(PHONE, id="phone")]


@pytest.mark.parametrize("size", SIZES)
def test_nothing_moves_while_a_row_is_open_and_it_goes_on_when_it_is_closed(page, other_window, studio, size):
    steps.post_now(other_window, studio.twin)
    steps.expect_end(other_window, "posted")
    opened = other_window.url.rpartition("/")[2]
    _watching(page, studio, size)
    row, brief = page.locator(f"#attempt-{opened}"), page.locator(f"#brief-{opened}")
    opener = row.get_by_role("button", name=f"What happened: @{studio.twin}")
    expect(opener).to_have_attribute("aria-expanded", "false")
    opener.click()
    page.mouse.move(0, 0)
    expect(opener).to_have_attribute("aria-expanded", "true")
    expect(brief).to_contain_text("First call HTTP 200")
    expect(brief).to_contain_text("The rule was bypassed")
    expect(brief.get_by_role("link", name="See the whole attempt")).to_have_attribute(
        "href", f"/attempts/{opened}"
    )
    expect(page.get_by_text("Still while a row is open.", exact=True)).to_be_visible()
    rows = page.locator("#attempts").inner_html()
    place = brief.bounding_box()
    steps.post_now(other_window, studio.twin)
    steps.expect_end(other_window, "posted")
    new = page.locator(f"#attempt-{other_window.url.rpartition('/')[2]}")
    expect(page.get_by_text("Still while a row is open. 1 new one waits.")).to_be_visible()
    page.wait_for_timeout(1500)  # another look of the page at the stream
    assert page.locator("#attempts").inner_html() == rows
    assert brief.bounding_box() == place
    expect(new).to_have_count(0)
    opener.click()
    expect(brief).to_have_count(0)
    expect(page.get_by_text("Not moved while you read.")).to_be_visible()
    page.mouse.move(0, 0)
    expect(new).to_be_visible()
    expect(page.get_by_text("Up to date.")).to_be_visible()
    expect(new.locator(".pill").first).to_have_text("posted")
    new.get_by_role("button", name="What happened").click()
    expect(page.locator("tr.opened")).to_contain_text("First call HTTP 200")


def test_rows_are_opened_and_closed_by_keyboard_several_at_once(page, other_window, studio):
    for _ in range(2):
        steps.post_now(other_window, studio.twin)
        steps.expect_end(other_window, "posted")
    _watching(page, studio, {"width": 1280, "height": 900})
    openers = page.get_by_role("button", name=f"What happened: @{studio.twin}")
    for number, key in ((0, "Enter"), (1, "Space")):
        openers.nth(number).focus()
        page.keyboard.press(key)
    briefs = page.locator("tr.opened")
    expect(briefs).to_have_count(2)
    expect(page.get_by_text("Still while 2 rows are open.")).to_be_visible()
    controlled = openers.first.get_attribute("aria-controls")
    expect(page.locator(f"#{controlled}")).to_contain_text("Model calls")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert grave_violations(page) == []
    page.locator(f"#{controlled}").get_by_role("link").focus()
    page.keyboard.press("Escape")
    expect(briefs).to_have_count(1)
    expect(openers.first).to_be_focused()
    expect(openers.first).to_have_attribute("aria-expanded", "false")
    expect(openers.nth(1)).to_have_attribute("aria-expanded", "true")
    page.keyboard.press("Escape")
    expect(briefs).to_have_count(0)
    expect(page.get_by_text("Up to date.")).to_be_visible()


@pytest.fixture
def slow_lab(lab):
    """The endpoint takes some seconds."""
    answer = lab.default
    lab.default = lambda request: answer(request).later(4)
    yield
    lab.default = answer


def test_a_changed_row_waits_too_and_has_the_focus_it_had(page, other_window, studio, slow_lab):
    _watching(page, studio, {"width": 1280, "height": 900})
    steps.post_now(other_window, studio.twin)
    row = page.locator(f"#attempt-{other_window.url.rpartition('/')[2]}")
    opener, pill = row.locator(".opener"), row.locator(".pill").first
    expect(pill).to_have_text("running")
    opener.focus()
    page.keyboard.press("Enter")
    steps.expect_end(other_window, "posted")
    page.wait_for_timeout(2500)  # two looks of the page at the stream
    expect(pill).to_have_text("running")
    page.keyboard.press("Enter")
    expect(pill).to_have_text("posted")
    expect(opener).to_be_focused()
    expect(opener).to_have_attribute("aria-expanded", "false")


def test_without_scripts_the_same_place_leads_to_the_attempt(
    open_window, administrator, other_window, studio
):
    steps.post_now(other_window, studio.twin)
    steps.expect_end(other_window, "posted")
    page = open_window(storage_state=str(administrator.state), java_script_enabled=False)
    page.goto(f"/activity?twin=@{studio.twin}")
    page.get_by_role("link", name="What happened").first.click()
    page.wait_for_url("**/attempts/*")


def test_what_cannot_be_fetched_says_so_and_leads_on(open_window, administrator, other_window, studio):
    steps.post_now(other_window, studio.twin)
    steps.expect_end(other_window, "posted")
    page = open_window(may_fail=("503",), storage_state=str(administrator.state))
    page.route("**/brief", lambda route: route.fulfill(status=503, body="away"))
    page.goto(f"/activity?twin=@{studio.twin}")
    page.get_by_role("button", name="What happened").first.click()
    expect(page.locator("tr.opened")).to_contain_text("It could not be fetched. Open its page")
    page.unroute("**/brief")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="What happened").first.click()
    expect(page.locator("tr.opened")).to_contain_text("First call")
