"""Foreign text made fit to be shown: on one line, cut, without anything that looks like a secret."""

import re
import unicodedata

QUOTE_LENGTH = 200
_SECRET = re.compile(
    r"(?:\b(?:sk|pk|rk|gsk|xai|hf|r8|nvapi|ghp|glpat|pplx|csk)[-_][\w*.-]{4,}"
    r"|\bAIza[\w-]{8,}"
    r"|\b(?:bearer|basic)\s+(?=[^\s\"',;]{0,60}\d)[^\s\"',;]{8,}"
    r"|\beyJ[\w-]{8,}(?:\.[\w-]+)*"
    r"|[\w-]{0,12}\*{3,}[\w-]{0,12}"
    r"|\b(?=[A-Za-z]*\d)(?=\d*[A-Za-z])[A-Za-z0-9]{24,}\b)",
    re.IGNORECASE,
)


def one_line(text: str, limit: int) -> str:
    """At most `limit` characters on one line: no control characters, no secrets, "…" where cut."""
    text = "".join(_shown(c) for c in text[: limit * 8])
    text = _SECRET.sub("[hidden]", " ".join(text.split()))
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def quote(text: str | bytes) -> str:
    """The start of a foreign text in quotation marks, at most 200 characters of it."""
    if isinstance(text, bytes):
        text = text[: QUOTE_LENGTH * 32].decode("utf-8", "replace")
    return f"“{one_line(text, QUOTE_LENGTH)}”"


def _shown(c: str) -> str:
    category = unicodedata.category(c)
    if category in ("Cc", "Zl", "Zp"):
        return " "
    return "" if category in ("Cs", "Cf", "Co", "Cn") and c not in "\u200d\u200c" else c
