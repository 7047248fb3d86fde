"""Notices that the clock on the wall and time itself have parted: the machine slept, or its clock was set."""

import time
from collections.abc import Callable

# Drift and a slow turn stay below it; what lies beyond was a step.
STEP_SECONDS = 5.0


class WallClock:
    """Remembers how far `seconds` (since the epoch) was from the monotonic clock when last looked at."""

    def __init__(self, seconds: Callable[[], float] = time.time):
        self._seconds = seconds
        self._offset = self._now()

    def step(self) -> float:
        """Seconds by which the clock was stepped since the last call: above 0 forward, below 0 back, 0.0 when
        it went as time does. A sleep of the machine is a step forward."""
        before, self._offset = self._offset, self._now()
        step = self._offset - before
        return step if abs(step) > STEP_SECONDS else 0.0

    def _now(self) -> float:
        return self._seconds() - time.monotonic()
