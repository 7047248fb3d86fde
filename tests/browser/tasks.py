"""What the common tasks cost in clicks and page loads: each is done in a browser and counted.

`make tasks` starts a stack of its own and prints the table of docs/tasks.md.
"""

import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, Frame, Locator, Page, expect, sync_playwright

from tests.model_server import MODEL, ModelServer

from . import lab, steps
from .chromium import CHROMIUM, FLAGS
from .real_stack import Stack

IMPORTED = 200
SETTLING_MS = 300  # until the last arrival is told
KEY = "sk-tasks"
SECTIONS = 6


class Hand:
    """Somebody at the browser. Counts clicks (choices from a list too), fields filled in, and page loads."""

    def __init__(self, page: Page):
        self.page, self.clicks, self.fields, self.loads = page, 0, 0, 0
        page.on("framenavigated", self._navigated)

    def done(self) -> tuple[int, int, int]:
        """What it has cost; counts no more."""
        self.page.wait_for_timeout(SETTLING_MS)
        self.page.remove_listener("framenavigated", self._navigated)
        return self.clicks, self.fields, self.loads

    def click(self, target: Locator) -> None:
        self.clicks += 1
        target.click()

    def menu(self, name: str) -> None:
        self.click(self.page.get_by_role("navigation", name="Main").get_by_role("link", name=name))

    def link(self, name: str) -> None:
        self.click(self.page.get_by_role("main").get_by_role("link", name=name, exact=True).first)

    def button(self, name: str) -> None:
        self.click(self.page.get_by_role("main").get_by_role("button", name=name, exact=True).first)

    def choose(self, label: str, words: str) -> None:
        self.clicks += 1
        steps.fill(self.page, **{label: words})

    def type(self, **values: str) -> None:
        self.fields += len(values)
        steps.fill(self.page, **values)

    def upload(self, target: Locator, name: str, content: str) -> None:
        self.clicks += 1
        target.set_input_files({"name": name, "mimeType": "text/csv", "buffer": content.encode()})

    def saved(self) -> None:
        """Presses Save and waits until it says so."""
        self.clicks += 1
        steps.save(self.page)

    def _navigated(self, frame: Frame) -> None:
        """A page has arrived: one that is left before all of it has loaded counts too."""
        self.loads += frame == self.page.main_frame


@dataclass(frozen=True)
class Task:
    """What somebody wants, from the dashboard on, and how they do it."""

    title: str
    do: Callable[[Hand, steps.Endpoint], None]


def create_persona_and_twin(hand: Hand, _endpoint: steps.Endpoint) -> None:
    hand.menu("Personas")
    hand.link("Add persona")
    hand.type(Name="Bus driver", Text="You drove buses for thirty years. You write dry sentences.")
    hand.saved()
    hand.menu("Twins")
    hand.link("Add twin")
    hand.type(Username="maya_reads")
    hand.choose("Persona", "Bus driver")
    hand.saved()


def attach_and_test_token(hand: Hand, endpoint: steps.Endpoint) -> None:
    hand.menu("API tokens")
    hand.link("Add API token")
    hand.type(Name="Department", Base_URL=endpoint.base_url, Key=endpoint.key, Default_model=endpoint.model)
    hand.saved()
    hand.button("Test")
    expect(hand.page.get_by_text("The endpoint answers with this token.")).to_be_visible()


def schedule_working_hours(hand: Hand, _endpoint: steps.Endpoint) -> None:
    hand.menu("Schedules")
    hand.link("Add schedule")
    hand.type(Name="Working hours")
    hand.button("Working hours hourly 9–17, every day")
    hand.clicks += 1
    steps.field(hand.page, "Enabled").check()
    if steps.field(hand.page, "Reason for the change").count():
        hand.type(Reason_for_the_change="As the protocol says")
    hand.saved()


def find_out_why_a_twin_was_silent(hand: Hand, _endpoint: steps.Endpoint) -> None:
    hand.menu("Activity")
    hand.click(hand.page.locator("#attempts tr").first.get_by_role("link").first)
    expect(hand.page.locator("#attempt-page")).to_be_visible()


def change_the_skip_numbers(hand: Hand, _endpoint: steps.Endpoint) -> None:
    hand.menu("Experiments")
    hand.click(hand.page.locator("table.rows tbody tr td a").first)
    hand.click(hand.page.locator("#policy").get_by_role("link", name="Edit"))
    hand.fields += 1
    hand.page.get_by_label("Step 1: skips with percent").fill("65")
    hand.type(Reason_for_the_change="Pilot: too quiet")
    hand.saved()


def import_twins(hand: Hand, _endpoint: steps.Endpoint) -> None:
    hand.menu("Twins")
    hand.link("Add many")
    lines = "".join(f"student_{number},Bus driver\n" for number in range(IMPORTED))
    hand.upload(hand.page.get_by_label("File", exact=True), "twins.csv", f"username,persona_name\n{lines}")
    hand.button("Show what it would do")
    expect(hand.page.get_by_text(f"{IMPORTED} to create.")).to_be_visible()
    hand.button("Set up all of it")
    expect(hand.page.get_by_text(f"{IMPORTED} twins set up, 0 updated, 0 skipped.")).to_be_visible()


def set_up_and_start_six_sections(hand: Hand, _endpoint: steps.Endpoint) -> None:
    hand.menu("Experiments")
    hand.click(hand.page.locator("table.rows tbody tr td a").first)
    hand.click(hand.page.get_by_role("main").get_by_role("link", name="Cop").first)
    hand.type(**{"Names, one a line": "\n".join(f"Section {n}" for n in range(1, SECTIONS + 1))})
    hand.button("Make the copies")
    hand.click(hand.page.get_by_role("status").filter(has_text="Copied").get_by_role("link", name="Start …"))
    hand.clicks += 1
    steps.field(hand.page, "Start anyway").check()
    hand.button(f"Start {SECTIONS} experiments")
    expect(hand.page.get_by_role("status").filter(has_text="are running.")).to_be_visible()


TASKS = (
    Task("Attach an API token and test it", attach_and_test_token),
    Task("Create a persona and a twin", create_persona_and_twin),
    Task("Schedule working hours", schedule_working_hours),
    Task(f"Import {IMPORTED} twins from a table", import_twins),
    Task("Find out why a twin was silent", find_out_why_a_twin_was_silent),
    Task("Change the skip numbers of a running study", change_the_skip_numbers),
    Task(f"Set up and start {SECTIONS} sections of a course", set_up_and_start_six_sections),
)


def lines(page: Page, endpoint: steps.Endpoint) -> Iterator[str]:
    """The table in Markdown, on an installation with one experiment that has a twin which was asked."""
    yield "| task | clicks | fields filled in | page loads |"
    yield "| --- | ---: | ---: | ---: |"
    for task in TASKS:
        page.goto("/admin/")
        hand = Hand(page)
        task.do(hand, endpoint)
        page.wait_for_load_state()
        yield f"| {task.title} | {' | '.join(map(str, hand.done()))} |"


def prepare(page: Page, endpoint: steps.Endpoint) -> None:
    """The experiment the tasks are done in, running, with a twin that was asked."""
    steps.add_token(page, "Lab", endpoint)
    steps.add(page, "persona", Name="Night owl", Text="You study at night and write in plain sentences.")
    steps.add(page, "experiment", Name="Course")
    steps.add(
        page, "digitaltwin", Experiment="Course", Username="night_owl", Persona="Night owl", API_token="Lab"
    )
    steps.start(page, "Course")
    steps.post_now(page, "night_owl")
    steps.expect_end(page, "posted")


def measured(browser: Browser) -> Iterator[str]:
    """The lines, on a stack and a model server of their own."""
    with (
        tempfile.TemporaryDirectory() as folder,
        ModelServer(key=KEY) as server,
        Stack(Path(folder) / "data", PDS_DEMO="0") as stack,
    ):
        server.default = lambda request: lab.answer(request, len(server.history))
        page = browser.new_page(base_url=stack.address, viewport={"width": 1280, "height": 900})
        steps.set_password(page, stack.one_time_link, "a password for the tasks")
        endpoint = steps.Endpoint(server.base_url, KEY, MODEL)
        prepare(page, endpoint)
        yield from lines(page, endpoint)
        page.close()


def main() -> str | None:
    """What is wrong, or None when the table is printed."""
    if CHROMIUM is None:
        return "Chromium is needed to do the tasks. Debian, Ubuntu: apt install chromium."
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        for line in measured(browser):
            print(line, flush=True)
        browser.close()
    return None


if __name__ == "__main__":
    sys.exit(main())
