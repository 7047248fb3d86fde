"""Connecting only to what was checked: rebinding, TLS names, proxies."""

import asyncio
import contextlib
import socket
import threading
import time

import pytest

from pdsapp.domain.reasons import Reason
from pdsapp.llm.client import ModelClient
from pdsapp.llm.endpoint import Endpoint
from pdsapp.llm.guard import EndpointGuard
from tests.model_server import ModelServer, error
from tests.service.tls import NAME, Answers

LOOPBACK = ("127.0.0.0/8", "::1", "localhost")
MESSAGES = [{"role": "user", "content": "One post."}]


def ask(guard, base_url, key="sk-test-1234567890", times=1, **options):
    async def work():
        async with ModelClient(guard, **options) as client:
            endpoint = Endpoint(base_url, "fake-model", key)
            return [
                await client.complete(endpoint, MESSAGES, max_tokens=None, deadline_seconds=5)
                for _ in range(times)
            ]

    outcomes = asyncio.run(work())
    return outcomes if times > 1 else outcomes[0]


def test_the_connection_goes_to_the_address_that_was_checked(model_server):
    resolver = Answers(["127.0.0.1"], ["10.99.99.99"])
    outcome = ask(EndpointGuard(LOOPBACK, resolver), f"http://{NAME}:{model_server.port}/v1")
    assert outcome.reply
    assert resolver.asked == [NAME], "resolved once: the second answer is never asked for"
    assert model_server.calls[0].headers["host"] == f"{NAME}:{model_server.port}"


def test_a_name_that_turns_inward_after_the_check_is_refused_at_the_connection(model_server):
    resolver = Answers(["93.184.216.34"], ["169.254.169.254"])
    guard = EndpointGuard((), resolver)
    base_url = f"https://{NAME}:{model_server.port}/v1"
    guard.check(base_url)
    outcome = ask(guard, base_url)
    assert outcome.bad.reason == Reason.endpoint_refused
    assert "169.254.169.254" in outcome.bad.detail
    assert model_server.history == []


def test_a_name_that_turns_inward_between_two_calls_is_refused(model_server):
    model_server.default = lambda request: error(500, "again", connection="close")
    resolver = Answers(["127.0.0.1"], ["10.0.0.1"])
    first, second = ask(
        EndpointGuard(("127.0.0.0/8",), resolver), f"http://{NAME}:{model_server.port}/v1", times=2
    )
    assert first.bad.reason == Reason.endpoint_down
    if len(resolver.asked) > 1:
        assert second.bad.reason == Reason.endpoint_refused
    assert all(call.headers["host"].startswith(NAME) for call in model_server.calls)


def test_one_inward_answer_among_several_refuses_them_all(model_server):
    guard = EndpointGuard(LOOPBACK, Answers(["127.0.0.1", "169.254.169.254"]))
    outcome = ask(guard, f"http://{NAME}:{model_server.port}/v1")
    assert outcome.bad.reason == Reason.endpoint_refused
    assert model_server.history == []


def test_the_next_address_is_tried_when_the_first_does_not_accept(model_server):
    guard = EndpointGuard(LOOPBACK, Answers(["127.0.0.99", "127.0.0.1"]))
    assert ask(guard, f"http://{NAME}:{model_server.port}/v1").reply


def test_loopback_is_refused_unless_it_is_listed(model_server):
    outcome = ask(EndpointGuard(()), model_server.base_url)
    assert outcome.bad.reason == Reason.endpoint_refused
    assert not outcome.bad.is_retryable
    assert "PDS_LLM_ALLOWED_HOSTS" in outcome.bad.detail


def test_a_redirect_inward_is_not_followed(model_server):
    with ModelServer() as inside:
        from tests.model_server import redirect

        model_server.enqueue(redirect(f"{inside.base_url}/chat/completions"))
        assert ask(EndpointGuard(LOOPBACK), model_server.base_url).bad.reason == Reason.bad_reply
        assert inside.history == []


def test_a_name_that_does_not_resolve_is_down_and_may_be_asked_again():
    def unknown(host, port):
        raise socket.gaierror(-2, "Name or service not known")

    bad = ask(EndpointGuard((), unknown), f"https://{NAME}/v1").bad
    assert bad.reason == Reason.endpoint_down
    assert bad.is_retryable
    assert "resolved" in bad.detail


def test_a_name_server_that_hangs_ends_with_the_time_to_connect():
    began = time.monotonic()
    guard = EndpointGuard((), lambda host, port: time.sleep(3))
    assert ask(guard, f"https://{NAME}/v1", connect_seconds=0.2).bad.reason == Reason.endpoint_down
    assert time.monotonic() - began < 1.5


def test_over_tls_the_name_is_checked_and_the_address_is_pinned(tls_server, certificate):
    guard = EndpointGuard(("127.0.0.0/8",), Answers(["127.0.0.1"], ["10.0.0.1"]))
    outcome = ask(guard, f"https://{NAME}:{tls_server.port}/v1", ca_file=str(certificate / "cert.pem"))
    assert outcome.reply
    assert tls_server.server_names == [NAME]
    assert tls_server.calls[0].headers["host"] == f"{NAME}:{tls_server.port}"


@pytest.mark.parametrize("trusted", [True, False])
def test_a_certificate_for_another_name_or_from_nobody_known_is_not_accepted(
    tls_server, certificate, trusted
):
    name = "other.example.test" if trusted else NAME
    guard = EndpointGuard(("127.0.0.0/8",), Answers(["127.0.0.1"]))
    options = {"ca_file": str(certificate / "cert.pem")} if trusted else {}
    bad = ask(guard, f"https://{name}:{tls_server.port}/v1", **options).bad
    assert bad.reason == Reason.endpoint_down
    assert not bad.is_retryable
    assert "certificate" in bad.detail
    assert tls_server.calls == []


def test_https_against_a_plain_server_says_so(model_server):
    bad = ask(EndpointGuard(LOOPBACK), f"https://127.0.0.1:{model_server.port}/v1").bad
    assert bad.reason == Reason.endpoint_down
    assert "TLS" in bad.detail


@contextlib.contextmanager
def tunnel(to_port):
    """A tiny CONNECT proxy that leads everything to one local port and keeps what was asked for."""
    asked = []

    def serve(client):
        with client:
            head = b""
            while b"\r\n\r\n" not in head:
                head += client.recv(4096)
            asked.append(head.decode())
            with socket.create_connection(("127.0.0.1", to_port)) as server:
                client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                back = threading.Thread(target=pump, args=(server, client), daemon=True)
                back.start()
                pump(client, server)
                back.join(2)

    def pump(source, target):
        with contextlib.suppress(OSError):
            while chunk := source.recv(65536):
                target.sendall(chunk)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def accept():
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                threading.Thread(target=serve, args=(client,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1], asked


def test_public_https_goes_through_the_proxy_by_name(tls_server, certificate):
    def unknown(host, port):
        raise OSError("no name server in here")

    with tunnel(tls_server.port) as (port, asked):
        outcome = ask(
            EndpointGuard((), unknown),
            f"https://{NAME}/v1",
            proxy=f"http://user:pass@127.0.0.1:{port}",
            ca_file=str(certificate / "cert.pem"),
        )
    assert outcome.reply
    assert asked[0].startswith(f"CONNECT {NAME}:443 ")
    assert "Proxy-Authorization: Basic dXNlcjpwYXNz" in asked[0]
    assert "sk-test" not in asked[0]
    assert "proxy-authorization" not in tls_server.calls[0].headers


def test_what_is_listed_is_reached_without_the_proxy(model_server):
    with tunnel(1) as (port, asked):
        assert ask(EndpointGuard(LOOPBACK), model_server.base_url, proxy=f"http://127.0.0.1:{port}").reply
        assert asked == []


def test_a_proxy_opens_no_way_to_private_addresses():
    with tunnel(1) as (port, asked):
        guard = EndpointGuard((), Answers(["10.0.0.1"]))
        for host in (NAME, "10.0.0.1", "[::1]"):
            bad = ask(guard, f"https://{host}/v1", proxy=f"http://127.0.0.1:{port}").bad
            assert bad.reason == Reason.endpoint_refused
        assert asked == []


def test_a_proxy_that_is_not_there_is_named(certificate):
    guard = EndpointGuard((), Answers(["93.184.216.34"]))
    bad = ask(guard, f"https://{NAME}/v1", proxy="http://127.0.0.1:1").bad
    assert bad.reason == Reason.endpoint_down


def test_proxies_in_the_environment_are_not_used(model_server, monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert ask(EndpointGuard(LOOPBACK), model_server.base_url).reply
