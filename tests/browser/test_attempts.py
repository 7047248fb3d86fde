"""Post now and Ask now: what becomes of one press of a button, and why."""

import re

import pytest
from playwright.sync_api import expect

from . import steps

pytestmark = [pytest.mark.browser, pytest.mark.stack]


def test_a_twin_that_has_just_posted_everything_there_is_skips_and_the_page_shows_the_sum(page, studio):
    steps.post_now(page, studio.twin)
    steps.expect_end(page, "posted")
    steps.ask_now(page, studio.twin)
    steps.expect_state(page, "skipped")
    key = page.url.rpartition("/")[2]
    outcome = page.get_by_role("region", name="Outcome")
    expect(outcome).to_have_text("The draw kept it silent: it posted recently, and often.")
    factors = page.get_by_role("table", name="The decision as a sum")
    expect(factors.get_by_role("row", name=re.compile("^Last post .* ago under 1 h 0.80$"))).to_be_visible()
    expect(factors.get_by_role("row", name=re.compile("post.* its own .*0.70$"))).to_be_visible()
    expect(factors.get_by_role("row", name=re.compile("^Skip probability .*1.00$"))).to_be_visible()
    verdict = re.compile(r"drew 0\.\d+ < 1\.00+: skips")
    expect(page.get_by_text(verdict).first).to_be_visible()
    expect(page.get_by_role("img", name=verdict)).to_be_visible()
    expect(page.locator("#replay")).to_contain_text("every value is the same")

    page.goto("/activity")
    page.get_by_label("State").select_option("skipped")
    page.get_by_label("Twin").fill(f"@{studio.twin}")
    page.get_by_role("button", name="Filter").click()
    listed = page.locator(f"#attempt-{key}")
    expect(listed).to_contain_text(verdict)
    words = page.locator("#attempts tr").locator("td[data-label=State]").all_inner_texts()
    assert set(words) == {"skipped"}


def test_a_double_click_on_post_now_asks_once(page, studio):
    before = steps.attempts_of(page, studio.twin)
    steps.open_asking(page, studio.twin).get_by_role("button", name="Post now").dblclick()
    steps.to_whole_attempt(page)
    steps.expect_end(page, "posted")
    assert steps.attempts_of(page, studio.twin) == before + 1


def test_the_same_button_sent_again_leads_to_the_same_attempt_and_a_reload_asks_nobody(page, studio):
    before = steps.attempts_of(page, studio.twin)
    form = steps.open_asking(page, studio.twin).locator("form")
    names = ("csrf_token", "id", "request_id")
    pressed = {name: form.locator(f"input[name={name}]").get_attribute("value") for name in names}
    answers = [page.request.post("/admin/digitaltwin/post-now/", form=pressed) for _ in range(2)]
    assert answers[0].ok
    assert answers[0].url == answers[1].url
    page.goto(answers[0].url)
    steps.expect_end(page, "posted")
    page.reload()
    assert steps.attempts_of(page, studio.twin) == before + 1


def test_post_now_works_without_scripts(open_window, administrator, studio):
    plain = open_window(storage_state=str(administrator.state), java_script_enabled=False)
    steps.post_now(plain, studio.twin)
    expect(steps.state(plain)).to_have_text(re.compile("due|running|posted"))
    steps.expect_end(plain, "posted")
    assert steps.posted_text(plain).startswith("Note ")
