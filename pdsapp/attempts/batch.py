"""Running due attempts of a lane, several at a time, while their leases are kept alive."""

import asyncio
import signal
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import partial

import structlog
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from ..database import is_outage, transaction
from ..domain.reasons import AttemptState
from ..services import disk
from . import claim
from .claim import Lease
from .desk import Desk
from .run import run_attempt
from .workshop import Workshop

# So long a batch claims in any case. Then it goes on as long as something runs and nobody else waits for the
# worker: while what runs comes to its end, the lane would stand still. What is claimed last has to end within
# the time of the job: it may wait for a line, and then it writes.
CLAIMING_SECONDS, LONGEST_CLAIMING_SECONDS = 45.0, 330.0
LOOK_SECONDS = 1.0
DATABASE_WAIT = timedelta(seconds=5)
# From 16 calls at once on, a quarter more attempts are held.
MANY, AHEAD = 16, 4
# More are claimed when a sixteenth of those at once has ended, and after so long anyway.
PORTIONS, LONGEST_GAP_SECONDS = 16, 0.5
log = structlog.get_logger()


class Batch:
    """Claims and runs attempts until none is due, time is up, or it is told to stop.

    `ended` counts by terminal state. After `stop()` nothing more is claimed; what does not finish
    within `stop_seconds` goes back to due without a strike. `at_once` calls are out at a time; where that
    are many, some more attempts are held, so that calls do not wait for the database. `others_wait` says
    whether somebody else waits for the worker; it may look into the database and the queue.
    """

    def __init__(
        self,
        shop: Workshop,
        worker: str,
        lane: str | None,
        limit: int,
        at_once: int,
    ):
        self.shop = shop
        self.worker = worker
        self.lane = lane
        self.limit = limit
        self.at_once = at_once
        self._ahead = at_once // AHEAD if at_once >= MANY else 0
        self.ended: dict[AttemptState, int] = {}
        self._running: dict[asyncio.Task, Lease] = {}
        self.others_wait: Callable[[], bool] = lambda: False
        self._claimed_at = self._looked_at = 0.0
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Asks the batch to finish in good order."""
        self._stopping.set()

    async def drain(self) -> None:
        """Runs what is due. Raises what `Workshop.passes` names, after giving everything back."""
        with _stop_on_signals(self.stop):
            await self._keep(self._claim_and_run())

    async def finish(self, leases: list[Lease]) -> None:
        """Runs these leased attempts and nothing else."""
        with _stop_on_signals(self.stop):
            await self._keep(self._run_given(leases))

    async def _keep(self, work) -> None:
        async with self.shop.client, Desk(self.shop, self.at_once) as self._desk:
            keeper = asyncio.create_task(self._renew())
            try:
                await work
            finally:  # before the client closes: a closed connection would look like a failed call
                keeper.cancel()
                with suppress(asyncio.CancelledError):
                    await keeper
                await self._give_back()

    async def _claim_and_run(self) -> None:
        began = time.monotonic()
        left, has_time = self.limit, True
        while True:
            has_time = has_time and await self._has_time(time.monotonic() - began)
            may_claim = left > 0 and has_time and not self._stopping.is_set()
            room = min(left, self._room()) if may_claim else 0
            leases = await self._claimed(room) if room > 0 else []
            left -= len(leases)
            self._start(leases)
            if not self._running:
                return
            if not leases:
                await self._wait_for_one()
                if self._running and self._stopping.is_set():
                    await self._last_seconds()
                    return

    async def _has_time(self, spent: float) -> bool:
        """Whether more may be claimed after so many seconds."""
        if spent < CLAIMING_SECONDS:
            return True
        if spent > LONGEST_CLAIMING_SECONDS or not self._running:
            return False
        if time.monotonic() - self._looked_at < LOOK_SECONDS:
            return True
        self._looked_at = time.monotonic()
        return not await self._desk.aside(self.others_wait)

    def _room(self) -> int:
        """How many more may be claimed now; a few are waited for, so that they are claimed together."""
        free = self.at_once + self._ahead - len(self._running)
        is_worth_it = free >= self.at_once / PORTIONS or not self._running
        is_time = time.monotonic() - self._claimed_at > LONGEST_GAP_SECONDS
        return free if not self._is_alone and (is_worth_it or is_time) else 0

    async def _claimed(self, room: int) -> list[Lease]:
        """What is due and may be run now. Raises what the database raises if nothing runs; else what runs
        goes on, and the next claim tries again."""
        try:
            return await self._desk.aside(partial(self._claim, room))
        except DBAPIError as error:
            if not is_outage(error) or not self._running:
                raise
            log.warning("nothing claimed, the database failed", why=type(error).__name__)
            return []
        finally:
            self._claimed_at = time.monotonic()

    async def _run_given(self, leases: list[Lease]) -> None:
        self._start(leases)
        while self._running:
            await self._wait_for_one()
            if self._stopping.is_set():
                await self._last_seconds()
                return

    def _claim(self, room: int) -> list[Lease]:
        if disk.look(self.shop.settings).is_low:
            return []
        now = self.shop.clock()
        with transaction() as session:
            return claim.claim(session, self.worker, now, room, lane=self.lane, strikes=self._strikes)

    @property
    def _strikes(self) -> int | None:
        """How many workers those that run have lost: nothing else may run beside them. None: nothing runs."""
        return max((lease.strikes for lease in self._running.values()), default=None)

    @property
    def _is_alone(self) -> bool:
        """Whether an attempt runs beside which no other may."""
        return (self._strikes or 0) >= claim.ALONE_FROM

    def _start(self, leases: list[Lease]) -> None:
        for lease in leases:
            self._running[asyncio.create_task(run_attempt(lease, self.shop, self._desk))] = lease

    async def _wait_for_one(self) -> None:
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait(
                {*self._running, stopping},
                return_when=asyncio.FIRST_COMPLETED,
                timeout=LONGEST_GAP_SECONDS,
            )
        finally:
            stopping.cancel()
        await self._collect()

    async def _last_seconds(self) -> None:
        if self._running:
            await asyncio.wait(set(self._running), timeout=self.shop.settings.stop_seconds)
        await self._collect()

    async def _collect(self) -> None:
        failed: list[Lease] = []
        broken: list[tuple[Lease, str]] = []
        try:
            for task in [task for task in self._running if task.done()]:
                try:
                    state = task.result()
                except self.shop.passes:  # it is given back with the rest
                    raise
                except Exception as error:
                    state, lease = None, self._running[task]
                    if is_outage(error):
                        log.warning("database failed during an attempt", why=type(error).__name__)
                        failed.append(lease)
                    else:  # its own trouble alone
                        log.exception("an attempt could not be run", attempt=str(lease.attempt_uuid))
                        broken.append((lease, f"{type(error).__name__} while the attempt was run."))
                del self._running[task]
                if state is not None:
                    self.ended[state] = self.ended.get(state, 0) + 1
        finally:
            if failed or broken:
                await self._desk.aside(partial(self._settle, failed, broken))

    def _settle(self, failed: list[Lease], broken: list[tuple[Lease, str]]) -> None:
        """Gives back what met a failing database, and with a strike what our own code could not run."""
        if failed:
            self._give_back_later(failed)
        for lease, words in broken:
            try:
                with transaction() as session:
                    claim.strike(session, lease, self.shop.clock(), DATABASE_WAIT, words)
            except Exception as error:
                log.warning("attempt not given back: its lease runs out", why=type(error).__name__)

    def _give_back_later(self, leases: list[Lease]) -> None:
        """Returns attempts to due, some seconds from now; if that fails too, their leases run out."""
        try:
            self._give_back_now(leases, DATABASE_WAIT)
        except SQLAlchemyError as error:
            log.warning("attempts not given back: their leases run out", why=type(error).__name__)

    def _give_back_now(self, leases: list[Lease], wait: timedelta = timedelta(0)) -> None:
        with transaction() as session:
            claim.give_back_all(session, leases, self.shop.clock(), wait)
        log.info("attempts given back", count=len(leases))

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(claim.RENEW_SECONDS)
            try:
                await self._desk.aside(partial(self._renew_all, list(self._running.values())))
            except SQLAlchemyError as error:  # the lease outlives two failed renewals
                log.warning("leases not renewed", why=type(error).__name__)

    async def _give_back(self) -> None:
        """Cancels what still runs and returns it to due."""
        left = dict(self._running)
        self._running.clear()
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        if left:
            await self._desk.aside(partial(self._give_back_now, list(left.values())))

    def _renew_all(self, leases: list[Lease]) -> None:
        with transaction() as session:
            claim.renew(session, leases, self.shop.clock())


@contextmanager
def _stop_on_signals(stop):
    """SIGTERM, SIGINT and SIGUSR1 ask the batch to finish; only in a process's main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)}
    for number in before:
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
