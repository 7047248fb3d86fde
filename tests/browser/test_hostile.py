"""The worst texts in a real browser: nothing runs, nothing is loaded from elsewhere."""

import pytest
from playwright.sync_api import Page, expect

from . import steps
from .screens import TOO_WIDE, walk

pytestmark = [pytest.mark.browser, pytest.mark.stack]

PWNED = "window.__pwned=1;alert(1)"
WORST = {
    "script": f"</title></textarea></option><script>{PWNED}</script>",
    "picture": f"'\"><img src=x onerror={PWNED}>",
    "vector": f"<svg/onload={PWNED}><math><mtext></form>",
    "frame": f"</select><iframe src=javascript:{PWNED}>",
    "template": "{{7191*7}} שלום עולם " + "W" * 60,
    "zalgo": "👩\u200d👩\u200d👧 z" + "\u0316\u0301\u0489" * 9 + "漢" * 20,
}
LISTEN = """
document.addEventListener("securitypolicyviolation", (event) => {
  console.error("policy: " + event.violatedDirective + " " + event.blockedURI);
});
"""


@pytest.fixture(scope="module")
def hostile_rows(chromium, address, administrator, endpoint, studio):
    """A row of everything for each of them, put in through the forms."""
    context = chromium.new_context(base_url=address, storage_state=str(administrator.state))
    page = context.new_page()
    for number, (name, text) in enumerate(WORST.items()):
        experiment, persona, token = f"E{number} {text}", f"P{number} {text}", f"T{number} {text}"[:80]
        steps.add(page, "experiment", Name=experiment, Description=text)
        steps.add(page, "persona", Name=persona, Text=text, Notes=text)
        if number < 2:
            steps.add_token(page, token, endpoint)
        steps.add(
            page, "digitaltwin",
            Experiment=f"E{number} ", Username=f"worst_{name}", Display_name=text[:80], Bio=text,
            Persona=f"P{number} ", API_token=f"T{number % 2} ", Tags=text[:40].replace(",", ""),
        )  # fmt: skip
        steps.add(
            page, "userprofile", Experiment=f"E{number} ", Username=f"person_{name}", Display_name=text[:80]
        )
        steps.add(page, "post", Who_says_it=f"person_{name}", Text=text)
    context.close()


def test_the_worst_texts_do_nothing_on_any_screen_and_make_none_wider(
    hostile_rows, open_window, administrator
):
    page = open_window(storage_state=str(administrator.state))
    page.add_init_script(LISTEN)
    wrong = []
    for path in walk(page, "/admin/post/?page_size=100"):
        assert page.evaluate("window.__pwned") is None, path
        assert_inert(page, path)
        for width in (390, 1280):
            page.set_viewport_size({"width": width, "height": 900})
            wrong += [f"{path} at {width} px: {words}" for words in page.evaluate(TOO_WIDE)]
    assert not wrong, "\n".join(wrong)


def assert_inert(page: Page, path: str) -> None:
    made = page.locator("img[src=x], [onerror], [onload], iframe, math, main script")
    assert made.count() == 0, path
    assert "50337" not in page.locator("body").inner_text(), path


def test_a_file_of_a_hundred_megabytes_is_answered_with_the_limit(open_window, administrator, tmp_path):
    page = open_window(may_fail=("413",), storage_state=str(administrator.state))
    file = tmp_path / "huge.csv"
    file.write_bytes(b"name,text\n" + b"x" * 100_000_000)
    page.goto("/admin/persona/import/")
    page.locator("input[type=file]").set_input_files(file)
    page.get_by_role("main").get_by_role("button", name="Show what it would do").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("That was too large", timeout=60_000)
    expect(page.get_by_text("at most 2 MB in one go")).to_be_visible()
