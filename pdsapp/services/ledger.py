"""The ledger: every due slot and every attempt accounted for, as two sums."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from ..domain.reasons import AttemptState
from ..models import Experiment
from .ledger_slots import Entry, SlotSum, expected_and_told, kinds_told
from .ledger_turns import TurnSum, each_turn, newest_and_posts, newest_slots, totals
from .reports import Tally

LOOKED_AT = timedelta(hours=24)


@dataclass(frozen=True)
class Ledger:
    """Both sums. `is_brief`: only the rows were summed up, nothing was enumerated or looked at one by one."""

    slot_sum: SlotSum
    turn_sum: TurnSum
    is_brief: bool = False

    @property
    def slots(self) -> dict[str, int]:
        """What became of the slots, by kind; a clock change counts the wall times it swallowed."""
        return dict(self.slot_sum.kinds)

    @property
    def states(self) -> dict[str, int]:
        """The attempts by state."""
        return dict(self.turn_sum.states)

    @property
    def reasons(self) -> dict[tuple[str, str, str], int]:
        """The attempts by (state, class, reason)."""
        return self.turn_sum.reasons

    @property
    def asked(self) -> int:
        return self.turn_sum.states.total()

    @property
    def waiting(self) -> int:
        """How many attempts are due or running."""
        return self.turn_sum.waiting

    @property
    def problems(self) -> tuple[str, ...]:
        """Everything that does not add up, in sentences."""
        return (*self.slot_sum.problems, *self.turn_sum.problems)

    @property
    def adds_up(self) -> bool:
        return not self.problems

    @property
    def sentence(self) -> str:
        """ "752 asked = 312 posted + 431 skipped + 9 failed + 0 waiting"."""
        return self.turn_sum.sentence

    @property
    def slot_sentence(self) -> str:
        """ "1,440 due = 1,437 fired + 3 clock change"."""
        return f"{self.slot_sum.due:,} due = {kind_words(self.slots) or '0'}"


def ledger(
    session: Session,
    experiment: Experiment | None = None,
    since: datetime | None = None,
    now: datetime | None = None,
) -> Ledger:
    """The sums of one experiment or of all, from `since` on, each slot and each attempt looked at.

    Slots count by their instant, attempts by when they were added. What is due until `now` and not claimed
    yet is waiting; without `now` it is not counted. Takes seconds for a million attempts: for a page that
    is shown often there is `brief`.
    """
    return Ledger(expected_and_told(session, experiment, since, now), each_turn(session, experiment, since))


def brief(session: Session, experiment: Experiment | None = None, since: datetime | None = None) -> Ledger:
    """The sums the rows give by themselves, in five queries: nothing is enumerated."""
    kinds = kinds_told(session, experiment, since)
    return Ledger(SlotSum(due=kinds.total(), kinds=kinds), totals(session, experiment, since), is_brief=True)


def of_period(
    session: Session, experiment: Experiment | None, found: Iterable[Tally], since: datetime, now: datetime
) -> Ledger:
    """The sums of a period from what is counted of it, with what `of_last_day` looks at one by one.

    What is older was looked at before, and does not change; `ledger` looks at all of it, row by row.
    """
    kinds, tallies = kinds_told(session, experiment, since), list(found)
    turns = of_last_day(session, experiment, now, since).turn_sum
    for tally in tallies:
        turns.states[tally.state or "unreadable"] += tally.count
        turns.posts_of_attempts += tally.posts
    stray = sum(tally.posts for tally in tallies if tally.state != AttemptState.posted)
    if stray:
        turns.details.append(f"{stray:,} posts came of attempts that did not end as posted.")
    return Ledger(SlotSum(due=kinds.total(), kinds=kinds), turns, is_brief=True)


def of_last_day(
    session: Session, experiment: Experiment | None, now: datetime, since: datetime | None = None
) -> Ledger:
    """Whether the newest fired slots agree with their attempts, and the newest attempts with their posts.

    Of the last 24 hours, or from a later `since` on. Nothing is counted; two queries of bounded cost.
    """
    from_at = max(since or now - LOOKED_AT, now - LOOKED_AT)
    turns = newest_slots(session, experiment, from_at)
    turns.details += newest_and_posts(session, experiment, from_at)
    return Ledger(SlotSum(), turns, is_brief=True)


def kind_words(kinds: dict[str, int], plus: str = " + ") -> str:
    """ "1,437 fired + 3 clock change"; "" when there are none."""
    return plus.join(f"{kinds[kind]:,} {kind.replace('_', ' ')}" for kind in sorted(kinds) if kinds[kind])


__all__ = ["Entry", "Ledger", "brief", "kind_words", "ledger", "of_last_day", "of_period"]
