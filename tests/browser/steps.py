"""What people do in the browser: fill in a form, save it, press a button of a row, wait for an outcome."""

import re
from dataclasses import dataclass

from playwright.sync_api import Locator, Page, expect

from .real_stack import wait_until

OUTCOME_MS = 20_000  # a worker picks an attempt up, the model answers, the page renews itself every 2 s


@dataclass(frozen=True)
class Endpoint:
    """What people type about the model server."""

    base_url: str
    key: str
    model: str


def set_password(page: Page, link: str, password: str) -> str:
    """Follows a one-time link and is signed in; the account's e-mail address."""
    page.goto(link)
    email = page.locator("input[name=username]").input_value()
    page.get_by_label("New password").fill(password)
    page.get_by_label("The same again").fill(password)
    page.get_by_role("button", name="Set password and sign in").click()
    page.wait_for_url("**/admin/")
    return email


def go(page: Page, *names: str) -> None:
    """Follows the menu's link, then links and buttons of the page, by their names."""
    menu, *others = names
    page.get_by_role("navigation", name="Main").get_by_role("link", name=re.compile(rf"^{menu}\b")).click()
    for name in others:
        page.get_by_role("main").get_by_role("link", name=name, exact=True).first.click()


def field(page: Page, label: str) -> Locator:
    """The control with this label in the page's form."""
    return page.locator("main form.form").get_by_label(re.compile(rf"^{re.escape(label)}( optional)?$"))


def fill(page: Page, **values: str | bool) -> None:
    """Types, chooses and ticks. A field's label is given as a keyword, `_` for a space: `Base_URL="http://…"`."""
    for name, value in values.items():
        control = field(page, name.replace("_", " "))
        kind = control.evaluate("element => element.type")
        if kind in ("checkbox", "radio"):
            control.set_checked(bool(value))
        elif kind == "select-one":
            option = control.locator("option", has_text=str(value)).first
            control.select_option(option.get_attribute("value"))
        else:
            control.fill(str(value))


def save(page: Page) -> None:
    """Saves the form and lands on the new or changed entry's page."""
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_role("status").filter(has_text=re.compile("^(Added|Saved)"))).to_be_visible()


def add(page: Page, area: str, **values: str | bool) -> None:
    """Adds an entry with its form, from the form's address."""
    page.goto(f"/admin/{area}/new/")
    fill(page, **values)
    save(page)


def add_token(page: Page, name: str, endpoint: Endpoint) -> None:
    """Adds an API token for an endpoint."""
    add(
        page, "apitoken",
        Name=name, Base_URL=endpoint.base_url, Key=endpoint.key, Default_model=endpoint.model,
    )  # fmt: skip


def add_schedule(page: Page, name: str, experiment: str, cron: str) -> None:
    """Adds a schedule by a cron expression, enabled."""
    page.goto("/admin/schedule/new/")
    page.get_by_label("by a cron expression, for experts").check()
    fill(
        page, Name=name, Experiment=experiment, Cron_expression=cron, Enabled=True,
        Reason_for_the_change="as planned",
    )  # fmt: skip
    save(page)


def start(page: Page, experiment: str) -> None:
    """Starts a draft, whatever its checklist only asks to be looked at."""
    page.goto("/admin/experiment/")
    row(page, experiment).get_by_role("link", name="Start …").click()
    page.get_by_label("Start anyway").check()
    page.get_by_role("button", name="Start the experiment").click()
    expect(page.get_by_role("status").filter(has_text="is running")).to_be_visible()


def row(page: Page, name: str) -> Locator:
    """The row of a list that holds this text."""
    return page.locator("table.rows tbody tr").filter(has_text=name)


def more(page: Page, name: str) -> None:
    """Follows a link or presses a button that is behind More in the head of the page."""
    head = page.locator(".head")
    head.get_by_text("More", exact=True).click()
    head.locator(".choices").get_by_text(name, exact=True).click()


def twin_row(page: Page, username: str) -> Locator:
    """A twin's row in the list of twins."""
    page.goto(f"/admin/digitaltwin/?search={username}")
    return row(page, f"@{username}")


def open_asking(page: Page, username: str) -> Locator:
    """Opens the dialog before a twin is asked, from its row."""
    twin_row(page, username).get_by_role("link", name="Post now …").click()
    dialog = page.get_by_role("dialog", name="Ask this twin")
    expect(dialog).to_be_visible()
    return dialog


def post_now(page: Page, username: str) -> None:
    """Has a twin post now, from its row, and lands on the attempt's page; also without scripts."""
    _ask(page, username, "Post now")


def ask_now(page: Page, username: str) -> None:
    """Asks a twin now, from its row, and lands on the attempt's page; also without scripts."""
    _ask(page, username, "Ask now")


def _ask(page: Page, username: str, button: str) -> None:
    twin_row(page, username).get_by_role("link", name="Post now …").click()
    page.get_by_role("button", name=button, exact=True).click()
    to_whole_attempt(page)


def to_whole_attempt(page: Page) -> None:
    """From the dialog that follows what was asked to the attempt's page; without scripts one is there."""
    link = page.get_by_role("dialog").get_by_role("link", name="See the whole attempt")
    expect(link.or_(page.locator("#attempt-page"))).to_be_visible()
    if link.count():
        link.click()
    page.wait_for_url("**/attempts/*")


def state(page: Page) -> Locator:
    """The attempt's state, at the head of its page."""
    return page.locator("#attempt-page .lead .pill").first


def expect_state(page: Page, word: str) -> None:
    """Waits, without reloading, until the attempt's page says this state."""
    expect(state(page)).to_have_text(word, timeout=OUTCOME_MS)


def expect_end(page: Page, word: str) -> None:
    """As `expect_state`, but by asking the server: sooner, where renewing itself is not the point."""
    address = f"{page.url}/state"
    assert wait_until(lambda: page.request.get(address).json()["is_over"], OUTCOME_MS / 1000)
    page.reload()
    expect(state(page)).to_have_text(word)


def posted_text(page: Page) -> str:
    """The text of the post on its attempt's page."""
    return page.get_by_role("region", name="Outcome").locator(".post").inner_text()


def attempts_of(page: Page, username: str) -> int:
    """How often a twin was asked, by the list of attempts."""
    page.goto(f"/admin/attempt/?twin={username}")
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    return page.locator("table.attempt-rows tbody tr").count()


def stay(page: Page) -> None:
    """Marks the document, so that `has_stayed` can tell that no other was loaded."""
    page.evaluate("window.hasStayed = true")


def has_stayed(page: Page) -> bool:
    """Whether the page is still the one that was marked."""
    return page.evaluate("window.hasStayed === true")
