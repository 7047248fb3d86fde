"""The control room over a week in a town: dashboard, feed, withdrawing, system; both widths and schemes."""

import csv
import io
import re

import pytest
from playwright.sync_api import expect

from . import screens, steps
from .test_axe import grave_violations
from .test_post_now import NARROW, picture

pytestmark = [pytest.mark.browser, pytest.mark.stack]
SIZES = pytest.mark.parametrize("size", [None, NARROW], ids=["wide", "narrow"])
FINISHED_MS = 30_000


def look(page, name, size):
    """Fits, has no serious violation, in light and dark; kept as a picture where somebody wants to look."""
    screens.assert_fits(page)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert grave_violations(page) == []
        picture(page, f"{name}-{size['width'] if size else 1280}-{scheme}")


def open_at(page, address, size):
    if size:
        page.set_viewport_size(size)
    page.goto(address)
    expect(page.get_by_role("heading", level=1)).to_be_visible()


@SIZES
def test_the_dashboard_shows_the_sums_of_the_town_and_gives_them_as_files(page, town, size):
    open_at(page, f"/admin/?experiment={town.identifier}&period=7d", size)
    tiles = page.locator(".kpi")
    for label, count in (
        ("Posted", town.week["posted"]),
        ("Skipped by rule", town.week["skipped by rule"]),
        ("Held back", town.week["held back"]),
        ("Failed", town.week["failed"]),
    ):
        expect(tiles.filter(has_text=re.compile(rf"^\s*{label}", re.I)).first).to_contain_text(f"{count:,}")
    files = page.get_by_role("link", name="CSV")
    assert files.count() >= 7
    with page.expect_download() as download:
        files.first.click()
    rows = list(csv.DictReader(io.StringIO(download.value.path().read_text())))
    assert sum(int(row["posted"]) for row in rows) == town.week["posted"]
    look(page, "dashboard", size)


@SIZES
def test_the_attention_list_leads_to_what_it_names(page, town, size):
    open_at(page, f"/admin/?experiment={town.identifier}", size)
    lines = page.locator(".attentions .attention")
    for number in range(lines.count()):
        link = lines.nth(number).get_by_role("link").first
        if link.count():
            answer = page.request.get(link.get_attribute("href"))
            assert answer.ok, link.get_attribute("href")


@SIZES
def test_people_are_written_as_answered_hidden_and_found_again_in_the_feed(page, town, size):
    feed = f"/experiments/{town.identifier}/feed"
    open_at(page, feed, size)
    words = f"The fountain is dry again, {'on a phone' if size else 'on a screen'}."
    page.get_by_text("Write a post", exact=True).click()
    page.get_by_label("As", exact=True).first.fill("walt")
    page.get_by_label("Post", exact=True).fill(words)
    page.get_by_role("button", name="Post", exact=True).click()
    post = page.locator(".feed-post").filter(has_text=words)
    expect(post).to_contain_text("@walt")
    post.locator("summary", has_text="Reply").click()
    post.get_by_label("As").fill("maria_k")
    post.get_by_label("Reply to @walt").fill("It is, since noon.")
    post.get_by_role("button", name="Reply").click()
    expect(post.locator(".replies")).to_contain_text("It is, since noon.")
    look(page, "feed", size)
    post.get_by_role("button", name="Hide", exact=True).first.click()
    expect(page.locator(".feed-post").filter(has_text=words)).to_have_count(0)
    page.goto(f"{feed}?hidden=shown&search=fountain is dry")
    post = page.locator(".feed-post").filter(has_text=words)
    expect(post).to_contain_text("hidden")
    post.get_by_role("button", name="Show").click()
    page.goto(f"{feed}?marks=off")
    expect(page.locator(".feed-post").filter(has_text=words)).to_be_visible()
    expect(page.locator(".feed-post .tag")).to_have_count(0)


@SIZES
def test_a_participant_is_withdrawn_and_nothing_of_them_is_shown_any_more(
    open_window, administrator, town, size
):
    page = open_window(may_fail=("400",), storage_state=str(administrator.state))
    name = "ada_reads" if size else "maria_k"
    page.goto(f"/admin/userprofile/?search={name}")
    steps.row(page, f"@{name}").get_by_role("link", name=f"@{name}").click()
    if size:
        page.set_viewport_size(size)
    page.locator(".head").get_by_role("link", name="Withdraw …").click()
    look(page, "withdraw", size)
    page.get_by_label("Its username").fill("somebody")
    page.get_by_role("button", name="Erase this person").click()
    expect(page.get_by_text("Nothing was erased")).to_be_visible()
    page.get_by_label("Its username").fill(name)
    page.get_by_role("button", name="Erase this person").click()
    expect(page.get_by_role("heading", level=2, name="Erased")).to_be_visible(timeout=FINISHED_MS)
    look(page, "withdrawn", size)
    page.goto(f"/experiments/{town.identifier}/feed?who=people")
    expect(page.locator("body")).not_to_contain_text(name)
    expect(page.locator(".feed-post", has_text="[erased]").first).to_be_visible()


@SIZES
def test_the_system_page_says_what_it_runs_on(page, town, size):
    open_at(page, "/system", size)
    main = page.get_by_role("main")
    for words in ("Database", "Queue", "Workers", "Schedulers", "Backups", "Settings"):
        expect(main.get_by_role("heading", name=words).first).to_be_visible()
    expect(main).to_contain_text("SQLite")
    expect(main).not_to_contain_text("sk-browser")
    look(page, "system", size)


@SIZES
def test_the_notices_page_says_what_to_set(page, town, size):
    open_at(page, "/admin/notices/", size)
    expect(page.get_by_role("main")).to_contain_text("PDS_NOTICE_URL")
    look(page, "notices", size)
