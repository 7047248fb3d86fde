"""A real stack on an empty folder, a model server, and headless Chromium to look at them.

Everything is started once for this folder's tests and ends with them: later tests of the same session
find neither a process nor Playwright's event loop.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect, sync_playwright

from tests.model_server import MODEL, ModelServer

from . import lab as voices
from . import steps
from .chromium import CHROMIUM, FLAGS
from .real_stack import ROOT, Stack, wait_until
from .studio import Clockwork, Studio, set_up_studio
from .town import Town, make_town

PASSWORD = "a long enough password"
KEY = "sk-browser-2f9c41e07ab35d68"
WAITING_MS = 10_000
GONE_SECONDS = 5


def pytest_collection_modifyitems(items):
    """Without Chromium nothing here runs; what waits for a schedule goes last, the others run meanwhile."""
    places = [place for place, item in enumerate(items) if item.get_closest_marker("browser")]
    own = sorted((items[place] for place in places), key=lambda item: "every_minute" in item.fixturenames)
    for place, item in zip(places, own, strict=True):
        items[place] = item
        if CHROMIUM is None:
            item.add_marker(pytest.mark.skip(reason="Chromium is not installed; .ci/run installs it"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    """Beside a failure stands what the stack has printed and where the browser was."""
    report = yield
    if report.failed:
        stack, page = item.funcargs.get("stack"), item.funcargs.get("page")
        if stack is not None:
            report.sections.append(("the stack's last lines", stack.tail()))
        if page is not None and not page.is_closed():
            report.sections.append(("the page", f"{page.url}\n\n{page.locator('body').inner_text()}"))
    return report


@pytest.fixture(scope="package")
def stack(tmp_path_factory, clean_environment) -> Iterator[Stack]:
    """`python app.py` on an empty folder, without the demo. Leaves no process behind."""
    if (ROOT / ".env").exists():
        pytest.skip("the .env beside app.py would decide what this stack runs on")
    with Stack(tmp_path_factory.mktemp("stack") / "data", PDS_DEMO="0") as stack:
        yield stack
    assert wait_until(lambda: not stack.processes(), GONE_SECONDS), f"still there: {stack.processes()}"


@pytest.fixture(scope="package")
def address(stack) -> str:
    """Where the stack answers."""
    return stack.address


@pytest.fixture(scope="package")
def lab() -> Iterator[ModelServer]:
    """An OpenAI-compatible endpoint with a key; see tests/browser/lab.py for what it writes."""
    with ModelServer(key=KEY) as server:
        server.default = lambda request: voices.answer(request, len(server.history))
        yield server


@pytest.fixture(scope="package")
def chromium():
    """One browser for all tests."""
    expect.set_options(timeout=WAITING_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@dataclass
class Window:
    """A browser window with cookies of its own, and what went wrong in it."""

    context: BrowserContext
    page: Page
    problems: list[str] = field(default_factory=list)


@pytest.fixture
def open_window(chromium, address) -> Iterator[Callable[..., Page]]:
    """`open_window(may_fail=("404",), storage_state=…)` is a page of that person, without it of a stranger.

    The test fails on script errors, broken rules of the content security policy, dialogs of scripts, answers
    with an error status or Chromium's name of a failure that is not in `may_fail`, requests to another host.
    """
    windows: list[Window] = []

    def open_one(may_fail: tuple[str, ...] = (), **options) -> Page:
        context = chromium.new_context(base_url=address, viewport={"width": 1280, "height": 900}, **options)
        context.set_default_timeout(WAITING_MS)
        page = context.new_page()
        window = Window(context, page)
        windows.append(window)
        _watch(window, address, may_fail)
        return page

    yield open_one
    for window in windows:
        window.context.close()
    assert [problem for window in windows for problem in window.problems] == []


@dataclass(frozen=True)
class Administrator:
    """The first administrator, who set a password through the one-time link."""

    email: str
    password: str
    link: str
    state: Path


@pytest.fixture(scope="package")
def administrator(chromium, stack, tmp_path_factory) -> Administrator:
    """The first administrator, with the cookies of somebody who is signed in."""
    page = chromium.new_page()
    email = steps.set_password(page, stack.one_time_link, PASSWORD)
    state = tmp_path_factory.mktemp("browser") / "state.json"
    page.context.storage_state(path=str(state))
    page.close()
    return Administrator(email, PASSWORD, stack.one_time_link, state)


@pytest.fixture
def page(open_window, administrator) -> Page:
    """A page of the signed-in administrator."""
    return open_window(storage_state=str(administrator.state))


@pytest.fixture(scope="package")
def endpoint(lab) -> steps.Endpoint:
    """What people type about the lab."""
    return steps.Endpoint(lab.base_url, KEY, MODEL)


@pytest.fixture(scope="package")
def studio(chromium, address, administrator, endpoint) -> Studio:
    """A small set-up that the tests share; also starts the clock of `every_minute`."""
    context = chromium.new_context(base_url=address, storage_state=str(administrator.state))
    context.set_default_timeout(WAITING_MS)
    studio = set_up_studio(context.new_page(), endpoint)
    context.close()
    return studio


@pytest.fixture(scope="package")
def town(stack, address) -> Town:
    """A week of a town in the running stack, with its sums."""
    return make_town(stack.data_dir)


@pytest.fixture
def every_minute(studio) -> Clockwork:
    """A schedule that has been enabled for as long as the studio stands. Tests that wait for it run last."""
    return studio.clockwork


def _watch(window: Window, address: str, may_fail: tuple[str, ...]) -> None:
    def hear(message) -> None:
        is_expected = any(
            f"status of {why} " in message.text or f"::{why} " in f"{message.text} " for why in may_fail
        )
        if message.type == "error" and not is_expected:
            window.problems.append(f"{message.text} ({window.page.url})")

    def see(dialog) -> None:
        if dialog.type == "beforeunload":
            dialog.accept()
            return
        window.problems.append(f"{dialog.type}: {dialog.message}")
        dialog.dismiss()

    def follow(request) -> None:
        if not request.url.startswith((address, "data:")):
            window.problems.append(f"asked another host: {request.url}")

    window.page.on("pageerror", lambda error: window.problems.append(str(error)))
    window.page.on("console", hear)
    window.page.on("dialog", see)
    window.page.on("request", follow)
