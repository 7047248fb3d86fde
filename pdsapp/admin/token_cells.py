"""What lists and pages show of a token's test and of its use."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from markupsafe import Markup

from ..domain.call_limits import CallLimits
from ..llm.token_test import LADDER
from ..models import ApiToken
from ..services.token_use import Usage
from . import cells

STEP_WORDS = {
    "disk": "Disk",
    "token": "Token",
    "address": "Address allowed",
    "connect": "Connected",
    "tls": "TLS",
    "models": "Models listed",
    "key": "Key accepted",
    "completion": "A tiny completion",
}


@dataclass(frozen=True)
class Rung:
    """One step of a test in words. `ok` is None if it could not be told, `was_tried` False past a failure."""

    name: str
    ok: bool | None = None
    detail: str = ""
    ms: int | None = None
    was_tried: bool = True


def rungs(steps: list[Any] | None, base_url: str) -> list[Rung]:
    """The ladder of a stored test, with the rungs it did not reach."""
    tried = [Rung(STEP_WORDS.get(name, name), ok, detail, ms) for name, ok, detail, ms in steps or ()]
    names = [step[0] for step in steps or ()]
    reached = max((LADDER.index(name) for name in names if name in LADDER), default=-1)
    is_https = urlsplit(base_url).scheme == "https"
    left = [name for name in LADDER[reached + 1 :] if is_https or name != "tls"] if names else []
    return [*tried, *(Rung(STEP_WORDS[name], was_tried=False) for name in left)]


def test_cell(row: ApiToken, zone: Any) -> Markup:
    """The last test in a list: whether it answers, at which step it failed, when."""
    if row.last_test_at is None:
        return cells.pill("untested")
    last = row.last_test_steps[-1] if row.last_test_steps else None
    if row.last_test_ok:
        words = f"answers in {last[3]:,} ms" if last and last[3] is not None else "answers"
        return cells.two_lines(cells.pill("ok", words), cells.time(row.last_test_at, zone))
    words = f"fails: {STEP_WORDS.get(last[0], last[0])}" if last else "fails"
    return cells.two_lines(cells.pill("failing", words), cells.time(row.last_test_at, zone))


def usage_words(usage: Usage) -> str:
    """ "12 calls, 1 failed; 1,200 tokens in, 340 out"."""
    if not usage.calls:
        return "no call"
    calls = "1 call" if usage.calls == 1 else f"{usage.calls:,} calls"
    tokens = f"{usage.prompt_tokens:,} tokens in, {usage.completion_tokens:,} out"
    return f"{calls}, {usage.failed:,} failed; {tokens}"


def calls_cell(usage: Usage, limits: CallLimits) -> str | Markup:
    """Calls of the last day in a list; failures and what is allowed below them."""
    failed = f"{usage.failed:,} failed" if usage.failed else ""
    allowed = "" if limits.is_empty else f"at most {limits.words}"
    return cells.two_lines(f"{usage.calls:,}", "; ".join(part for part in (failed, allowed) if part))
