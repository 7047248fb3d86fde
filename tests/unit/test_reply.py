"""What every shape of answer means."""

import json
from datetime import UTC, datetime

import pytest

from pdsapp.domain.reasons import Reason
from pdsapp.domain.reply import BadReply, Reply, classify, classify_error, parse_retry_after

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def answer(content="Rain again.", finish="stop", **extra):
    message = {"role": "assistant", "content": content, **extra}
    return {
        "id": "c1",
        "model": "m-1",
        "system_fingerprint": "fp_1",
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": {"prompt_tokens": 12, "completion_tokens": 3},
    }


def read(data, status=200, headers=None):
    body = data if isinstance(data, bytes) else json.dumps(data).encode()
    return classify(status, headers or {}, body, now=NOW)


def test_an_ordinary_answer_gives_text_model_fingerprint_and_tokens():
    assert read(answer()) == Reply("Rain again.", "m-1", "fp_1", "stop", 12, 3)


def test_an_answer_without_usage_model_and_fingerprint_is_still_a_reply():
    bare = {"choices": [{"message": {"content": "Rain."}}]}
    assert read(bare) == Reply("Rain.", None, None, None, None, None)


@pytest.mark.parametrize(
    "usage", [None, [], {"prompt_tokens": -1}, {"prompt_tokens": "12"}, {"prompt_tokens": True}]
)
def test_unreadable_usage_counts_as_unknown(usage):
    assert read({**answer(), "usage": usage}).prompt_tokens is None


def test_text_parts_are_joined_and_thinking_parts_left_out():
    parts = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
        {"type": "text", "text": "Rain "},
        {"type": "image_url"},
        {"type": "text", "text": "again."},
    ]
    assert read(answer(parts)).text == "Rain again."


def test_a_lone_surrogate_is_dropped_and_a_pair_kept():
    body = b'{"choices":[{"message":{"content":"a\\ud83d b \\ud83d\\ude00"}}]}'
    assert read(body).text == "a b 😀"


def test_broken_bytes_inside_a_text_are_dropped():
    assert read(b'{"choices":[{"message":{"content":"caf\xc3\xa9 \xf0\x9f"}}]}').text == "café "


def test_a_reply_that_hit_the_token_limit_says_so():
    assert read(answer("Rain ag", "length")).is_cut_off
    assert not read(answer()).is_cut_off


NO_TEXT = {
    "empty body": (b"", Reason.bad_reply, "empty"),
    "white space": (b"  \n", Reason.bad_reply, "empty"),
    "a web page": (b"<!DOCTYPE html><html><title>Welcome</title></html>", Reason.bad_reply, "…/v1"),
    "half a JSON": (b'{"choices": [{"mess', Reason.bad_reply, "not complete JSON"),
    "deep nesting": (b"[" * 200_000, Reason.bad_reply, "not complete JSON"),
    "an endless number": (b'{"choices": ' + b"9" * 10_000 + b"}", Reason.bad_reply, "not complete JSON"),
    "a stream": (b'data: {"choices": []}\n\n', Reason.bad_reply, "streams"),
    "a list": (b"[1, 2]", Reason.bad_reply, "not an object"),
    "null": (b"null", Reason.bad_reply, "not complete JSON"),
    "a text": (b'"hello"', Reason.bad_reply, "not an object"),
    "no choices": ({"id": "x"}, Reason.bad_reply, "no choices"),
    "choices null": ({"choices": None}, Reason.bad_reply, "no choices"),
    "choices empty": ({"choices": []}, Reason.bad_reply, "no choices"),
    "choices an object": ({"choices": {"0": 1}}, Reason.bad_reply, "no choices"),
    "choice null": ({"choices": [None]}, Reason.bad_reply, "not an object"),
    "no message": ({"choices": [{"text": "old style"}]}, Reason.bad_reply, "no message"),
    "content null": (answer(None), Reason.empty_reply, "empty"),
    "content empty": (answer(""), Reason.empty_reply, "empty"),
    "content white space": (answer(" \n "), Reason.empty_reply, "empty"),
    "content an empty list": (answer([]), Reason.empty_reply, "empty"),
    "content only thinking": (answer([{"type": "thinking", "thinking": "hm"}]), Reason.empty_reply, "empty"),
    "content a number": (answer(7), Reason.bad_reply, "neither"),
    "content half an emoji": (answer("\ud83d"), Reason.empty_reply, "empty"),
    "nothing but thinking": (answer("", "length"), Reason.empty_reply, "max_tokens"),
    "a refusal field": (answer(None, refusal="I can't help with that."), Reason.refused, "I can't help"),
    "content filter": (answer("Half a", "content_filter"), Reason.refused, "filter"),
    "a tool call": (answer(None, "tool_calls", tool_calls=[{"id": "1"}]), Reason.bad_reply, "tool"),
    "an error in the choice": (
        {"choices": [{"error": {"code": 502, "message": "upstream"}, "message": {"content": ""}}]},
        Reason.endpoint_down,
        "upstream",
    ),
}


@pytest.mark.parametrize(("data", "reason", "words"), NO_TEXT.values(), ids=NO_TEXT)
def test_a_success_without_a_usable_text_has_a_named_reason(data, reason, words):
    bad = read(data)
    assert isinstance(bad, BadReply)
    assert bad.reason == reason
    assert words in bad.detail
    assert not bad.pauses_token


def test_usage_is_kept_for_a_bad_reply_too():
    bad = read(answer(""))
    assert (bad.model_returned, bad.prompt_tokens, bad.completion_tokens) == ("m-1", 12, 3)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        ("120", 120),
        ("1.5", 1.5),
        (" 3 ", 3),
        ("-5", 0),
        ("+5", 5),
        ("86400000", 86_400_000),
        ("9" * 300, 1e9),
        ("Sun, 01 Mar 2026 12:01:00 GMT", 60),
        ("Sun, 01 Mar 2026 11:00:00 GMT", 0),
        ("Sunday, 01-Mar-26 12:00:10 GMT", 10),
        ("Sun, 01 Mar 2026 13:01:00 +0100", 60),
        ("Sun, 99 Mar 2026 12:01:00 GMT", None),
        ("nan", None),
        ("inf", None),
        ("1e9", None),
        ("٣", None),
        ("1.2.3", None),
        ("--5", None),
        ("", None),
        (None, None),
        ("Fri, 31 Dec 9999 23:59:59 -2300", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_or_nothing(value, seconds):
    got = parse_retry_after(value, NOW)
    assert got == seconds or (value or "").startswith("Fri, 31 Dec 9999")


KINDS = {
    "timeout": (Reason.endpoint_down, True, False),
    "connect": (Reason.endpoint_down, True, False),
    "resolve": (Reason.endpoint_down, True, False),
    "closed": (Reason.endpoint_down, True, False),
    "tls": (Reason.endpoint_down, False, False),
    "proxy": (Reason.endpoint_down, True, False),
    "deadline": (Reason.deadline, False, False),
    "too_large": (Reason.reply_too_large, False, False),
    "encoding": (Reason.bad_reply, False, False),
    "protocol": (Reason.bad_reply, False, False),
    "refused_address": (Reason.endpoint_refused, False, False),
    "bad_key": (Reason.wrong_key, False, True),
    "bad_request": (Reason.bad_request, False, False),
    "something new": (Reason.endpoint_down, True, False),
}


@pytest.mark.parametrize(("kind", "expected"), KINDS.items(), ids=KINDS)
def test_a_call_without_an_answer_has_a_reason_too(kind, expected):
    bad = classify_error(kind, "more about it")
    assert (bad.reason, bad.is_retryable, bad.pauses_token) == expected
    assert "more about it" in bad.detail


def test_a_text_that_is_far_too_long_is_not_kept():
    found = read(answer("word " * 30_000))
    assert (found.reason, found.is_retryable) == (Reason.reply_too_large, False)
    assert "150,000 characters" in found.detail and len(found.detail) < 200
