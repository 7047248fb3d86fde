"""What attempts are measured against: the same messages to the same server, without database or rule.

`bare` is a loop of the async openai client and the least anybody could do; `plain` is what a Celery prefork
worker or a plain RQ worker does: one call at a time, with a new synchronous client each.
"""

import asyncio
import time
from collections.abc import Sequence
from itertools import cycle, islice

import httpx2
import openai

from pdsapp.domain.prompt import Messages

from .due import KEY

MODEL, DEADLINE_SECONDS = "bench", 60


def bare(base_url: str, messages: Sequence[Messages], count: int, at_once: int) -> tuple[float, float]:
    """Seconds and seconds of CPU for so many calls, so many at once, by one client."""
    began, began_cpu = time.perf_counter(), time.process_time()
    asyncio.run(_bare(base_url, messages, count, at_once))
    return time.perf_counter() - began, time.process_time() - began_cpu


async def _bare(base_url: str, messages: Sequence[Messages], count: int, at_once: int) -> None:
    left = islice(cycle(messages), count)

    async def caller(client: openai.AsyncOpenAI) -> None:
        for each in left:
            reply = await client.chat.completions.create(model=MODEL, messages=[dict(m) for m in each])
            if not reply.choices[0].message.content:
                raise RuntimeError("the model server answered with nothing")

    # The default pool keeps 20 connections, which would be the limit instead of the client.
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
    http = httpx2.AsyncClient(limits=limits, timeout=DEADLINE_SECONDS, trust_env=False)
    client = openai.AsyncOpenAI(base_url=base_url, api_key=KEY, max_retries=0, http_client=http)
    async with client, asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(caller(client))


def one_by_one(base_url: str, messages: Sequence[Messages], count: int) -> list[float]:
    """Seconds of each of so many calls, one after the other by one client."""

    async def calls() -> list[float]:
        found = []
        async with openai.AsyncOpenAI(base_url=base_url, api_key=KEY, max_retries=0) as client:
            for each in islice(cycle(messages), count):
                began = time.perf_counter()
                await client.chat.completions.create(model=MODEL, messages=[dict(m) for m in each])
                found.append(time.perf_counter() - began)
        return found

    return asyncio.run(calls())


def plain(base_url: str, messages: Sequence[Messages], count: int) -> tuple[float, float]:
    """Seconds and seconds of CPU for so many calls, one after the other, each by a new client."""
    began, began_cpu = time.perf_counter(), time.process_time()
    for each in islice(cycle(messages), count):
        with openai.OpenAI(base_url=base_url, api_key=KEY, max_retries=0) as client:
            client.chat.completions.create(model=MODEL, messages=[dict(m) for m in each])
    return time.perf_counter() - began, time.process_time() - began_cpu
