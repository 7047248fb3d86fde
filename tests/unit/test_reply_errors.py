"""What an error answer means, server by server."""

import json
from datetime import UTC, datetime

import pytest

from pdsapp.domain.reasons import Reason
from pdsapp.domain.reply import classify, classify_error

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
KEY = "sk-proj-a1B2c3D4e5F6g7H8i9J0"


def read(data, status=200, headers=None):
    body = data if isinstance(data, bytes) else json.dumps(data).encode()
    return classify(status, headers or {}, body, now=NOW)


def openai_error(message="no", type_=None, code=None, param=None):
    return {"error": {"message": message, "type": type_, "code": code, "param": param}}


QUOTA_TEXT = "You exceeded your current quota, please check your plan and billing details."
ERRORS = {
    # name: status, body, reason, retryable, pauses the token, words in the detail
    "OpenAI wrong key": (
        401,
        openai_error(f"Incorrect API key provided: {KEY}.", "invalid_request_error", "invalid_api_key"),
        Reason.wrong_key,
        False,
        True,
        "Check the key",
    ),
    "OpenAI no permission": (403, openai_error("No access"), Reason.wrong_key, False, True, "403"),
    "OpenAI rate limit": (
        429,
        openai_error("Rate limit reached for m in organization org-1", "requests", "rate_limit_exceeded"),
        Reason.rate_limited,
        True,
        False,
        "slow down",
    ),
    "OpenAI no quota": (
        429,
        openai_error(QUOTA_TEXT, "insufficient_quota", "insufficient_quota"),
        Reason.quota,
        False,
        True,
        "resume the token",
    ),
    "quota told by the text only": (429, openai_error(QUOTA_TEXT), Reason.quota, False, True, "429"),
    "Google's rate limit worded as quota": (
        429,
        [{"error": {"code": 429, "message": QUOTA_TEXT, "status": "RESOURCE_EXHAUSTED"}}],
        Reason.rate_limited,
        True,
        False,
        "429",
    ),
    "Google wrong key": (
        400,
        [{"error": {"code": 400, "message": "API key not valid.", "status": "INVALID_ARGUMENT"}}],
        Reason.wrong_key,
        False,
        True,
        "400",
    ),
    "OpenAI unknown model": (
        404,
        openai_error("The model `gpt-9` does not exist or you do not have access.", None, "model_not_found"),
        Reason.model_not_found,
        False,
        False,
        "gpt-9",
    ),
    "Ollama unknown model": (
        404,
        {"error": "model 'qwen9' not found"},
        Reason.model_not_found,
        False,
        False,
        "qwen9",
    ),
    "Ollama, older": (
        404,
        {"error": 'model "qwen9" not found, try pulling it first'},
        Reason.model_not_found,
        False,
        False,
        "ollama pull",
    ),
    "vLLM unknown model": (
        404,
        {"object": "error", "message": "The model `x` does not exist.", "type": "NotFoundError", "code": 404},
        Reason.model_not_found,
        False,
        False,
        "model",
    ),
    "vLLM prompt too long": (
        400,
        {
            "object": "error",
            "message": "This model's maximum context length is 2048 tokens. However, you requested 4000.",
            "type": "BadRequestError",
            "code": 400,
        },
        Reason.bad_request,
        False,
        False,
        "too long",
    ),
    "llama.cpp loading": (
        503,
        {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}},
        Reason.endpoint_down,
        True,
        False,
        "loading its model",
    ),
    "OpenRouter no credit": (
        402,
        {"error": {"code": 402, "message": "Insufficient credits"}},
        Reason.quota,
        False,
        True,
        "402",
    ),
    "OpenRouter moderation": (
        403,
        {"error": {"code": 403, "message": "Your input was flagged", "metadata": {"reasons": ["x"]}}},
        Reason.refused,
        False,
        False,
        "moderation",
    ),
    "OpenRouter invalid model": (
        400,
        {"error": {"code": 400, "message": "foo/bar is not a valid model ID"}},
        Reason.model_not_found,
        False,
        False,
        "foo/bar",
    ),
    "OpenRouter error with status 200": (
        200,
        {"error": {"code": 429, "message": "Rate limit exceeded: free-models-per-day"}},
        Reason.rate_limited,
        True,
        False,
        "free-models",
    ),
    "OpenRouter provider down with status 200": (
        200,
        {"error": {"code": 502, "message": "Provider returned error", "metadata": {"raw": "overloaded"}}},
        Reason.endpoint_down,
        True,
        False,
        "overloaded",
    ),
    "OpenRouter wrong key with status 200": (
        200,
        {"error": {"code": 401, "message": "No auth credentials found"}},
        Reason.wrong_key,
        False,
        True,
        "401",
    ),
    "an error text with status 200": (
        200,
        {"error": "model 'x' not found"},
        Reason.model_not_found,
        False,
        False,
        "x",
    ),
    "an unknown error with status 200": (
        200,
        {"error": "whatever"},
        Reason.bad_reply,
        False,
        False,
        "whatever",
    ),
    "Azure content filter": (
        400,
        openai_error("The response was filtered due to content management policy", code="content_filter"),
        Reason.refused,
        False,
        False,
        "moderation",
    ),
    "no credit as a 400": (
        400,
        {
            "type": "error",
            "error": {"type": "invalid_request_error", "message": "Your credit balance is too low"},
        },
        Reason.quota,
        False,
        True,
        "credit",
    ),
    "FastAPI validation": (
        422,
        {"detail": [{"msg": "field required"}]},
        Reason.bad_request,
        False,
        False,
        "field",
    ),
    "FastAPI not found": (
        404,
        {"detail": "Not Found"},
        Reason.bad_request,
        False,
        False,
        "did you mean …/v1?",
    ),
    "a page with 404": (
        404,
        b"<html><body><h1>Not Found</h1></body></html>",
        Reason.bad_request,
        False,
        False,
        "…/v1?",
    ),
    "a page with 405": (405, b"405 Method Not Allowed", Reason.bad_request, False, False, "…/v1?"),
    "a page with 403": (403, b"<html>Access denied</html>", Reason.wrong_key, False, True, "Access denied"),
    "a page with 502": (
        502,
        b"<html><h1>502 Bad Gateway</h1></html>",
        Reason.endpoint_down,
        True,
        False,
        "Bad Gateway",
    ),
    "request timeout": (408, b"", Reason.endpoint_down, True, False, "408"),
    "internal error": (500, {"error": "boom"}, Reason.endpoint_down, True, False, "boom"),
    "Cloudflare": (524, b"", Reason.endpoint_down, True, False, "524"),
    "not implemented": (501, b"", Reason.endpoint_down, False, False, "501"),
    "temperature refused": (
        400,
        openai_error("Unsupported value: 'temperature' does not support 0.7", code="unsupported_value"),
        Reason.bad_request,
        False,
        False,
        "parameters",
    ),
    "a status from nowhere": (999, b"", Reason.bad_reply, False, False, "999"),
    "not modified": (304, b"", Reason.bad_reply, False, False, "redirects"),
}


@pytest.mark.parametrize(
    ("status", "data", "reason", "retryable", "pauses", "words"), ERRORS.values(), ids=ERRORS
)
def test_an_error_answer_is_told_by_its_reason(status, data, reason, retryable, pauses, words):
    bad = read(data, status)
    assert (bad.reason, bad.is_retryable, bad.pauses_token) == (reason, retryable, pauses)
    assert words in bad.detail
    assert bad.swap_parameter is None


def test_a_redirect_is_not_followed_but_named():
    bad = read(b"", 308, {"Location": "https://api.example.org/v1/chat/completions"})
    assert bad.reason == Reason.bad_reply
    assert "https://api.example.org/v1/chat/completions" in bad.detail


SWAPS = {
    "OpenAI": (
        "Unsupported parameter: 'max_tokens' is not supported here. Use 'max_completion_tokens' instead.",
        ("max_tokens", "max_completion_tokens"),
    ),
    "the other way round": (
        "max_completion_tokens is not supported, use max_tokens",
        ("max_completion_tokens", "max_tokens"),
    ),
    "an older server": (
        "Unrecognized request argument supplied: max_completion_tokens",
        ("max_completion_tokens", "max_tokens"),
    ),
}


@pytest.mark.parametrize(("message", "swap"), SWAPS.values(), ids=SWAPS)
def test_a_400_that_names_the_other_token_limit_asks_for_a_swap(message, swap):
    bad = read(openai_error(message, code="unsupported_parameter", param=swap[0]), 400)
    assert bad.swap_parameter == swap
    assert bad.is_retryable
    assert bad.reason == Reason.bad_request


def test_a_400_that_mentions_max_tokens_alone_asks_for_no_swap():
    assert read(openai_error("max_tokens must be at least 16"), 400).swap_parameter is None


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7),
        ({"retry-after": "7", "retry-after-ms": "1500"}, 1.5),
        ({"RETRY-AFTER": "Sun, 01 Mar 2026 12:00:30 GMT"}, 30),
        ({"Retry-After": "soon"}, None),
        ({}, None),
    ],
)
def test_the_time_to_wait_comes_from_the_headers(headers, seconds):
    assert read(openai_error("slow"), 429, headers).retry_after_seconds == seconds


def test_a_failure_that_is_not_repeated_has_no_time_to_wait():
    assert read(openai_error("no"), 401, {"Retry-After": "7"}).retry_after_seconds is None


def test_a_quota_text_with_a_time_to_wait_is_a_rate_limit():
    assert read(openai_error(QUOTA_TEXT), 429, {"Retry-After": "20"}).reason == Reason.rate_limited


def test_a_secret_in_an_error_never_reaches_the_detail():
    shown = [
        read(openai_error(f"Incorrect API key provided: {KEY}"), 401).detail,
        read(openai_error("Wrong: sk-abc***********xyz9"), 401).detail,
        read(openai_error("Authorization: Bearer abcDEF123456 was refused"), 400).detail,
        classify_error("connect", f"failed with {KEY}").detail,
    ]
    for detail in shown:
        assert "[hidden]" in detail
        assert not any(part in detail for part in ("a1B2", "abcDEF", "xyz9", "sk-"))


def test_a_long_error_is_cut_and_on_one_line():
    detail = read(openai_error("line one\nline two\x1b[31m\u202e " + "word " * 10_000), 400).detail
    assert "line one line two" in detail
    assert "\x1b" not in detail and "\n" not in detail and "\u202e" not in detail
    assert len(detail) < 320
