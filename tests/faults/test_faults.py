"""The small count of `make faults`: the same code, each point once, a lease of 5 s instead of 45."""

import random
import sys
from collections import Counter

import pytest

from tests.conftest import TEST_DATABASE_URL

from . import show
from .orders import BOTH, FREEZES, HORSE, POINTS, STACK, WORKER
from .plan import FULL, OUTSIDE, SMALL, make_plan
from .stacks import Deployed, Embedded

KINDS = [pytest.param(Embedded, id="embedded")]
if TEST_DATABASE_URL:
    KINDS.append(pytest.param(Deployed, id="deployed", marks=pytest.mark.database))


@pytest.mark.stack
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds and proves processes by /proc")
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_doubles_and_nothing_is_lost_wherever_it_is_killed_or_frozen(kind):
    result = show.run(kind, SMALL, seed=1)
    assert result.problems == []
    assert "It adds up." in result.ledger
    assert {tally.fault.order.point for tally in result.tallies} == {*POINTS, *FREEZES, *OUTSIDE} - {
        *SMALL.skips
    }
    assert [(t.doubles, t.losses) for t in result.tallies] == [(0, 0)] * len(result.tallies)
    assert result.facts.states["posted"] == result.facts.posts > 10


def test_the_full_count_kills_everybody_at_every_point():
    plan = make_plan(FULL, random.Random(1))
    for point in POINTS:
        victims = [order.victim for order in plan if order.point == point]
        assert Counter(victims) == {HORSE: 7, WORKER: 7, BOTH: 7, STACK: 1}
    kills = sum(order.point in POINTS for order in plan)
    assert kills >= 150, "of each stack"
    assert (FULL.workers, FULL.schedulers, FULL.slots, FULL.lease_seconds) == (8, 3, 500, None)
