"""From due instants to rows: the rules, without a database."""

from datetime import UTC, datetime, timedelta

import pytest

from pdsapp.domain.cron import Occurrence
from pdsapp.scheduling.outcomes import LATE_AFTER, Facts, Pause, outcomes

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
PAUSE = Pause("The experiment is paused.")


def slots(*seconds_ago):
    return [Occurrence(NOW - timedelta(seconds=ago), "slot", "") for ago in seconds_ago]


def gap(seconds_ago, count=3):
    return Occurrence(NOW - timedelta(seconds=seconds_ago), "clock_change", "", "Three times.", count)


def told(occurrences, **facts):
    """The rows as (kind, seconds ago of its first and last instant, count)."""
    return [
        (row.kind.value, (NOW - row.at).total_seconds(), (NOW - row.until).total_seconds(), row.count)
        for row in outcomes(occurrences, Facts(NOW, **facts))
    ]


@pytest.mark.parametrize(
    ("occurrences", "facts", "rows"),
    [
        pytest.param([], {}, [], id="nothing is due"),
        pytest.param(slots(0), {}, [("fired", 0, 0, 1)], id="a slot at this very instant fires"),
        pytest.param(slots(120), {}, [("fired", 120, 120, 1)], id="two minutes late still fires"),
        pytest.param(slots(121), {}, [("missed", 121, 121, 1)], id="later than that is missed"),
        pytest.param(
            slots(121), {"fires_late_once": True}, [("fired", 121, 121, 1)], id="unless the policy fires once"
        ),
        pytest.param(
            slots(600, 540, 480), {"fires_late_once": True},
            [("missed", 600, 540, 2), ("fired", 480, 480, 1)], id="of many late ones the newest fires",
        ),
        pytest.param(
            slots(110, 50), {}, [("missed", 110, 110, 1), ("fired", 50, 50, 1)],
            id="of two within the window the newest fires",
        ),
        pytest.param(
            slots(300, 240, 60), {}, [("missed", 300, 240, 2), ("fired", 60, 60, 1)],
            id="the old ones are one row beside it",
        ),
        pytest.param(slots(5), {"is_busy": True}, [("overlap", 5, 5, 1)], id="busy is overlap"),
        pytest.param(
            slots(300, 240), {"is_busy": True}, [("missed", 300, 240, 2)], id="busy does not matter to missed"
        ),
        pytest.param(slots(65, 5), {"pauses": (PAUSE,)}, [("paused", 65, 5, 2)], id="a pause is one row"),
        pytest.param(
            slots(300, 5), {"pauses": (PAUSE,), "fires_late_once": True},
            [("missed", 300, 300, 1), ("paused", 5, 5, 1)], id="paused since, missed before",
        ),
        pytest.param(
            slots(5), {"may_fire": False}, [("missed", 5, 5, 1)], id="a changing schedule fires nothing"
        ),
        pytest.param([gap(5)], {}, [("clock_change", 5, 5, 3)], id="a gap counts what it swallowed"),
        pytest.param(
            [*slots(400), gap(300), *slots(300, 10)], {},
            [
                ("missed", 400, 400, 1), ("clock_change", 300, 300, 3), ("missed", 300, 300, 1),
                ("fired", 10, 10, 1),
            ],
            id="a run ends at a gap",
        ),
        pytest.param(
            [*slots(60), gap(5)], {}, [("fired", 60, 60, 1), ("clock_change", 5, 5, 3)],
            id="a gap after the newest slot does not stop it",
        ),
    ],
)  # fmt: skip
def test_due_instants_become_rows(occurrences, facts, rows):
    assert told(occurrences, **facts) == rows


def test_every_occurrence_is_in_exactly_one_row_whatever_the_facts():
    due = [*slots(*range(900, 300, -60)), gap(300), *slots(*range(300, -1, -60))]
    for pauses in ((), (PAUSE,), (Pause("Everything is paused.", NOW - timedelta(minutes=7)), PAUSE)):
        for is_busy in (True, False):
            for fires_late_once in (True, False):
                for may_fire in (True, False):
                    rows = outcomes(due, Facts(NOW, pauses, is_busy, fires_late_once, may_fire))
                    assert sum(row.count for row in rows if row.kind != "clock_change") == 16
                    assert sum(row.kind in ("fired", "overlap") for row in rows) <= 1
                    assert [row.at for row in rows] == sorted(row.at for row in rows)


def test_the_window_is_two_minutes():
    assert timedelta(seconds=120) == LATE_AFTER
