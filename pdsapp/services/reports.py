"""What the dashboard counts: attempts by outcome, over time and by reason, of one experiment or of all.

Everything counts attempts by when they were asked for (`created_at`), so that tiles, chart and reasons have
the same sums; the ledger has those and the rehearsals, which are told apart here. Sums come from roll-ups and
rows (services/tallying.py); hours and days are those of the reader's zone.
"""

from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, tzinfo
from enum import StrEnum
from functools import lru_cache
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from ..domain.reasons import AttemptState, Reason, ReasonClass
from ..models import Attempt, DigitalTwin, Experiment
from ..models.base import stored_text
from ..models.tallies import QUARTER_SECONDS
from .facets import IS_JUDGED, OUTCOMES, TENTH, start_of_block
from .rollups import Marks, dialect_of
from .tallying import BLOCK, Stretch, count, of_scope

HELD_STATES = (AttemptState.skipped, AttemptState.cancelled)
SILENT = ("skipped_by_rule", "held_by_limits", "held_operational")
CHARTED = (AttemptState.posted, AttemptState.skipped, AttemptState.failed)
Closed = TypeVar("Closed", bound=StrEnum)


@dataclass(frozen=True)
class Period:
    """A stretch of time a page can show, and the width of its bars.

    It ends with the quarter of an hour that is not over, which counts as a whole.
    """

    key: str
    words: str
    short: str
    span: timedelta
    bin_seconds: int
    bin_words: str

    def stretch(self, now: datetime) -> Stretch:
        """The period up to now."""
        return Stretch.ending(now, int(self.span.total_seconds()))


PERIODS = {
    period.key: period
    for period in (
        Period("24h", "24 hours", "24 h", timedelta(hours=24), 900, "quarter hour"),
        Period("48h", "48 hours", "48 h", timedelta(hours=48), 1_800, "half hour"),
        Period("7d", "7 days", "7 d", timedelta(days=7), 3_600, "hour"),
        Period("30d", "30 days", "30 d", timedelta(days=30), 86_400, "day"),
    )
}


@dataclass(frozen=True)
class Tally:
    """How many attempts share all of this.

    `is_current`: asked in the period, not in the one before. `verdict` is the rule's own answer where it
    decided, True for post; None if forced, not decided, or held back by a limit when it was to decide.
    `posts` came of them. What was written by hand and is none of a closed set is None. Of those that wait
    although they are decided, `tenth` is that of their skip probabilities, whose sum is `expected`.
    """

    is_current: bool
    is_rehearsal: bool
    state: AttemptState | None
    reason: Reason | None
    reason_class: ReasonClass | None
    verdict: bool | None
    count: int
    prompt_tokens: int = 0
    completion_tokens: int = 0
    posts: int = 0
    tenth: int | None = None
    expected: float = 0.0


@dataclass(frozen=True)
class Counts:
    """Attempts of one period by outcome.

    A limit holds back what it skips when deciding, and what it calls off when a draft is to be published.
    `ruled` are the unforced ones the rule decided, `ruled_silent` of those the ones it kept silent: only
    they make a skip rate. `tokens` are those of prompts and replies together.
    """

    posted: int = 0
    skipped_by_rule: int = 0
    held_by_limits: int = 0
    held_operational: int = 0
    failed: int = 0
    cancelled: int = 0
    waiting: int = 0
    ruled: int = 0
    ruled_silent: int = 0
    tokens: int = 0

    @property
    def asked(self) -> int:
        return (
            self.posted + self.skipped_by_rule + self.held_back + self.failed + self.cancelled + self.waiting
        )

    @property
    def held_back(self) -> int:
        return self.held_by_limits + self.held_operational


@dataclass(frozen=True)
class Bin:
    """One bar of the chart: from `starts_at` (included) to `ends_at`, and its counts."""

    starts_at: datetime
    ends_at: datetime
    posted: int
    skipped: int
    failed: int


@dataclass(frozen=True)
class TwinCounts:
    """Twins in scope: those that can be asked now, and all there are."""

    active: int
    total: int


def tallies(
    session: Session, experiment: Experiment | None, period: Period, now: datetime, marks: Marks
) -> list[Tally]:
    """The groups of attempts asked within the period and the one before, rehearsals too, in two queries."""
    stretch = period.stretch(now)
    rows = count(session, OUTCOMES, experiment, [stretch.before, stretch], marks)
    found = [
        Tally(
            bool(number), bool(is_rehearsal), _known(AttemptState, state), _known(Reason, reason),
            _known(ReasonClass, cls), {"post": True, "skip": False}.get(verdict), *sums,
        )
        for number, is_rehearsal, state, cls, reason, verdict, *sums in rows
    ]  # fmt: skip
    return [*found, *_waiting(session, experiment, stretch)]


def _waiting(session: Session, experiment: Experiment | None, stretch: Stretch) -> Iterator[Tally]:
    """Attempts that are due or at work stand in no roll-up.

    Some are decided and wait for their token. They are counted with what was decided: those drawn to stay
    silent have ended, and without the others silence would be too much for as long as somebody waits.
    """
    state, start = (
        stored_text(Attempt.state),
        start_of_block(dialect_of(session), Attempt.created_at, QUARTER_SECONDS),
    )
    # Each by its own partial index, which the database takes for a condition that is spelled out, and would
    # not for the sake of the time, were that compared as a column.
    tenth = sa.case((IS_JUDGED, TENTH), else_=sa.literal_column("-1"))
    rows = [
        select(
            (start >= stretch.start).label("is_current"),
            Attempt.is_rehearsal,
            state.label("state"),
            tenth.label("tenth"),
            Attempt.skip_probability,
        ).where(
            state == sa.literal_column(f"'{waiting}'"),
            start >= stretch.before.start,
            start < stretch.end,
            *of_scope(Attempt.experiment_id + 0, experiment),
        )
        for waiting in (AttemptState.due, AttemptState.running)
    ]
    both = sa.union_all(*rows).subquery().c
    by = both.is_current, both.is_rehearsal, both.state, both.tenth
    expected = func.coalesce(func.sum(both.skip_probability), 0.0)
    for current, is_rehearsal, name, tenth, number, total in session.execute(
        select(*by, func.count(), expected).group_by(*by)
    ):
        alike = bool(current), bool(is_rehearsal), AttemptState(name), None, None
        if tenth < 0:
            yield Tally(*alike, None, number)
        else:
            yield Tally(*alike, True, number, tenth=tenth, expected=total)


def _known(values: type[Closed], text: str) -> Closed | None:
    return next((value for value in values if value == text), None)


def counts(found: Iterable[Tally]) -> Counts:
    """The sums of these groups, rehearsals left out."""
    sums = dict.fromkeys(Counts.__dataclass_fields__, 0)
    for tally in found:
        if tally.is_rehearsal:
            continue
        sums[_outcome(tally)] += tally.count
        sums["tokens"] += tally.prompt_tokens + tally.completion_tokens
        if tally.verdict is not None:
            sums["ruled"] += tally.count
            if not tally.verdict:
                sums["ruled_silent"] += tally.count
    return Counts(**sums)


def reasons(found: Iterable[Tally], outcomes: Collection[str]) -> dict[ReasonClass, dict[Reason, int]]:
    """How often each reason led to one of these outcomes, fields of Counts, by class; the commonest first.

    Rehearsals are left out.
    """
    sums: dict[ReasonClass, dict[Reason, int]] = {cls: {} for cls in ReasonClass}
    for tally in found:
        if tally.is_rehearsal:
            continue
        if _outcome(tally) in outcomes and tally.reason is not None and tally.reason_class is not None:
            of_class = sums[tally.reason_class]
            of_class[tally.reason] = of_class.get(tally.reason, 0) + tally.count
    return {
        cls: dict(sorted(of_class.items(), key=lambda item: (-item[1], item[0])))
        for cls, of_class in sums.items()
    }


def ended_by_block(
    session: Session, experiment: Experiment | None, period: Period, now: datetime, zone: tzinfo, marks: Marks
) -> Iterator[tuple[int, str, int]]:
    """(beginning of a block in seconds since 1970, state, attempts), no block over an edge of a bar."""
    stretch = period.stretch(now)
    edges = bin_edges(stretch.starts_at, stretch.ends_at, period.bin_seconds, zone)
    parts = stretch.cut_at([int(at.timestamp()) for at in edges])
    keys, sums = (BLOCK, "state", "is_rehearsal"), ("attempt_count",)
    for _, block, state, is_rehearsal, attempts in count(
        session, OUTCOMES, experiment, parts, marks, keys, sums
    ):
        if not is_rehearsal:
            yield block, state, attempts


def bins(
    found: Iterable[tuple[int, str, int]], period: Period, now: datetime, zone: tzinfo
) -> tuple[Bin, ...]:
    """The period cut at the full hours and days of the zone's clock, oldest first, from `ended_by_block`.

    The first bar may be shorter, the last one ends now. Attempts still waiting are in none of the counts.
    """
    stretch = period.stretch(now)
    starts = bin_edges(stretch.starts_at, stretch.ends_at, period.bin_seconds, zone)
    sums = [dict.fromkeys(CHARTED, 0) for _ in starts]
    begins = [at.timestamp() for at in starts]
    for block, state, attempts in found:
        if state in CHARTED:
            # What lies outside counts in the first bar or the last.
            sums[max(0, bisect_right(begins, block) - 1)][state] += attempts
    ends = [*starts[1:], now]
    return tuple(
        Bin(start, end, *(sums[i][state] for state in CHARTED))
        for i, (start, end) in enumerate(zip(starts, ends, strict=True))
    )


@lru_cache(maxsize=64)
def bin_edges(start: datetime, end: datetime, seconds: int, zone: tzinfo) -> tuple[datetime, ...]:
    """`start`, then every instant before `end` at which a bar of so many seconds begins in the zone.

    Bars begin at midnight and at multiples of `seconds` after it, by the clock on the wall; where a clock
    change repeats an hour, both are bars of their own.
    """
    found = {start}
    day = start.astimezone(zone).date()
    last = end.astimezone(zone).date()
    while day <= last:
        for offset in range(0, 86_400, seconds):
            wall = datetime.combine(day, time(offset // 3600, offset % 3600 // 60))
            for fold in (0, 1):
                found.add(wall.replace(tzinfo=zone, fold=fold).astimezone(UTC))
        day += timedelta(days=1)
    return tuple(sorted(at for at in found if start <= at < end)) or (start,)


def twin_counts(session: Session, experiment: Experiment | None) -> TwinCounts:
    """How many twins there are, and how many may be asked."""
    total = select(func.count(DigitalTwin.id)).where(*in_scope(DigitalTwin.experiment_id, experiment))
    active = select(func.coalesce(func.sum(Experiment.active_twin_count), 0)).where(
        *in_scope(Experiment.id, experiment)
    )
    return TwinCounts(*session.execute(select(active.scalar_subquery(), total.scalar_subquery())).one())


def in_scope(column, experiment: Experiment | None) -> tuple:
    """The conditions that keep to one experiment; none for all."""
    return () if experiment is None else (column == experiment.id,)


def _outcome(tally: Tally) -> str:
    if tally.state in (AttemptState.due, AttemptState.running, None):
        return "waiting"
    if tally.state in HELD_STATES and tally.reason_class == ReasonClass.limit:
        return "held_by_limits"
    if tally.state != AttemptState.skipped:
        return tally.state.value
    return "skipped_by_rule" if tally.reason_class == ReasonClass.rule else "held_operational"
