"""An assistant is added, granted one section, and sees that section only; on desk and phone."""

import pytest
from playwright.sync_api import expect

from . import steps

pytestmark = [pytest.mark.browser, pytest.mark.stack]
PASSWORD = "a quite long password"


@pytest.mark.parametrize("width", [1280, 390], ids=["desk", "phone"])
def test_an_assistant_is_granted_one_section_and_sees_no_other(page, open_window, studio, width):
    section, email = f"Section at {width}", f"assistant{width}@example.org"
    page.set_viewport_size({"width": width, "height": 900})
    steps.add(page, "experiment", Name=section)
    page.goto("/admin/account/new/")
    page.get_by_label("E-mail").fill(email)
    page.get_by_label("researcher:", exact=False).check()
    page.get_by_role("checkbox", name=section, exact=False).check()
    steps.save(page)
    expect(page.get_by_role("main")).to_contain_text(section)
    page.get_by_role("button", name="Make a sign-in link").click()
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy the link").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    link = page.evaluate("navigator.clipboard.readText()")
    assert link == page.get_by_label("The link").input_value()

    assistant = open_window()
    assistant.set_viewport_size({"width": width, "height": 900})
    steps.set_password(assistant, link, PASSWORD)
    assistant.goto("/admin/experiment/")
    expect(assistant.get_by_role("link", name=section)).to_be_visible()
    expect(assistant.get_by_text(studio.experiment)).to_have_count(0)
    assistant.goto("/admin/digitaltwin/")
    expect(assistant.get_by_text(f"@{studio.twin}")).to_have_count(0)

    page.goto("/admin/experiment/")
    page.get_by_role("link", name=section).click()
    steps.more(page, "Who sees it")
    page.get_by_role("checkbox", name=email, exact=False).uncheck()
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_role("status")).to_contain_text("is granted to 0 of")
    assistant.goto("/admin/experiment/")
    expect(assistant.get_by_text("You are granted no experiment yet.")).to_be_visible()


@pytest.mark.parametrize("width", [1280, 390], ids=["desk", "phone"])
def test_everybody_finds_their_own_zone_and_password(page, open_window, width):
    page.set_viewport_size({"width": width, "height": 900})
    page.goto("/admin/account/new/")
    email = f"viewer{width}@example.org"
    page.get_by_label("E-mail").fill(email)
    page.get_by_label("viewer:", exact=False).check()
    steps.save(page)
    page.get_by_role("button", name="Make a sign-in link").click()
    link = page.get_by_label("The link").input_value()

    viewer = open_window(may_fail=("400",))
    viewer.set_viewport_size({"width": width, "height": 900})
    steps.set_password(viewer, link, PASSWORD)
    if width < 600:
        viewer.get_by_text("Menu", exact=True).click()
    viewer.get_by_role("navigation", name="Main").get_by_role("link", name=email).click()
    viewer.get_by_label("Time zone").select_option("Asia/Kathmandu")
    viewer.get_by_role("button", name="Save the time zone").click()
    expect(viewer.locator("html")).to_have_attribute("data-zone", "Asia/Kathmandu")
    viewer.get_by_label("Present password").fill("wrong")
    viewer.get_by_label("New password").fill("another long password")
    viewer.get_by_label("The same again").fill("another long password")
    viewer.get_by_role("button", name="Change the password").click()
    expect(viewer.get_by_role("alert")).to_contain_text("This is not your present password")
    viewer.get_by_label("Present password").fill(PASSWORD)
    viewer.get_by_label("New password").fill("another long password")
    viewer.get_by_label("The same again").fill("another long password")
    viewer.get_by_role("button", name="Change the password").click()
    expect(viewer.get_by_role("status")).to_contain_text("Your password is changed.")
