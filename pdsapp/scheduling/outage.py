"""Outages: said once when they begin and once when they end, with a back-off in between."""

import time

import structlog

FIRST_WAIT = 0.5
LONGEST_WAIT = 5.0
log = structlog.get_logger()


class Outage:
    """Whether something this process needs is away, and when it may be tried again."""

    def __init__(self, what: str):
        self.what = what
        self.is_on = False
        self._wait = FIRST_WAIT
        self._try_at = 0.0

    @property
    def may_try(self) -> bool:
        """Whether it is there as far as is known, or it is time to see."""
        return not self.is_on or time.monotonic() >= self._try_at

    def begin(self, error: Exception) -> float:
        """Notes a failure; gives the seconds until the next try is due."""
        if not self.is_on:
            log.warning(f"{self.what} is away", why=f"{type(error).__name__}: {error}"[:300])
            self._wait = FIRST_WAIT
        else:
            self._wait = min(self._wait * 2, LONGEST_WAIT)
        self.is_on = True
        self._try_at = time.monotonic() + self._wait
        return self._wait

    def over(self) -> None:
        """Notes that it answers."""
        if self.is_on:
            log.info(f"{self.what} is back")
        self.is_on = False
