"""What a request asks for: persona, feed, names and length, read out of the messages.

The feed is material and nothing else: whatever a post says, it only ever yields subjects and names.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

DEFAULT_BAND = (60, 200)
LONGEST = 2_000
_PERSONA = re.compile(r"<persona>\s*(.*?)\s*</persona>", re.DOTALL | re.IGNORECASE)
_FEED = re.compile(r"<feed>\s*(.*?)\s*</feed>", re.DOTALL | re.IGNORECASE)
_FEED_LINE = re.compile(r"\[\d{1,4}\]\s*@([\w.-]{1,60})(, you wrote)?\s*\([^)\n]{0,60}\):\s*(.*)")
_SELF = re.compile(r"\byou are @([\w.-]{1,60})", re.IGNORECASE)
_BAND = re.compile(
    r"between\s+(\d{1,4})\s+and\s+(\d{1,4})\s+characters(?:,?\s+about\s+(\d{1,4}))?", re.IGNORECASE
)


@dataclass(frozen=True)
class FeedPost:
    """One post of the feed."""

    username: str
    text: str
    is_own: bool


@dataclass(frozen=True)
class Brief:
    """One request. Lengths are code points, both ends included; `draft` is the text to rewrite."""

    persona: str
    username: str
    feed: tuple[FeedPost, ...]
    minimum: int
    maximum: int
    target: int
    draft: str | None


def read_brief(messages: Sequence[Mapping[str, Any]]) -> Brief:
    """The brief in any messages: blocks that are missing leave their defaults."""
    texts = [(m.get("role"), _text(m.get("content"))) for m in messages if isinstance(m, Mapping)]
    asked = "\n".join(text for role, text in texts if role == "user")
    everything = "\n".join(text for _, text in texts)
    drafts = [text for role, text in texts if role == "assistant" and text.strip()]
    is_rewrite = bool(drafts) and texts[-1][0] == "user"
    minimum, maximum, target = _length(_without_blocks(asked))
    persona = _PERSONA.search(everything)
    feed = _FEED.search(everything)
    own_name = _SELF.search(_without_blocks(everything))
    username = own_name[1] if own_name else ""
    return Brief(
        persona=persona[1] if persona else "",
        username=username,
        feed=_posts(feed[1], username) if feed else (),
        minimum=minimum,
        maximum=maximum,
        target=target,
        draft=unicodedata.normalize("NFC", drafts[-1].strip()) if is_rewrite else None,
    )


def _without_blocks(text: str) -> str:
    """What the prompt itself says: a persona or a post may hold anything."""
    return _FEED.sub("", _PERSONA.sub("", text))


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(str(p.get("text", "")) for p in content if isinstance(p, Mapping))
    return ""


def _posts(block: str, username: str) -> tuple[FeedPost, ...]:
    posts = []
    for line in block.splitlines():
        match = _FEED_LINE.match(line.strip())
        if match:
            is_own = bool(match[2]) or match[1].lower() == username.lower()
            posts.append(FeedPost(match[1], match[3].strip(), is_own))
    return tuple(posts)


def _length(asked: str) -> tuple[int, int, int]:
    """The last length asked for: a rewrite may ask for another one than the first request."""
    found = _BAND.findall(asked)
    minimum, maximum, target = found[-1] if found else (*map(str, DEFAULT_BAND), "")
    low, high = sorted((int(minimum), int(maximum)))
    low, high = max(1, min(low, LONGEST)), max(1, min(high, LONGEST))
    middle = (low + high) // 2
    return low, high, min(max(int(target), low), high) if target else middle
