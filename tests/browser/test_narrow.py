"""Every screen on a phone and in the dark: nothing wider than the window, a name for every control."""

from itertools import combinations

import pytest
from playwright.sync_api import expect

from . import screens, steps
from .lab import NEVER_PAUSES
from .steps import Endpoint

pytestmark = [pytest.mark.browser, pytest.mark.stack]

PHONE = {"width": 390, "height": 844}
SMALL_PHONE = {"width": 320, "height": 568}
DESK = {"width": 1280, "height": 900}

# What is wrong with a page whatever its width, as sentences.
MISTAKES = """() => {
  const wrong = [];
  const all = (which) => [...document.querySelectorAll(which)];
  if (all("h1").length !== 1) wrong.push(`${all("h1").length} headings of the first level`);
  if (!document.documentElement.lang) wrong.push("no language");
  if (!/^\\S.* · Discourse Twins$/.test(document.title)) wrong.push(`title ${document.title}`);
  const ids = all("[id]").map((each) => each.id);
  for (const id of ids.filter((each, place) => ids.indexOf(each) !== place)) wrong.push(`id ${id} again`);
  for (const control of all("input:not([type=hidden]), select, textarea")) {
    if (!control.labels.length && !control.ariaLabel) wrong.push(`no label: ${control.name || control.id}`);
  }
  for (const button of all("button:not([hidden]), a[href], summary")) {
    if (!button.textContent.trim() && !button.ariaLabel) wrong.push(`no name: ${button.outerHTML}`);
  }
  return wrong;
}"""

# What reaches beyond the card it stands in; lists hide their heads where they become pairs.
OUT_OF_CARD = """() => {
  const wrong = [];
  for (const card of document.querySelectorAll(".card, .attention")) {
    const edge = card.getBoundingClientRect().right + 1;
    for (const each of card.querySelectorAll("table, input, select, button, p, dl, ol, ul")) {
      if (each.closest("details.more, .scroll, thead")) continue;
      const isOut = each.getBoundingClientRect().right > edge;
      if (isOut) wrong.push(`out of its card: ${each.outerHTML.slice(0, 60)}`);
    }
  }
  return wrong.slice(0, 4);
}"""

# How light ground and type are, 0 to 255.
LIGHTNESS = """() => {
  const style = getComputedStyle(document.body);
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  return [style.backgroundColor, style.color].map((colour) => {
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [red, green, blue] = canvas.getImageData(0, 0, 1, 1).data;
    return (red + green + blue) / 3;
  });
}"""


@pytest.fixture
def long_names(page, studio) -> str:
    """Everything with names as long as they may be, some without a space; the address of an attempt."""

    def long(begin: str, length: int) -> str:
        return f"{begin} {'Donaudampfschiff ' * 8}"[:length].strip()

    steps.add_token(page, long("Token", 80), Endpoint(f"http://127.0.0.1:9/{'v1' * 40}", "sk-0", "m" * 200))
    steps.add(page, "persona", Name=long("Persona", 120), Text=f"{NEVER_PAUSES} {long('Text', 120)}")
    steps.add(page, "experiment", Name=long("Experiment", 120), Description=long("For", 120))
    steps.add(
        page, "digitaltwin",
        Experiment="Donaudampf", Username="donaudampfschiff_gesellschaft1", Display_name=long("Kapitän", 80),
        Bio=long("Bio", 120), Persona="Donaudampf", API_token=studio.token, Tags="schiff, donaudampfschiff",
    )  # fmt: skip
    steps.add_schedule(page, long("Schedule", 120), "Donaudampf", cron="*/7 9-17,20-22 1-15 1,3,5,7,9 1-5")
    steps.post_now(page, "donaudampfschiff")
    steps.expect_end(page, "posted")
    return page.url


def test_every_screen_fits_a_phone_in_light_and_in_the_dark_and_every_control_has_a_name(page, long_names):
    wrong: list[str] = []
    for path in screens.walk(page, long_names):
        page.emulate_media(color_scheme="light")
        wrong += [f"{path}: {mistake}" for mistake in page.evaluate(MISTAKES)]
        for size in (SMALL_PHONE, PHONE, DESK):
            page.set_viewport_size(size)
            mistakes = page.evaluate(screens.TOO_WIDE) + page.evaluate(OUT_OF_CARD)
            wrong += [f"{path} at {size['width']} px: {mistake}" for mistake in mistakes]
        ground, type_ = page.evaluate(LIGHTNESS)
        page.emulate_media(color_scheme="dark")
        dark_ground, dark_type = page.evaluate(LIGHTNESS)
        if not (ground > 200 > 100 > type_ and dark_ground < 60 < 180 < dark_type):
            wrong.append(f"{path}: colours {ground}, {type_}, in the dark {dark_ground}, {dark_type}")
    assert not wrong, "\n".join(wrong)


def test_on_a_phone_the_menu_opens_and_leads_on(page):
    page.set_viewport_size(PHONE)
    page.goto("/admin/")
    menu = page.get_by_role("navigation", name="Main")
    expect(menu).to_be_hidden()
    page.get_by_text("Menu", exact=True).click()
    expect(menu).to_be_visible()
    page.keyboard.press("Escape")
    expect(menu).to_be_hidden()
    page.get_by_text("Menu", exact=True).click()
    menu.get_by_role("link", name="Personas").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Personas")
    expect(menu).to_be_hidden()


def test_on_a_phone_the_top_of_a_page_is_two_rows_and_nothing_of_it_covers_another(page, studio):
    page.set_viewport_size(PHONE)
    page.goto("/admin/")
    page.get_by_label("Experiment", exact=True).select_option(index=1)
    expect(page.locator(".top > .pill")).to_be_visible()
    page.wait_for_load_state()  # with its styles
    top = page.locator(".brand a, .top > .pill, .life, .areas summary, .switcher select, .pausing summary")
    boxes = [each.bounding_box() for each in top.all()]
    assert len(boxes) == 6
    assert page.locator("main").bounding_box()["y"] <= 120
    for one, other in combinations(boxes, 2):
        is_beside = one["x"] + one["width"] <= other["x"] or other["x"] + other["width"] <= one["x"]
        is_below = one["y"] + one["height"] <= other["y"] or other["y"] + other["height"] <= one["y"]
        assert is_beside or is_below, (one, other)


def test_on_a_phone_the_well_known_endpoints_come_before_the_fields_of_a_token(page):
    page.goto("/admin/apitoken/new/")
    presets, name = page.locator("[data-presets]"), page.get_by_label("Name", exact=True)
    assert presets.bounding_box()["x"] > name.bounding_box()["x"]
    page.set_viewport_size(PHONE)
    assert presets.bounding_box()["y"] < name.bounding_box()["y"]
    presets.get_by_role("button", name="Use Ollama").click()
    expect(page.get_by_label("Base URL")).to_have_value("http://127.0.0.1:11434/v1")


def test_what_stays_in_sight_beside_a_form_stays_below_the_top_bar(page, studio):
    page.goto("/admin/schedule/new/")
    page.evaluate("scrollTo(0, 600)")
    top, effect = page.locator(".top").bounding_box(), page.locator("#effect").bounding_box()
    assert top["y"] == 0 and effect["y"] >= top["height"]


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_the_head_of_an_experiment_has_few_buttons_and_the_rest_behind_one_word(page, studio, width):
    page.set_viewport_size({"width": width, "height": 844})
    page.goto("/admin/experiment/")
    page.get_by_role("main").get_by_role("link", name=studio.experiment).first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(studio.experiment)
    page.wait_for_load_state()  # with its styles
    head = page.locator(".head")
    shown = head.locator(".button:visible")
    assert [name.strip() for name in shown.all_inner_texts()] == ["Copy …", "Pause or stop …", "Edit", "More"]
    rows = {each.bounding_box()["y"] for each in shown.all()}
    assert len(rows) == 1 or width == 320
    head.get_by_text("More", exact=True).focus()
    page.keyboard.press("Enter")
    choices = head.locator(".choices").get_by_role("link")
    assert choices.all_inner_texts() == ["Feed", "Add twins", "Who sees it", "End now …"]
    screens.assert_fits(page)
    edges = head.locator(".choices").evaluate("box => [box.getBoundingClientRect().left, box.clientWidth]")
    assert edges[0] >= 0 and edges[0] + edges[1] <= width
    page.keyboard.press("Tab")
    expect(choices.first).to_be_focused()
    page.keyboard.press("Escape")
    expect(choices).to_have_count(0)


def test_on_a_phone_a_list_becomes_labelled_pairs(page, studio):
    page.goto(f"/admin/digitaltwin/?search={studio.twin}")
    heads = page.locator("table.rows thead")
    expect(heads.get_by_text("Persona")).to_be_visible()
    page.set_viewport_size(PHONE)
    expect(heads.get_by_text("Persona")).not_to_be_in_viewport()
    cell = steps.row(page, f"@{studio.twin}").locator("td[data-label=Persona]")
    assert cell.evaluate("cell => getComputedStyle(cell, '::before').content") == '"Persona"'
    expect(steps.row(page, f"@{studio.twin}").get_by_role("link", name="Post now …")).to_be_visible()


def test_a_chosen_theme_stays(page):
    page.goto("/admin/")
    page.get_by_role("button", name="Dark", exact=True).click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.goto("/activity")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    expect(page.get_by_role("button", name="Dark", exact=True)).to_have_attribute("aria-pressed", "true")
    ground, _ = page.evaluate(LIGHTNESS)
    assert ground < 60
