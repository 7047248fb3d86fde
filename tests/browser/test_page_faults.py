"""Pages that renew themselves, while the server is away and when what they show is gone."""

import re
from datetime import datetime

import pytest
from playwright.sync_api import expect

from . import steps
from .test_axe import grave_violations
from .test_post_now import picture

pytestmark = [pytest.mark.browser, pytest.mark.stack]
LONGEST_SECONDS = 8  # 2 is what one may expect of an idle machine; this one may be busy with other tests


@pytest.fixture
def other_window(open_window, administrator):
    """A second window of the same person."""
    return open_window(storage_state=str(administrator.state))


@pytest.fixture
def faulty(open_window, administrator):
    """A page whose requests may fail."""
    return open_window(may_fail=("404", "503", "400"), storage_state=str(administrator.state))


def look_at(page, name):
    """Nothing grave on the page, wide and narrow, light and dark; and pictures for whoever wants to look."""
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 844})
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            assert grave_violations(page) == []
            picture(page, f"{name}-{width}-{scheme}")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.set_viewport_size({"width": 1280, "height": 900})


def answer_with(page, pattern, status):
    """From now on the server answers addresses of this pattern with an error; a list of those asked."""
    asked = []

    def answer(route):
        asked.append(route.request.url)
        route.fulfill(status=status, body="", content_type="text/html")

    page.unroute(pattern)
    page.route(pattern, answer)
    return asked


def test_a_stream_whose_experiment_is_gone_ends_with_a_sentence(faulty, studio):
    faulty.goto(f"/activity?twin=@{studio.twin}")
    faulty.get_by_label("Refresh").select_option(label="every second")
    answer_with(faulty, "**/activity/rows*", 503)
    expect(faulty.get_by_text("The server does not answer. Trying again.")).to_be_visible()
    faulty.unroute("**/activity/rows*")
    expect(faulty.get_by_text("Up to date.")).to_be_visible()
    asked = answer_with(faulty, "**/activity/rows*", 404)
    expect(faulty.get_by_text("What is listed here was deleted.")).to_be_visible()
    look_at(faulty, "stream-gone")
    faulty.wait_for_timeout(2500)
    assert len(asked) == 1


def test_what_happens_now_says_that_it_is_old_and_goes_on_when_the_server_is_back(faulty, studio):
    answer_with(faulty, "**/activity/now", 503)
    faulty.goto("/activity")
    line = faulty.get_by_text("The server does not answer, so this may be old. Trying again.")
    expect(line).to_be_visible()
    faulty.unroute("**/activity/now")
    expect(line).to_have_count(0)
    asked = answer_with(faulty, "**/activity/now", 404)
    expect(faulty.get_by_text("What this showed is gone: it was deleted.")).to_be_visible()
    look_at(faulty, "now-gone")
    faulty.wait_for_timeout(6000)
    assert len(asked) == 1


@pytest.fixture
def slow_lab(lab):
    """The endpoint takes some seconds."""
    answer = lab.default
    lab.default = lambda request: answer(request).later(4)
    yield
    lab.default = answer


def test_an_attempts_page_that_waits_says_when_the_attempt_is_gone(faulty, studio, slow_lab):
    steps.post_now(faulty, studio.twin)
    address = faulty.url
    answer_with(faulty, re.compile(r"/attempts/[0-9a-f-]+(/state.*)?$"), 404)
    expect(faulty.get_by_text("What this showed is gone: it was deleted.")).to_be_visible()
    look_at(faulty, "attempt-gone")
    faulty.unroute_all()
    faulty.goto(address)
    steps.expect_end(faulty, "posted")


def test_the_dialog_that_follows_an_attempt_says_when_it_is_gone(faulty, studio, slow_lab):
    dialog = steps.open_asking(faulty, studio.twin)
    dialog.get_by_role("button", name="Post now", exact=True).click()
    expect(dialog.get_by_text("Asking the model")).to_be_visible()
    answer_with(faulty, "**/progress", 503)
    away = dialog.get_by_text("No answer about this attempt; trying again.").first
    expect(away).to_be_visible()
    faulty.unroute("**/progress")
    expect(dialog.get_by_role("link", name="See it in the feed")).to_be_visible(timeout=steps.OUTCOME_MS)
    expect(away).to_have_count(0)
    dialog.get_by_role("button", name="Close").click()

    dialog = steps.open_asking(faulty, studio.twin)
    dialog.get_by_role("button", name="Post now", exact=True).click()
    expect(dialog.get_by_text("Asking the model")).to_be_visible()
    asked = answer_with(faulty, "**/progress", 404)
    expect(dialog.locator(".attention")).to_have_text("This attempt is gone: its experiment was deleted.")
    look_at(faulty, "dialog-gone")
    faulty.wait_for_timeout(3000)
    assert len(asked) == 1
    faulty.unroute_all()


WATCH = """() => {
  const seen = {};
  const look = () => {
    for (const row of document.querySelectorAll("#attempts tr[id^=attempt-]")) {
      const word = row.querySelector(".pill").innerText;
      seen[`${row.id} is there`] ??= Date.now() / 1000;
      seen[`${row.id} ${word}`] ??= Date.now() / 1000;
    }
  };
  new MutationObserver(look).observe(document.getElementById("attempts"), { childList: true, subtree: true });
  return seen;
}"""


def test_an_attempt_is_in_the_stream_soon_after_a_worker_has_ended_it(page, other_window, studio):
    page.goto(f"/activity?twin=@{studio.twin}")
    expect(page.get_by_text("Up to date.")).to_be_visible()
    page.mouse.move(0, 0)
    steps.stay(page)
    seen = page.evaluate_handle(WATCH)
    steps.post_now(other_window, studio.twin)
    key = other_window.url.rpartition("/")[2]
    row = page.locator(f"#attempt-{key}")
    expect(row.locator(".pill").first).to_have_text("posted", timeout=steps.OUTCOME_MS)
    assert steps.has_stayed(page)
    whole, fraction, *_ = other_window.request.get(f"/attempts/{key}/state").json()["cursor"].split(".")
    asked_at = other_window.locator("#attempt-page .lead time").first.get_attribute("datetime")
    times = seen.json_value()
    appeared = times[f"attempt-{key} is there"] - datetime.fromisoformat(asked_at).timestamp()
    ended = times[f"attempt-{key} posted"] - float(f"{whole}.{fraction}")
    print(f"in the stream {appeared:.2f} s after it was asked; posted {ended:.2f} s after its commit")
    assert ended < LONGEST_SECONDS and appeared < LONGEST_SECONDS
