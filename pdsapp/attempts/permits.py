"""Permits to call: what people allow a token, shared by all workers through Redis or Valkey.

Nothing but numbers is kept there, by the token's UUID. All of it may be lost: limits then start at half for
a minute. While the server is away each worker keeps to a share of its own (`local_share.py`).
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from uuid import uuid4

import redis
import structlog
from redis.backoff import NoBackoff
from redis.retry import Retry

from ..domain.call_limits import held_words
from ..errors import NotNow
from . import permit_scripts as scripts
from .local_share import LocalShare
from .permit_terms import Answer, Asked

EXPIRY_SECONDS = 20.0
RENEW_SECONDS = 3.0
# After a loss nothing limited to a number at once is given out until everybody alive has renewed.
GRACE_SECONDS = 4.0
HALF_SECONDS = 60.0
# A wait up to this is waited in place; for a longer one the attempt is given back.
PATIENCE_SECONDS = 5.0
POLL_SECONDS = 0.15
MOST_AHEAD_SECONDS = 300.0
MOST_REST_SECONDS = 12 * MOST_AHEAD_SECONDS
MARKER_DAYS = 30
TRY_AGAIN_SECONDS = 2.0
log = structlog.get_logger()


@dataclass(frozen=True)
class Permit:
    """The right to make one call now. It ends by itself unless it is renewed."""

    key: str
    asked: Asked
    bucket: int
    is_shared: bool
    taken_at: float


class Permits:
    """Gives out permits and takes them back. One for each process that calls; used in one event loop.

    `share_among` gives the number of workers alive, for when the server is away; `url` None: it always is.
    """

    def __init__(self, url: str | None, share_among: Callable[[], int], window_seconds: float = 60.0):
        self._url = url
        self._window_ms = round(window_seconds * 1000)
        self._local = LocalShare(share_among, window_seconds)
        self._held: dict[str, Permit] = {}
        self._keeper: asyncio.Task | None = None
        self._try_at = 0.0
        self._was_away = self._has_told = False
        self._why_away = "no queue is known"

    async def take(self, asked: Asked, until: float, patience: float = PATIENCE_SECONDS) -> Permit:
        """A permit, after a short wait if need be, never beyond `until` (of time.monotonic).

        No transaction may be open meanwhile. Raises NotNow, with the seconds to give the attempt back for.
        """
        key = uuid4().hex
        patient_until = min(time.monotonic() + patience, until)
        while True:
            left = max(0.0, patient_until - time.monotonic())
            answer, is_shared = await self._answer(key, asked, left)
            if answer.is_granted:
                return self._note(Permit(key, asked, answer.bucket, is_shared, time.monotonic()))
            if answer.is_refused or left <= 0:
                raise NotNow(held_words(asked.name, answer.why), answer.seconds)
            await asyncio.sleep(min(answer.seconds, POLL_SECONDS, max(left, 0.01)))

    def give_back(
        self, permit: Permit, tokens: int | None = None, rest_seconds: float = 0.0, is_over: bool = True
    ) -> asyncio.Future | None:
        """Ends a permit: with the tokens the call took, and the rest its answer asked for. Waiting for what
        this gives is only needed by who takes another one next; it never raises.

        `is_over` False: the call was not made, or not to its end, so its length says nothing.
        """
        self._held.pop(permit.key, None)
        if not self._held and self._keeper is not None:
            self._keeper.cancel()
            self._keeper = None
        rest_seconds = min(max(0.0, rest_seconds), MOST_REST_SECONDS)
        self._local.give_back(permit.key, permit.asked, tokens, rest_seconds)
        if permit.asked.limits.is_empty and rest_seconds <= 0:
            return None
        lasted_ms = round((time.monotonic() - permit.taken_at) * 1000) if is_over else -1
        more = 0 if tokens is None or not permit.is_shared else tokens - permit.asked.estimate
        loop = asyncio.get_running_loop()
        return loop.run_in_executor(None, self._release, permit, more, lasted_ms, rest_seconds)

    def _note(self, permit: Permit) -> Permit:
        self._local.note(permit.key, permit.asked)
        if permit.is_shared and permit.asked.limits.at_once:
            self._held[permit.key] = permit
            if self._keeper is None or self._keeper.done():
                self._keeper = asyncio.create_task(self._keep())
        return permit

    async def _answer(self, key: str, asked: Asked, patience: float) -> tuple[Answer, bool]:
        """The server's answer and True, or this worker's own and False."""
        if self._url is not None and time.monotonic() >= self._try_at:
            future = asyncio.get_running_loop().run_in_executor(None, self._ask, key, asked, patience)
            try:
                found = await asyncio.shield(future)
            except asyncio.CancelledError:  # what the server grants nevertheless is nobody's
                future.add_done_callback(lambda done: self._undo(key, asked, done))
                raise
            if found is not None:
                return found, True
        if not self._has_told and not asked.limits.is_empty:
            log.warning("limits are counted by this worker alone", why=self._why_away)
            self._has_told = True
        return self._local.answer(asked, patience), False

    def _ask(self, key: str, asked: Asked, patience: float) -> Answer | None:
        """What the server says; None if it does not answer. Runs in a thread."""
        names = scripts.keys_of(asked.subject)
        tells_of_outage = self._was_away
        at_once, per_minute, tokens = (limit or 0 for limit in asked.limits.values)
        arguments = [
            key, at_once, per_minute, tokens, asked.estimate, self._window_ms, _ms(EXPIRY_SECONDS),
            0 if asked.goes_first else 1, asked.group, _ms(patience), int(tells_of_outage),
            _ms(HALF_SECONDS), _ms(GRACE_SECONDS), _ms(MOST_AHEAD_SECONDS), MARKER_DAYS * 86_400_000,
        ]  # fmt: skip
        try:
            found = _client(self._url).take(keys=[scripts.MARKER, *names.values()], args=arguments)
        except redis.RedisError as error:
            self._away(error)
            return None
        if tells_of_outage and self._has_told:
            log.info("limits are counted together again")
        if tells_of_outage:  # not one that went away while this was on its way
            self._was_away = self._has_told = False
        granted, milliseconds, refused, why, bucket = found
        return Answer(bool(granted), milliseconds / 1000, bool(refused), why.decode(), bucket)

    def _undo(self, key: str, asked: Asked, done: asyncio.Future) -> None:
        if not done.cancelled() and done.exception() is None and done.result() and done.result().is_granted:
            permit = Permit(key, asked, done.result().bucket, True, time.monotonic())
            self._release(permit, -asked.estimate, -1, 0.0)

    def _release(self, permit: Permit, more: int, lasted_ms: int, rest_seconds: float) -> None:
        if self._url is None or time.monotonic() < self._try_at:
            return
        names = scripts.keys_of(permit.asked.subject)
        keys = [names["held"], names["tokens"], names["state"]]
        arguments = [permit.key, permit.bucket, more, lasted_ms, _ms(rest_seconds)]
        try:
            _client(self._url).release(keys=keys, args=arguments)
        except redis.RedisError as error:
            self._away(error)

    async def _keep(self) -> None:
        """Renews what is held, so that it ends soon after its holder and not before."""
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            by_subject: dict[str, list[str]] = {}
            for permit in self._held.values():
                by_subject.setdefault(permit.asked.subject, []).append(permit.key)
            await asyncio.get_running_loop().run_in_executor(None, self._renew, by_subject)

    def _renew(self, by_subject: dict[str, list[str]]) -> None:
        try:
            for subject, keys in by_subject.items():
                names = scripts.keys_of(subject)
                _client(self._url).renew(keys=[names["held"]], args=[_ms(EXPIRY_SECONDS), *keys])
                over = [key for key in keys if key not in self._held]
                if over:  # given back meanwhile: it must not be held for nobody
                    _client(self._url).drop(names["held"], *over)
        except redis.RedisError as error:
            self._away(error)

    def _away(self, error: Exception) -> None:
        self._was_away, self._why_away = True, type(error).__name__
        self._try_at = time.monotonic() + TRY_AGAIN_SECONDS


@dataclass(frozen=True)
class _Client:
    take: Callable
    release: Callable
    renew: Callable
    drop: Callable


@lru_cache(maxsize=4)
def _client(url: str) -> _Client:
    server = redis.Redis.from_url(
        url,
        socket_connect_timeout=0.5,
        socket_timeout=1.0,
        retry=Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
    )
    return _Client(
        server.register_script(scripts.TAKE),
        server.register_script(scripts.RELEASE),
        server.register_script(scripts.RENEW),
        server.zrem,
    )


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
