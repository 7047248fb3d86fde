"""How long calls took, told by the step a latency lies in: enough for a median, and sums stay small."""

from bisect import bisect_right
from collections.abc import Mapping

# Upper ends, in milliseconds; what takes longer lies in the last step. A call has 90 s at most.
STEPS_MS = (
    10, 20, 50, 100, 150, 200, 300, 400, 500, 700, 1_000, 1_500, 2_000, 3_000, 4_000, 5_000, 7_000, 10_000,
    15_000, 20_000, 30_000, 45_000, 60_000, 90_000,
)  # fmt: skip
UNKNOWN_STEP = -1


def step_of(latency_ms: int) -> int:
    """The number of the step this latency lies in; its lower end is included."""
    return bisect_right(STEPS_MS, latency_ms)


def quantile_ms(counts: Mapping[int, int], part: float) -> int | None:
    """The latency below which this part of the calls (0–1) lies, to within a step; None without any.

    `counts` says how many calls lie in each step; within a step they are taken as evenly spread, in the last
    one, which has no end, as being at its beginning.
    """
    known = sorted((step, count) for step, count in counts.items() if step != UNKNOWN_STEP and count)
    wanted, passed = part * sum(count for _, count in known), 0
    for step, count in known:
        if passed + count >= wanted:
            low, high = _ends(step)
            return round(low + (high - low) * (wanted - passed) / count)
        passed += count
    return None


def _ends(step: int) -> tuple[int, int]:
    low = STEPS_MS[step - 1] if step else 0
    return low, STEPS_MS[step] if step < len(STEPS_MS) else low
