"""docs/clock-changes.md: expected, fired and recorded slots are the same, and stand there as they are."""

from pathlib import Path

import pytest

from bench import clocks

pytestmark = pytest.mark.database
PAGE = Path(__file__).resolve().parents[2] / "docs" / "clock-changes.md"


def test_expected_fired_and_recorded_slots_are_the_same_and_stand_in_the_documents(app):
    recorded = clocks.recorded()
    for case in clocks.cases():
        rows = recorded.get(((case.zone, case.rule), case.day), (0, 0))
        assert (clocks.expected(case), rows) == (clocks.fired(case), clocks.fired(case)), case
    shown = PAGE.read_text().split("<!-- clocks: begin -->\n")[1].split("\n<!-- clocks: end -->")[0]
    assert shown == "\n".join(clocks.tables(recorded))
