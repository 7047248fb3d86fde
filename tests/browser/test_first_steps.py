"""The whole path of somebody new, through menus and forms only: from nothing to a post."""

import pytest
from playwright.sync_api import Page, expect

from . import steps
from .lab import THINKS_SLOWLY

pytestmark = [pytest.mark.browser, pytest.mark.stack]

STAND_IN = "stand-in"


def test_a_newcomer_sets_everything_up_and_reads_the_first_post(page, endpoint):
    page.goto("/")
    steps.go(page, "Experiments", "Add experiment")
    steps.fill(page, Name="Newcomers", Time_zone="Europe/Rome", Description="Pilot for section 2")
    steps.save(page)

    steps.go(page, "Personas", "Add persona")
    steps.fill(page, Name="Bus driver", Text=f"You drove buses for thirty years. {THINKS_SLOWLY}")
    steps.save(page)

    steps.go(page, "API tokens", "Add API token")
    steps.fill(
        page, Name="My endpoint", Base_URL=endpoint.base_url, Key=endpoint.key, Default_model=endpoint.model
    )
    steps.save(page)
    page.get_by_role("button", name="Test", exact=True).click()
    expect(page.get_by_text("The endpoint answers with this token.")).to_be_visible()

    steps.go(page, "Twins", "Add twin")
    steps.fill(
        page,
        Experiment="Newcomers",
        Username="ben_b",
        Display_name="Ben Bianchi",
        Persona="Bus driver",
        API_token="My endpoint",
        Tags="pilot, section 2",
    )
    steps.save(page)
    expect(page.get_by_role("heading", level=1)).to_contain_text("@ben_b")

    steps.go(page, "Schedules", "Add schedule")
    steps.fill(page, Name="Hourly", Experiment="Newcomers", Every="60", Enabled=True)
    if steps.field(page, "Reason for the change").count():  # there while another study has begun
        steps.fill(page, Reason_for_the_change="the course begins")
    steps.save(page)
    next_slots = page.locator(".ahead li")
    expect(next_slots).to_have_count(5)
    expect(next_slots.first).to_contain_text(" CE")  # CET or CEST
    expect(page.locator("main")).to_contain_text("Europe/Rome")

    steps.go(page, "Twins")
    steps.row(page, "@ben_b").get_by_role("link", name="Post now …").click()
    page.get_by_role("button", name="Post now", exact=True).click()
    steps.to_whole_attempt(page)
    steps.stay(page)
    expect(page.get_by_text("This page renews itself.")).to_be_visible()
    steps.expect_state(page, "posted")
    assert steps.has_stayed(page)
    expect(page).to_have_title("@ben_b posted · Discourse Twins")
    post = steps.posted_text(page)
    assert post.startswith("Note ")
    expect(page.get_by_text(STAND_IN)).to_have_count(0)

    page.get_by_role("link", name="See it in the feed").click()
    expect_post(page, post)
    steps.go(page, "Dashboard")
    expect_post(page, post)


def expect_post(page: Page, post: str) -> None:
    expect(page.get_by_text(post, exact=True)).to_be_visible()
    expect(page.get_by_text(STAND_IN)).to_have_count(0)


def test_a_form_that_cannot_be_saved_says_what_to_do_and_keeps_what_was_typed(
    open_window, administrator, studio
):
    page = open_window(storage_state=str(administrator.state), may_fail=("400",))
    page.goto("/admin/schedule/new/")
    page.get_by_label("by a cron expression, for experts").check()
    steps.fill(page, Name="Leap of faith", Experiment=studio.experiment, Cron_expression="0 0 31 2 *")
    steps.fill(page, Reason_for_the_change="as planned")
    page.get_by_role("button", name="Save", exact=True).click()
    summary = page.get_by_role("alert")
    expect(summary).to_be_focused()
    expect(summary).to_contain_text("Cron expression")
    expect(steps.field(page, "Name")).to_have_value("Leap of faith")
    expect(page.get_by_label("by a cron expression, for experts")).to_be_checked()
    cron = steps.field(page, "Cron expression")
    expect(cron).to_have_attribute("aria-invalid", "true")
    cron.fill("0 9 29 2 *")
    steps.save(page)
    expect(page.get_by_role("heading", level=1)).to_have_text("Leap of faith")
