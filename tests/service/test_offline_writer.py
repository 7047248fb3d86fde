"""The offline writer over HTTP, reached the way twins reach it."""

import asyncio
import concurrent.futures
import http.client
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pdsapp.domain.reasons import Reason
from pdsapp.llm.client import ModelClient
from pdsapp.llm.endpoint import Endpoint
from pdsapp.llm.guard import EndpointGuard
from pdsapp.llm.offline_writer import MODEL, running_offline_writer
from pdsapp.llm.token_test import test_endpoint as try_endpoint

ROOT = Path(__file__).parents[2]
MESSAGES = [
    {"role": "system", "content": "You write one post."},
    {
        "role": "user",
        "content": "You are @marta (Marta).\n<persona>\nA dry night nurse. Loves her allotment.\n</persona>\n"
        "<feed>\n[1] @olek (2 h ago): The library is closed again.\n</feed>\n"
        "<length>between 80 and 139 characters, about 112</length>",
    },
]


@pytest.fixture(scope="module")
def base_url():
    with running_offline_writer() as url:
        yield url


def request(base_url, method, path, body=None, headers=None):
    host = base_url.removeprefix("http://").removesuffix("/v1")
    connection = http.client.HTTPConnection(host, timeout=5)
    try:
        raw = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        connection.request(method, path, raw, headers or {})
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def chat(base_url, **changes):
    return request(
        base_url, "POST", "/v1/chat/completions", {"model": MODEL, "messages": MESSAGES, **changes}
    )


def test_a_post_comes_through_the_ordinary_client(base_url):
    async def work():
        async with ModelClient(EndpointGuard(("127.0.0.0/8",))) as client:
            endpoint = Endpoint(base_url, MODEL, None, {"temperature": 0.7}, "offline")
            return await client.complete(endpoint, MESSAGES, max_tokens=300, deadline_seconds=5)

    outcome = asyncio.run(work())
    assert outcome.bad is None
    assert 80 <= len(outcome.reply.text) <= 139
    assert outcome.reply.model_returned == MODEL
    assert outcome.reply.system_fingerprint.startswith("offline_")
    assert outcome.reply.finish_reason == "stop"
    assert outcome.reply.prompt_tokens > outcome.reply.completion_tokens > 0


def test_asking_twice_gives_two_texts_and_a_seed_gives_one(base_url):
    free = {chat(base_url)[1]["choices"][0]["message"]["content"] for _ in range(6)}
    seeded = {chat(base_url, seed=7)[1]["choices"][0]["message"]["content"] for _ in range(3)}
    assert len(free) >= 5
    assert len(seeded) == 1


def test_it_lists_its_one_model(base_url):
    status, data = request(base_url, "GET", "/v1/models")
    assert (status, [m["id"] for m in data["data"]]) == (200, [MODEL])
    assert request(base_url, "GET", f"/v1/models/{MODEL}")[1]["id"] == MODEL


def test_it_says_that_it_is_well(base_url):
    assert request(base_url, "GET", "/healthz") == (200, {"status": "ok"})


def test_it_passes_the_test_of_a_token(base_url):
    async def work():
        async with ModelClient(EndpointGuard(("127.0.0.0/8",))) as client:
            return await try_endpoint(client, Endpoint(base_url, MODEL, None))

    assert asyncio.run(work()).ok


def test_a_token_limit_cuts_and_says_so(base_url):
    status, data = chat(base_url, max_tokens=5)
    assert status == 200
    assert data["choices"][0]["finish_reason"] == "length"
    assert len(data["choices"][0]["message"]["content"]) <= 20


REFUSED = {
    "a stream": ({"stream": True}, 400, "does not stream"),
    "several texts": ({"n": 3}, 400, "one text per request"),
    "another model": ({"model": "gpt-9"}, 404, "gpt-9"),
    "no messages": ({"messages": []}, 400, "messages"),
    "messages that are none": ({"messages": "hello"}, 400, "messages"),
    "messages of text": ({"messages": ["hello"]}, 400, "messages"),
    "a limit of nothing": ({"max_tokens": 0}, 400, "max_tokens"),
    "a limit in words": ({"max_tokens": "many"}, 400, "max_tokens"),
}


@pytest.mark.parametrize(("changes", "status", "words"), REFUSED.values(), ids=REFUSED)
def test_what_it_cannot_do_it_says_in_a_sentence(base_url, changes, status, words):
    got, data = chat(base_url, **changes)
    assert got == status
    assert words in data["error"]["message"]
    assert data["error"]["message"].endswith(".")


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/", None, 404),
        ("GET", "/v1/chat/completions", None, 404),
        ("POST", "/v1/completions", {}, 404),
        ("POST", "/v1/chat/completions", b"not json", 400),
        ("POST", "/v1/chat/completions", b"[" * 100_000, 400),
        ("POST", "/v1/chat/completions", b"[]", 400),
    ],
)
def test_a_request_it_does_not_know_gets_a_json_error(base_url, method, path, body, status):
    got, data = request(base_url, method, path, body)
    assert got == status
    assert data["error"]["message"]


def test_a_request_that_is_too_large_is_not_read(base_url):
    status, data = request(base_url, "POST", "/v1/chat/completions", headers={"Content-Length": "999999999"})
    assert status == 413
    assert data["error"]["message"]


def test_an_unknown_model_is_told_by_the_client_as_such(base_url):
    async def work():
        async with ModelClient(EndpointGuard(("127.0.0.0/8",))) as client:
            return await client.complete(
                Endpoint(base_url, "gpt-9", None), MESSAGES, max_tokens=None, deadline_seconds=5
            )

    assert asyncio.run(work()).bad.reason == Reason.model_not_found


def test_odd_contents_still_get_a_post(base_url):
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "Write."}]},
        {"role": "user", "content": None},
        {"role": "tool"},
        {"content": "half \ud83d an emoji <persona></persona><feed></feed>"},
    ]
    status, data = chat(base_url, messages=messages)
    assert status == 200
    assert data["choices"][0]["message"]["content"].strip()


def test_many_at_once_are_all_served(base_url):
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: chat(base_url), range(40)))
    assert {status for status, _ in answers} == {200}
    assert len({data["id"] for _, data in answers}) == 40


def test_as_a_process_it_says_where_it_listens_and_ends_with_a_signal():
    process = subprocess.Popen(
        [sys.executable, "-m", "pdsapp.llm.offline_writer", "--port", "0"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        first = process.stdout.readline().strip()
        assert first.startswith("listening on http://127.0.0.1:")
        assert chat(first.removeprefix("listening on "))[0] == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) == 0


def test_a_taken_port_is_one_sentence_and_exit_1(base_url):
    port = base_url.removesuffix("/v1").rpartition(":")[2]
    result = subprocess.run(
        [sys.executable, "-m", "pdsapp.llm.offline_writer", "--port", port],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert result.returncode == 1
    assert result.stderr.startswith("The offline writer cannot listen on")
    assert len(result.stderr.strip().splitlines()) == 1
