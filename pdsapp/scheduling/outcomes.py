"""What becomes of due instants: the rules between an enumerated slot and its row. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby

from ..domain.cron import Occurrence
from ..domain.reasons import SlotKind

# Source: design, "One attempt, end to end": a slot claimed up to 120 s after its instant still fires.
LATE_AFTER = timedelta(seconds=120)
PASSED = "Passed before a scheduler claimed it."
PASSED_BEFORE_CHANGE = "Not claimed yet when the schedule was changed."
RUNS = frozenset({SlotKind.missed, SlotKind.paused})
BUSY = "Attempts of the slot before were still unfinished."


@dataclass(frozen=True)
class Pause:
    """The sentence that says why nothing may fire, and since when that holds, if that is known."""

    words: str
    since: datetime | None = None


@dataclass(frozen=True)
class Facts:
    """What decides besides the instants.

    `pauses` say why nothing may fire, what reaches furthest first; empty when it may. `is_busy`: the slot
    before still has unfinished attempts and the schedule does not allow overlap. `may_fire` is False where
    slots are only accounted for: as their schedule changes, or as newer ones are yet to be looked at.
    """

    now: datetime
    pauses: tuple[Pause, ...] = ()
    is_busy: bool = False
    fires_late_once: bool = False
    may_fire: bool = True
    missed_words: str = PASSED


@dataclass(frozen=True)
class Outcome:
    """One row to be: a single instant, or a run of missed or paused ones from `at` to `until`."""

    kind: SlotKind
    at: datetime
    until: datetime
    count: int = 1
    detail: str = ""

    @property
    def is_run(self) -> bool:
        """Whether it is of a kind that is summarised, and may grow."""
        return self.kind in RUNS


def outcomes(
    occurrences: Sequence[Occurrence],
    facts: Facts,
    is_told: Callable[[Occurrence], bool] | None = None,
) -> tuple[Outcome, ...]:
    """The rows for a schedule's due instants, in order; at most one is `fired`, and it is the newest slot.

    Each occurrence is in exactly one of them, but for those a row tells of already. A run ends where the
    clocks change, and where it meets one of those.
    """
    told = {id(o) for o in occurrences if is_told(o)} if is_told else frozenset()
    newest = next((o for o in reversed(occurrences) if o.kind == "slot" and id(o) not in told), None)
    rows: list[Outcome] = []

    def verdict(occurrence: Occurrence) -> tuple[SlotKind, str] | None:
        return None if id(occurrence) in told else _verdict(occurrence, occurrence is newest, facts)

    for found, alike in groupby(occurrences, verdict):
        if found is None:
            continue
        (kind, detail), group = found, list(alike)
        if kind in RUNS:
            rows.append(Outcome(kind, group[0].at, group[-1].at, len(group), detail))
        else:
            rows += [Outcome(kind, o.at, o.at, o.slot_count, detail) for o in group]
    return tuple(rows)


def _verdict(occurrence: Occurrence, is_newest: bool, facts: Facts) -> tuple[SlotKind, str]:
    if occurrence.kind == "clock_change":
        return SlotKind.clock_change, occurrence.note
    is_late = facts.now - occurrence.at > LATE_AFTER
    for pause in facts.pauses:
        # However late it is claimed: what came due under a pause would not have been asked in time either.
        if not is_late or (pause.since is not None and pause.since <= occurrence.at):
            return SlotKind.paused, pause.words
    fires = is_newest and facts.may_fire and not facts.pauses and (not is_late or facts.fires_late_once)
    if not fires:
        return SlotKind.missed, facts.missed_words
    return (SlotKind.overlap, BUSY) if facts.is_busy else (SlotKind.fired, "")
