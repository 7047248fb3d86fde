"""What the dashboard counts: attempts by outcome, over time and by reason, of one experiment or of all.

Everything counts attempts by when they were asked for (`created_at`), so that tiles, chart and reasons have
the same sums; the ledger has those and the rehearsals, which are left out here. One grouped query feeds them
all; hours and days are those of the reader's zone.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, tzinfo

import sqlalchemy as sa
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from ..domain.reasons import AttemptState, Reason, ReasonClass
from ..models import Attempt, DigitalTwin, Experiment
from .rehearsals import in_study

QUANTUM_SECONDS = 900  # every zone's offset is a multiple of it
HELD_STATES = (AttemptState.skipped, AttemptState.cancelled)
SILENT = ("skipped_by_rule", "held_by_limits", "held_operational")


@dataclass(frozen=True)
class Period:
    """A stretch of time a page can show, up to now, and the width of its bars."""

    key: str
    words: str
    short: str
    span: timedelta
    bin_seconds: int
    bin_words: str


PERIODS = {
    period.key: period
    for period in (
        Period("24h", "24 hours", "24 h", timedelta(hours=24), 1_800, "half hour"),
        Period("48h", "48 hours", "48 h", timedelta(hours=48), 3_600, "hour"),
        Period("7d", "7 days", "7 d", timedelta(days=7), 3 * 3_600, "three hours"),
        Period("30d", "30 days", "30 d", timedelta(days=30), 86_400, "day"),
    )
}


@dataclass(frozen=True)
class Tally:
    """How many attempts share all of this.

    `is_current`: asked in the period, not in the one before. `quantum` numbers the quarter hour since 1970,
    None in the period before. `verdict` is the rule's own answer where it decided, True for post; None if
    forced, never decided, or held back by a limit when it was to decide.
    """

    is_current: bool
    quantum: int | None
    state: AttemptState
    reason: Reason | None
    reason_class: ReasonClass | None
    verdict: bool | None
    count: int


@dataclass(frozen=True)
class Counts:
    """Attempts of one period by outcome.

    A limit holds back what it skips when deciding, and what it calls off when a draft is to be published.
    `ruled` are the unforced ones the rule decided, `ruled_silent` of those the ones it kept silent: only
    they make a skip rate.
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
    session: Session, experiment: Experiment | None, period: Period, now: datetime
) -> tuple[Tally, ...]:
    """The groups of attempts asked within the period and the one before, in one query."""
    start = now - period.span
    is_current = Attempt.created_at >= start
    is_held_by_limit = (Attempt.state == AttemptState.skipped) & (
        func.coalesce(Attempt.reason_class, ReasonClass.rule) == ReasonClass.limit
    )
    rows = (
        select(
            is_current.label("is_current"),
            sa.case((is_current, _quantum(session))).label("quantum"),
            Attempt.state,
            Attempt.reason,
            Attempt.reason_class,
            sa.case((Attempt.is_forced.is_(False) & ~is_held_by_limit, Attempt.would_post)).label("verdict"),
        )
        .where(
            Attempt.created_at >= start - period.span,
            in_study(Attempt),
            *in_scope(Attempt.experiment_id, experiment),
        )
        .subquery()
    )
    found = session.execute(select(*rows.c, func.count()).group_by(*rows.c))
    return tuple(
        Tally(bool(current), quantum, state, reason, cls, None if verdict is None else bool(verdict), count)
        for current, quantum, state, reason, cls, verdict, count in found
    )


def counts(found: Iterable[Tally]) -> Counts:
    """The sums of these groups."""
    sums = dict.fromkeys(Counts.__dataclass_fields__, 0)
    for tally in found:
        sums[_outcome(tally)] += tally.count
        if tally.verdict is not None:
            sums["ruled"] += tally.count
            if not tally.verdict:
                sums["ruled_silent"] += tally.count
    return Counts(**sums)


def reasons(found: Iterable[Tally], outcomes: Collection[str]) -> dict[ReasonClass, dict[Reason, int]]:
    """How often each reason led to one of these outcomes, fields of Counts, by class; the commonest first."""
    sums: dict[ReasonClass, dict[Reason, int]] = {cls: {} for cls in ReasonClass}
    for tally in found:
        if _outcome(tally) in outcomes and tally.reason is not None and tally.reason_class is not None:
            of_class = sums[tally.reason_class]
            of_class[tally.reason] = of_class.get(tally.reason, 0) + tally.count
    return {
        cls: dict(sorted(of_class.items(), key=lambda item: (-item[1], item[0])))
        for cls, of_class in sums.items()
    }


def bins(found: Iterable[Tally], period: Period, now: datetime, zone: tzinfo) -> tuple[Bin, ...]:
    """The period cut at the full hours and days of the zone's clock, oldest first.

    The first and the last bar may be shorter. Attempts still waiting are in none of the three counts.
    """
    starts = bin_edges(now - period.span, now, period.bin_seconds, zone)
    sums = [dict.fromkeys(("posted", "skipped", "failed"), 0) for _ in starts]
    for tally in found:
        if tally.quantum is None or tally.state.value not in sums[0]:
            continue
        at = datetime.fromtimestamp(tally.quantum * QUANTUM_SECONDS, UTC)
        sums[_place(starts, at)][tally.state.value] += tally.count
    ends = [*starts[1:], now]
    return tuple(Bin(start, end, **sums[i]) for i, (start, end) in enumerate(zip(starts, ends, strict=True)))


def bin_edges(start: datetime, end: datetime, seconds: int, zone: tzinfo) -> list[datetime]:
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
    return sorted(at for at in found if start <= at < end) or [start]


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
    if tally.state in (AttemptState.due, AttemptState.running):
        return "waiting"
    if tally.state in HELD_STATES and tally.reason_class == ReasonClass.limit:
        return "held_by_limits"
    if tally.state != AttemptState.skipped:
        return tally.state.value
    return "skipped_by_rule" if tally.reason_class == ReasonClass.rule else "held_operational"


def _place(starts: list[datetime], at: datetime) -> int:
    """The index of the bar an instant falls into; what lies outside counts in the first or the last."""
    low, high = 0, len(starts)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if starts[middle] <= at else (low, middle)
    return low


def _quantum(session: Session):
    if session.get_bind().dialect.name == "sqlite":
        seconds = sa.cast(func.strftime("%s", Attempt.created_at), sa.Integer)
    else:
        seconds = sa.cast(func.floor(sa.extract("epoch", Attempt.created_at)), sa.BigInteger)
    return seconds // sa.literal_column(str(QUANTUM_SECONDS), sa.Integer)
