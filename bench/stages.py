"""What an attempt costs by stage, in CPU of its process, beside what one call costs the bare client.

The attempts are those of one slot, drawn and added as the scheduler does it, and then run by this process.
Shares come from samples of the process's CPU, the sum from its clock.
"""

import time
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta

from pdsapp.database import transaction
from pdsapp.dt_service import load_service
from pdsapp.models import Experiment, utc_now
from pdsapp.scheduling import slots
from pdsapp.services import schedules

from . import due, floor
from .figures import Figure
from .sampling import Place, sampled

ATTEMPTS, AT_ONCE = 1000, 256
REST = "all else (event loop, sums)"
LOG = "log lines"
LIMITS = "limits (asking the queue server)"
# Where a stack belongs: the first of these found from the inside out. A function, or a whole file or folder.
STAGES = {
    "scheduling/": "select (draw, add, claim)",
    "attempts/selection.py": "select (draw, add, claim)",
    "attempts/targets.py": "select (draw, add, claim)",
    "attempts/create.py": "select (draw, add, claim)",
    "attempts/claim.py": "select (draw, add, claim)",
    "attempts/batch.py:_claim": "select (draw, add, claim)",
    "domain/prompt.py": "prompt",
    "attempts/feed.py:stored_context": "prompt",
    "attempts/run.py:brief_of": "prompt",
    "attempts/run.py:_brief": "prompt",
    "attempts/deciding.py:brief_of": "prompt",
    "attempts/deciding.py:_brief": "prompt",
    "attempts/run.py:_prepare": "decide (read, rule, length)",
    "attempts/deciding.py": "decide (read, rule, length)",
    "llm/": "call",
    "domain/reply.py": "call",
    "attempts/calls.py": "save (rows, commits)",
    "attempts/run.py:_publish": "save (rows, commits)",
    "attempts/publishing.py": "save (rows, commits)",
    "attempts/finish.py": "save (rows, commits)",
    "attempts/desk.py": "save (rows, commits)",
}
CARRIERS = (
    "openai",
    "httpx2",
    "httpcore2",
    "anyio",
    "h11",
    "asyncio/selector_events.py",
    "asyncio/streams.py",
)


def figures() -> Iterator[Figure]:
    """A row for each stage, the largest first; the floor of each is all a call costs the bare client."""
    with due.town(ATTEMPTS) as town:
        messages = due.prompts(town.settings, town.experiment)
        _, floor_cpu = floor.bare(town.base_url(0), messages, ATTEMPTS, AT_ONCE)
        with sampled(place_of) as counts:
            began = time.process_time()
            _fire(town)
            ended = due.drain(town.settings, AT_ONCE)
            cpu = time.process_time() - began
        if sum(ended.values()) != ATTEMPTS:
            raise RuntimeError(f"{ATTEMPTS:,} twins were to be asked by the slot, and {ended} were.")
        due.require_sums()
    yield from _rows(counts, 1000 * cpu / ATTEMPTS, 1000 * floor_cpu / ATTEMPTS)


def _rows(counts: Counter, cpu_ms: float, floor_ms: float) -> Iterator[Figure]:
    total = counts.total()
    stages: dict[str, Counter] = {}
    for (stage, library), count in counts.items():
        stages.setdefault(stage, Counter())[library] += count
    in_order = sorted(stages.items(), key=lambda pair: -pair[1].total())
    for place, (stage, libraries) in enumerate(in_order, 1):
        ms = {library: round(cpu_ms * count / total, 3) for library, count in libraries.most_common()}
        yield Figure(
            f"CPU of an attempt, {place}. {stage}", cpu_ms * libraries.total() / total, "ms", floor_ms,
            "a bare call", raw={"ms_by_library": ms, "seconds": libraries.total()},
        )  # fmt: skip
    yield Figure("CPU of an attempt, all stages", cpu_ms, "ms", floor_ms, "a bare call")


def _fire(town: due.Town) -> None:
    """One slot of a schedule that asks every twin."""
    now = utc_now().replace(microsecond=0)
    with transaction() as session:
        experiment = session.get_one(Experiment, town.experiment)
        wish = schedules.Wish(
            "All twins", experiment, interval_seconds=3600, anchor_at=now - timedelta(seconds=30),
            twins_per_slot=ATTEMPTS, is_forced=True, is_enabled=True,
        )  # fmt: skip
        uuid = schedules.add_schedule(session, wish, now - timedelta(minutes=1)).uuid
    with transaction() as session:
        slots.claim_due(session, load_service(town.settings), [uuid], utc_now(), "bench")


def place_of(stack: list[Place]) -> tuple[str, str]:
    """The stage of a stack, and the package that was at work in it ("python" for what comes with it)."""
    for file, _ in stack:
        if "/pdsapp/" in file:
            return stage_of(stack), "pdsapp"
        _, is_package, path = file.rpartition("/site-packages/")
        if is_package:
            return stage_of(stack), path.split("/")[0].removesuffix(".py")
    return stage_of(stack), "python"


def stage_of(stack: list[Place]) -> str:
    """The stage of a stack of (file, function), the innermost first."""
    if any("/structlog/" in file or "/logging/" in file for file, _ in stack[:12]):
        return LOG
    if any("/site-packages/redis/" in file for file, _ in stack):
        return LIMITS
    for file, function in stack:
        _, is_ours, path = file.rpartition("/pdsapp/")
        if is_ours and (stage := _stage(path, function)) is not None:
            return stage
    if any(f"/{name}" in file for file, _ in stack for name in CARRIERS):
        return "call"
    return REST


def _stage(path: str, function: str) -> str | None:
    folder = path.partition("/")[0] + "/"
    found = (f"{path}:{function}", path, folder)
    return next((STAGES[name] for name in found if name in STAGES), None)
