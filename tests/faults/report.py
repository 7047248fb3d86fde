"""The matrix of a run, as Markdown."""

import platform
import statistics
import subprocess
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from .checks import Facts, Tally
from .orders import FREEZE, POINTS
from .plan import WORDS, Size
from .stacks import ROOT

DOCUMENT = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- faults: begin -->", "<!-- faults: end -->"
# Freezes that somebody has to end; how long they lasted is part of what is shown.
ENDED = ("frozen_inside", "worker_frozen")
HEAD = (
    "| fault | repeats | doubles | losses | due again, median s | due again, longest s |",
    "| --- | --- | ---: | ---: | ---: | ---: |",
)


@dataclass(frozen=True)
class Result:
    """One stack's run: what happened, what came of it, what is not as promised, how long it took."""

    words: str
    tallies: list[Tally]
    facts: Facts
    ledger: str
    problems: list[str]
    seconds: float

    @property
    def kills(self) -> int:
        """How many kills were ordered and proven."""
        is_kill = {**POINTS, "scheduler_killed": 1, "queue_killed": 1}
        return sum(t.fault.order.point in is_kill and not t.fault.problem for t in self.tallies)

    @property
    def slots(self) -> int:
        return sum(self.facts.slots.values())


def matrix(result: Result) -> list[str]:
    """The lines of one stack's matrix."""
    rows = [_row(name, [t for t in result.tallies if t.fault.order.point == name]) for name in WORDS]
    all_of = [seconds for tally in result.tallies for seconds in tally.recovery]
    doubles, losses = (sum(getattr(t, name) for t in result.tallies) for name in ("doubles", "losses"))
    total = f"| **all** | {len(result.tallies)} | {doubles} | {losses} | {_times(all_of)} |"
    return [*HEAD, *(row for row in rows if row), total]


def document(results: list[Result], size: Size, command: str) -> str:
    """All matrices with what is needed to do it again."""
    lines = [
        f"Made by {command} on {datetime.now(UTC):%Y-%m-%d} ({_machine()}): {size.workers} workers, "
        f"{size.schedulers} schedulers, {size.schedules} schedules due every minute, {size.twins} twins, a "
        "model server that takes 0.4 to 1.4 s.",
    ]
    for result in results:
        facts = result.facts
        lines += [
            "",
            f"### {result.words[0].upper()}{result.words[1:]}",
            "",
            *matrix(result),
            "",
            f"{result.slots} slots ({_counts(facts.slots)}) and {sum(facts.states.values())} attempts "
            f"({_counts(facts.states)}; {facts.twin_busy} skipped because the twin was busy, "
            f"{facts.worker_lost} failed because workers were lost) in {result.seconds / 60:.0f} minutes; "
            f"{facts.posts} posts. {result.kills} kills. {facts.lost_leases} leases were lost and taken "
            f"back, attempts ran with a strike {facts.struck_runs} times, {facts.calls_twice} attempts "
            "asked the model more than once.",
            "",
            *(f"- {problem}" for problem in result.problems or ["Nothing is otherwise than promised."]),
        ]
    return "\n".join(lines)


def write_between_markers(text: str, path: Path = DOCUMENT) -> None:
    """Puts the matrices into the document."""
    before, rest = path.read_text().split(BEGIN)
    path.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.split(END)[1]}")


def _row(name: str, found: list[Tally]) -> str:
    if not found:
        return ""
    proven = [tally for tally in found if not tally.fault.problem]
    victims = Counter(tally.fault.order.victim for tally in proven)
    named = [f"{n} {victim}" for victim, n in victims.items() if victim not in ("", FREEZE)]
    repeats = f"{len(proven)} ({', '.join(named)})" if named else str(len(proven))
    times = [seconds for tally in found for seconds in tally.recovery]
    words = WORDS[name]
    if ended := [t.fault.ended_after for t in found if t.fault.ended_after and name in ENDED]:
        words += f"; ended after {', '.join(f'{seconds:.1f}' for seconds in ended)} s"
    doubles, losses = sum(t.doubles for t in found), sum(t.losses for t in found)
    words = f"killed {words}" if name in POINTS else words
    return f"| {words} | {repeats} | {doubles} | {losses} | {_times(times)} |"


def _times(seconds: list[float]) -> str:
    return f"{statistics.median(seconds):.1f} | {max(seconds):.1f}" if seconds else "– | –"


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{number} {name}" for name, number in sorted(counts.items()))


def _machine() -> str:
    cores = subprocess.run(["nproc"], capture_output=True, text=True, check=False).stdout.strip()
    return f"{platform.system()} {platform.machine()}, {cores} cores, Python {platform.python_version()}"
