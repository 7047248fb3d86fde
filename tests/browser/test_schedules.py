"""A schedule asks by itself."""

import pytest
from playwright.sync_api import expect

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
