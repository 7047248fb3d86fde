"""The desk: the database work of many attempts at once, what has come in meanwhile in one transaction.

A transaction for each step of each attempt is what costs most in a batch of hundreds. Here steps wait for the
transaction that is under way, and then go together into the next. Each keeps its guarantee: it is committed
before its attempt goes on, and what fails in company is done again alone: one attempt's trouble is its own.
"""

import asyncio
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from enum import IntEnum
from functools import partial
from typing import Any, Protocol

from sqlalchemy.orm import Session

from ..database import is_outage, transaction
from .workshop import Workshop

# The write lock of SQLite and the gate are held as long as one group takes: some hundredths of a second.
MOST_TOGETHER = 64


class Work(Protocol):
    """A step, for many orders in one transaction: a result for each order, in order.

    A result that is an exception is raised for that order alone, and what was written is kept. What is
    raised rolls back everything, and each order is tried alone.
    """

    def __call__(self, session: Session, shop: Workshop, orders: list[Any], /) -> list[Any]: ...


class Urgency(IntEnum):
    """What goes first where more waits than one transaction takes: what ends an attempt, then calls."""

    ending = 0
    calling = 1
    beginning = 2


@dataclass
class _Waiting:
    urgency: Urgency
    work: Work
    order: Any
    context: Context
    future: asyncio.Future = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Desk:
    """Does steps in groups, in a thread of its own, with one connection. Made in a running event loop.

    Use it as an asynchronous context: leaving it waits for the transaction that is under way, and drops what
    has not begun. `lines` are for calls: at most `calls_at_once` attempts hold one.
    """

    def __init__(self, shop: Workshop, calls_at_once: int = 1):
        self.lines = asyncio.Semaphore(calls_at_once)
        self._shop = shop
        self._waiting: list[_Waiting] = []
        self._flusher: asyncio.Task | None = None
        self._context = copy_context()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="desk")

    async def __aenter__(self) -> "Desk":
        return self

    async def __aexit__(self, *_: object) -> None:
        dropped, self._waiting = self._waiting, []
        for waiting in dropped:
            waiting.future.cancel()
        if self._flusher is not None:
            await asyncio.wait({self._flusher})
        self._thread.shutdown()

    async def do(self, work: Work, order: Any, urgency: Urgency = Urgency.ending) -> Any:
        """What `work` gives for this order, once it is committed. Raises what it raises for it."""
        waiting = _Waiting(urgency, work, order, copy_context())
        self._waiting.append(waiting)
        if self._flusher is None:
            self._flusher = self._context.run(asyncio.create_task, self._flush())
        return await waiting.future

    async def alone(self, step: Callable[[Session], Any]) -> Any:
        """What one step gives; it still shares its transaction with others. Raises what it raises."""
        return await self.do(_each, step)

    async def aside(self, call: Callable[[], Any]) -> Any:
        """What a call gives that opens transactions by itself, between two groups. Raises what it raises."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, copy_context().run, call)

    async def _flush(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                self._waiting.sort(key=lambda each: each.urgency)
                taken, self._waiting = self._waiting[:MOST_TOGETHER], self._waiting[MOST_TOGETHER:]
                taken = [each for each in taken if not each.future.done()]
                if taken:
                    context = taken[0].context if len(taken) == 1 else self._context.copy()
                    work = partial(context.run, _together, self._shop, taken)
                    found = await loop.run_in_executor(self._thread, work)
                    for each, result in zip(taken, found, strict=True):
                        _settle(each.future, result)
        finally:
            self._flusher = None


def _settle(future: asyncio.Future, result: Any) -> None:
    if future.done():  # its attempt was called off meanwhile
        return
    if isinstance(result, BaseException):
        future.set_exception(result)
    else:
        future.set_result(result)


def _together(shop: Workshop, taken: list[_Waiting]) -> list[Any]:
    """The result, or the exception, of each: of all in one transaction, or else one by one."""
    try:
        return _in_one_transaction(shop, taken)
    except BaseException as error:
        if len(taken) == 1 or _is_lost(error):
            return [error] * len(taken)
    found: list[Any] = []
    for each in taken:
        lost = next((error for error in found if _is_lost(error)), None)
        found.append(lost or each.context.run(_together, shop, [each])[0])
    return found


def _is_lost(error: Any) -> bool:
    """Whether there is no database to try it with again."""
    return is_outage(error) and error.connection_invalidated


def _in_one_transaction(shop: Workshop, taken: list[_Waiting]) -> list[Any]:
    found: dict[int, Any] = {}
    by_work: dict[Hashable, list[int]] = {}
    for number, each in enumerate(taken):
        by_work.setdefault(each.work, []).append(number)
    with transaction() as session:
        for work, numbers in by_work.items():
            results = work(session, shop, [taken[number].order for number in numbers])
            found.update(zip(numbers, results, strict=True))
            session.flush()
    return [found[number] for number in range(len(taken))]


def _each(session: Session, _shop: Workshop, orders: list[Callable[[Session], Any]]) -> list[Any]:
    return [order(session) for order in orders]
