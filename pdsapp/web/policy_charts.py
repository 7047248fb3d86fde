"""What a posting policy does, drawn: skipping against the time since the last post, and lengths.

Numbers only; the drawing is `templates/macros/policy.html`. Curves are in percent of the plot, from its
top left corner.
"""

from dataclasses import dataclass

from ..domain.limit_words import span_words
from ..domain.policy import HOUR, MAX_POST_LENGTH, LengthBand, PostingPolicy
from .charts import Bucket, StackedBars, Tick, stacked_bars

SHARES = (0.0, 0.25, 0.5, 1.0)
OF_POSTS = 1000
BUCKET_CHARACTERS = 10
# So wide is a label on the narrowest plot, with some room.
LABEL_PERCENT = 18.0
# A curve that lies on another would hide it.
NUDGE_PERCENT = 0.9


@dataclass(frozen=True)
class Curve:
    """The skip probability of a twin with this share of the window: an SVG path, the name of its style."""

    label: str
    series: str
    path: str


@dataclass(frozen=True)
class SkipChart:
    """Curves over the age of the last post; the same as a table: heads, and rows of cells."""

    curves: tuple[Curve, ...]
    columns: tuple[Tick, ...]
    rows: tuple[Tick, ...]
    heads: tuple[str, ...]
    table: tuple[tuple[str, ...], ...]
    label: str


def skip_chart(policy: PostingPolicy) -> SkipChart:
    """The chart of the probability of staying silent, for four shares of one's own."""
    edges = [0.0, *(step.under_seconds for step in policy.recency_steps)]
    skips = [step.probability for step in policy.recency_steps] + [0.0]
    end = edges[-1] * 1.5 or 12 * HOUR
    names = [f"{100 * share:.0f} % own" for share in SHARES]
    curves = tuple(
        Curve(name, f"own-{100 * share:.0f}", _path(edges, _sums(skips, share, policy), end, number))
        for number, (name, share) in enumerate(zip(names, SHARES, strict=True))
    )
    spans = [
        *(f"less than {span_words(round(edge))}" for edge in edges[1:]),
        f"{span_words(round(edges[-1]))} or more, or none" if policy.recency_steps else "any time, or none",
    ]
    columns = [_sums(skips, share, policy) for share in SHARES]
    table = tuple((span, *(f"{column[i]:.2f}" for column in columns)) for i, span in enumerate(spans))
    return SkipChart(
        curves=curves,
        columns=_ticks(edges, end),
        rows=tuple(Tick(100 - 100 * value, f"{value:g}") for value in (0, 0.25, 0.5, 0.75, 1)),
        heads=("Last post", *names),
        table=table,
        label="Probability of staying silent against the time since the last post. "
        + "; ".join(f"{row[0]}: {', '.join(row[1:])}" for row in table),
    )


def length_chart(policy: PostingPolicy) -> StackedBars:
    """How many of a thousand posts are asked to have each length, ten characters a bar."""
    total = sum(band.weight for band in policy.bands)
    buckets = []
    for low in range(1, MAX_POST_LENGTH + 1, BUCKET_CHARACTERS):
        high = low + BUCKET_CHARACTERS - 1
        share = sum(band.weight / total * _overlap(band, low, high) for band in policy.bands)
        is_named = (low - 1) % 40 == 0
        buckets.append(
            Bucket(f"{low}–{high} characters", (round(OF_POSTS * share),), str(low - 1) if is_named else "")
        )
    return stacked_bars(buckets, ("posts",), title=f"Lengths of {OF_POSTS:,} posts, in characters")


def _sums(skips: list[float], share: float, policy: PostingPolicy) -> list[float]:
    return [min(1.0, skip + min(share, policy.share_cap)) for skip in skips]


def _overlap(band: LengthBand, low: int, high: int) -> float:
    """The part of a band's characters that lies within low … high."""
    common = min(band.maximum, high) - max(band.minimum, low) + 1
    return max(0, common) / (band.maximum - band.minimum + 1)


def _ticks(edges: list[float], end: float) -> tuple[Tick, ...]:
    """The labels below the plot, from the right; those that would touch the next are left out."""
    kept: list[Tick] = []
    for edge in reversed(edges):
        tick = Tick(_percent(edge, end), span_words(round(edge)) if edge else "0")
        if not kept or kept[-1].at - tick.at >= LABEL_PERCENT:
            kept.append(tick)
    return tuple(reversed(kept))


def _path(edges: list[float], sums: list[float], end: float, number: int) -> str:
    """Steps from the left edge to the right; each curve a little lower, so that equal ones stay apart."""
    parts, ends = [], [*edges[1:], end]
    for value, until in zip(sums, ends, strict=True):
        y = round(100 - 100 * value + number * NUDGE_PERCENT, 2)
        parts.append(f"{'V' if parts else 'M0 '}{y}H{_percent(until, end)}")
    return "".join(parts)


def _percent(value: float, end: float) -> float:
    return round(100 * value / end, 3)
