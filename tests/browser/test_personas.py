"""A persona is written beside what a twin would be sent, tried, and given to twins as a new version."""

import pytest
from playwright.sync_api import expect

from . import steps

pytestmark = [pytest.mark.browser, pytest.mark.stack]


@pytest.mark.parametrize("width", [1280, 390], ids=["desk", "phone"])
def test_a_persona_is_tried_before_its_twins_move_to_it(page, studio, width):
    page.set_viewport_size({"width": width, "height": 900})
    name, experiment = f"Porter {width}", f"Lodge {width}"
    steps.add(page, "persona", Name=name, Text="You keep the keys of a college.")
    steps.add(page, "experiment", Name=experiment)
    steps.add(
        page, "digitaltwin",
        Experiment=experiment, Username=f"porter_{width}", Persona=name, API_token=studio.token,
    )  # fmt: skip
    page.goto("/admin/persona/")
    page.get_by_role("link", name=name).click()
    page.get_by_role("link", name="Edit", exact=True).first.click()
    page.get_by_label("Text").fill("You keep the keys of a college, and of its cellar.")
    expect(page.locator("#effect")).to_contain_text("and of its cellar")
    page.get_by_role("checkbox", name="medium,", exact=False).check()
    page.get_by_role("button", name="Try it").click()
    expect(page.locator("#trials .post").first).to_be_visible()
    page.get_by_role("checkbox", name=experiment, exact=False).check()
    steps.save(page)
    expect(page.locator("#versions")).to_contain_text("and of its cellar")
    page.get_by_role("link", name="All versions").click()
    expect(page.locator("ins").first).to_contain_text("of its cellar")


def test_a_form_with_changes_is_not_left_without_asking(page, studio):
    would_ask = "() => !window.dispatchEvent(new Event('beforeunload', { cancelable: true }))"
    page.goto("/admin/persona/new/")
    assert not page.evaluate(would_ask), "nothing was typed yet"
    page.get_by_label("Name").fill("Half a persona")
    expect(page.get_by_text("Not saved yet")).to_be_visible()
    assert page.evaluate(would_ask)


def test_what_somebody_else_saved_meanwhile_is_not_overwritten(open_window, administrator, studio):
    page = open_window(storage_state=str(administrator.state), may_fail=("400",))
    steps.add(page, "persona", Name="Shared persona", Text="You share.")
    address = page.url.replace("/details/", "/edit/")
    page.goto(address)
    other = open_window(storage_state=str(administrator.state))
    other.goto(address)
    other.get_by_label("Notes").fill("from the other window")
    steps.save(other)
    page.get_by_label("Notes").fill("from this window")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("Somebody else has saved this since you opened it.")
    expect(page.get_by_label("Notes")).to_have_value("from this window")
