"""Attempts over time as bars: what they cover in words, their axis, the lines of protocol changes."""

from collections.abc import Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from ...models import ProtocolChange
from ...services.reports import Bin, Period
from ..charts import MINOR_RANK, Bucket, Marker, StackedBars, stacked_bars

SERIES = ("posted", "skipped", "failed")
MIDNIGHT, FIRST, WHOLE = range(MINOR_RANK)  # which label stays where two would touch


def chart(
    bins: Sequence[Bin],
    words: Sequence[str],
    period: Period,
    zone: ZoneInfo,
    changes: Sequence[ProtocolChange] = (),
) -> StackedBars:
    """The bars of these bins, with what `words_of` says of them and a line where the protocol was changed."""
    buckets, is_first = [], True
    for each, covered in zip(bins, words, strict=True):
        axis, rank = _axis_label(each.starts_at.astimezone(zone), period, is_first)
        is_first = is_first and not axis
        counts = (each.posted, each.skipped, each.failed)
        buckets.append(Bucket(covered, counts, axis, rank))
    title = f"Attempts per {period.bin_words}, last {period.words}"
    return stacked_bars(buckets, SERIES, title=title, markers=_markers(bins, changes))


def words_of(bins: Sequence[Bin], period: Period, zone: ZoneInfo) -> list[str]:
    """What each bar covers."""
    return [_bin_words(each, period, zone) for each in bins]


def _markers(bins: Sequence[Bin], changes: Sequence[ProtocolChange]) -> list[Marker]:
    """One line for all changes of a bin, with the parts they changed."""
    parts: dict[int, list[str]] = {}
    for change in changes:
        index = next(
            (i for i, each in enumerate(bins) if each.starts_at <= change.made_at < each.ends_at), None
        )
        if index is not None:
            parts.setdefault(index, []).append(change.part.value)
    return [Marker(index, ", ".join(dict.fromkeys(named))) for index, named in parts.items()]


def _axis_label(start: datetime, period: Period, is_first: bool) -> tuple[str, int]:
    """The label below a bar, mostly none, and its rank: midnight, the first, whole ones, those between."""
    day = f"{start:%a} {start.day}"
    if period.key == "30d":
        return (f"{day} {start:%b}", WHOLE) if start.weekday() == 0 else ("", WHOLE)
    if start.minute or start.second:
        return "", WHOLE
    if period.key == "7d":
        return (day, MINOR_RANK if start.toordinal() % 2 else WHOLE) if start.hour == 0 else ("", WHOLE)
    step, whole = (3, 6) if period.key == "24h" else (6, 12)
    if start.hour % step:
        return "", WHOLE
    if start.hour == 0 or is_first:
        return f"{start:%a} {start:%H:%M}", FIRST if start.hour else MIDNIGHT
    return f"{start:%H:%M}", MINOR_RANK if start.hour % whole else WHOLE


def _bin_words(each: Bin, period: Period, zone: ZoneInfo) -> str:
    start = each.starts_at.astimezone(zone)
    day = start.strftime(f"%a {start.day} %b")
    if period.key == "30d":
        return day
    return f"{day}, {start:%H:%M}–{each.ends_at.astimezone(zone):%H:%M} {start.tzname()}"
