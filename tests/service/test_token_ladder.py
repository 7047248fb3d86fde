"""The test of a token, rung by rung, against a real server: each failure in words that say what to do."""

import asyncio
import socket

import pytest
from sqlalchemy import func, select

from pdsapp.database import transaction
from pdsapp.domain.reasons import Reason, TokenState
from pdsapp.llm.client import ModelClient
from pdsapp.llm.endpoint import Endpoint
from pdsapp.llm.guard import EndpointGuard
from pdsapp.llm.secrets import SecretBox
from pdsapp.llm.token_test import test_endpoint as try_endpoint
from pdsapp.models import ApiToken, ModelCall, utc_now
from pdsapp.services import token_tests, tokens
from tests import builders
from tests.model_server import ModelServer, data, error, hang, html, text
from tests.service.tls import NAME, Answers

LOOPBACK = ("127.0.0.0/8", "::1", "localhost")
KEY = "sk-right-key-0001"


def climb(server, guard=None, model="fake-model", base_url=None, key=KEY, options=None, **parameters):
    async def work():
        async with ModelClient(guard or EndpointGuard(LOOPBACK), **options or {}) as client:
            endpoint = Endpoint(base_url or server.base_url, model, key, parameters)
            return await try_endpoint(client, endpoint, step_seconds=2)

    return asyncio.run(work())


def told(result):
    return [(step.name, step.ok) for step in result.steps]


def test_a_good_token_climbs_every_rung_with_a_tick_and_a_time(model_server):
    model_server.key = KEY
    result = climb(model_server, temperature=0.3, max_tokens=4000)
    assert result.ok
    assert told(result) == [
        ("address", True), ("connect", True), ("models", True), ("key", True), ("completion", True),
    ]  # fmt: skip
    assert [step.ms is None for step in result.steps] == [False, False, False, True, False]
    assert result.models == ("fake-model",)
    assert model_server.calls[0].json["max_tokens"] == 16
    assert model_server.calls[0].json["temperature"] == 0.3


def test_over_https_tls_is_a_rung_of_its_own(tls_server, certificate):
    guard = EndpointGuard(("127.0.0.0/8",), Answers(["127.0.0.1"]))
    result = climb(
        tls_server, guard, base_url=f"https://{NAME}:{tls_server.port}/v1",
        options={"ca_file": str(certificate / "cert.pem")},
    )  # fmt: skip
    assert result.ok
    assert [step.name for step in result.steps] == [
        "address", "connect", "tls", "models", "key", "completion",
    ]  # fmt: skip
    assert "TLSv1" in result.steps[2].detail


@pytest.mark.parametrize(
    ("answer", "reason", "rung", "words", "key"),
    [
        (error(401, f"Incorrect API key provided: {KEY}"), Reason.wrong_key, "key",
         "does not accept the key (401)", False),
        (error(402, "Insufficient credits"), Reason.quota, "completion", "Top it up", True),
        (error(429, "You exceeded your current quota", "insufficient_quota"), Reason.quota, "completion",
         "no quota or credit left (429)", True),
        (error(429, "slow down", retry_after="90"), Reason.rate_limited, "completion",
         "Wait 1 min 30 s, then test again.", True),
        (error(429, "slow down"), Reason.rate_limited, "completion", "wait a minute, then test again", True),
        (error(429, "no", retry_after="999999999"), Reason.rate_limited, "completion", "Wait 11574 d", True),
        (error(404, "The model `fake-model` does not exist", "model_not_found"), Reason.model_not_found,
         "completion", "Did you mean fake-model-2?", True),
        (error(503, "Loading model"), Reason.endpoint_down, "completion",
         "still loading its model (503). Wait until it has, then test again.", None),
        (error(500, "out of memory"), Reason.endpoint_down, "completion", "an error of its own (500)", None),
        (html(), Reason.bad_reply, "completion", "a web page instead of JSON", None),
        (hang(), Reason.deadline, "completion", "Is the model still loading, or too large", None),
        (data({"choices": []}), Reason.bad_reply, "completion", "holds no choices", None),
    ],
    ids=["wrong key", "402", "quota as 429", "429 with its wait", "429 without", "429 for decades",
         "model unknown", "503 loading", "500", "web page", "silence", "no choices"],
)  # fmt: skip
def test_each_failure_ends_at_its_rung_and_says_what_to_do(model_server, answer, reason, rung, words, key):
    model_server.models = ("fake-model-2", "other")
    model_server.enqueue(answer)
    result = climb(model_server)
    assert not result.ok
    assert result.reason == reason
    assert (result.steps[-1].name, result.steps[-1].ok) == (rung, False)
    assert words in result.steps[-1].detail
    assert {step.name: step.ok for step in result.steps}["key"] is key
    assert KEY not in str(result)
    assert len(model_server.calls) == 1


def test_a_list_of_models_proves_no_key(model_server):
    """As with OpenRouter and llama.cpp: everybody gets the list, only the completion needs the key."""
    model_server.enqueue(error(401, "Incorrect API key provided"))
    result = climb(model_server)
    assert told(result)[-2:] == [("models", True), ("key", False)]
    assert result.pauses_token


def test_an_endpoint_that_wants_a_key_where_none_is_stored_says_that(model_server):
    model_server.key = KEY
    result = climb(model_server, key=None)
    assert result.steps[-1].name == "key"
    assert "none is stored. Enter it" in result.steps[-1].detail


def test_an_endpoint_that_needs_no_key_is_no_doubt_about_one(model_server):
    assert climb(model_server, key=None).steps[-2].detail == "It answers without a key."


def test_an_address_that_is_not_allowed_is_never_connected_to_and_names_the_setting(model_server):
    result = climb(model_server, guard=EndpointGuard(()))
    assert told(result) == [("address", False)]
    assert result.reason == Reason.endpoint_refused
    assert "PDS_LLM_ALLOWED_HOSTS" in result.steps[0].detail
    assert model_server.history == []


def test_the_ladder_connects_only_to_what_was_checked(model_server):
    guard = EndpointGuard((), Answers(["93.184.216.34", "169.254.169.254"]))
    result = climb(model_server, guard, base_url=f"https://{NAME}:{model_server.port}/v1")
    assert told(result) == [("address", False)]
    assert model_server.history == []


def test_a_name_that_does_not_resolve_ends_at_the_address():
    def unknown(host, port):
        raise socket.gaierror(-2, "Name or service not known")

    result = climb(None, EndpointGuard((), unknown), base_url=f"https://{NAME}/v1")
    assert told(result) == [("address", False)]
    assert f"{NAME} does not resolve" in result.steps[0].detail
    assert result.reason == Reason.endpoint_down


def test_where_nothing_listens_nothing_is_asked():
    result = climb(None, base_url="http://127.0.0.1:1/v1")
    assert told(result) == [("address", True), ("connect", False)]
    assert "Nothing listens at 127.0.0.1, port 1. Is the server running" in result.steps[1].detail
    assert result.reason == Reason.endpoint_down


def test_behind_a_proxy_connecting_is_left_to_it():
    def unknown(host, port):
        raise OSError("no name server in here")

    result = climb(
        None, EndpointGuard((), unknown), base_url=f"https://{NAME}/v1",
        options={"proxy": "http://127.0.0.1:1"},
    )  # fmt: skip
    assert told(result) == [("address", None), ("connect", None), ("models", False)]


def test_a_certificate_from_nobody_known_ends_at_tls(tls_server):
    guard = EndpointGuard(("127.0.0.0/8",), Answers(["127.0.0.1"]))
    result = climb(tls_server, guard, base_url=f"https://{NAME}:{tls_server.port}/v1")
    assert told(result)[-1] == ("tls", False)
    assert "not accepted: self-signed certificate. Check the host name" in result.steps[-1].detail
    assert tls_server.history == []


def test_a_certificate_for_another_name_says_so(tls_server, certificate):
    guard = EndpointGuard(("127.0.0.0/8",), Answers(["127.0.0.1"]))
    result = climb(
        tls_server, guard, base_url=f"https://other.example.test:{tls_server.port}/v1",
        options={"ca_file": str(certificate / "cert.pem")},
    )  # fmt: skip
    assert told(result)[-1] == ("tls", False)
    assert "Hostname mismatch" in result.steps[-1].detail


def test_https_to_a_plain_server_asks_whether_it_is_http(model_server):
    result = climb(model_server, base_url=f"https://127.0.0.1:{model_server.port}/v1")
    assert told(result)[-1] == ("tls", False)
    assert "Is it http:// rather than https://?" in result.steps[-1].detail


def test_a_server_that_lists_no_models_in_time_is_not_asked_for_more(model_server):
    model_server.answer = lambda received: hang()
    result = climb(model_server)
    assert told(result)[-1] == ("models", False)
    assert "Test again in a minute" in result.steps[-1].detail


@pytest.mark.parametrize("model", ["fake-modle", "FAKE-MODEL", "vendor/fake-model"])
def test_a_model_that_is_not_listed_may_still_answer_and_near_names_are_given(model_server, model):
    model_server.models = ("another", "fake-model", "third")
    result = climb(model_server, model=model)
    assert result.ok
    assert told(result)[2] == ("models", None)
    assert result.steps[2].detail == f"{model} is not among 3 models. Did you mean fake-model?"


def test_without_a_near_name_some_of_the_list_are_given(model_server):
    model_server.models = tuple(f"m{number}" for number in range(9))
    result = climb(model_server, model="quite-different")
    assert result.steps[2].detail.endswith("It offers m0, m1, m2, m3, m4 ….")


def test_a_server_without_a_list_may_still_answer(model_server):
    model_server.models = ()
    assert climb(model_server).ok


@pytest.mark.parametrize("answer", [html("<html>Not Found</html>", 404), html()], ids=["404", "a web page"])
def test_a_base_url_without_v1_is_told_with_the_whole_address(model_server, answer):
    base_url = model_server.base_url.removesuffix("/v1") + "/api"
    model_server.enqueue(answer)
    result = climb(model_server, base_url=base_url)
    assert not result.ok
    assert f"did you mean {base_url}/v1?" in result.steps[-1].detail


def test_one_that_ends_in_v1_is_not_told_to(model_server):
    model_server.enqueue(html())
    assert "is its path right?" in climb(model_server).steps[-1].detail


def test_without_a_model_it_ends_at_the_list_to_choose_from(model_server):
    result = climb(model_server, model="")
    assert told(result)[2:] == [("models", True), ("completion", False)]
    assert "No model is chosen. It offers fake-model." in result.steps[-1].detail
    assert result.models == ("fake-model",)
    assert model_server.calls == []
    assert not result.pauses_token


def test_without_a_model_a_refused_list_speaks_of_the_key_and_not_of_the_model(model_server):
    model_server.key = "sk-another"
    result = climb(model_server, model="")
    assert told(result)[2:] == [("models", None), ("key", False)]
    assert "does not accept the key (401)" in result.steps[-1].detail
    assert result.steps[-1].detail.endswith("Check the key, then test again.")
    assert (result.reason, result.pauses_token) == (Reason.wrong_key, False)


def test_a_model_that_thinks_beyond_the_small_limit_counts_as_answering(model_server):
    model_server.enqueue(text("", finish_reason="length"))
    assert climb(model_server).ok


def test_the_token_test_swaps_the_limit_once(model_server):
    model_server.enqueue(error(400, "max_tokens is not supported, use max_completion_tokens"), "ready")
    result = climb(model_server)
    assert result.ok
    assert [len(result.outcomes), len(model_server.calls)] == [2, 2]


def test_names_that_cannot_be_shown_are_left_out(model_server):
    model_server.models = ("good", "bad\x00one", "half \ud83d", " ", "line\nbreak")
    assert climb(model_server).models == ("good",)


def run(settings, token, session):
    asyncio.run(token_tests.test_token(token.id, settings, utc_now))
    session.rollback()
    return session.get_one(ApiToken, token.id, populate_existing=True)


@pytest.mark.database
def test_the_last_result_stays_with_the_token_and_at_most_two_hundred_names(
    settings, token, session, model_server
):
    model_server.models = tuple(f"model {number}" for number in range(300))
    found = run(settings, token, session)
    assert found.last_test_ok is True
    assert [step[0] for step in found.last_test_steps] == [
        "address", "connect", "models", "key", "completion",
    ]  # fmt: skip
    assert len(found.last_test_models) == 200


@pytest.mark.database
def test_a_test_that_gets_no_list_leaves_the_names_of_the_one_before(settings, session):
    with ModelServer(models=("a", "b")) as server:
        token = builders.make_token(settings, server.base_url)
        run(settings, token, session)
    found = run(settings, token, session)
    assert found.last_test_ok is False
    assert found.last_test_steps[-1][0] == "connect"
    assert found.last_test_models == ["a", "b"]


@pytest.mark.database
def test_a_token_without_a_model_is_tested_up_to_the_list(settings, session, model_server):
    token = builders.make_token(settings, model_server.base_url, model="")
    found = run(settings, token, session)
    assert (found.last_test_ok, found.last_test_models) == (False, ["fake-model"])
    assert found.state == TokenState.active


@pytest.mark.database
def test_a_refused_key_pauses_the_token_with_the_sentence(settings, token, session, model_server):
    model_server.enqueue(error(401, "Incorrect API key provided"))
    found = run(settings, token, session)
    assert found.state == TokenState.paused
    assert "does not accept the key (401)" in found.paused_reason


@pytest.mark.database
def test_a_result_about_what_the_token_no_more_is_is_not_kept(app, settings, token, session, model_server):
    """Somebody enters another key while the endpoint is asked with the old one, which it refuses."""

    def change_meanwhile(request):
        with app.app_context(), transaction() as writing:
            found = writing.get_one(ApiToken, token.id)
            tokens.put_secret(found, SecretBox(settings.require("fernet_keys")), "sk-the-new-key-0002")
        return error(401, "Incorrect API key provided")

    model_server.default = change_meanwhile
    found = run(settings, token, session)
    assert (found.state, found.last_test_at) == (TokenState.active, None)
    assert session.scalar(select(func.count(ModelCall.id))) == 1, "the call was made and is counted"


@pytest.mark.database
def test_a_token_that_is_deleted_meanwhile_is_no_error(app, settings, token, session, model_server):
    def delete_meanwhile(request):
        with app.app_context(), transaction() as writing:
            writing.delete(writing.get_one(ApiToken, token.id))
        return text()

    model_server.default = delete_meanwhile
    asyncio.run(token_tests.test_token(token.id, settings, utc_now))
    assert session.scalar(select(func.count(ModelCall.id))) == 0
