"""The model client against a real HTTP server that behaves in every bad way."""

import asyncio
import socket
import threading
import time
import tracemalloc

import pytest

from pdsapp.domain.reasons import Reason
from pdsapp.llm.client import ModelClient
from pdsapp.llm.endpoint import Endpoint
from pdsapp.llm.guard import EndpointGuard
from tests.model_server import (
    Scripted,
    close_connection,
    cut_off,
    data,
    endless,
    error,
    gzip_bomb,
    gzipped,
    hang,
    html,
    raw,
    redirect,
    text,
)

LOOPBACK = ("127.0.0.0/8", "::1", "localhost")
MESSAGES = [{"role": "system", "content": "Write."}, {"role": "user", "content": "One post."}]


def endpoint_of(server, **changes):
    values = {"base_url": server.base_url, "model": "fake-model", "api_key": "sk-test-1234567890", **changes}
    return Endpoint(**values)


def ask(endpoint, deadline=5.0, max_tokens=None, times=1, guard=None, **options):
    async def work():
        async with ModelClient(guard or EndpointGuard(LOOPBACK), **options) as client:
            return [
                await client.complete(endpoint, MESSAGES, max_tokens=max_tokens, deadline_seconds=deadline)
                for _ in range(times)
            ]

    outcomes = asyncio.run(work())
    return outcomes if times > 1 else outcomes[0]


def test_a_reply_comes_with_everything_worth_recording(model_server):
    model_server.enqueue("Rain again.")
    outcome = ask(endpoint_of(model_server))
    assert outcome.bad is None
    assert outcome.reply.text == "Rain again."
    assert (outcome.reply.model_returned, outcome.reply.system_fingerprint) == ("fake-model", "fp_fake")
    assert (outcome.reply.prompt_tokens, outcome.reply.completion_tokens) == (100, 20)
    assert outcome.http_status == 200
    assert 0 <= outcome.latency_ms < 5000


def test_the_recorded_request_is_what_was_sent(model_server):
    endpoint = endpoint_of(model_server, parameters={"temperature": 0.4, "top_k": 20, "seed": None})
    outcome = ask(endpoint, max_tokens=300)
    assert outcome.request == model_server.calls[0].json
    assert outcome.request == {
        "model": "fake-model",
        "messages": MESSAGES,
        "temperature": 0.4,
        "top_k": 20,
        "max_tokens": 300,
    }


def test_parameters_cannot_replace_messages_or_ask_for_a_stream(model_server):
    parameters = {"messages": [], "model": "other", "stream": True, "n": 5, "max_tokens": 64}
    outcome = ask(endpoint_of(model_server, parameters=parameters), max_tokens=300)
    assert outcome.reply
    sent = model_server.calls[0].json
    assert (sent["model"], sent["messages"], sent["max_tokens"]) == ("fake-model", MESSAGES, 64)
    assert "stream" not in sent and "n" not in sent


def test_only_the_headers_a_call_needs_leave_the_house(model_server, monkeypatch):
    monkeypatch.setenv("OPENAI_ORG_ID", "org-platform")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "project-platform")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-platform")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Secret: platform\nAuthorization: Bearer sk-platform")
    model_server.enqueue(data({}, set_cookie="track=1"), "second")
    ask(endpoint_of(model_server), times=2)
    for call in model_server.calls:
        assert set(call.headers) <= {
            *("host", "accept", "content-type", "content-length", "user-agent", "authorization"),
            *("accept-encoding", "connection"),
        }
        assert call.key == "sk-test-1234567890"


@pytest.mark.parametrize("key", [None, ""])
def test_without_a_key_no_authorization_is_sent(model_server, monkeypatch, key):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-platform")
    assert ask(endpoint_of(model_server, api_key=key)).reply
    assert model_server.calls[0].key is None


def test_each_key_goes_only_to_its_own_address(model_server):
    async def two():
        async with ModelClient(EndpointGuard(LOOPBACK)) as client:
            for key in ("sk-first-0000", "sk-second-111", None):
                await client.complete(
                    endpoint_of(model_server, api_key=key), MESSAGES, max_tokens=None, deadline_seconds=5
                )

    asyncio.run(two())
    assert [call.key for call in model_server.calls] == ["sk-first-0000", "sk-second-111", None]


BAD = {
    "HTML": (html(), Reason.bad_reply, 200),
    "broken JSON": (raw(b'{"choices": ['), Reason.bad_reply, 200),
    "no choices": (data({"id": "x"}), Reason.bad_reply, 200),
    "choices null": (data({"choices": None}), Reason.bad_reply, 200),
    "choices empty": (data({"choices": []}), Reason.bad_reply, 200),
    "content null": (text(None), Reason.empty_reply, 200),
    "content empty": (text(""), Reason.empty_reply, 200),
    "content a list of nothing": (text([]), Reason.empty_reply, 200),
    "a refusal": (text(None, refusal="I can't help with that."), Reason.refused, 200),
    "all tokens thought away": (text("", finish_reason="length"), Reason.empty_reply, 200),
    "wrong key": (error(401, "Incorrect API key provided: sk-test-1234567890"), Reason.wrong_key, 401),
    "rate limit": (error(429, "slow", retry_after="3"), Reason.rate_limited, 429),
    "quota": (error(429, "no", code="insufficient_quota"), Reason.quota, 429),
    "server error": (error(500, "boom"), Reason.endpoint_down, 500),
    "bad gateway page": (html("<html>502</html>", 502), Reason.endpoint_down, 502),
    "redirect": (redirect("https://elsewhere.example.org/"), Reason.bad_reply, 307),
    "redirect to nowhere": (redirect("http://[bad", 301), Reason.bad_reply, 301),
    "closed at once": (close_connection(), Reason.endpoint_down, None),
    "cut off": (cut_off(), Reason.endpoint_down, None),
    "too large": (endless(1_200_000), Reason.reply_too_large, None),
    "unknown compression": (raw(b"??", content_encoding="br"), Reason.bad_reply, None),
    "broken compression": (raw(b"??", content_encoding="gzip"), Reason.bad_reply, None),
    "an odd status": (raw(b"", status=299), Reason.bad_reply, 299),
    "too many": (Scripted(429, (("Retry-After", "99999999999"),)), Reason.rate_limited, 429),
}


@pytest.mark.parametrize(("answer", "reason", "status"), BAD.values(), ids=BAD)
def test_nothing_an_endpoint_does_raises(model_server, answer, reason, status):
    model_server.enqueue(answer)
    outcome = ask(endpoint_of(model_server))
    assert outcome.reply is None
    assert outcome.bad.reason == reason
    assert outcome.http_status == status
    assert "sk-test-1234567890" not in outcome.bad.detail
    assert len(model_server.calls) == 1, "exactly one request per call"


def test_a_long_reply_and_a_lone_surrogate_are_replies(model_server):
    model_server.enqueue("word " * 1000, "half \ud83d an emoji", gzipped(text("packed")))
    replies = [outcome.reply.text for outcome in ask(endpoint_of(model_server), times=3)]
    assert replies == ["word " * 1000, "half  an emoji", "packed"]


def test_a_prompt_with_half_an_emoji_is_sent_without_it(model_server):
    async def work():
        async with ModelClient(EndpointGuard(LOOPBACK)) as client:
            return await client.complete(
                endpoint_of(model_server),
                [{"role": "user", "content": "a\ud83db"}],
                max_tokens=None,
                deadline_seconds=5,
            )

    assert asyncio.run(work()).reply
    assert model_server.calls[0].messages == [{"role": "user", "content": "ab"}]


def test_a_gzip_bomb_costs_neither_memory_nor_time(model_server):
    model_server.enqueue("warm up", gzip_bomb(200))
    began = time.monotonic()

    async def work():
        async with ModelClient(EndpointGuard(LOOPBACK)) as client:
            endpoint = endpoint_of(model_server)
            await client.complete(endpoint, MESSAGES, max_tokens=None, deadline_seconds=5)
            tracemalloc.start()
            try:
                outcome = await client.complete(endpoint, MESSAGES, max_tokens=None, deadline_seconds=5)
                return outcome, tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()

    outcome, peak = asyncio.run(work())
    assert outcome.bad.reason == Reason.reply_too_large
    assert peak < 20_000_000
    assert time.monotonic() - began < 4


@pytest.mark.parametrize(
    "answer",
    [hang(), text("slow " * 200).dripping(0.02), text("late").later(5), error(500, "x" * 500).dripping(0.02)],
    ids=["silence", "a slow drip", "a late answer", "a dripping error"],
)
def test_the_deadline_is_for_the_whole_call(model_server, answer):
    model_server.enqueue(answer)
    began = time.monotonic()
    outcome = ask(endpoint_of(model_server), deadline=0.3)
    assert outcome.bad.reason == Reason.deadline
    assert not outcome.bad.is_retryable
    assert time.monotonic() - began < 1.5


def test_a_deadline_already_past_asks_nobody(model_server):
    assert ask(endpoint_of(model_server), deadline=-1).bad.reason == Reason.deadline
    assert model_server.calls == []


def test_an_endpoint_that_is_not_there_is_down():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        outcome = ask(Endpoint(f"http://127.0.0.1:{port}/v1", "m", None))
    assert outcome.bad.reason == Reason.endpoint_down
    assert outcome.bad.is_retryable
    assert outcome.http_status is None


def test_something_that_is_no_http_server_is_told_apart():
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def greet():
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"220 mail.example.org ESMTP\r\n\r\n")
                connection.recv(10_000)

        thread = threading.Thread(target=greet)
        thread.start()
        outcome = ask(Endpoint(f"http://127.0.0.1:{listener.getsockname()[1]}/v1", "m", None))
        thread.join()
    assert outcome.bad.reason == Reason.bad_reply
    assert "HTTP" in outcome.bad.detail


@pytest.mark.parametrize("key", ["sk-with\nnewline", "sk-with space", "sk-“quoted”", "ключ"])
def test_a_key_that_cannot_be_sent_is_a_wrong_key(model_server, key):
    outcome = ask(endpoint_of(model_server, api_key=key))
    assert outcome.bad.reason == Reason.wrong_key
    assert outcome.bad.pauses_token
    assert key not in outcome.bad.detail
    assert model_server.calls == []


def test_parameters_that_are_no_json_are_a_bad_request(model_server):
    outcome = ask(endpoint_of(model_server, parameters={"temperature": object()}))
    assert outcome.bad.reason == Reason.bad_request
    assert model_server.calls == []


SWAP = "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead."


def test_the_other_token_limit_is_used_and_remembered(model_server):
    model_server.enqueue(error(400, SWAP), "one", "two")
    first, second, third = ask(endpoint_of(model_server), max_tokens=50, times=3)
    assert first.bad.swap_parameter == ("max_tokens", "max_completion_tokens")
    assert second.reply and third.reply
    sent = [sorted(k for k in call.json if k.startswith("max")) for call in model_server.calls]
    assert sent == [["max_tokens"], ["max_completion_tokens"], ["max_completion_tokens"]]


def test_a_remembered_limit_can_be_shared_between_clients(model_server):
    swaps = {}
    model_server.enqueue(error(400, SWAP), "one")
    ask(endpoint_of(model_server), max_tokens=50, swaps=swaps)
    assert ask(endpoint_of(model_server), max_tokens=50, swaps=swaps).reply
    assert model_server.calls[1].json["max_completion_tokens"] == 50


def test_a_swap_that_changes_nothing_is_not_asked_for_again(model_server):
    model_server.enqueue(error(400, SWAP))
    bad = ask(endpoint_of(model_server)).bad
    assert bad.swap_parameter is None
    assert not bad.is_retryable


def test_models_are_listed(model_server):
    async def names():
        async with ModelClient(EndpointGuard(LOOPBACK)) as client:
            return await client.list_models(endpoint_of(model_server), 5)

    assert asyncio.run(names()).models == ("fake-model",)


def test_many_calls_share_the_client_without_waiting_for_each_other(model_server):
    model_server.default = lambda request: text("later").later(0.2)

    async def work():
        async with ModelClient(EndpointGuard(LOOPBACK)) as client:
            return await asyncio.gather(
                *(
                    client.complete(endpoint_of(model_server), MESSAGES, max_tokens=None, deadline_seconds=5)
                    for _ in range(40)
                )
            )

    began = time.monotonic()
    outcomes = asyncio.run(work())
    assert all(outcome.reply for outcome in outcomes)
    assert time.monotonic() - began < 2.5
    assert model_server.max_at_once > 10


def test_cancelling_a_call_passes_through(model_server):
    model_server.enqueue(hang())

    async def work():
        async with ModelClient(EndpointGuard(LOOPBACK)) as client:
            task = asyncio.create_task(
                client.complete(endpoint_of(model_server), MESSAGES, max_tokens=None, deadline_seconds=9)
            )
            await asyncio.to_thread(model_server.wait_for_calls, 1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(work())


def test_a_timeout_of_the_queue_passes_through(model_server):
    from rq.timeouts import JobTimeoutException

    class Interrupting(EndpointGuard):
        async def check_destination(self, scheme, host, port):
            raise JobTimeoutException("180 s")

    with pytest.raises(JobTimeoutException):
        ask(endpoint_of(model_server), guard=Interrupting(LOOPBACK))
