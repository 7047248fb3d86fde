"""A study's numbers and words are changed beside what they do; six sections are made in one go."""

import re

import pytest
from playwright.sync_api import expect

from . import steps
from .screens import assert_fits

pytestmark = [pytest.mark.browser, pytest.mark.stack]
WIDTHS = [pytest.param(1280, id="desk"), pytest.param(390, id="phone")]
SENTENCE = "I am an automated account of a study."


@pytest.fixture
def page_of(page, studio, request):
    """`page_of("Posting policy")` is that page of the studio's experiment, in a window of this width."""
    page.set_viewport_size({"width": getattr(request, "param", 1280), "height": 900})

    def open_page(area):
        page.goto("/admin/experiment/")
        page.get_by_role("link", name=studio.experiment).first.click()
        place = {"Posting policy": "#policy", "Prompt": "#prompt"}[area]
        page.locator(place).get_by_role("link", name="Edit").click()
        expect(page.get_by_role("heading", level=1)).to_have_text(area)
        return page

    return open_page


def number_of(page, name):
    """The first number in the table of skip probabilities beside a row's head."""
    return page.locator("#effect tr", has_text=name).locator("td").first


@pytest.mark.parametrize("page_of", WIDTHS, indirect=True)
def test_the_policy_is_drawn_while_it_is_typed_and_saved_with_a_reason(page_of):
    page = page_of("Posting policy")
    before = page.get_by_label("Step 1: skips with percent").input_value()
    wanted = "65" if before != "65" else "70"
    page.get_by_label("Step 1: skips with percent").fill(wanted)
    expect(number_of(page, "less than 1 h")).to_have_text(f"0.{wanted}")
    page.get_by_label("Band 1: percent of posts").fill("99")
    expect(page.locator("#effect")).to_contain_text("They must sum to 100 %")
    page.get_by_label("Band 1: percent of posts").fill("35")
    expect(number_of(page, "less than 1 h")).to_be_visible()
    page.get_by_label("Reason for the change").fill(f"pilot {wanted}")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(
        page.get_by_role("status").filter(has_text="Saved. Posting policy: skip by recency")
    ).to_be_visible()
    change = page.locator("#changes .change").first
    expect(change).to_contain_text(f"pilot {wanted}")
    change.get_by_text("What differs").click()
    expect(change.locator("ins")).to_have_text(f"0.{wanted}")
    identifier = re.search(r"\((\w+)\)$", page.locator("h1").inner_text())[1]
    page.goto(f"/admin/?experiment={identifier}")
    marked = page.locator(".marked", has_text="Protocol changes in this period")
    expect(marked).to_contain_text(f"pilot {wanted}")


@pytest.mark.parametrize("page_of", WIDTHS, indirect=True)
def test_the_prompt_shows_what_a_twin_would_be_sent(page_of, studio):
    page = page_of("Prompt")
    page.get_by_label("System message").fill("You are @{username}, and you write. {mood}")
    expect(page.locator("#effect")).to_contain_text("{mood} is not known here")
    page.get_by_label("System message").fill("You are @{username}, and you write.")
    expect(page.locator("#effect")).to_contain_text(f"You are @{studio.twin}, and you write.")
    page.get_by_label(re.compile("disclose with the sentence")).check()
    page.get_by_label("Sentence of disclosure").fill(SENTENCE)
    expect(page.locator("#effect")).to_contain_text(f"say: “{SENTENCE}”")
    page.get_by_role("link", name="Cancel").click()
    expect(page.locator("#prompt")).not_to_contain_text(SENTENCE)


def test_without_scripts_the_policy_is_previewed_by_a_button(open_window, studio, administrator):
    page = open_window(java_script_enabled=False, storage_state=str(administrator.state))
    page.goto("/admin/experiment/")
    page.get_by_role("link", name=studio.experiment).first.click()
    page.locator("#policy").get_by_role("link", name="Edit").click()
    page.get_by_label("Step 1: skips with percent").fill("12")
    page.get_by_role("button", name="Show what it does").click()
    expect(number_of(page, "less than 1 h")).to_have_text("0.12")
    expect(page.get_by_label("Step 1: skips with percent")).to_have_value("12")


@pytest.mark.parametrize("width", [1280, 390], ids=["desk", "phone"])
def test_sections_are_copied_compared_and_brought_in_step(page, studio, width):
    page.set_viewport_size({"width": width, "height": 900})
    names = [f"Section {number} at {width}" for number in (1, 2)]
    page.goto("/admin/experiment/")
    page.get_by_role("link", name=studio.experiment).first.click()
    page.get_by_role("main").get_by_role("link", name=re.compile("^Cop(y …|ies)$")).click()
    if page.get_by_role("heading", level=1).inner_text() == "Copies":
        page.get_by_role("link", name="Copy …").first.click()
    page.get_by_label("Names, one a line").fill("\n".join(names))
    page.get_by_label("With its twins").uncheck()  # other tests look for the one twin of its name
    page.get_by_role("button", name="Make the copies").click()
    expect(page.get_by_role("status").filter(has_text="Copied")).to_contain_text("switched off")
    rows = [steps.row(page, name) for name in names]
    for row in rows:
        expect(row).to_contain_text("draft")
    rows[0].get_by_role("checkbox").check()
    page.get_by_role("button", name="Copy the prompt").click()
    page.get_by_role("dialog").get_by_role("button", name="Copy the prompt").click()
    expect(page.get_by_role("status").filter(has_text="they are the same already")).to_be_visible()
    page.goto("/admin/experiment/")
    for name in names:
        steps.row(page, name).get_by_role("checkbox").check()
    page.get_by_label("With the selected").select_option("Start …")
    page.get_by_role("button", name="Apply").click()
    line = page.locator(".checks.drafts > li").filter(has_text=names[1])
    expect(line).to_contain_text("cannot start")
    expect(line).to_contain_text("No twin is active")
    assert_fits(page)
    expect(page.get_by_role("button", name="Start them")).to_be_disabled()
    line.get_by_role("link", name=re.compile("^Twins")).click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Twins")
