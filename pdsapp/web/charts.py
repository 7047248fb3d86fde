"""Plain numbers turned into small view models for charts drawn as SVG.

Positions and sizes are percentages of the plot, so that a chart fits any width with its type unscaled.
Labels are given by the caller; nothing here knows of times, zones or rows. The drawing is
`templates/macros/chart.html`, but for bars, of which a chart can have hundreds: they write themselves.
Colours come from CSS classes named after the series.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from markupsafe import Markup, escape

LEAST_VISIBLE_PERCENT = 1.0
BAR_FILL = 0.76
MARK_PITCH_PX = 7
MINOR_RANK = 3
# A plot on the smallest phone, and the smallest on which minor labels show (static/css/charts.css).
NARROW_PX, WIDE_PX = 216, 480
CHARACTER_PX, LABEL_GAP_PX = 6.8, 4
STRIP_KINDS = ("posted", "skipped", "failed", "cancelled", "missed", "waiting")


@dataclass(frozen=True)
class Bucket:
    """One bar to draw: what it covers in words, its counts in the order of the series, its axis label.

    `axis_label` is empty for most. Where two would touch, the one with the lower `axis_rank` stays; from
    MINOR_RANK on they are left out where there is little room.
    """

    label: str
    counts: tuple[int, ...]
    axis_label: str = ""
    axis_rank: int = 0


@dataclass(frozen=True)
class Marker:
    """A vertical line before the bucket at `index`, with its text: a protocol change."""

    index: int
    text: str


@dataclass(frozen=True)
class Segment:
    """One colour of one bar. `y` and `height` are percentages of the plot, from its top."""

    series: str
    y: float
    height: float


@dataclass(frozen=True)
class Bar:
    """One bar: place and width in percent, its segments from the bottom up, its numbers in words."""

    x: float
    width: float
    label: str
    counts: tuple[int, ...]
    words: str
    segments: tuple[Segment, ...]

    def __html__(self) -> Markup:
        """The bar as SVG, with its numbers to be read on pointing at it; nothing where it has no segment."""
        if not self.segments:
            return Markup()
        at = f'x="{self.x}%" width="{self.width}%"'
        parts = "".join(
            f'<rect class="{escape(part.series)}" {at} y="{part.y}%" height="{part.height}%"/>'
            for part in self.segments
        )
        return Markup(f'<g class="bar"><title>{escape(self.words)}</title>{parts}</g>\n')


@dataclass(frozen=True)
class Tick:
    """A grid line or axis label. `at` is a percentage, from the top for rows, from the left for columns."""

    at: float
    text: str
    anchor: str = "middle"
    is_minor: bool = False


@dataclass(frozen=True)
class StackedBars:
    """A chart of stacked bars. `is_empty` when every count is 0: the page then says so in words."""

    series: tuple[str, ...]
    totals: tuple[int, ...]
    bars: tuple[Bar, ...]
    rows: tuple[Tick, ...]
    columns: tuple[Tick, ...]
    markers: tuple[Tick, ...]
    label: str
    is_empty: bool


@dataclass(frozen=True)
class HBar:
    """One line of a ranking: a count as a bar, `percent` of the longest. `series` names its colour."""

    label: str
    value: int
    percent: float
    series: str
    url: str


@dataclass(frozen=True)
class Against:
    """A share as a bar, and where it should end, both in percent of the whole; None: nowhere."""

    percent: float
    wanted_percent: float | None
    series: str
    words: str


@dataclass(frozen=True)
class StripMark:
    """One slot in an outcome strip: its left edge in pixels and what became of it."""

    x: int
    kind: str


@dataclass(frozen=True)
class OutcomeStrip:
    """The last slots of a schedule, oldest to newest, readable without colour. `label` has the counts."""

    marks: tuple[StripMark, ...]
    width: int
    label: str


def stacked_bars(
    buckets: Sequence[Bucket],
    series: Sequence[str],
    *,
    title: str,
    markers: Sequence[Marker] = (),
    most_rows: int = 4,
) -> StackedBars:
    """The chart of these buckets. Raises ValueError when a bucket does not have one count per series.

    A count above 0 is always visible: it gets at least 1 % of the height.
    """
    if any(len(bucket.counts) != len(series) for bucket in buckets):
        raise ValueError("Each bucket needs one count per series.")
    if any(count < 0 for bucket in buckets for count in bucket.counts):
        raise ValueError("Counts are 0 or more.")
    top = max((sum(bucket.counts) for bucket in buckets), default=0)
    totals = tuple(sum(bucket.counts[i] for bucket in buckets) for i in range(len(series)))
    pitch = 100.0 / max(1, len(buckets))
    return StackedBars(
        series=tuple(series),
        totals=totals,
        bars=tuple(_bar(i, bucket, series, pitch, top) for i, bucket in enumerate(buckets)),
        rows=tuple(
            Tick(at=_round(100 - 100 * n / max(1, top)), text=f"{n:,}") for n in nice_ticks(top, most_rows)
        ),
        columns=_columns(buckets, pitch),
        markers=_markers([each for each in markers if 0 <= each.index < len(buckets)], pitch),
        label=f"{title}: {counted(zip(series, totals, strict=True))}",
        is_empty=top == 0,
    )


def nice_ticks(top: int, most: int = 4) -> tuple[int, ...]:
    """Whole numbers from 0 up to at most `top`, evenly spaced by 1, 2 or 5 times a power of ten.

    There are at most `most` steps. For 0 the only tick is 0.
    """
    if top <= 0:
        return (0,)
    step, power = 1, 1
    while top / step > most:
        power = power * 10 if step == 5 * power else power
        step = next(size * power for size in (1, 2, 5) if size * power > step)
    return tuple(range(0, top + 1, step))


def hbars(
    rows: Sequence[tuple[str, int, str]] | Sequence[tuple[str, int, str, str]], top: int | None = None
) -> tuple[HBar, ...]:
    """A ranking from (label, value, series) or (label, value, series, url), in the order given.

    The longest bar is the largest value, or `top`: rankings side by side share their scale.
    """
    if top is None:
        top = max((row[1] for row in rows), default=0)
    return tuple(
        HBar(
            label=row[0],
            value=row[1],
            percent=_visible(100.0 * row[1] / top) if top and row[1] else 0.0,
            series=row[2],
            url=row[3] if len(row) > 3 else "",
        )
        for row in rows
    )


def outcome_strip(kinds: Sequence[str], noun: str = "slots") -> OutcomeStrip:
    """The strip of these outcomes, oldest first. Raises ValueError for a kind not in `STRIP_KINDS`."""
    unknown = sorted(set(kinds) - set(STRIP_KINDS))
    if unknown:
        raise ValueError(f"Not an outcome: {', '.join(unknown)}.")
    counts = counted([(kind, kinds.count(kind)) for kind in STRIP_KINDS])
    many = (
        f"last {noun.removesuffix('s')}" if len(kinds) == 1 else f"last {len(kinds)} {noun}, oldest to newest"
    )
    return OutcomeStrip(
        marks=tuple(StripMark(x=i * MARK_PITCH_PX, kind=kind) for i, kind in enumerate(kinds)),
        width=max(0, len(kinds) * MARK_PITCH_PX - 2),
        label=f"{many}: {counts}" if kinds else f"no {noun} yet",
    )


def counted(pairs) -> str:
    """Counts in words, without the zeros: "312 posted, 431 skipped"; "none" if all are zero."""
    return ", ".join(f"{count:,} {word}" for word, count in pairs if count) or "none"


def _bar(index: int, bucket: Bucket, series: Sequence[str], pitch: float, top: int) -> Bar:
    heights = [_visible(100.0 * count / top) if count else 0.0 for count in bucket.counts]
    tops = list(accumulate(heights))
    return Bar(
        x=_round(index * pitch + pitch * (1 - BAR_FILL) / 2),
        width=_round(pitch * BAR_FILL),
        label=bucket.label,
        counts=bucket.counts,
        words=f"{bucket.label}: {counted(zip(series, bucket.counts, strict=True))}",
        segments=tuple(
            Segment(series=name, y=_round(100.0 - reach), height=_round(height))
            for name, height, reach in zip(series, heights, tops, strict=True)
            if height
        ),
    )


def _columns(buckets: Sequence[Bucket], pitch: float) -> tuple[Tick, ...]:
    """The labels below the bars, from the left: those that find room on a phone, then, as minor ones, those
    that find it beside them where the plot is wide."""
    waiting = sorted((b.axis_rank, i) for i, b in enumerate(buckets) if b.axis_label)
    kept: list[Tick] = []
    for plot_px in (NARROW_PX, WIDE_PX):
        is_minor = plot_px == WIDE_PX
        left = []
        for rank, index in waiting:
            at = _round((index + 0.5) * pitch)
            text = buckets[index].axis_label
            tick = Tick(at, text, _anchor(at, text, len(buckets)), is_minor)
            has_room = all(_are_apart(tick, other, plot_px) for other in kept)
            if has_room and (is_minor or rank < MINOR_RANK):
                kept.append(tick)
            else:
                left.append((rank, index))
        waiting = left
    return tuple(sorted(kept, key=lambda tick: tick.at))


def _anchor(at: float, text: str, count: int) -> str:
    """Labels hang inward where they would stand out on a phone; the row axis leaves some room at the left."""
    if at < 4:
        return "start"
    half = 100.0 * len(text) * CHARACTER_PX / 2 / NARROW_PX
    return "end" if count > 1 and (at > 96 or at + half > 105) else "middle"


def _are_apart(one: Tick, other: Tick, plot_px: int) -> bool:
    left, right = sorted(_extent(tick, plot_px) for tick in (one, other))
    return left[1] + LABEL_GAP_PX <= right[0]


def _extent(tick: Tick, plot_px: int) -> tuple[float, float]:
    """Where a label begins and ends, in pixels of a plot so wide."""
    at, width = tick.at * plot_px / 100, len(tick.text) * CHARACTER_PX
    begin = at - {"start": 0.0, "middle": width / 2, "end": width}[tick.anchor]
    return begin, begin + width


def _markers(markers: Sequence[Marker], pitch: float) -> tuple[Tick, ...]:
    """A line for each, the latest first to have its words: one whose words would touch others' has none, one
    that finds room for them only where the plot is wide has minor ones."""
    lines: list[Tick] = []
    for marker in sorted(markers, key=lambda each: -each.index):
        at = _round(marker.index * pitch)
        anchor = "end" if at > 50 else "start"
        line = Tick(at, "", anchor)
        for plot_px in (WIDE_PX, NARROW_PX):
            named = Tick(at, marker.text, anchor, is_minor=plot_px == WIDE_PX)
            if not _stands_out(named, plot_px) and all(
                _are_apart(named, other, plot_px) for other in lines if other.text
            ):
                line = named
        lines.append(line)
    return tuple(sorted(lines, key=lambda line: line.at))


def _stands_out(tick: Tick, plot_px: int) -> bool:
    begin, end = _extent(tick, plot_px)
    return begin < -LABEL_GAP_PX or end > plot_px + LABEL_GAP_PX


def _visible(percent: float) -> float:
    return max(LEAST_VISIBLE_PERCENT, percent)


def _round(value: float) -> float:
    return round(value, 3)
