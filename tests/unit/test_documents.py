"""The documents: links lead somewhere, commands and settings exist, nothing names a place or an index."""

import re
from pathlib import Path

import pytest

from pdsapp.config import Settings

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def _ids(path):
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=_ids)
def test_links_and_pictures_lead_to_files_that_exist(page):
    targets = re.findall(r"\]\(([^)#\s]+)", page.read_text())
    missing = [t for t in targets if "://" not in t and not (page.parent / t).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=_ids)
def test_every_flask_command_that_is_named_exists(page, app):
    names = re.findall(r"(?:`|^\s*|bin/)flask (?:--app app )?([a-z][a-z-]+)", page.read_text(), re.M)
    known = set(app.cli.commands) | {"db"}
    assert set(names) <= known


@pytest.mark.parametrize("page", PAGES, ids=_ids)
def test_every_make_target_that_is_named_exists(page):
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    named = re.findall(r"(?:^|`|=\d+ )make ([a-z]+)", page.read_text(), re.M)
    assert set(named) <= targets


def test_the_table_of_settings_is_complete():
    page = (ROOT / "docs" / "operating.md").read_text()
    assert [f.alias for f in Settings.model_fields.values() if f"`{f.alias}`" not in page] == []


def test_a_settings_name_in_the_documents_is_one_that_is_read():
    known = {field.alias for field in Settings.model_fields.values()}
    named = set(re.findall(r"\bPDS_[A-Z_]+\b", "".join(page.read_text() for page in PAGES)))
    assert named - known == set()
