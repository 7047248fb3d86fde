"""Protocol changes as pages show them: in words, with what differs."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from ..domain.diffs import Piece, changed_leaves, word_diff
from ..domain.disclosure import RULE_LABELS, DisclosureRule
from ..domain.limit_words import span_words
from ..domain.protocol import PART_LABELS, ProtocolPart
from ..models import ProtocolChange

LONG_TEXT = 40
HIDDEN = ("label",)
PROMPT_WORDS = {
    "system": "System message", "user": "Instructions", "rewrite": "When too long or too short",
    "feed_line": "A post of the feed", "own_feed_line": "Its own post", "empty_feed": "An empty feed",
    "disclosure_rule": "Disclosure", "disclosure_sentence": "Its sentence",
    "disclosure": "Words of disclosure",
}  # fmt: skip
POLICY_WORDS = {
    "under_seconds": "last post less than", "probability": "skips with", "share_cap": "Share cap",
    "share_window": "Posts looked at", "context_size": "Posts in the prompt",
    "max_model_calls": "Model calls", "name": "name", "minimum": "from", "maximum": "to", "weight": "drawn",
    "recency_steps": "Step", "bands": "Band", "limits": "Limit", "quiet_from": "quiet from",
    "quiet_until": "quiet until", "posts_per_day": "posts a day", "min_gap_seconds": "gap",
    "max_draft_age_seconds": "age of a draft",
}  # fmt: skip
SCHEDULE_WORDS = {
    "interval_seconds": "every", "anchor_at": "counted from", "jitter_seconds": "jitter",
    "is_forced": "post whatever the draw", "asks_all": "asks each of them", "missed_policy": "slots missed",
    "overlap_policy": "slot before still at work",
}  # fmt: skip
WORDS_OF = {
    ProtocolPart.policy: POLICY_WORDS,
    ProtocolPart.prompt: PROMPT_WORDS,
    ProtocolPart.schedule: SCHEDULE_WORDS,
}


@dataclass(frozen=True)
class Difference:
    """One value that differs. `pieces` for texts, else `before` and `after` in words."""

    name: str
    before: str
    after: str
    pieces: tuple[Piece, ...] = ()


@dataclass(frozen=True)
class ChangeView:
    """One protocol change: `zone` is the experiment's, `state` what it was in then, "" for a
    change of that itself."""

    made_at: datetime
    zone: ZoneInfo
    part: str
    summary: str
    reason: str
    made_by: str
    state: str
    differences: tuple[Difference, ...]


def change_views(changes: list[ProtocolChange], zone: str) -> list[ChangeView]:
    """The changes, in the order given."""
    return [
        ChangeView(
            c.made_at,
            ZoneInfo(zone),
            PART_LABELS[c.part],
            c.summary,
            c.reason,
            c.made_by,
            "" if c.part == ProtocolPart.life else c.state.value,
            differences(c.part, c.before, c.after),
        )
        for c in changes
    ]


def differences(
    part: ProtocolPart | None, before: dict[str, Any], after: dict[str, Any]
) -> tuple[Difference, ...]:
    """What leads from one to the other, value by value."""
    leaves = changed_leaves(before, after)
    return tuple(_difference(part, path, old, new) for path, old, new in leaves if path not in HIDDEN)


def _difference(part: ProtocolPart | None, path: str, before: object, after: object) -> Difference:
    name = _name(part, path)
    if all(isinstance(value, str) for value in (before, after)) and max(len(before), len(after)) > LONG_TEXT:
        return Difference(name, "", "", word_diff(before, after))
    return Difference(name, _value(path, before), _value(path, after))


def _name(part: ProtocolPart | None, path: str) -> str:
    words = WORDS_OF.get(part, {})
    return " ".join(words.get(piece, piece.replace("_", " ")) for piece in path.split("."))


def _value(path: str, value: object) -> str:
    last = path.split(".")[-1]
    if value is None or value == "":
        return "–"
    if last == "disclosure_rule":
        return RULE_LABELS[DisclosureRule(value)]
    if isinstance(value, bool):
        return "yes" if value else "no"
    if last.endswith("_seconds") and isinstance(value, (int, float)):
        return span_words(round(value))
    if last in ("probability", "share_cap") and isinstance(value, (int, float)):
        return f"{value:.2f}"
    return str(value)
