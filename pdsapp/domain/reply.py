"""What an endpoint's answer means: a text to go on with, or a named reason and a sentence about it.

Pure and total: any status, any headers, any bytes. Nothing here is ever published; only `Reply.text` may be.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from .cleaning import Cleaned, clean, is_refusal, without_unstorable
from .failures import Failure, failure_of_error_body, failure_of_status, page_text
from .quoting import one_line, quote
from .reasons import Reason

__all__ = [
    "BadReply",
    "Cleaned",
    "Reply",
    "classify",
    "classify_error",
    "clean",
    "is_refusal",
    "parse_retry_after",
]

LONGEST_WAIT_SECONDS = 1e9
# More than any model takes. Several calls of an attempt are summed up in columns of 32 bits.
_MAX_TOKENS = 10**8
# More than any post with the thoughts before it. All of it would be stored.
MOST_CHARACTERS = 100_000
_WORDS = {
    "timeout": (Reason.endpoint_down, True, "The endpoint did not answer in time."),
    "connect": (
        Reason.endpoint_down,
        True,
        "The endpoint cannot be reached. Is it running, is the address right?",
    ),
    "resolve": (
        Reason.endpoint_down,
        True,
        "The endpoint's host name cannot be resolved. Check the base URL.",
    ),
    "closed": (
        Reason.endpoint_down,
        True,
        "The endpoint closed the connection before its answer was complete.",
    ),
    "tls": (
        Reason.endpoint_down,
        False,
        "The endpoint's TLS certificate is not accepted. Check the base URL and the certificate.",
    ),
    "proxy": (Reason.endpoint_down, True, "The proxy in PDS_LLM_PROXY did not make the connection."),
    "deadline": (Reason.deadline, False, "No complete answer came within the time limit."),
    "too_large": (Reason.reply_too_large, False, "The answer was larger than what is read; it was not used."),
    "encoding": (
        Reason.bad_reply,
        False,
        "The answer is compressed in an unknown way, or damaged.",
    ),
    "protocol": (
        Reason.bad_reply,
        False,
        "The answer is not proper HTTP. Is there a web server at this address?",
    ),
    "refused_address": (Reason.endpoint_refused, False, "This address is not allowed."),
    "bad_key": (
        Reason.wrong_key,
        False,
        "The key holds characters that cannot be sent. Paste it again, without line breaks or quotes.",
    ),
    "bad_request": (
        Reason.bad_request,
        False,
        "The request could not be built. Check the token's parameters.",
    ),
}


@dataclass(frozen=True)
class Reply:
    """A text from a model, not yet cleaned: never empty, without lone surrogates.

    Models and token counts are what the endpoint said, None where it said nothing readable.
    """

    text: str
    model_returned: str | None
    system_fingerprint: str | None
    finish_reason: str | None
    prompt_tokens: int | None
    completion_tokens: int | None

    @property
    def is_cut_off(self) -> bool:
        """Whether the model stopped at its token limit, so that the text probably ends in the middle."""
        return self.finish_reason == "length"


@dataclass(frozen=True)
class BadReply:
    """Why there is no text, in a reason and a sentence that says what to do.

    `is_retryable`: the same call may succeed later, after `retry_after_seconds` if that is given.
    `pauses_token`: no call with this key will succeed until a person has done something.
    `swap_parameter`: (name sent, name to send instead); the call may then be repeated at once.
    """

    reason: Reason
    detail: str
    is_retryable: bool = False
    retry_after_seconds: float | None = None
    pauses_token: bool = False
    swap_parameter: tuple[str, str] | None = None
    model_returned: str | None = None
    system_fingerprint: str | None = None
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


def classify(status: int, headers: Mapping[str, str], body: bytes, *, now: datetime) -> Reply | BadReply:
    """The reply, or why there is none. Answers for any input; `now` dates a Retry-After."""
    fields = {str(name).lower(): str(value) for name, value in reversed(list(headers.items()))}
    data = _parse(body)
    wait = _wait(fields, now)
    if 200 <= status < 300:
        found = _read_success(data, body)
    else:
        found = _bad(failure_of_status(status, fields, data, body, has_wait=wait is not None))
    if isinstance(found, BadReply) and found.is_retryable and found.retry_after_seconds is None:
        found = replace(found, retry_after_seconds=wait)
    return found


def classify_error(kind: str, detail: str = "") -> BadReply:
    """The bad reply for a call that got no answer at all. `detail` is added, cut and without secrets.

    Kinds: timeout, connect, resolve, closed, tls, proxy, deadline, too_large, encoding, protocol,
    refused_address, bad_key, bad_request; any other counts as connect.
    """
    reason, is_retryable, sentence = _WORDS.get(kind, _WORDS["connect"])
    said = one_line(detail, 300)
    if kind == "refused_address" and said:
        sentence, said = said, ""
    return BadReply(
        reason=reason,
        detail=f"{sentence} ({said})" if said else sentence,
        is_retryable=is_retryable,
        pauses_token=kind == "bad_key",
    )


def parse_retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds to wait, from a number of seconds or an HTTP date; None if it says neither.

    Never negative. Absurdly large values stay large (at most 1e9), so that the caller gives up on them.
    """
    text = (value or "").strip()
    if not text or len(text) > 400 or not text.isascii():
        return None
    if text.lstrip("+-").replace(".", "", 1).isdigit():
        return _seconds(text)
    try:
        moment = parsedate_to_datetime(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return _seconds((moment - now).total_seconds())
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _seconds(value: str | float) -> float | None:
    try:
        return min(max(0.0, float(value)), LONGEST_WAIT_SECONDS)
    except ValueError:
        return None


def _wait(fields: Mapping[str, str], now: datetime) -> float | None:
    milliseconds = fields.get("retry-after-ms", "").strip()
    if milliseconds.isascii() and milliseconds.isdigit() and len(milliseconds) < 16:
        return _seconds(int(milliseconds) / 1000)
    return parse_retry_after(fields.get("retry-after"), now)


def _parse(body: bytes) -> Any:
    """Bytes that are no UTF-8 become lone surrogates, which are dropped wherever a text is taken."""
    try:
        return json.loads(body.decode("utf-8-sig", "surrogateescape"))
    except (ValueError, RecursionError):
        return None


def _bad(failure: Failure, about: Mapping[str, Any] | None = None) -> BadReply:
    return BadReply(
        failure.reason,
        failure.detail,
        failure.is_retryable,
        None,
        failure.pauses_token,
        failure.swap_parameter,
        **(about or {}),
    )


def _unusable(detail: str, about: Mapping[str, Any], reason: Reason = Reason.bad_reply) -> BadReply:
    return BadReply(reason, detail, **about)


def _read_success(data: Any, body: bytes) -> Reply | BadReply:
    if not isinstance(data, dict):
        return _unusable(_not_json(body, data), {})
    about = _about(data)
    choices = data.get("choices")
    if not choices and data.get("error"):
        return _bad(failure_of_error_body(data), about)
    if not isinstance(choices, list) or not choices:
        return _unusable(f"The answer holds no choices: {quote(body)}.", about)
    choice = choices[0]
    if not isinstance(choice, dict):
        return _unusable(f"The answer's first choice is not an object: {quote(body)}.", about)
    about["finish_reason"] = _short(choice.get("finish_reason"), 50)
    if choice.get("error"):
        return _bad(failure_of_error_body(choice), about)
    message = choice.get("message")
    if not isinstance(message, dict):
        return _unusable(f"The answer's first choice holds no message: {quote(body)}.", about)
    return _read_message(message, about)


def _read_message(message: Mapping[str, Any], about: dict[str, Any]) -> Reply | BadReply:
    content = message.get("content")
    text = _text_of(content)
    refusal = _text_of(message.get("refusal"))
    if not text.strip() and refusal.strip():
        return _unusable(f"The model declined: {quote(refusal)}.", about, Reason.refused)
    if about["finish_reason"] == "content_filter":
        return _unusable("The endpoint's content filter stopped the answer.", about, Reason.refused)
    if len(text) > MOST_CHARACTERS:
        return _unusable(
            f"The answer's text has {len(text):,} characters, and at most {MOST_CHARACTERS:,} are taken: "
            "it was not used.",
            about,
            Reason.reply_too_large,
        )
    if text.strip():
        return Reply(text, **{**_NOTHING, **about})
    if about["finish_reason"] == "length":
        return _unusable(
            "The model used up its token limit before it wrote anything. Raise max_tokens, or choose a model"
            " that reasons less.",
            about,
            Reason.empty_reply,
        )
    if message.get("tool_calls") or message.get("function_call"):
        return _unusable("The model called a tool instead of writing a post.", about)
    if content is None or isinstance(content, (str, list)):
        return _unusable("The model answered with an empty text.", about, Reason.empty_reply)
    return _unusable(f"The answer's content is neither a text nor a list: {quote(str(content))}.", about)


def _text_of(content: Any) -> str:
    """A text, or the text parts of a list of parts (thinking, images and unknown parts left out)."""
    if isinstance(content, str):
        return without_unstorable(content)
    if not isinstance(content, list):
        return ""
    parts = [
        part["text"]
        for part in content
        if isinstance(part, dict)
        and part.get("type") in ("text", "output_text", None)
        and isinstance(part.get("text"), str)
    ]
    return without_unstorable("".join(parts))


_NOTHING = {
    "model_returned": None,
    "system_fingerprint": None,
    "finish_reason": None,
    "prompt_tokens": None,
    "completion_tokens": None,
}


def _about(data: Mapping[str, Any]) -> dict[str, Any]:
    usage = data.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    return {
        "model_returned": _short(data.get("model"), 200),
        "system_fingerprint": _short(data.get("system_fingerprint"), 200),
        "finish_reason": None,
        "prompt_tokens": _count(usage.get("prompt_tokens")),
        "completion_tokens": _count(usage.get("completion_tokens")),
    }


def _short(value: Any, limit: int) -> str | None:
    return one_line(value, limit) or None if isinstance(value, str) else None


def _count(value: Any) -> int | None:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_TOKENS
    return value if is_count else None


def _not_json(body: bytes, data: Any) -> str:
    start = body[:200].lstrip(b"\xef\xbb\xbf \r\n\t").lower()
    if not start:
        return "The answer is empty: no JSON, no text. Check the base URL."
    if start.startswith((b"<!doctype", b"<html", b"<head", b"<?xml")):
        return (
            "The endpoint answered with a web page instead of JSON. Check the base URL:"
            f" did you mean …/v1? It said: {quote(page_text(body))}."
        )
    if start.startswith((b"data:", b"event:")):
        return "The endpoint streams its answer although that was not asked for. It cannot be used."
    if data is None:
        return f"The answer is not complete JSON: {quote(body)}."
    return f"The answer is JSON, but not an object: {quote(body)}."
