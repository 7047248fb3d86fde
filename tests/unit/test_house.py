"""House rules for templates and styles."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHEETS = sorted((ROOT / "static" / "css").glob("*.css"))
TEMPLATES = sorted((ROOT / "templates").rglob("*.html"))
FILE_LIMIT = 400


@pytest.mark.parametrize("path", [*SHEETS, *TEMPLATES], ids=lambda p: p.name)
def test_no_sheet_or_template_is_two(path):
    assert len(path.read_text().splitlines()) <= FILE_LIMIT


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda p: str(p.relative_to(ROOT)))
def test_nothing_is_inline_and_nothing_comes_from_another_host(path):
    text = path.read_text()
    for forbidden in (" style=", "<style", "javascript:", "onclick=", "onsubmit=", 'src="http', 'href="http'):
        assert forbidden not in text


def test_every_sheet_is_used():
    used = "".join(path.read_text() for path in TEMPLATES) + (ROOT / "pdsapp/admin/base.py").read_text()
    assert [sheet.stem for sheet in SHEETS if sheet.stem not in used] == []
