"""The documents: links lead somewhere, commands and settings exist, nothing names a place or an index."""

import re
from pathlib import Path

import click
import pytest

from pdsapp.cli import Later
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


def _commands(text):
    """The flask commands of a page as lists of words, up to where a shell or a sentence goes on."""
    text = re.sub(r"\\?\n +(?=-)", " ", text)
    for line in re.findall(
        r"(?:`|^[\s$]*|bin/|exec web |migrate )flask (?:--app app )?([a-z][^`\n]*)", text, re.M
    ):
        yield re.split(r"\s+(?:#|&&|\|(?=\s)|[<>]|…)|\\|\.\.\.", line)[0].split()


def _unknown_options(app, words):
    """Options among the words that their command has not."""
    groups, words = [app.cli], list(words)
    while words and isinstance(groups[-1], click.Group) and (name := words[0].split("|")[0]):
        found = groups[-1].get_command(click.Context(app.cli), name)
        if found is None:
            break
        groups.append(found.command if isinstance(found, Later) else found)
        words.pop(0)
    known = {
        name for each in groups for param in each.params for name in (*param.opts, *param.secondary_opts)
    }
    given = {option.split("=")[0].rstrip(".,;)") for word in words for option in word.split("|")}
    return {option for option in given if option.startswith("--")} - known - {"--help"}


@pytest.mark.parametrize("page", PAGES, ids=_ids)
def test_every_option_of_a_flask_command_exists(page, app):
    found = {" ".join(words): _unknown_options(app, words) for words in _commands(page.read_text())}
    assert {command: options for command, options in found.items() if options} == {}


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
