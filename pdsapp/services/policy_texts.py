"""A posting policy as people type it: spans with their unit, percents, one row for each step and band."""

import math
from collections.abc import Mapping
from dataclasses import replace

from ..domain.limit_words import read_span, span_words
from ..domain.policy import LengthBand, PolicyError, PostingPolicy, RecencyStep
from ..errors import BadInput
from . import limits as limiting
from .fields import clean_line

MOST_STEPS = 6
MOST_BANDS = 6
STEP_FIELDS = tuple((f"under_{n}", f"skip_{n}") for n in range(1, MOST_STEPS + 1))
BAND_FIELDS = tuple(
    tuple(f"band_{part}_{n}" for part in ("name", "from", "to", "percent")) for n in range(1, MOST_BANDS + 1)
)
COUNTS = ("share_window", "context_size", "max_model_calls")
PERCENT_SLACK = 0.005


def policy_texts(policy: PostingPolicy) -> dict[str, str]:
    """What the form shows of a policy, by the names of its fields; rows that are not used are empty."""
    texts = {name: "" for row in (*STEP_FIELDS, *BAND_FIELDS) for name in row}
    for (under, skip), step in zip(STEP_FIELDS, policy.recency_steps, strict=False):
        texts[under], texts[skip] = span_words(round(step.under_seconds)), _percent_text(step.probability)
    total = sum(band.weight for band in policy.bands)
    for (name, low, high, percent), band in zip(BAND_FIELDS, policy.bands, strict=False):
        texts |= {
            name: band.name,
            low: str(band.minimum),
            high: str(band.maximum),
            percent: _percent_text(band.weight / total),
        }
    texts |= {name: str(getattr(policy, name)) for name in COUNTS}
    texts["share_cap"] = _percent_text(policy.share_cap)
    return texts | limiting.limit_texts(policy.limits)


def read_policy(texts: Mapping[str, str | None], base: PostingPolicy) -> PostingPolicy:
    """The policy somebody typed; its label is that of `base`. Raises BadInput at the first wrong field."""
    steps, bands = _read_steps(texts), _read_bands(texts)
    try:
        return replace(
            base,
            recency_steps=steps,
            bands=bands,
            share_cap=_read_percent(texts, "share_cap"),
            share_window=_read_count(texts, "share_window", 1, 1000),
            context_size=_read_count(texts, "context_size", 0, 100),
            max_model_calls=_read_count(texts, "max_model_calls", 1, 3),
            limits=limiting.make_limits(
                {name: limiting.read_limit(name, texts.get(name)) for name in limiting.FIELDS}
            ),
        )
    except PolicyError as error:
        raise BadInput(str(error)) from None


def _read_steps(texts: Mapping[str, str | None]) -> tuple[RecencyStep, ...]:
    steps: list[RecencyStep] = []
    for under, skip in STEP_FIELDS:
        if not _text(texts, under) and not _text(texts, skip):
            continue
        try:
            seconds = float(read_span(_text(texts, under)))
        except ValueError:
            raise BadInput("Write a span of time. For example: 4 h or 30 min", under) from None
        if steps and seconds <= steps[-1].under_seconds:
            raise BadInput(
                f"This must be more than the {span_words(round(steps[-1].under_seconds))} above.", under
            )
        steps.append(RecencyStep(seconds, _read_percent(texts, skip)))
    return tuple(steps)


def _read_bands(texts: Mapping[str, str | None]) -> tuple[LengthBand, ...]:
    bands: list[LengthBand] = []
    for name, low, high, percent in BAND_FIELDS:
        if not any(_text(texts, field) for field in (name, low, high, percent)):
            continue
        minimum = _read_count(texts, low, 1, 280)
        maximum = _read_count(texts, high, 1, 280)
        if maximum < minimum:
            raise BadInput(f"This must not be less than {minimum}, where the band begins.", high)
        share = _read_percent(texts, percent)
        if share == 0:
            raise BadInput("A band needs more than 0 %. Empty its row to do without it.", percent)
        own = clean_line(texts.get(name), name, 40)
        if own in (band.name for band in bands):  # who asks for a band names it
            raise BadInput(f"A band above is called “{own}” already. Give each a name of its own.", name)
        bands.append(LengthBand(own, minimum, maximum, 100 * share))
    if not bands:
        raise BadInput("At least one band is needed.", BAND_FIELDS[0][0])
    total = math.fsum(band.weight for band in bands)
    if abs(total - 100) > PERCENT_SLACK:
        raise BadInput(f"The bands sum to {total:g} %. They must sum to 100 %.", BAND_FIELDS[0][3])
    return tuple(replace(band, weight=_whole(band.weight)) for band in bands)


def _read_percent(texts: Mapping[str, str | None], field: str) -> float:
    text = _text(texts, field).removesuffix("%").strip()
    try:
        value = float(text) if text.isascii() else math.nan
    except ValueError:
        value = math.nan
    if not 0 <= value <= 100:
        raise BadInput("Write a percentage from 0 to 100. For example: 35", field)
    return round(value / 100, 6)


def _read_count(texts: Mapping[str, str | None], field: str, low: int, high: int) -> int:
    text = _text(texts, field)
    if not (text.isascii() and text.isdigit() and len(text) < 6 and low <= int(text) <= high):
        raise BadInput(f"Write a whole number from {low:,} to {high:,}.", field)
    return int(text)


def _text(texts: Mapping[str, str | None], field: str) -> str:
    return (texts.get(field) or "").strip()


def _percent_text(share: float) -> str:
    return f"{100 * share:.4f}".rstrip("0").rstrip(".")


def _whole(weight: float) -> float:
    """35 rather than 35.00000001 or 35.0: the document's own numbers give the document's own policy."""
    return round(weight) if abs(weight - round(weight)) < 1e-6 else round(weight, 4)
