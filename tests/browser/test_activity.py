"""The activity page renews itself while somebody looks at it."""

import pytest
from playwright.sync_api import expect

from . import steps

pytestmark = [pytest.mark.browser, pytest.mark.stack]


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
