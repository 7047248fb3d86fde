"""What a cadence asks for: how many of how many twins, and how often each has its turn. Pure."""

from datetime import datetime, timedelta

from .cron import EARLIEST_AT, Cadence, Interval, count_slots, next_slot, upcoming
from .limit_words import span_words

WEEK = timedelta(days=7)
_FEW = 5
_STEPS = ((2 * 86_400, 3600), (2 * 3600, 300), (600, 60))


def mean_spacing(cadence: Cadence, now: datetime) -> timedelta | None:
    """The mean time from slot to slot in the week from the next one on; None when there is one slot at most.

    Where a week holds less than two, the next few slots count.
    """
    if isinstance(cadence, Interval):
        return timedelta(seconds=cadence.seconds) if len(upcoming(cadence, now, 2)) == 2 else None
    first = next_slot(cadence, max(now, EARLIEST_AT))
    if first is None:
        return None
    until = first + WEEK - timedelta.resolution
    if (count := count_slots(cadence, first - timedelta.resolution, until)) > 1 and cadence.last_day is None:
        return WEEK / count
    few = [first, *upcoming(cadence, first, max(count, _FEW))]
    return (few[-1] - few[0]) / (len(few) - 1) if len(few) > 1 else None


def turn_words(candidates: int, per_slot: int, spacing: timedelta | None) -> str:
    """ "one of 12 active twins, about one turn per twin every 2 h"."""
    if candidates == 0:
        return "nobody yet: there is no active twin"
    if per_slot >= candidates:
        who = "the only active twin" if candidates == 1 else f"all {candidates:,} active twins each time"
        turn = spacing
    else:
        who = f"{'one' if per_slot == 1 else f'{per_slot:,}'} of {candidates:,} active twins"
        turn = spacing * candidates / per_slot if spacing else None
    return f"{who}, about one turn per twin every {about(turn)}" if turn else f"{who}, once"


def about(span: timedelta) -> str:
    """A span to two units, rounded to what one would say: "2 h", "1 d 4 h", "50 s"."""
    seconds = round(span.total_seconds())
    step = next((step for least, step in _STEPS if seconds >= least), 1)
    return span_words(max(1, round(seconds / step) * step), 2)


def ahead_words(span: timedelta) -> str:
    """ "in 2 h 10 min": how far ahead an instant is, in whole minutes from one minute on."""
    seconds = max(0, int(span.total_seconds()))
    return f"in {span_words(seconds if seconds < 60 else seconds // 60 * 60, 2)}"
