"""The last slots of a schedule, one small mark each: a glyph, a colour and words (macros/slots.html)."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from ..domain.reasons import AttemptState, SlotKind, SlotStage

AT_WORK = (AttemptState.due, AttemptState.running)
# What a fired slot counts as, by the first of these states that one of its attempts is in: trouble, and what
# was called off, is never hidden behind a post beside it.
BY_STATE = (
    ("failed", (AttemptState.failed,)),
    ("waiting", AT_WORK),
    ("cancelled", (AttemptState.cancelled,)),
    ("posted", (AttemptState.posted,)),
    ("skipped", (AttemptState.skipped,)),
)
WORDS = {
    "posted": "fired, with posts",
    "skipped": "fired, all skipped",
    "failed": "fired, with failures",
    "waiting": "fired, still at work",
    "cancelled": "fired, some or all of it cancelled",
    SlotKind.missed.value: "missed",
    SlotKind.paused.value: "paused",
    SlotKind.overlap.value: "slot before still at work",
    SlotKind.clock_change.value: "change of clocks",
    SlotKind.nobody_eligible.value: "nobody to ask",
}


@dataclass(frozen=True)
class Mark:
    """One row of slots: what became of it (a key of WORDS), how many slots it stands for, all in words."""

    kind: str
    count: int
    words: str


@dataclass(frozen=True)
class SlotMarks:
    """The newest rows of a schedule, oldest first."""

    marks: tuple[Mark, ...]

    @property
    def label(self) -> str:
        """ "last 20 slots, oldest to newest": a run counts with all its slots."""
        count = sum(mark.count for mark in self.marks)
        return "its only slot so far" if count == 1 else f"last {count:,} slots, oldest to newest"


def slot_marks(rows: Iterable[Any], states: dict[int, Counter], zone: ZoneInfo) -> SlotMarks:
    """The marks of slot rows that come newest first; `states` counts their attempts by the slot's id."""
    return SlotMarks(tuple(reversed([_mark(row, states.get(row.id, Counter()), zone) for row in rows])))


def kinds_of(shown: Iterable[SlotMarks]) -> list[tuple[str, str]]:
    """The kinds that occur in these, each with its words, for a legend."""
    found = {mark.kind for each in shown for mark in each.marks}
    return [(kind, words) for kind, words in WORDS.items() if kind in found]


def ends_words(row: Any, states: Counter) -> str:
    """ "1,284 cancelled, 716 posted": what became of a fired slot's attempts; "" where it has none."""
    ends = Counter()
    for state, count in states.items():
        ends["at work" if state in AT_WORK else state.value] += count
    if to_ask := row.wanted_count - row.expanded_count - row.gone_count - row.stopped_count:
        ends["still to be asked"] = to_ask
    if row.stopped_count + row.gone_count:
        ends["not asked"] = row.stopped_count + row.gone_count
    return ", ".join(f"{count:,} {word}" for word, count in sorted(ends.items()))


def _mark(row: Any, states: Counter, zone: ZoneInfo) -> Mark:
    kind = row.kind.value if row.kind != SlotKind.fired else _kind_of(row, states)
    what = WORDS[kind]
    if row.kind == SlotKind.fired and not states:
        what = "fired"
    elif row.kind == SlotKind.fired:
        what = ends_words(row, states)
    when = _when(row.slot_at, zone)
    if row.slot_count > 1:
        until = f" to {_when(row.covers_until, zone)}" if row.covers_until else ""
        return Mark(kind, row.slot_count, f"{when}{until}: {row.slot_count:,} slots, {what}")
    return Mark(kind, 1, f"{when}: {what}")


def _kind_of(row: Any, states: Counter) -> str:
    if row.stage == SlotStage.expanding and not states[AttemptState.failed]:
        return "waiting"
    if row.stopped_count:  # never made, and as good as cancelled
        states = states + Counter({AttemptState.cancelled: row.stopped_count})
    found = (kind for kind, those in BY_STATE if any(states[state] for state in those))
    return next(found, "cancelled" if row.gone_count else "waiting")


def _when(at: datetime, zone: ZoneInfo) -> str:
    local = at.astimezone(zone)
    return f"{local:%a} {local.day} {local:%b, %H:%M %Z}"
