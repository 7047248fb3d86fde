"""The classifier is total: any status, any headers and any bytes are a reply or a named reason."""

import json
import sys
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pdsapp.domain.reasons import Reason
from pdsapp.domain.reply import BadReply, Reply, classify, classify_error, parse_retry_after
from tests.conftest import EXAMPLES

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
MANY = settings(max_examples=EXAMPLES, deadline=None)
KEYS = (
    *("error", "choices", "message", "content", "code", "type", "text", "usage", "model", "refusal"),
    *("metadata", "raw", "finish_reason", "prompt_tokens", "detail", "param", "status", "tool_calls"),
)
ANSWER = json.dumps(
    {
        "id": "c1",
        "model": "m-1",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "Rain."}, "finish_reason": "stop"}
        ],
        "usage": {"prompt_tokens": 12, "completion_tokens": 3},
    }
).encode()
ERROR = json.dumps({"error": {"message": "slow down", "type": "requests", "code": "rate_limit"}}).encode()

statuses = st.sampled_from((200, 200, 201, 301, 400, 401, 402, 403, 404, 413, 429, 500, 503)) | st.integers()
names = st.sampled_from(
    ("Retry-After", "retry-after", "RETRY-AFTER-MS", "Location", "Content-Type", "Content-Encoding")
)
any_headers = st.dictionaries(names | st.text(), st.text() | st.integers().map(str), max_size=5)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=12,
)
documents = st.one_of(
    values,
    values.map(lambda value: {"choices": [{"message": value}]}),
    values.map(lambda value: {"choices": [{"message": {"content": value}}]}),
    values.map(lambda value: {"error": value}),
).map(lambda value: json.dumps(value).encode())


@st.composite
def damaged(draw):
    """An answer or an error with bytes cut out and others put in: what a broken proxy might send."""
    body = draw(st.sampled_from((ANSWER, ERROR)) | documents)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(body)))
        end = draw(st.integers(start, min(len(body), start + 20)))
        body = body[:start] + draw(st.binary(max_size=8)) + body[end:]
    return body


def can_be_shown(detail):
    """On one line and not long. Two joiners that some scripts cannot do without are kept."""
    return detail.replace("\u200c", "").replace("\u200d", "").isprintable() and len(detail) < 700


def check(status, headers, body):
    """That it is one or the other, and can be stored and shown."""
    found = classify(status, headers, body, now=NOW)
    if isinstance(found, Reply):
        assert 200 <= status < 300
        assert found.text.strip()
        found.text.encode("utf-8")
        return
    assert isinstance(found, BadReply)
    assert found.reason in Reason
    assert found.detail.endswith((".", "?", ")"))
    assert can_be_shown(found.detail)
    assert found.retry_after_seconds is None or (found.is_retryable and 0 <= found.retry_after_seconds <= 1e9)


@MANY
@given(statuses, any_headers, st.binary(max_size=2000))
def test_any_bytes_are_a_reply_or_a_named_reason(status, headers, body):
    check(status, headers, body)


@MANY
@given(statuses, any_headers, documents)
def test_any_json_is_a_reply_or_a_named_reason(status, headers, body):
    check(status, headers, body)


@MANY
@given(statuses, any_headers, damaged())
def test_any_damaged_answer_is_a_reply_or_a_named_reason(status, headers, body):
    check(status, headers, body)


@MANY
@given(
    statuses, any_headers, st.text(alphabet="<>/htmlbody scriptdata: !-&;\n", max_size=200).map(str.encode)
)
def test_any_page_is_a_reply_or_a_named_reason(status, headers, body):
    check(status, headers, body)


SHAPES = {
    "the answer": "{}",
    "its content": '{{"choices":[{{"message":{{"content":{}}}}}]}}',
    "its message": '{{"choices":[{{"message":{}}}]}}',
    "an error in it": '{{"error":{}}}',
    "an error in its choice": '{{"choices":[{{"error":{}}}]}}',
    "an error's message": '{{"error":{{"message":{}}}}}',
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("brackets", ["[]", ('{"a":', "}")], ids=["lists", "objects"])
def test_any_depth_of_nesting_is_a_named_reason(shape, brackets):
    """Reading it and showing it have borders of their own, which lie somewhere near Python's own."""
    opening, closing = brackets
    near = range(sys.getrecursionlimit() - 250, sys.getrecursionlimit() + 50, 7)
    for depth in (1, 10, 100, 300, *near, 20_000):
        body = shape.format(opening * depth + "1" + closing * depth).encode()
        for status in (200, 400, 500):
            check(status, {}, body)


@pytest.mark.parametrize("digits", [100, 4299, 4300, 4301, 100_000])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_any_number_is_a_named_reason(shape, digits):
    for number in ("9" * digits, f"-{'9' * digits}", f"1e{digits}", f"0.{'9' * digits}"):
        for status in (200, 400, 500):
            check(status, {}, shape.format(number).encode())


@MANY
@given(st.text(), st.text())
def test_any_call_without_an_answer_is_a_named_reason(kind, detail):
    bad = classify_error(kind, detail)
    assert bad.reason in Reason
    assert can_be_shown(bad.detail)


@MANY
@given(st.text(max_size=40), st.timedeltas(timedelta(days=-400), timedelta(days=400)))
def test_any_retry_after_is_a_wait_or_nothing(value, shift):
    seconds = parse_retry_after(value, NOW + shift)
    assert seconds is None or 0 <= seconds <= 1e9
