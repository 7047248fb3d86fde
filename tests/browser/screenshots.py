"""The pictures of the documents, taken from a demo that runs: `python -m tests.browser.screenshots [folder]`.

It starts the stack with the demo on an empty folder, waits until twins have been asked and some have stayed
silent (some minutes), and writes dashboard.png, attempt.png and activity-narrow-dark.png.
"""

import re
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from . import steps
from .chromium import CHROMIUM, FLAGS
from .real_stack import ROOT, Stack, wait_until

FOLDER = ROOT / "docs" / "img"
WIDE = {"width": 1280, "height": 900}
TALL = {"width": 1280, "height": 1120}
NARROW = {"width": 390, "height": 844}
ENOUGH_ATTEMPTS = 20
PATIENCE_SECONDS = 600
LARGEST_BYTES = 200_000
LEAST_HEIGHT = 480
BOTH_CAUSES = re.compile(r"ago: 0\.(?!00).*own: 0\.(?!00)")


def main(arguments: list[str]) -> str | None:
    """What is wrong, or None when all pictures are there."""
    if CHROMIUM is None:
        return "Chromium is needed to take pictures. Debian, Ubuntu: apt install chromium."
    folder = Path(arguments[0]) if arguments else FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as data_dir,
        Stack(Path(data_dir) / "data", PDS_DEMO="1") as stack,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = _signed_in(browser, stack)
        print(f"Waiting for {ENOUGH_ATTEMPTS} attempts, one of them a skip …", flush=True)
        if not wait_until(lambda: _is_lively(page), PATIENCE_SECONDS):
            return f"The demo did not become lively in time.\n{stack.tail()}"
        _take_all(page, folder)
        browser.close()
    return None


def _signed_in(browser: Browser, stack: Stack) -> Page:
    """A page of the first administrator that shows the demo experiment."""
    page = browser.new_page(base_url=stack.address, viewport=WIDE, color_scheme="light")
    steps.set_password(page, stack.one_time_link, "a password for a demo")
    experiment = page.get_by_label("Experiment", exact=True)
    experiment.select_option(index=1)
    page.wait_for_load_state()
    return page


def _is_lively(page: Page) -> bool:
    page.wait_for_timeout(2000)
    page.goto("/activity")
    states = page.locator("#attempts td[data-label=State]").all_inner_texts()
    ended = [state for state in states if state in ("posted", "skipped", "failed")]
    return len(ended) >= ENOUGH_ATTEMPTS and "skipped" in ended and len(ended) == len(states)


def _take_all(page: Page, folder: Path) -> None:
    page.set_viewport_size(TALL)
    page.goto("/admin/")
    _take(page, folder / "dashboard.png")
    page.set_viewport_size(WIDE)
    page.goto("/activity?state=skipped&class=rule")
    rows = page.locator("#attempts tr")
    telling = rows.filter(has_text=BOTH_CAUSES)
    (telling if telling.count() else rows).first.get_by_role("link").first.click()
    page.wait_for_url("**/attempts/*")
    _take(page, folder / "attempt.png")
    page.set_viewport_size(NARROW)
    page.emulate_media(color_scheme="dark")
    page.goto("/activity")
    page.locator("[data-live]").evaluate("bar => scrollTo(0, bar.getBoundingClientRect().top + scrollY)")
    _take(page, folder / "activity-narrow-dark.png")


def _take(page: Page, path: Path) -> None:
    """What the window shows; a lower window if the file would be too large."""
    page.mouse.move(0, 0)
    size = dict(page.viewport_size)
    while True:
        picture = page.screenshot(animations="disabled")
        if len(picture) <= LARGEST_BYTES or size["height"] <= LEAST_HEIGHT:
            break
        size["height"] -= 60
        page.set_viewport_size(size)
    path.write_bytes(picture)
    print(f"{path}: {size['width']} × {size['height']}, {len(picture) // 1000} kB", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
