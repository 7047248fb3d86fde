"""The draw bar as numbers: where its zones, its tick and its labels stand, and its verdict in words.

Positions are percentages of the bar's width, so that one view model serves the small bar of the lists and
the big one of an attempt's page. The drawing itself is `templates/macros/draw.html`.
"""

from dataclasses import dataclass
from math import isfinite
from typing import Any

from ..attempts.words import told_apart

_EDGE_PERCENT = 9.0
_ZONE_WORDS_FROM_PERCENT = 34.0
_CHARACTER_PERCENT = 2.4  # 12 px type on a bar of 300 px
_GAP_PERCENT = 1.0


@dataclass(frozen=True)
class AxisLabel:
    """A number below the bar. `at` is a percentage of the width, `anchor` an SVG text-anchor."""

    at: float
    text: str
    anchor: str


@dataclass(frozen=True)
class DrawBar:
    """What the bar shows. Every `…_at` and `…_width` is a percentage of the bar's width.

    `skips` is the rule's answer. `is_hatched` says that the rule did not decide; `words` then says who did.
    With `is_clamped` the track goes on to the unclamped sum, and 1 stands at `one_at`. Without `draw_words`
    nothing was drawn.
    """

    words: str
    skips: bool
    is_hatched: bool
    is_clamped: bool
    one_at: float
    threshold_at: float
    recency_width: float
    share_width: float
    draw_at: float
    draw_words: str
    draw_anchor: str
    zone_words: str
    sum_words: str
    axis: tuple[AxisLabel, ...]


def draw_bar(
    recency: float | None,
    share: float | None,
    draw: float | None,
    *,
    probability: float | None = None,
    is_forced: bool = False,
    held_back_by: str = "",
) -> DrawBar | None:
    """The bar of one attempt, or None when nothing was drawn.

    `recency` and `share` are the two causes, `probability` their clamped sum unless a customised rule says
    otherwise. `held_back_by` names what decided instead of the rule: "the daily limit", "a pause".
    """
    if draw is None or recency is None or share is None or not _all_finite(recency, share, draw):
        return None
    recency, share = max(0.0, recency), max(0.0, share)
    total = recency + share
    if probability is None or not isfinite(probability):
        probability = min(1.0, total)
    scale = max(1.0, total)
    skips = draw < probability
    draw_text, probability_text = told_apart(draw, probability)
    compared = f"drew {draw_text} {'<' if skips else '≥'} {probability_text}"
    is_hatched = bool(is_forced or held_back_by)
    draw_at = _percent(draw, scale)
    return DrawBar(
        words=_verdict(compared, skips, is_forced, held_back_by),
        skips=skips,
        is_hatched=is_hatched,
        draw_at=draw_at,
        draw_words=f"drew {draw_text}",
        draw_anchor=_anchor(draw_at),
        **_rule_parts(recency, share, probability, probability_text),
    )


def rule_bar(recency: float, share: float, probability: float) -> DrawBar:
    """The bar of what the rule would say now: its zone and its causes, nothing drawn."""
    text = f"{probability:.2f}"
    return DrawBar(
        words=f"skip probability {text}",
        skips=False,
        is_hatched=False,
        draw_at=0.0,
        draw_words="",
        draw_anchor="start",
        **_rule_parts(max(0.0, recency), max(0.0, share), probability, text),
    )


def _rule_parts(recency: float, share: float, probability: float, text: str) -> dict[str, Any]:
    """What of a bar comes of the rule alone, whatever is drawn; `text` is the probability's."""
    total = recency + share
    scale = max(1.0, total)
    threshold_at = _percent(probability, scale)
    return {
        "is_clamped": total > 1.0,
        "one_at": _percent(1.0, scale),
        "threshold_at": threshold_at,
        "recency_width": _percent(recency, scale),
        "share_width": round(_percent(total, scale) - _percent(recency, scale), 2),
        "zone_words": f"skips below {text}" if threshold_at >= _ZONE_WORDS_FROM_PERCENT else "",
        "sum_words": f"sum {total:.2f}, more than 1, counts as 1" if total > 1.0 else "",
        "axis": _axis(recency, probability, text, total, scale),
    }


def _verdict(compared: str, skips: bool, is_forced: bool, held_back_by: str) -> str:
    if not is_forced and not held_back_by:
        return f"{compared}: {'skips' if skips else 'posts'}"
    by = "forced" if is_forced else ""
    if held_back_by:
        by = f"forced, but held back by {held_back_by}" if is_forced else f"held back by {held_back_by}"
    return f"{by}; the rule would have {'skipped' if skips else 'posted'} ({compared})"


def _axis(
    recency: float, probability: float, probability_text: str, total: float, scale: float
) -> tuple[AxisLabel, ...]:
    """The numbers below the bar in order of place; of two that would touch, the more important one."""
    wanted = [(1.0, "1"), (probability, probability_text), (0.0, "0")]
    if total > 1.0:
        wanted.append((total, f"{total:.2f}"))
    wanted.append((recency, f"{recency:.2f}"))
    placed: list[AxisLabel] = []
    for value, text in wanted:
        at = _percent(value, scale)
        label = AxisLabel(at=at, text=text, anchor=_anchor(at))
        if not any(_touch(label, other) for other in placed):
            placed.append(label)
    return tuple(sorted(placed, key=lambda label: label.at))


def _touch(one: AxisLabel, other: AxisLabel) -> bool:
    (one_from, one_to), (other_from, other_to) = _extent(one), _extent(other)
    return one_from < other_to + _GAP_PERCENT and other_from < one_to + _GAP_PERCENT


def _extent(label: AxisLabel) -> tuple[float, float]:
    """From where to where a label reaches on the narrowest bar the pages show."""
    width = len(label.text) * _CHARACTER_PERCENT
    shift = {"start": 0.0, "middle": width / 2, "end": width}[label.anchor]
    return label.at - shift, label.at - shift + width


def _anchor(at: float) -> str:
    """Which side a text at this place hangs on, so that it stays inside the bar."""
    if at < _EDGE_PERCENT:
        return "start"
    return "end" if at > 100.0 - _EDGE_PERCENT else "middle"


def _percent(value: float, scale: float) -> float:
    return round(100.0 * min(max(value / scale, 0.0), 1.0), 2)


def _all_finite(*values: float) -> bool:
    return all(isfinite(value) for value in values)
