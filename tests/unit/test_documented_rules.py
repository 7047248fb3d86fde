"""The tables of docs/concepts.md are what `make bench ARGS=rules` prints."""

from pathlib import Path

from bench import rules

PAGE = Path(__file__).resolve().parents[2] / "docs" / "concepts.md"


def test_the_documented_tables_are_those_of_the_code():
    shown = PAGE.read_text().split("<!-- rules: begin -->\n")[1].split("\n<!-- rules: end -->")[0]
    assert shown == "\n".join(rules.lines())
