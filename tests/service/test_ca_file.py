"""An endpoint whose certificate is signed by an authority of one's own: PDS_LLM_CA_FILE."""

import asyncio
import functools
import json

import pytest

from pdsapp.attempts import workshop
from pdsapp.domain.reasons import Reason
from pdsapp.llm.endpoint import Endpoint
from pdsapp.llm.guard import EndpointGuard
from pdsapp.services import notice_sending
from tests.service.tls import NAME, Answers

MESSAGES = [{"role": "user", "content": "One post."}]


@pytest.fixture(autouse=True)
def the_name_resolves(monkeypatch):
    guard = functools.partial(EndpointGuard, resolver=Answers(["127.0.0.1"]))
    monkeypatch.setattr(workshop, "EndpointGuard", guard, raising=False)
    monkeypatch.setattr(notice_sending, "EndpointGuard", guard)


@pytest.fixture
def overrides(request, certificate):
    name = getattr(request, "param", "cert.pem")
    return {"PDS_LLM_CA_FILE": str(certificate / name)} if name else {}


def ask(settings, server):
    async def work():
        async with workshop.make_client(settings) as client:
            endpoint = Endpoint(f"https://{NAME}:{server.port}/v1", "fake-model", "sk-test-1234567890")
            return await client.complete(endpoint, MESSAGES, max_tokens=None, deadline_seconds=5)

    return asyncio.run(work())


def doctor(runner):
    lines = [json.loads(line) for line in runner.invoke(args=["doctor", "--json"]).stdout.splitlines()]
    return next(line for line in lines if line["name"] == "certificates")


def test_with_the_file_the_endpoint_is_asked_and_doctor_counts_its_authorities(
    settings, runner, tls_server, certificate
):
    assert ask(settings, tls_server).reply
    assert tls_server.server_names == [NAME]
    found = doctor(runner)
    assert (found["state"], found["detail"]) == ("ok", f"1 more from {certificate / 'cert.pem'}")


@pytest.mark.parametrize("overrides", [None], indirect=True)
def test_without_it_nothing_is_sent(settings, tls_server):
    bad = ask(settings, tls_server).bad
    assert bad.reason == Reason.endpoint_down
    assert tls_server.calls == []


@pytest.mark.parametrize(
    "overrides", ["nothing.pem", "key.pem"], indirect=True, ids=["missing", "no certificate"]
)
def test_a_file_that_cannot_be_used_is_a_reason_and_doctor_says_so(settings, runner, tls_server, overrides):
    outcome = ask(settings, tls_server)
    assert outcome.bad.reason == Reason.endpoint_down
    assert not outcome.bad.is_retryable
    assert "PDS_LLM_CA_FILE" in outcome.bad.detail
    assert tls_server.calls == []
    found = doctor(runner)
    assert found["state"] == "fail"
    assert overrides["PDS_LLM_CA_FILE"] in found["detail"]
    assert "PEM" in found["detail"]


def test_notices_trust_it_too(settings, tls_server):
    status = asyncio.run(
        notice_sending._exchange(settings, "GET", f"https://{NAME}:{tls_server.port}/v1/models", {}, b"")
    )
    assert status == 200
