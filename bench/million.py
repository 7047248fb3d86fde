"""What a million twins asked once an hour would take, worked out from what `make bench` has measured.

It reads `bench/results.json`. How many of the asked post follows from the default policy: skips by recency,
and no skips by share, which is next to nothing in a large experiment.
"""

import json
import math
from collections.abc import Iterator
from typing import Any

from pdsapp.domain.policy import PostingPolicy

from . import figures
from .figures import number

TWINS, ASKED_EVERY_SECONDS, LATENCY_SECONDS = 1_000_000, 3600, 2
DAY = 86_400
ASKED_ONLY = ("select", "decide", "log", "all else")


def lines() -> Iterator[str]:
    """The table in Markdown; a sentence where nothing has been measured yet."""
    if not figures.RESULTS.exists():
        yield "Nothing has been measured yet. Run `make bench` first: it writes bench/results.json."
        return
    yield from _table(json.loads(figures.RESULTS.read_text()))


def posting_share(policy: PostingPolicy, every_seconds: float) -> float:
    """The part of its turns in which a twin posts that is asked again and again after so long."""
    expected, silent, turn = 0.0, 1.0, 0
    while silent > 1e-9:
        turn += 1
        age = turn * every_seconds
        skip = next((step.probability for step in policy.recency_steps if age < step.under_seconds), 0.0)
        expected += turn * silent * (1 - skip)
        silent *= skip
    return 1 / expected


def _table(results: dict[str, Any]) -> Iterator[str]:
    policy = PostingPolicy()
    share = posting_share(policy, ASKED_EVERY_SECONDS)
    asked = TWINS / ASKED_EVERY_SECONDS
    calls = asked * share
    slow, plain, *_ = results["parts"]["throughput"]
    post_ms, skip_ms = _cpu_ms(results["parts"]["stages"])
    processors = (calls * post_ms + (asked - calls) * skip_ms) / 1000
    rows = asked * DAY * (1 + share * (3 + policy.context_size))
    yield f"| {TWINS:,} twins, each asked once an hour | | from |"
    yield "| --- | ---: | --- |"
    yield f"| attempts | {asked:,.0f} /s, {asked * DAY / 1e6:,.1f} million a day | |"
    yield f"| of them post, and call the model | {share:.0%}: {calls:,.0f} calls/s | the default policy |"
    yield (f"| calls in hand together | {calls * LATENCY_SECONDS:,.0f} | {LATENCY_SECONDS} s a call |")
    yield (
        f"| worker processes | {math.ceil(calls / slow['measured'])} | "
        f"{number(slow['measured'])} attempts/s each, measured at {LATENCY_SECONDS} s |"
    )
    yield (
        f"| processors for them | {processors:.1f} | {number(post_ms)} ms of CPU for one that posts, "
        f"{number(skip_ms)} ms for one that skips |"
    )
    yield (
        f"| processes the plain way | {math.ceil(calls / plain['measured']):,} | "
        f"{number(plain['measured'])} calls/s each |"
    )
    yield (
        f"| new rows | {rows / 1e6:,.0f} million a day, {rows / DAY:,.0f} /s | attempt, and where it posts "
        f"call, post, revision and {policy.context_size} of context |"
    )
    yield from _of_database(results["parts"].get("drain", []), calls)


def _cpu_ms(stages: list[dict[str, Any]]) -> tuple[float, float]:
    """Milliseconds of CPU of an attempt that posts, and of one that skips: it is not written."""
    *parts, whole = stages
    skipped = sum(row["measured"] for row in parts if row["what"].split(". ")[1].startswith(ASKED_ONLY))
    return whole["measured"], skipped


def _of_database(drains: list[dict[str, Any]], calls: float) -> Iterator[str]:
    drains = [row for row in drains if row["raw"]["done"]]
    rows = [row for row in drains if row["raw"]["database"] == "PostgreSQL"] or drains
    if not rows:
        return
    best = max(rows, key=lambda row: row["measured"])
    each = best["raw"]["bytes_grown"] / best["raw"]["done"]
    name = best["raw"]["database"]
    yield (
        f"| growth of the database | {each * calls * DAY / 1e9:,.0f} GB a day | {each / 1000:.1f} kB for one "
        f"that posts, {name} |"
    )
    yield (
        f"| what this machine has written in all | {number(best['measured'])} posts/s | "
        f"with {best['raw']['workers']} of the workers; {name}, model server and queue beside them |"
    )
