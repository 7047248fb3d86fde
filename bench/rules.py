"""The posting rule against its document: 15 states, the length bands, the selection, as tables.

Every draw comes from a fixed key, so the tables are the same on every machine; a test compares them
with `docs/concepts.md`.
"""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from pdsapp.attempts.selection import ranks_for
from pdsapp.domain.decision import TwinState, decide, draw_for
from pdsapp.domain.length import draw_length
from pdsapp.domain.policy import PostingPolicy

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
DECISIONS = 20_000
LENGTHS = 100_000
SELECTIONS = 10_000
AGES = {"0.5 h": 0.5, "2 h": 2, "6 h": 6, "10 h": 10, "never": None}
OWN = {"0 %": 0, "15 %": 3, "50 %": 10}
DOCUMENT = {"0.5 h": 0.8, "2 h": 0.5, "6 h": 0.3, "10 h": 0.0, "never": 0.0}
BANDS = {"very short": 0.35, "short": 0.35, "medium": 0.20, "long": 0.10}


def lines() -> Iterator[str]:
    """The three tables in Markdown."""
    yield from _decisions()
    yield ""
    yield from _lengths()
    yield ""
    yield from _selection()


def _decisions() -> Iterator[str]:
    yield f"| last post | own share | skip probability | skipped of {DECISIONS:,} | in per cent |"
    yield "| --- | --- | ---: | ---: | ---: |"
    for age, hours in AGES.items():
        for share, own in OWN.items():
            last_post = None if hours is None else NOW - timedelta(hours=hours)
            state = TwinState(NOW, last_post, own, 20)
            keys = (f"table|{age}|{share}|{i}" for i in range(DECISIONS))
            skipped = sum(not decide(PostingPolicy(), state, draw_for(key)).posts for key in keys)
            expected = min(1.0, DOCUMENT[age] + min(own / 20, 0.7))
            yield f"| {age} | {share} | {expected:.2f} | {skipped:,} | {skipped / DECISIONS:.1%} |"


def _lengths() -> Iterator[str]:
    yield f"| band | characters | weight | drawn of {LENGTHS:,} | in per cent |"
    yield "| --- | --- | ---: | ---: | ---: |"
    policy = PostingPolicy()
    counts = Counter(draw_length(policy, f"table|{i}").band for i in range(LENGTHS))
    for band in policy.bands:
        share = counts[band.name] / LENGTHS
        span = f"{band.minimum}–{band.maximum}"
        yield f"| {band.name} | {span} | {BANDS[band.name]:.0%} | {counts[band.name]:,} | {share:.1%} |"


def _selection() -> Iterator[str]:
    counts = Counter(ranks_for(f"table|{i}", 50, 1)[0] for i in range(SELECTIONS))
    expected = SELECTIONS / 50
    statistic = sum((counts[rank] - expected) ** 2 / expected for rank in range(50))
    yield (
        f"{SELECTIONS:,} draws among 50 twins: {min(counts.values())} to {max(counts.values())} a twin "
        f"around {expected:.0f}, chi-square {statistic:.1f} at 49 degrees of freedom "
        "(5 % critical value 66.3)."
    )
