"""Every screen there is, found from the menu: lists, forms, entries, and what entries lead to."""

import re
from collections.abc import Iterator

from playwright.sync_api import Page, expect

LEAST_SCREENS = 36
OPEN_FOLDS = (
    "document.querySelectorAll('details.fold, .change details').forEach((fold) => (fold.open = true))"
)

# What reaches beyond the right edge; what scrolls by itself inside a box may.
TOO_WIDE = """() => {
  const root = document.documentElement;
  if (root.scrollWidth <= root.clientWidth) return [];
  const isFar = (each) => each.getBoundingClientRect().right > root.clientWidth + 1;
  const far = [...document.querySelectorAll("body *")].filter(isFar).slice(0, 4);
  return [`${root.scrollWidth} px wide: ${far.map((each) => each.outerHTML.slice(0, 60)).join(" … ")}`];
}"""


def assert_fits(page: Page) -> None:
    """Nothing reaches beyond the right edge once the page has its styles: an address is there before them."""
    page.wait_for_load_state()
    assert page.evaluate(TOO_WIDE) == [], page.url


def walk(page: Page, first: str) -> Iterator[str]:
    """Opens `first` and then every screen, one after the other, and gives its path.

    Folds are open. Of each area the list, the form, the newest entry with its form, and the pages that
    stand beside that entry are seen.
    """
    addresses = [first, *menu(page)]
    for address in addresses:
        page.goto(address)
        expect(page.locator("h1")).to_be_visible()
        found = (*_of_list(page), *_of_entry(page), *_of_feed(page))
        addresses += [each for each in found if each not in addresses]
        page.evaluate(OPEN_FOLDS)
        yield page.url.removeprefix(page.url[: page.url.index("/", 8)])
    assert len(addresses) >= LEAST_SCREENS, addresses


def menu(page: Page) -> list[str]:
    """Where the menu leads."""
    page.goto("/admin/")
    links = page.get_by_role("navigation", name="Main").get_by_role("link")
    return [link.get_attribute("href") for link in links.all()]


def _of_list(page: Page) -> list[str]:
    """On the list of an area: where its forms, its newest entry, that entry's form, and the starts of a draft
    alone and of several are."""
    if not re.search(r"/admin/\w+/$", page.url) or page.url.endswith("/attempt/"):
        return []
    row = page.locator("table.rows tbody tr").first
    links = [
        *page.locator(".head a", has_text=re.compile("^(Add|Edit all)")).all(),
        row.locator("td a").first,
        row.get_by_role("link", name="Edit"),
        page.get_by_role("link", name="Start …").first,
    ]
    found = [link.get_attribute("href") for link in links if link.count()]
    return [*found, *(each.replace("/start/?", "/start-several/?") for each in found if "/start/?" in each)]


def _of_feed(page: Page) -> list[str]:
    """On a feed: where posts are imported."""
    link = page.get_by_role("link", name="Import posts")
    return [link.get_attribute("href")] if page.url.endswith("/feed") and link.count() else []


def _of_entry(page: Page) -> list[str]:
    """On the page of an entry: where the buttons of its head and the links of its cards' heads lead."""
    if "/details/" not in page.url:
        return []
    links = page.locator("main .head .actions a, main .card > header a").all()
    return [link.get_attribute("href").split("#")[0] for link in links]
