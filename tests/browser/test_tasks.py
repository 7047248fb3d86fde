"""The table of docs/tasks.md is what the tasks cost today."""

import pytest

from . import tasks
from .real_stack import ROOT

pytestmark = [pytest.mark.browser, pytest.mark.stack]


def test_the_documented_clicks_and_page_loads_are_those_of_today(chromium, clean_environment):
    documented = (ROOT / "docs" / "tasks.md").read_text()
    found = list(tasks.measured(chromium))
    assert len(found) == 2 + len(tasks.TASKS)
    assert "\n".join(found) in documented, "\n".join(found)
