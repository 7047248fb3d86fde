"""What people set on an API token so that nobody is called more often than the provider allows. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Bound:
    """One of the three: its name as a field and as an option, its words, the least and the greatest value."""

    field: str
    label: str
    least: int
    most: int
    example: int

    @property
    def option(self) -> str:
        """Its name on the command line."""
        return f"--{self.field.removeprefix('max_').replace('_', '-')}"


AT_ONCE = Bound("max_at_once", "Calls at once", 1, 10_000, 8)
PER_MINUTE = Bound("max_per_minute", "Requests per minute", 1, 1_000_000, 60)
TOKENS_PER_MINUTE = Bound("max_tokens_per_minute", "Tokens per minute", 100, 1_000_000_000, 90_000)
BOUNDS = (AT_ONCE, PER_MINUTE, TOKENS_PER_MINUTE)


@dataclass(frozen=True)
class CallLimits:
    """The limits of one token, over all workers; None is no such limit.

    Tokens count as the provider counts them: those of the prompt and those of the answer.
    """

    at_once: int | None = None
    per_minute: int | None = None
    tokens_per_minute: int | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing is limited."""
        return not any(self.values)

    @property
    def values(self) -> tuple[int | None, int | None, int | None]:
        """In the order of BOUNDS."""
        return self.at_once, self.per_minute, self.tokens_per_minute

    @property
    def words(self) -> str:
        """ "3 calls at once, 60 requests a minute", or "none"."""
        return ", ".join(self._parts()) or "none"

    def _parts(self) -> Iterator[str]:
        if self.at_once:
            yield f"{self.at_once:,} call{'s' if self.at_once > 1 else ''} at once"
        if self.per_minute:
            yield f"{self.per_minute:,} request{'s' if self.per_minute > 1 else ''} a minute"
        if self.tokens_per_minute:
            yield f"{self.tokens_per_minute:,} tokens a minute"


NO_LIMITS = CallLimits()
# What held a call back, as the limiter names it, in words that follow "waits:".
HELD_BY = {
    "rest": "its endpoint asked for a rest",
    "begin": "limits are being counted anew",
    "at_once": "its calls at once are all in use",
    "per_minute": "its requests of this minute are used up",
    "tokens": "its tokens of this minute are used up",
    "share": "the queue is away, and this worker's share is used up",
}


def held_words(token: str | None, why: str) -> str:
    """Why an attempt waits: "API token “Lab”: its requests of this minute are used up."."""
    who = f"API token “{token}”" if token else "The endpoint"
    reason = HELD_BY.get(why, HELD_BY["at_once"])
    if not token:
        reason = reason.replace("its endpoint", "it", 1)
    return f"{who}: {reason}."
