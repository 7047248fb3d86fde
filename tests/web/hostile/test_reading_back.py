"""Every hostile text that can be kept is read back everywhere: as a text, to the letter, as nothing else."""

import csv
import html
import io
import json
import os
import re
import sqlite3
from contextlib import closing
from types import SimpleNamespace

import pytest

from pdsapp.errors import BadInput
from pdsapp.models import Experiment, utc_now
from pdsapp.services import experiments, pauses, personas, posts, schedules, twins
from pdsapp.services.tables import unguarded
from tests.web.conftest import Browser

from .forms import Page, walk
from .inert import JudgedPage, problems_of
from .sending import COOKIE, as_block, as_line, database_of
from .texts import BY_NAME, DIRECTIONS, TEXTS

ALL = os.environ.get("HOSTILE") == "all"
ENTRIES = 1 if ALL else 8  # of the pages of entries, every so manieth is opened
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
MARKS = [each.mark for each in TEXTS if each.mark]
SCREENS = ("experiment", "persona", "userprofile", "digitaltwin", "schedule", "post", "audit")


def kept(session, add, *values, **fields):
    """The new row; None if its text was refused, with a sentence."""
    try:
        with session.begin_nested():
            row = add(session, *values, **fields)
            session.flush()
            return row
    except BadInput as error:
        assert str(error)[0].isupper() and str(error).endswith("."), error
        return None


@pytest.fixture(scope="module")
def first():
    """What the first test of this file has made, for the others: they only read."""
    with closing(sqlite3.connect(":memory:")) as database:
        yield SimpleNamespace(database=database, world=None, cookie="")


@pytest.fixture
def full(request, first, calm, settings):
    """The world with a row of every kind for each text, and what was kept of them in lines and in blocks."""
    if first.world is None or not settings.is_embedded:
        first.world = request.getfixturevalue("filled")
        if settings.is_embedded:
            with closing(sqlite3.connect(database_of(settings))) as live:
                live.backup(first.database)
            first.cookie = first.world.browser.get_cookie(COOKIE).value
        return first.world
    with closing(sqlite3.connect(database_of(settings))) as live:
        first.database.backup(live)
    calm.test_client_class = Browser
    browser = calm.test_client()
    browser.set_cookie(COOKIE, first.cookie)
    return SimpleNamespace(**vars(first.world) | {"app": calm, "browser": browser})


@pytest.fixture
def filled(world, write):
    now, lines, blocks = utc_now(), set(), set()
    with write() as session:
        experiment = session.get_one(Experiment, world.rows.experiment.id)
        for number, text in enumerate(each.text for each in TEXTS):
            if kept(session, experiments.add_experiment, text, "UTC", now):
                lines.add(as_line(text))
                kept(session, personas.add_persona, text, "Reads a lot.", now)
            version = kept(session, personas.add_persona, f"P {number}", text, now, notes=text)
            if version:
                blocks.add(as_block(text))
            kept(session, experiments.add_experiment, f"E {number}", "UTC", now, description=text)
            person = kept(session, twins.add_profile, experiment, f"p{number}", now, f"Person {number}", text)
            kept(session, posts.add_post, person or world.rows.person, text, now)
            wish = schedules.Wish(text, experiment, cron="0 9 * * *")
            kept(session, schedules.add_schedule, wish, now, reason=text)
            version = version or session.merge(world.rows.version)
            kept(
                session, twins.add_twin, experiment, f"t{number}", version, now,
                display_name=text, bio=text, llm_model=text,
            )  # fmt: skip
        pauses.pause_everything(session, now, BY_NAME["hebrew"].text)
    world.lines, world.blocks = lines, blocks
    return world


def judged(address: str, text: str) -> JudgedPage:
    """A page, judged by all marks."""
    return JudgedPage(address, text, MARKS)


def shown_on(page: str) -> str:
    """The words of a page as a reader sees them, white space as single spaces."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page)).split())


def test_every_page_shows_hostile_texts_as_texts(full):
    wrong, seen = [], 0
    for address, answer, page in walk(full.app, full.browser, full.values, judged):
        assert answer.status_code < 500 or address.startswith("/readyz"), address
        if page is not None:
            seen += 1
            wrong += [f"{address}: {words}" for words in page.problems]
    assert seen > 100
    assert wrong == [], "\n".join(wrong[:40])


def test_lists_and_forms_hold_the_texts_to_the_letter_and_entries_are_inert(full):
    wrong, opened = [], 0
    for place, screen in enumerate(SCREENS):  # each begins elsewhere, so that other texts are opened
        links = set()
        words = ""
        for page in range(3):
            answer = full.browser.get(f"/admin/{screen}/?page_size=100&page={page}")
            found = judged("/", answer.text)
            wrong += [f"{screen}: {problem}" for problem in found.problems]
            words += shown_on(answer.text)
            links |= {each for each in found.links if each.startswith(f"/admin/{screen}/")}
        if screen in ("experiment", "persona", "schedule"):
            assert [line for line in full.lines if line not in words] == [], screen
        entries = sorted(each for each in links if "details/" in each or "edit/" in each)
        for address in entries[place % ENTRIES :: ENTRIES]:
            answer = full.browser.get(address)
            opened += 1
            assert answer.status_code in (200, 302), address
            wrong += [f"{address}: {problem}" for problem in problems_of(answer.text, MARKS)]
    assert opened > 80
    assert wrong == [], "\n".join(wrong[:40])
    given_back = set()
    for key in range(2, 3 * len(TEXTS), 1 if ALL else 5):
        answer = full.browser.get(f"/admin/persona/edit/?id={key}")
        if answer.status_code == 200:
            given_back.update(Page("/", answer.text).values["notes"])
    assert len(given_back) > 10
    assert given_back - {""} <= full.blocks


def test_no_cell_of_an_export_is_a_formula_and_an_import_reads_it_back_to_the_letter(full):
    for screen in SCREENS:
        answer = full.browser.get(f"/admin/{screen}/export/csv/")
        cells = {cell for row in csv.reader(io.StringIO(answer.text, newline="")) for cell in row}
        assert [cell for cell in cells if cell.startswith(FORMULA)] == [], screen
        if screen in ("experiment", "persona", "schedule"):
            assert full.lines <= {unguarded(cell) for cell in cells}, screen
    exported = full.browser.get("/admin/persona/export/jsonl/").data
    lines = exported.decode().splitlines()
    assert full.blocks <= {json.loads(line)["text"] for line in lines}
    files = {"files": (io.BytesIO(exported), "personas.jsonl")}
    answer = full.browser.post("/admin/persona/import/", data=files)
    assert answer.status_code == 200
    assert "same, nothing to do" in answer.text
    assert ">create<" not in answer.text and "as a new version<" not in answer.text

    # Controls of direction stay in blocks, and are refused where they would turn a sentence around.
    assert not any(control in line for line in full.lines for control in DIRECTIONS)
    kept_in_blocks = "".join(full.blocks)
    assert all(control in kept_in_blocks for control in "\u202e\u2067\u2069")
