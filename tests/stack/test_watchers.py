"""Many people watch at once: all are answered, and the workers go on as they would alone."""

import sys

import pytest

from .watching import SMALL, watch

pytestmark = [
    pytest.mark.stack,
    pytest.mark.skipif(sys.platform != "linux", reason="reads memory from /proc"),
]


def test_many_who_watch_are_all_answered_and_no_attempt_waits_for_them(clean_environment):
    """The small count; `make faults ARGS="--watchers"` is the full one."""
    found = watch(SMALL)
    print(found)
    assert found.problems == []
    assert found.statuses.total() > 100 and len(found.asked[1]) > 10
