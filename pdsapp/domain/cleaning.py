"""A model's text made into a post: wrappers, labels and remarks around it taken off, nothing added.

Pure and total: any text goes in, and cleaning a cleaned text changes nothing.
"""

import json
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from .phrases import (
    LABELS,
    OUTROS,
    PREAMBLES,
    REFUSALS,
    SPECIAL_TOKEN,
    THOUGHT_TAG,
    TRAILING_NOTES,
    TURN_END,
    WRAPPER_TAG,
)

MAX_DRAFT_LENGTH = 6_000
MAX_REFUSAL_LENGTH = 600
# Wrappers within wrappers: what has more is no post. A round looks through the whole text.
MOST_ROUNDS = 40
_MAX_NESTED_MARKS = 8
_QUOTES = {
    '"': '"',
    "'": "'",
    "“": "”",
    "”": "”",
    "„": "“”",
    "‘": "’",
    "‚": "‘’",
    "«": "»",
    "»": "«",
    "‹": "›",
    "›": "‹",
    "「": "」",
    "『": "』",
    "`": "`",
}
_EMPHASIS = ("***", "___", "**", "__", "~~", "*", "_")
_JSON_KEYS = ("post", "text", "content", "tweet", "message")
_BIDI_OVERRIDES = frozenset(map(chr, (*range(0x202A, 0x202F), *range(0x2066, 0x206A))))
_DROPPED = frozenset("\ufeff\ufff9\ufffa\ufffb") | _BIDI_OVERRIDES
_SPACES = {"\t": " ", "\x0b": " ", "\x0c": " ", "\u2028": "\n", "\u2029": "\n", "\x85": "\n"}
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_FENCED = re.compile(r"(`{3,}|~{3,})[^\n`~]*\n(.*?)\n?[ \t]*\1`*~*\s*", re.DOTALL)
_FENCE_LINE = re.compile(r"(?:`{3,}|~{3,})[\w-]*[ \t]*(?:\n|$)")
_QUOTED_LINES = re.compile(r"(?:>[ \t]?[^\n]*(?:\n|$))+")


@dataclass(frozen=True)
class Cleaned:
    """A text as it may be published, and the names of the steps that changed it, in order."""

    text: str
    steps: tuple[str, ...]


def clean(text: str, *, names: Sequence[str] = ()) -> Cleaned:
    """The post inside a model's text; empty if there is none.

    `names` are the writer's own user and display names: a "@name:" in front is taken off.
    Trailing hashtags, joined emoji and inner quotation marks stay. Empty too for a text in more than
    MOST_ROUNDS wrappers, one in the other.
    """
    steps: list[str] = []
    moves: tuple[tuple[str, Callable[[str], str]], ...] = (
        ("control_characters", _without_unseen),
        ("thoughts", _without_thoughts),
        ("special_tokens", _without_special_tokens),
        ("length_limit", lambda t: t[:MAX_DRAFT_LENGTH]),
        ("normalisation", lambda t: unicodedata.normalize("NFC", t)),
        ("white_space", _without_outer_space),
        ("json", _out_of_json),
        ("tags", _out_of_tags),
        ("remarks", _without_remarks),
        ("preamble", lambda t: _without_prefix(PREAMBLES, t)),
        ("label", lambda t: _without_prefix(LABELS, t)),
        ("name", lambda t: _without_own_label(t, names)),
        ("fence", _out_of_fence),
        ("quoted_lines", _out_of_quoted_lines),
        ("emphasis", _out_of_emphasis),
        ("quotes", _out_of_quotes),
    )
    for _ in range(MOST_ROUNDS):
        before = text
        for name, move in moves:
            after = move(text)
            if after != text and name not in steps:
                steps.append(name)
            text = after
        if text == before:
            return Cleaned(text, tuple(steps))
    return Cleaned("", tuple(steps))


def is_refusal(text: str) -> bool:
    """Whether the whole text is a model declining to write, rather than a post that says no."""
    flat = " ".join(text.replace("’", "'").split())
    if len(flat) > MAX_REFUSAL_LENGTH:
        return False
    return any(pattern.match(flat) for pattern in REFUSALS)


def without_unstorable(text: str) -> str:
    """The text without what cannot be stored: halves of an emoji, and NUL."""
    return _UNSTORABLE.sub("", text)


def _without_unseen(text: str) -> str:
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    changed = {ord(c): _SPACES.get(c) for c in set(text) - {"\n"} if c in _SPACES or _is_unseen(c)}
    return text.translate(changed)


def _is_unseen(c: str) -> bool:
    return c in _DROPPED or unicodedata.category(c) in ("Cc", "Cs") or ord(c) & 0xFFFE == 0xFFFE


def _without_outer_space(text: str) -> str:
    text = re.sub(r"[ \u00a0]+\n", "\n", text)
    text = re.sub(r"\n{3,}", "\n\n", text).strip().strip("\u200b\u2060").strip()
    return text if any(_is_visible(c) for c in text) else ""


def _is_visible(c: str) -> bool:
    return unicodedata.category(c)[0] not in "ZCM"


def _without_thoughts(text: str) -> str:
    """A closing tag without an opening one ends a thought that began in the prompt."""
    kept: list[str] = []
    depth = position = 0
    for tag in THOUGHT_TAG.finditer(text):
        if depth == 0:
            kept.append(text[position : tag.start()])
        position = tag.end()
        if not tag[1]:
            depth += 1
        elif depth:
            depth -= 1
        else:
            kept.clear()
    if depth == 0:
        kept.append(text[position:])
    return "".join(kept)


def _without_special_tokens(text: str) -> str:
    """Chat-template tokens that leaked: only the first answer counts, in its final channel."""
    marker = text.rfind("<|channel|>final<|message|>")
    if marker >= 0:
        text = text[marker + len("<|channel|>final<|message|>") :]
    end = TURN_END.search(text)
    if end and text[: end.start()].strip():
        text = text[: end.start()]
    return SPECIAL_TOKEN.sub("", text)


def _out_of_json(text: str) -> str:
    if not (text.startswith("{") and text.endswith("}")):
        return text
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return text
    found = [data[key] for key in _JSON_KEYS if isinstance(data.get(key), str) and data[key].strip()]
    return found[0] if len(found) == 1 else text


def _out_of_tags(text: str) -> str:
    match = WRAPPER_TAG.fullmatch(text)
    return match[2] if match and match[2].strip() else text


def _without_remarks(text: str) -> str:
    """Counts ("(112 characters)") and offers ("Let me know if …") behind the post."""
    for pattern in (*TRAILING_NOTES, *OUTROS):
        match = pattern.search(text)
        if match and text[: match.start()].strip():
            text = text[: match.start()].rstrip()
    return text


def _without_prefix(patterns: Sequence[re.Pattern[str]], text: str) -> str:
    for pattern in patterns:
        match = pattern.match(text)
        if match:
            return text[match.end() :]
    return text


def _without_own_label(text: str, names: Sequence[str]) -> str:
    wanted = sorted({n.strip().lstrip("@")[:100] for n in names} - {""}, key=len, reverse=True)
    flat = text.lower()
    # A pattern for each writer costs more than all the rest: mostly none of the names is there.
    if not wanted or (flat.isascii() and not any(n.lower() in flat or not n.isascii() for n in wanted)):
        return text
    return _own_label(tuple(wanted)).sub("", text, count=1)


@lru_cache(maxsize=256)
def _own_label(wanted: tuple[str, ...]) -> re.Pattern[str]:
    """What stands before a text when the model continues the feed: "[11] @name (just now): "."""
    either = "|".join(re.escape(name) for name in wanted[:20])
    return re.compile(
        rf"(?:\[\d{{1,3}}\][ \t]*)?([*_]{{0,3}})@?(?:{either})(?:, you wrote)?(?:[ \t]*\([^)\n]{{0,60}}\))?"
        rf"(?:\1[ \t]*[:：]|[ \t]*[:：][ \t]*\1)\s*|@(?:{either})[ \t]*\n+",
        re.IGNORECASE,
    )


def _out_of_fence(text: str) -> str:
    match = _FENCED.fullmatch(text)
    if match and match[2].strip():
        return match[2]
    opening = _FENCE_LINE.match(text)
    if opening and text[opening.end() :].strip("`~ \n"):
        return text[opening.end() :]
    lines = text.rsplit("\n", 1)
    if len(lines) == 2 and _FENCE_LINE.fullmatch(lines[1]) and text.count("```") + text.count("~~~") == 1:
        return lines[0]
    return text


def _out_of_quoted_lines(text: str) -> str:
    if not _QUOTED_LINES.fullmatch(text):
        return text
    bare = "\n".join(re.sub(r"^>[ \t]?", "", line) for line in text.split("\n"))
    return bare if bare.strip(" \n>") else text


def _out_of_emphasis(text: str) -> str:
    for mark in _EMPHASIS:
        inner = text[len(mark) : -len(mark)]
        if (
            len(text) > 2 * len(mark)
            and text.startswith(mark)
            and text.endswith(mark)
            and mark[0] not in inner
            and inner == inner.strip()
        ):
            return inner
    return text


def _out_of_quotes(text: str) -> str:
    if len(text) < 3 or text[-1] not in _QUOTES.get(text[0], ""):
        return text
    if len(text) > _MAX_NESTED_MARKS and all(c in _QUOTES for c in text[: _MAX_NESTED_MARKS + 1]):
        return text
    inner = text[1:-1]
    if not any(_is_visible(c) and c not in _QUOTES for c in inner):
        return text
    if text[0] == '"' and '\\"' in inner and '"' not in inner.replace('\\"', ""):
        return inner.replace('\\"', '"')
    return inner if _encloses(text[0], text[-1], inner) else text


def _encloses(opening: str, closing: str, inner: str) -> bool:
    """Whether the outer pair belongs together: no inner mark closes the first one early."""
    depth = 0
    for i, c in enumerate(inner):
        if c != opening and c != closing:
            continue
        before = inner[i - 1] if i else " "
        after = inner[i + 1] if i + 1 < len(inner) else " "
        if c in "'’" and before.isalnum() and after.isalnum():
            continue
        opens = c == opening if opening != closing else before.isspace() and not after.isspace()
        depth += 1 if opens else -1
        if depth < 0:
            return False
    return True
