"""Permits on a real server: at once, per minute, tokens, rests; dead holders; the server emptied or away."""

import asyncio
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import pytest
import redis

from pdsapp.attempts import permit_scripts as scripts
from pdsapp.attempts import permits as module
from pdsapp.attempts.permit_terms import Asked
from pdsapp.attempts.permits import Permits
from pdsapp.domain.call_limits import CallLimits
from pdsapp.errors import NotNow

from .test_outages import Server

pytestmark = pytest.mark.queue
SUBJECT = "0197-test"


@pytest.fixture
def counted(connection):
    """The server has counted for a while: limits are whole."""
    connection.set(scripts.MARKER, int(time.time() * 1000) - 600_000)
    return connection


def asked(name="Lab", subject=SUBJECT, estimate=10, group="1", goes_first=False, **limits):
    return Asked(subject, CallLimits(**limits), name, estimate, group, goes_first)


def take(permits, what, patience=0.0):
    return permits.take(what, time.monotonic() + 30, patience)


async def refused(permits, what, patience=0.0):
    with pytest.raises(NotNow) as error:
        await take(permits, what, patience)
    return error.value


async def given_back(permits, permit, *arguments, **more):
    if (done := permits.give_back(permit, *arguments, **more)) is not None:
        await done


def test_calls_at_once_are_counted_over_all_who_ask(counted, redis_url):
    async def run():
        one, two = Permits(redis_url, lambda: 2), Permits(redis_url, lambda: 2)
        what = asked(at_once=3)
        held = [await take(one, what), await take(two, what), await take(one, what)]
        error = await refused(two, what)
        assert "API token “Lab”: its calls at once are all in use" in str(error)
        await given_back(one, held[0])
        held[0] = await take(two, what)
        await refused(one, what)
        await take(one, asked(subject="another", at_once=1))  # another token is not concerned
        for permit in held:
            await given_back(one, permit)

    asyncio.run(run())
    assert counted.zcard(scripts.keys_of(SUBJECT)["held"]) == 0


def test_requests_are_counted_in_a_window_that_slides(counted, redis_url):
    async def run():
        permits, what, granted = Permits(redis_url, lambda: 1, window_seconds=1.2), asked(per_minute=6), []
        until = time.monotonic() + 4
        while time.monotonic() < until:
            try:
                permit = await take(permits, what)
                granted.append(time.monotonic())
                permits.give_back(permit)
            except NotNow:
                await asyncio.sleep(0.01)
        return granted

    granted = asyncio.run(run())
    assert len(granted) >= 12, "it goes on when the window has moved"
    for number, first in enumerate(granted[:-6]):
        assert granted[number + 6] - first >= 1.15, "never seven within any window"


def test_tokens_are_reserved_and_settled(counted, redis_url):
    async def run():
        permits, what = Permits(redis_url, lambda: 1), asked(tokens_per_minute=1000, estimate=400)
        first, second = await take(permits, what), await take(permits, what)
        assert "its tokens of this minute are used up" in str(await refused(permits, what))
        await given_back(permits, first, 100)  # it took less than was reserved
        third = await take(permits, what)
        await given_back(permits, second, 900)  # it took more
        error = await refused(permits, what)
        assert error.seconds >= 50, "until those calls are a minute old"
        await given_back(permits, third, 400)

    asyncio.run(run())
    names = scripts.keys_of(SUBJECT)
    assert sum(int(value) for value in counted.hgetall(names["tokens"]).values()) == 1400


def test_a_call_larger_than_a_whole_minute_s_tokens_is_made_alone(counted, redis_url):
    async def run():
        permits, what = Permits(redis_url, lambda: 1), asked(tokens_per_minute=100, estimate=5000)
        await take(permits, what)
        await refused(permits, asked(tokens_per_minute=100, estimate=1))

    asyncio.run(run())


def test_a_rest_is_everybody_s_with_this_token_and_nobody_else_s(counted, redis_url):
    async def run():
        one, two = Permits(redis_url, lambda: 2), Permits(redis_url, lambda: 2)
        await given_back(one, await take(one, asked()), None, 20.0)
        error = await refused(two, asked())
        assert "its endpoint asked for a rest" in str(error) and 15 <= error.seconds <= 21
        await take(two, asked(subject="another"))

    asyncio.run(run())


def test_an_absurd_rest_is_cut_to_an_hour(counted, redis_url):
    async def run():
        permits = Permits(redis_url, lambda: 1)
        await given_back(permits, await take(permits, asked()), None, 1e9)
        return await refused(Permits(redis_url, lambda: 1), asked())

    assert 3590 <= asyncio.run(run()).seconds <= 3901
    state = counted.pttl(scripts.keys_of(SUBJECT)["state"])
    assert 0 < state <= 2 * 3_600_000


def test_a_short_wait_is_waited_in_place(counted, redis_url):
    async def run():
        permits, what = Permits(redis_url, lambda: 1), asked(at_once=1)
        held = await take(permits, what)
        asyncio.get_running_loop().call_later(0.4, permits.give_back, held)
        began = time.monotonic()
        await take(permits, what, patience=3.0)
        return time.monotonic() - began

    assert 0.35 <= asyncio.run(run()) < 1.5


def test_nobody_waits_beyond_the_deadline(counted, redis_url):
    async def run():
        permits, what = Permits(redis_url, lambda: 1), asked(at_once=1)
        await take(permits, what)
        began = time.monotonic()
        with pytest.raises(NotNow):
            await permits.take(what, began + 0.3, patience=60.0)
        return time.monotonic() - began

    assert asyncio.run(run()) < 30


def test_who_came_first_is_served_first_and_people_before_schedules(counted, redis_url):
    async def run():
        permits, order = Permits(redis_url, lambda: 1), []
        held = await take(permits, asked(at_once=1))

        async def wait(name, **more):
            permit = await take(permits, asked(at_once=1, **more), patience=8.0)
            order.append(name)
            await asyncio.sleep(0.05)
            await given_back(permits, permit)

        waiting = []
        for name, more in (("a", {}), ("b", {}), ("c", {}), ("person", {"goes_first": True})):
            waiting.append(asyncio.create_task(wait(name, **more)))
            await asyncio.sleep(0.05)
        await given_back(permits, held)
        await asyncio.gather(*waiting)
        return order

    assert asyncio.run(run()) == ["person", "a", "b", "c"]


def test_those_that_cannot_be_served_soon_come_back_one_after_the_other(counted, redis_url):
    async def run():
        permits, what = Permits(redis_url, lambda: 1), asked(per_minute=60)
        for _ in range(60):
            permits.give_back(await take(permits, what))
        waits = [(await refused(permits, what)).seconds for _ in range(10)]
        other = (await refused(permits, asked(per_minute=60, group="2"))).seconds
        return waits, other

    waits, other = asyncio.run(run())
    gaps = [after - before for before, after in pairwise(waits)]
    assert all(0.9 <= gap <= 1.1 for gap in gaps), waits
    assert other < waits[1], "another experiment's do not stand behind them"


def test_a_permit_of_a_killed_holder_is_free_again_and_a_living_one_s_is_not(counted, redis_url):
    holder = subprocess.Popen(
        [sys.executable, "-m", "tests.queue.holder", redis_url, SUBJECT, "2", "2"],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert holder.stdout.readline() == "held\n"

        async def run():
            permits, what = Permits(redis_url, lambda: 1), asked(at_once=2)
            until = time.monotonic() + 2.5
            while time.monotonic() < until:  # twice its expiry: it is renewed
                await refused(permits, what)
                await asyncio.sleep(0.1)
            holder.send_signal(signal.SIGKILL)
            holder.wait()
            killed = time.monotonic()
            while True:
                try:
                    await take(permits, what)
                    return time.monotonic() - killed
                except NotNow:
                    assert time.monotonic() - killed < 5
                    await asyncio.sleep(0.05)

        assert asyncio.run(run()) < 2.0
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()


def test_after_everything_was_lost_limits_start_at_half(counted, redis_url, monkeypatch):
    monkeypatch.setattr(module, "GRACE_SECONDS", 0.6)
    monkeypatch.setattr(module, "HALF_SECONDS", 2.0)
    monkeypatch.setattr(module, "RENEW_SECONDS", 0.1)

    async def run():
        one, two, what = Permits(redis_url, lambda: 2), Permits(redis_url, lambda: 2), asked(at_once=4)
        held = [await take(one, what)]
        counted.flushdb()
        error = await refused(two, what)
        assert "limits are being counted anew" in str(error)
        await asyncio.sleep(0.7)  # meanwhile the first has renewed what it holds
        held.append(await take(two, what))
        await refused(two, what)  # two of four: half
        await asyncio.sleep(2.0)
        held += [await take(two, what), await take(one, what)]
        await refused(one, what)
        for permit in held:
            await given_back(one, permit)

    asyncio.run(run())


def test_while_the_server_is_away_each_worker_keeps_to_its_share(counted, redis_url, monkeypatch):
    monkeypatch.setattr(module, "TRY_AGAIN_SECONDS", 0.3)

    async def run():
        permits = Permits(redis_url, lambda: 2)
        what = asked(at_once=5, per_minute=100)
        held = [await take(permits, what)]
        monkeypatch.setattr(module, "_client", _dead)
        held.append(await take(permits, what))
        assert "this worker's share is used up" in str(await refused(permits, what))  # 5 // 2
        small = asked(subject="small", at_once=1)
        assert "share" in str(await refused(permits, small, patience=3.0)), "and does not wait for nothing"
        assert await take(permits, asked(subject="free")), "no limit, no share"
        monkeypatch.setattr(module, "_client", client)
        await asyncio.sleep(0.4)
        error = await refused(permits, what)
        assert "counted anew" in str(error), "once it is back all start at half, after a moment"

    client = module._client
    asyncio.run(run())


def test_a_server_that_was_killed_and_comes_back_empty_starts_at_half(monkeypatch):
    monkeypatch.setattr(module, "TRY_AGAIN_SECONDS", 0.2)
    monkeypatch.setattr(module, "GRACE_SECONDS", 0.3)
    folder = Path(tempfile.mkdtemp(prefix="dt-permits-", dir="/tmp"))
    server = Server(folder)
    server.start()

    async def run():
        permits, what = Permits(server.url, lambda: 1), asked(at_once=4)
        held = [await take(permits, what, patience=2.0)]
        server.kill()
        held += [await take(permits, what) for _ in range(3)]  # all that are allowed, by its own count
        await refused(permits, what)
        server.start()
        for permit in held:
            await given_back(permits, permit)
        await asyncio.sleep(0.5)
        await refused(permits, what)  # it is asked again: counted anew
        await asyncio.sleep(0.5)
        for _ in range(2):
            await take(permits, what)
        await refused(permits, what)

    try:
        asyncio.run(run())
    finally:
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)


def test_what_a_person_waits_for_has_no_place_behind_a_batch(counted, redis_url):
    async def run():
        permits, batch = Permits(redis_url, lambda: 1), asked(per_minute=60)
        for _ in range(60):
            await take(permits, batch)
        sent_away = [(await refused(permits, batch)).seconds for _ in range(200)]
        assert sent_away[-1] > 150
        assert (await refused(permits, asked(per_minute=60, goes_first=True))).seconds < 65

    asyncio.run(run())


def test_a_renewal_that_comes_late_holds_nothing_for_nobody(counted, redis_url):
    async def run():
        permits, what = Permits(redis_url, lambda: 1), asked(at_once=2)
        over, held = await take(permits, what), await take(permits, what)
        await given_back(permits, over)
        permits._renew({SUBJECT: [over.key, held.key]})  # as it had begun before
        await take(permits, what)
        await refused(permits, what)

    asyncio.run(run())


def _dead(_url):
    def fail(**_):
        raise redis.ConnectionError("away")

    return module._Client(fail, fail, fail, fail)


def test_a_call_that_is_called_off_leaves_no_permit_behind(counted, redis_url):
    async def run():
        permits, what = Permits(redis_url, lambda: 1), asked(at_once=1)
        for delay in (0.0, 0.0005, 0.001, 0.002, 0.005):
            task = asyncio.create_task(take(permits, what))
            await asyncio.sleep(delay)
            task.cancel()
            result = (await asyncio.gather(task, return_exceptions=True))[0]
            if not isinstance(result, BaseException):
                await given_back(permits, result)
        await asyncio.sleep(0.2)

    asyncio.run(run())
    assert counted.zcard(scripts.keys_of(SUBJECT)["held"]) == 0


def test_no_secret_stands_in_the_server_and_every_key_ends_by_itself(counted, redis_url):
    async def run():
        permits = Permits(redis_url, lambda: 1)
        what = asked(at_once=2, per_minute=2, tokens_per_minute=5000)
        first, _ = await take(permits, what), await take(permits, what)
        await given_back(permits, first, 50, 2.0)
        await refused(permits, what)

    asyncio.run(run())
    found = counted.keys("*")
    assert found and all(key.startswith(b"pds:limit:") for key in found)
    assert all(counted.ttl(key) > 0 for key in found)
    assert not any(b"Lab" in key for key in found)
