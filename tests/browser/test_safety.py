"""What people type and what models answer: keys never come back, markup stays text."""

import pytest
from playwright.sync_api import Page, expect

from . import steps
from .lab import HOSTILE, WRITES_MARKUP

pytestmark = [pytest.mark.browser, pytest.mark.stack]


def test_a_key_that_was_typed_in_never_comes_back(page, studio, stack, lab, endpoint):
    steps.post_now(page, studio.twin)
    steps.expect_end(page, "posted")
    assert lab.calls[-1].key == endpoint.key
    attempt = page.url
    steps.go(page, "API tokens")
    token = (
        page.locator("table.rows").get_by_role("link", name=studio.token, exact=True).get_attribute("href")
    )
    edit = steps.row(page, studio.token).get_by_role("link", name="Edit").first.get_attribute("href")
    pages = {
        address: text_of(page, address) for address in (attempt, token, edit, "/admin/apitoken/", "/activity")
    }
    page.goto(token)
    page.get_by_role("button", name="Test", exact=True).click()
    expect(page.get_by_text("The endpoint answers with this token.")).to_be_visible()
    pages["the test's page"] = page.content()
    export = page.request.get("/admin/apitoken/export/csv/")
    assert export.ok
    pages["the export"] = export.text()
    pages["what the stack prints"] = stack.tail(len(stack.lines))
    assert [place for place, text in pages.items() if endpoint.key in text] == []
    assert all(f"…{endpoint.key[-4:]}" in pages[place] for place in (token, "/admin/apitoken/"))
    kept = [file for file in stack.data_dir.rglob("*") if file.is_file()]
    assert [file.name for file in kept if endpoint.key.encode() in file.read_bytes()] == []


def text_of(page: Page, address: str) -> str:
    page.goto(address)
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    return page.content() + "".join(
        page.locator("input").evaluate_all("all => all.map((each) => each.value)")
    )


def test_markup_in_names_personas_and_posts_shows_as_text(page, studio, endpoint):
    experiment, persona, token = f"Trial {HOSTILE}", f"Persona {HOSTILE}", f"Token {HOSTILE}"
    steps.add(page, "experiment", Name=experiment, Description=HOSTILE)
    steps.add(page, "persona", Name=persona, Text=f"{WRITES_MARKUP} {HOSTILE}", Notes=HOSTILE)
    steps.add_token(page, token, endpoint)
    steps.add(
        page, "digitaltwin",
        Experiment=experiment, Username="mallory", Display_name=HOSTILE, Bio=HOSTILE, Persona=persona,
        API_token=token, Tags=HOSTILE,
    )  # fmt: skip
    steps.add_schedule(page, f"Schedule {HOSTILE}", experiment, cron="0 9 * * *")
    steps.post_now(page, "mallory")
    steps.expect_end(page, "posted")
    assert HOSTILE in steps.posted_text(page)
    attempt = page.url
    feed = page.get_by_role("link", name="See it in the feed").get_attribute("href")

    for address in ("/admin/", "/activity", "/admin/attempt/", feed, attempt):
        page.goto(address)
        expect_as_text(page, HOSTILE)
    for area in ("experiment", "persona", "apitoken", "digitaltwin", "schedule", "userprofile", "post"):
        page.goto(f"/admin/{area}/")
        expect_as_text(page, HOSTILE)
        steps.row(page, HOSTILE).locator("td a").first.click()
        expect(page.locator(".crumbs")).to_be_visible()
        expect_as_text(page, HOSTILE)


def expect_as_text(page: Page, text: str) -> None:
    expect(page.get_by_role("main").get_by_text(text).filter(visible=True).first).to_be_visible()
    expect(page.locator("img[src=x], [onerror]")).to_have_count(0)
