"""What a cadence asks for: how many of how many twins, and how often each has its turn. Pure."""

from datetime import datetime, timedelta

from .cron import EARLIEST_AT, Cadence, Interval, count_slots, next_slot, upcoming
from .limit_words import span_words
from .targets import EVERYBODY, Target, nobody_of_target, tag_words

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


def turn_words(
    candidates: int,
    per_slot: int | None,
    spacing: timedelta | None,
    target: Target = EVERYBODY,
    of_all: int = 0,
) -> str:
    """ "one of 12 active twins, about one turn per twin every 2 h", "2 of the 5 twins tagged “morning”, …".

    `candidates` can be asked now, of the `of_all` twins a target has; `per_slot` None is each of them.
    """
    if candidates == 0:
        why = "there is no active twin" if target.is_everybody else nobody_of_target(target, of_all)
        return f"nobody yet: {why}"
    if per_slot is None or per_slot >= candidates:
        who = _all_words(candidates, target)
        turn = spacing
    else:
        the = "" if target.is_everybody else "the "
        who = f"{'one' if per_slot == 1 else f'{per_slot:,}'} of {the}{_twins(candidates, target)}"
        turn = spacing * candidates / per_slot if spacing else None
    if of_all > candidates:
        who += f" ({of_all - candidates:,} more {'is' if of_all - candidates == 1 else 'are'} not active)"
    return f"{who}, about one turn per twin every {about(turn)}" if turn else f"{who}, once"


def _all_words(candidates: int, target: Target) -> str:
    if candidates > 1:
        return f"all {_twins(candidates, target)} each time"
    if target.twins:
        return "the chosen twin" if len(target.twins) == 1 else "the only active one of the chosen twins"
    return f"the only active twin{f' tagged {tag_words(target.tags)}' if target.tags else ''}"


def _twins(count: int, target: Target) -> str:
    if target.tags:
        return f"{count:,} twins tagged {tag_words(target.tags)}"
    return f"{count:,} {'chosen' if target.twins else 'active'} twins"


def about(span: timedelta) -> str:
    """A span to two units, rounded to what one would say: "2 h", "1 d 4 h", "50 s"."""
    seconds = round(span.total_seconds())
    step = next((step for least, step in _STEPS if seconds >= least), 1)
    return span_words(max(1, round(seconds / step) * step), 2)


def ahead_words(span: timedelta) -> str:
    """ "in 2 h 10 min": how far ahead an instant is, in whole minutes from one minute on."""
    seconds = max(0, int(span.total_seconds()))
    return f"in {span_words(seconds if seconds < 60 else seconds // 60 * 60, 2)}"
