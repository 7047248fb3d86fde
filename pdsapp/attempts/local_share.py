"""What one worker allows itself while the server that counts for all is away: its part, rounded down.

A limit divided by the workers alive, so that all of them together stay within it whatever each does. Where
that is less than one, this worker makes no call with the token until the server is back.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from .permit_terms import Answer, Asked

COUNT_AGAIN_SECONDS = 10.0
# How long an attempt is given back for that this worker may not make.
WAIT_SECONDS = 5.0


@dataclass
class _Use:
    """What this process did with one token lately, whoever allowed it."""

    held: set[str] = field(default_factory=set)
    calls: deque = field(default_factory=deque)  # [when, tokens, key]
    rests_until: float = 0.0


class LocalShare:
    """Counts this process's calls by token, and answers for the server while it is away.

    `share_among` gives how many workers are alive; it may read the database.
    """

    def __init__(self, share_among: Callable[[], int], window_seconds: float):
        self._share_among = share_among
        self._window = window_seconds
        self._uses: dict[str, _Use] = {}
        self._workers = 1
        self._counted_at = float("-inf")

    def note(self, key: str, asked: Asked) -> None:
        """A permit was given out, by whomever."""
        use = self._use(asked)
        use.held.add(key)
        if not asked.limits.is_empty:
            use.calls.append([time.monotonic(), asked.estimate, key])

    def give_back(self, key: str, asked: Asked, tokens: int | None, rest_seconds: float) -> None:
        """The permit's call is over."""
        use = self._use(asked)
        use.held.discard(key)
        use.rests_until = max(use.rests_until, time.monotonic() + rest_seconds)
        if tokens is not None:
            for call in use.calls:
                if call[2] == key:
                    call[1] = tokens

    def answer(self, asked: Asked, patience: float) -> Answer:
        """What the server would be asked for, from this worker's share alone."""
        now, use = time.monotonic(), self._use(asked)
        if use.rests_until > now:
            wait = use.rests_until - now
            return Answer(False, wait, wait > patience, "rest")
        if asked.limits.is_empty:
            return Answer(True)
        if now - self._counted_at > COUNT_AGAIN_SECONDS:
            self._workers, self._counted_at = max(1, self._share_among()), now
        at_once, per_minute, tokens = (
            None if limit is None else limit // self._workers for limit in asked.limits.values
        )
        spent = sum(call[1] for call in use.calls)
        is_free = at_once is None or len(use.held) < at_once
        has_request = per_minute is None or len(use.calls) < per_minute
        has_tokens = tokens is None or spent + asked.estimate <= tokens or (tokens > 0 and not spent)
        if is_free and has_request and has_tokens:
            return Answer(True)
        is_hopeless = 0 in (at_once, per_minute, tokens)
        return Answer(False, WAIT_SECONDS, is_hopeless or patience <= 0, "share")

    def _use(self, asked: Asked) -> _Use:
        use = self._uses.setdefault(asked.subject, _Use())
        while use.calls and use.calls[0][0] < time.monotonic() - self._window:
            use.calls.popleft()
        return use
