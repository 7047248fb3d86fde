"""Error answers read: what an HTTP status and an error body mean, in a reason and a sentence.

Bodies differ by server: OpenAI, vLLM and llama.cpp nest an object, Ollama sends a text, OpenRouter
hides errors in answers with status 200, FastAPI sends `detail`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .quoting import one_line, quote
from .reasons import Reason

_DOWN = frozenset({408, 409, 425, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529, 530})
_MODEL_UNKNOWN = re.compile(
    r"model[_ ]not[_ ]found"
    r"|model .{0,120}\b(?:not found|does not exist|doesn't exist|not exist|is not available|not supported"
    r"|not loaded|has been deprecated)|no (?:such )?model|unknown model|invalid model"
    r"|not a valid model|model .{0,80}is not valid|try pulling it",
    re.IGNORECASE,
)
_QUOTA = re.compile(
    r"insufficient[_ ](?:quota|balance|credits?|funds)|billing[_ ](?:hard[_ ]limit|not[_ ]active)"
    r"|exceeded your current quota|credit balance is too low|out of credits|requires more credits"
    r"|negative credit|account is not active|spending limit",
    re.IGNORECASE,
)
_KEY = re.compile(
    r"api[ _]?key (?:not valid|is invalid|is missing|not found|expired|provided)|invalid[_ ]api[_ ]?key"
    r"|incorrect api key|api_key_invalid|invalid authentication|invalid token|no auth credentials",
    re.IGNORECASE,
)
_MODERATION = re.compile(
    r"content[_ ]filter|content[_ ]policy|content management policy|flagged|moderation|responsible ?ai",
    re.IGNORECASE,
)
_SWAPS = (
    (
        re.compile(r"max_tokens.{0,200}max_completion_tokens", re.DOTALL),
        ("max_tokens", "max_completion_tokens"),
    ),
    (
        re.compile(r"max_completion_tokens.{0,200}max_tokens", re.DOTALL),
        ("max_completion_tokens", "max_tokens"),
    ),
    (
        re.compile(
            r"(?:unrecognized|unknown|unsupported|extra|not permitted).{0,80}max_completion_tokens", re.I
        ),
        ("max_completion_tokens", "max_tokens"),
    ),
    (
        re.compile(
            r"max_completion_tokens.{0,80}(?:unrecognized|unknown|unsupported|extra|not permitted)", re.I
        ),
        ("max_completion_tokens", "max_tokens"),
    ),
)


@dataclass(frozen=True)
class Failure:
    """What an error answer means. The fields are those of `BadReply`."""

    reason: Reason
    detail: str
    is_retryable: bool = False
    pauses_token: bool = False
    swap_parameter: tuple[str, str] | None = None


@dataclass(frozen=True)
class ErrorBody:
    """What could be read of an error body. `kind` joins code, type and status words."""

    message: str
    kind: str
    status: int | None


def failure_of_status(
    status: int, headers: Mapping[str, str], data: Any, body: bytes, *, has_wait: bool
) -> Failure:
    """The failure for an answer that is no success. `has_wait`: the endpoint named a time to wait."""
    if 300 <= status < 400:
        target = one_line(headers.get("location", ""), 200)
        hint = f" It points to {target}; if that is right, write it into the base URL." if target else ""
        return Failure(Reason.bad_reply, f"The endpoint redirects ({status}), which is not followed.{hint}")
    if not 400 <= status < 600:
        return Failure(
            Reason.bad_reply, f"The endpoint answered with status {status}, which means nothing here."
        )
    error = _read_error(data, body)
    if status >= 500:
        return _server_failure(status, error)
    return _client_failure(status, error, has_wait)


def failure_of_error_body(data: Mapping[str, Any]) -> Failure:
    """The failure for an error inside an answer with status 200, as OpenRouter and some proxies send it."""
    error = _read_error(data, b"")
    status = error.status if error.status and 400 <= error.status < 600 else None
    if status is None:
        status = _status_of_kind(error)
    if status is None:
        return Failure(Reason.bad_reply, f"The answer holds an error instead of a text{_said(error)}.")
    if status >= 500:
        return _server_failure(status, error)
    return _client_failure(status, error, has_wait=False)


def _server_failure(status: int, error: ErrorBody) -> Failure:
    if status == 503 and "loading" in error.message.lower():
        return Failure(
            Reason.endpoint_down, "The endpoint is still loading its model (503).", is_retryable=True
        )
    if _MODEL_UNKNOWN.search(error.message) and status != 503:
        return _model_unknown(status, error)
    return Failure(
        Reason.endpoint_down,
        f"The endpoint has an error of its own ({status}){_said(error)}.",
        is_retryable=status in _DOWN or status > 505,
    )


def _client_failure(status: int, error: ErrorBody, has_wait: bool) -> Failure:
    everything = f"{error.kind} {error.message}"
    if status == 429:
        return _limit(error, has_wait)
    if status == 402 or (status in (400, 401, 403) and _QUOTA.search(everything)):
        return _out_of_quota(status, error)
    if status == 403 and _MODERATION.search(everything):
        return Failure(
            Reason.refused, f"The endpoint's moderation stopped the request ({status}){_said(error)}."
        )
    if status in (401, 403) or (status == 400 and _KEY.search(everything)):
        return Failure(
            Reason.wrong_key,
            f"The endpoint does not accept the key ({status}){_said(error)}."
            " Check the key, then resume the token.",
            pauses_token=True,
        )
    if status in _DOWN:
        return Failure(
            Reason.endpoint_down, f"The endpoint could not serve the request ({status}){_said(error)}.", True
        )
    if _MODEL_UNKNOWN.search(everything):
        return _model_unknown(status, error)
    if status in (404, 405):
        return Failure(
            Reason.bad_request,
            f"Nothing answers chat requests at this address ({status}){_said(error)}."
            " Check the base URL: did you mean …/v1?",
        )
    return _other_request(status, error, everything)


def _other_request(status: int, error: ErrorBody, everything: str) -> Failure:
    for pattern, swap in _SWAPS:
        if status in (400, 422) and pattern.search(everything):
            return Failure(
                Reason.bad_request,
                f"The model wants {swap[1]} instead of {swap[0]} ({status}).",
                is_retryable=True,
                swap_parameter=swap,
            )
    if _MODERATION.search(everything):
        return _moderated(status, error)
    if status == 413 or re.search(
        r"context[_ ](?:length|window|size)|maximum context|too many tokens", everything
    ):
        return Failure(
            Reason.bad_request,
            f"The prompt is too long for the model ({status}){_said(error)}. Shorten persona or context.",
        )
    return Failure(
        Reason.bad_request,
        f"The endpoint refused the request ({status}){_said(error)}. Check the model and the parameters.",
    )


def _limit(error: ErrorBody, has_wait: bool) -> Failure:
    """429 means two things. Google words its rate limits as quota, so only codes count there."""
    code_says_quota = _QUOTA.search(error.kind)
    text_says_quota = _QUOTA.search(error.message) and not has_wait and "exhausted" not in error.kind.lower()
    if code_says_quota or text_says_quota:
        return _out_of_quota(429, error)
    return Failure(
        Reason.rate_limited, f"The endpoint asks to slow down (429){_said(error)}.", is_retryable=True
    )


def _out_of_quota(status: int, error: ErrorBody) -> Failure:
    return Failure(
        Reason.quota,
        f"The account behind the key has no quota or credit left ({status}){_said(error)}."
        " Top it up, then resume the token.",
        pauses_token=True,
    )


def _moderated(status: int, error: ErrorBody) -> Failure:
    return Failure(Reason.refused, f"The endpoint's moderation stopped the request ({status}){_said(error)}.")


def _model_unknown(status: int, error: ErrorBody) -> Failure:
    pull = " With Ollama: `ollama pull` the model first." if "pull" in error.message.lower() else ""
    return Failure(
        Reason.model_not_found,
        f"The endpoint does not know the model ({status}){_said(error)}. Check the model's name.{pull}",
    )


def _status_of_kind(error: ErrorBody) -> int | None:
    kind = error.kind.lower()
    for word, status in (
        ("insufficient_quota", 429),
        ("rate_limit", 429),
        ("authentication", 401),
        ("invalid_api_key", 401),
        ("permission", 403),
        ("notfound", 404),
        ("not_found", 404),
        ("invalid_request", 400),
        ("badrequest", 400),
        ("overloaded", 503),
        ("unavailable", 503),
        ("server_error", 500),
        ("internal", 500),
    ):
        if word in kind:
            return status
    return 404 if _MODEL_UNKNOWN.search(error.message) else None


def _read_error(data: Any, body: bytes) -> ErrorBody:
    if isinstance(data, list) and data and isinstance(data[0], dict):
        data = data[0]
    if not isinstance(data, dict):
        return ErrorBody(page_text(body), "", None)
    error = data.get("error") or data.get("errors") or data.get("detail") or data.get("message") or ""
    inner = error if isinstance(error, dict) else data
    message = error if isinstance(error, str) else inner.get("message")
    if not isinstance(message, str):
        message = page_text(body) if body else str(error)[:2000]
    metadata = inner.get("metadata")
    raw = metadata.get("raw") if isinstance(metadata, dict) else None
    if isinstance(raw, str) and raw:
        message = f"{message}: {raw}"
    words = [inner.get(name) for name in ("code", "type", "status", "param")]
    kind = " ".join(str(w)[:100] for w in words if isinstance(w, str))
    numbers = [inner.get(name) for name in ("code", "status", "status_code")]
    status = next((n for n in numbers if isinstance(n, int) and not isinstance(n, bool)), None)
    if (
        status is None
        and isinstance(inner.get("code"), str)
        and re.fullmatch(r"[45]\d\d", inner["code"], re.A)
    ):
        status = int(inner["code"])
    return ErrorBody(message[:4000], kind, status)


def page_text(body: bytes) -> str:
    """What a page says, without its tags: the start of it."""
    text = body[:8000].decode("utf-8", "replace")
    if "<" in text:
        text = re.sub(r"<(script|style)\b[^>]{0,200}>[^<]{0,4000}", " ", text, flags=re.IGNORECASE)
        text = re.sub(r"<[^<>]{0,2000}>", " ", text)
    return text


def _said(error: ErrorBody) -> str:
    return f": {quote(error.message.strip().rstrip('.'))}" if error.message.strip() else ""
