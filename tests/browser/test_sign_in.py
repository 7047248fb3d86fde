"""Signing in and out, and who gets where."""

import re

import pytest
from playwright.sync_api import Page, expect

from . import steps

pytestmark = [pytest.mark.browser, pytest.mark.stack]


def sign_in(page: Page, email: str, password: str) -> None:
    page.get_by_label("E-mail").fill(email)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()


def test_the_one_time_link_sets_a_password_only_once(open_window, administrator):
    stranger = open_window(may_fail=("404",))
    stranger.goto(administrator.link)
    expect(stranger.get_by_role("heading", level=1)).to_have_text("This link does not work")
    expect(stranger.get_by_text("This link has been used")).to_be_visible()
    expect(stranger.get_by_label("New password")).to_have_count(0)


def test_a_wrong_password_is_answered_with_a_sentence_and_the_right_one_opens_the_door(
    open_window, administrator
):
    stranger = open_window(may_fail=("400",))
    stranger.goto("/")
    expect(stranger).to_have_url(re.compile("/login"))
    sign_in(stranger, administrator.email, "not this one at all")
    expect(stranger.get_by_role("alert")).to_contain_text("E-mail address or password is wrong.")
    expect(stranger.get_by_label("E-mail")).to_have_value(administrator.email)
    sign_in(stranger, administrator.email, administrator.password)
    stranger.wait_for_url("**/admin/")
    expect(stranger.get_by_text(administrator.email, exact=True)).to_be_visible()


def test_a_stranger_with_a_deep_link_gets_there_after_signing_in(open_window, administrator):
    stranger = open_window()
    stranger.goto("/activity?state=skipped&trigger=button")
    expect(stranger.get_by_role("heading", level=1)).to_have_text("Sign in")
    sign_in(stranger, administrator.email, administrator.password)
    stranger.wait_for_url("**/activity?state=skipped&trigger=button")
    expect(stranger.get_by_label("State")).to_have_value("skipped")


def test_who_signs_out_is_a_stranger_again_in_every_window(open_window, stack):
    email, password = "colleague@example.org", "another long password"
    first, second = open_window(), open_window()
    steps.set_password(first, stack.command("create-admin", email).strip(), password)
    second.goto("/login")
    sign_in(second, email, password)
    second.wait_for_url("**/admin/")

    first.get_by_role("button", name="Sign out").click()
    expect(first.get_by_text("You are signed out")).to_be_visible()
    for window in (first, second):
        window.goto("/admin/digitaltwin/")
        expect(window.get_by_role("heading", level=1)).to_have_text("Sign in")
    first.go_back()
    first.go_back()
    expect(first.get_by_role("heading", name="Dashboard")).to_have_count(0)
