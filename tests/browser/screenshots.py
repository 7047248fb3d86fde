"""Pictures of a demo that runs: `python -m tests.browser.screenshots [--screens-only]`.

It starts the stack with the demo on an empty folder, waits until twins have been asked and some have stayed
silent (some minutes), and writes those of the documents to docs/img, and every screen at two widths, light
and dark, to screens/, which is not kept. `--screens-only` does not wait and leaves docs/img alone.
"""

import re
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from . import screens, steps
from .chromium import CHROMIUM, FLAGS
from .real_stack import ROOT, Stack, wait_until

FOLDER = ROOT / "docs" / "img"
SCREENS = ROOT / "screens"
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
    is_short = arguments == ["--screens-only"]
    if arguments and not is_short:
        return f"Unknown: {' '.join(arguments)}. The one argument there is: --screens-only"
    if CHROMIUM is None:
        return "Chromium is needed to take pictures. Debian, Ubuntu: apt install chromium."
    with (
        tempfile.TemporaryDirectory() as data_dir,
        Stack(Path(data_dir) / "data", PDS_DEMO="1") as stack,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = _signed_in(browser, stack)
        if not is_short:
            print(f"Waiting for {ENOUGH_ATTEMPTS} attempts, one of them a skip …", flush=True)
            if not wait_until(lambda: _is_lively(page), PATIENCE_SECONDS):
                return f"The demo did not become lively in time.\n{stack.tail()}"
            _take_those_of_documents(page, FOLDER)
        count = _take_every_screen(page, SCREENS)
        browser.close()
    print(f"{count} pictures of screens are in {SCREENS.name}/.")
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


def _take_every_screen(page: Page, folder: Path) -> int:
    """Every screen from top to bottom, at both widths, light and dark; how many pictures."""
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.png"):
        old.unlink()
    count, seen = 0, set()
    page.set_viewport_size(WIDE)
    for path in screens.walk(page, "/admin/"):
        name = re.sub(r"[^a-z0-9]+", "-", re.sub(r"[?&]url=[^&]*", "", path).lower()).strip("-")
        if name in seen:  # the same, reached from elsewhere
            continue
        seen.add(name)
        for size, width in ((WIDE, "wide"), (NARROW, "narrow")):
            for scheme in ("light", "dark"):
                page.set_viewport_size(size)
                page.emulate_media(color_scheme=scheme)
                page.screenshot(
                    path=folder / f"{name}-{width}-{scheme}.png", full_page=True, animations="disabled"
                )
                count += 1
        page.set_viewport_size(WIDE)
    return count


def _take_those_of_documents(page: Page, folder: Path) -> None:
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
