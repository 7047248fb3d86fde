"""How long a post should be, and how a draft is made to fit.

Lengths are Unicode code points after NFC. Source: digital twin auto-posting, "Variable Post Length".
"""

import re
import unicodedata
from dataclasses import dataclass

from .policy import MAX_POST_LENGTH, LengthBand, PostingPolicy
from .randomness import Stream

LENGTH_PURPOSE = "length"
# Each run of marks is looked at once, from its start: a text of dots alone must not take hours.
_SENTENCE_END = re.compile(r"(?<![.!?…。！？])[.!?…。！？]++[\"'”’)\]]*+(?=\s|$)")
_JOINERS = {0x200D, 0xFE0E, 0xFE0F}


@dataclass(frozen=True)
class LengthTarget:
    """A band and a target inside it, in code points."""

    band: str
    minimum: int
    maximum: int
    target: int


@dataclass(frozen=True)
class Fit:
    """A text as it will be published and what was done to it.

    `flags`: `cut_at_sentence`, `cut_at_word`, `too_short`. Empty when the draft already fitted.
    """

    text: str
    flags: tuple[str, ...]


def normalise(text: str) -> str:
    """The text in NFC without surrounding white space: what lengths are counted on."""
    return unicodedata.normalize("NFC", text).strip()


def draw_length(policy: PostingPolicy, decision_key: str, asked_band: str = "") -> LengthTarget:
    """The band (by weight) and a target uniform inside it, from the attempt's decision key.

    `asked_band` is the name of the band to take instead; one the policy has not is drawn like any.
    """
    stream = Stream(decision_key, LENGTH_PURPOSE)
    drawn = _pick_band(policy.bands, stream.uniform())
    band = next((band for band in policy.bands if asked_band and band.name == asked_band), drawn)
    target = band.minimum + stream.below(band.maximum - band.minimum + 1)
    return LengthTarget(band.name, band.minimum, band.maximum, target)


def _pick_band(bands: tuple[LengthBand, ...], u: float) -> LengthBand:
    point = u * sum(band.weight for band in bands)
    for band in bands:
        if point < band.weight:
            return band
        point -= band.weight
    return bands[-1]


def is_within(text: str, target: LengthTarget) -> bool:
    """Whether the normalised text lies in the band."""
    return target.minimum <= len(normalise(text)) <= target.maximum


def whole_sentences(text: str) -> str:
    """The text up to its last sentence end; all of it if it has none. For replies that were cut off."""
    ends = [match.end() for match in _SENTENCE_END.finditer(text)]
    return text[: ends[-1]] if ends else text


def fit(text: str, target: LengthTarget) -> Fit:
    """The text made to fit: cut if too long, flagged if too short, untouched otherwise.

    Cuts at a sentence end if that leaves the minimum, else at a word, never inside a character
    with its combining marks or a joined emoji. Never longer than 280 code points.
    """
    text = normalise(text)
    maximum = min(target.maximum, MAX_POST_LENGTH)
    if len(text) > maximum:
        return _cut(text, target.minimum, maximum)
    flags = ("too_short",) if len(text) < target.minimum else ()
    return Fit(text, flags)


def _cut(text: str, minimum: int, maximum: int) -> Fit:
    ends = [m.end() for m in _SENTENCE_END.finditer(text, 0, maximum + 1) if m.end() <= maximum]
    if ends and ends[-1] >= minimum:
        return Fit(text[: ends[-1]], ("cut_at_sentence",))
    spaces = [m.start() for m in re.finditer(r"\s", text[: maximum + 1])]
    keep = spaces[-1] if spaces and spaces[-1] >= minimum else _character_boundary(text, maximum)
    text = text[:keep].rstrip(" \t\n\r,;:–—-")
    return Fit(text, ("cut_at_word", "too_short") if len(text) < minimum else ("cut_at_word",))


def _character_boundary(text: str, index: int) -> int:
    """The last index at or before `index` that does not split a visible character."""
    while 0 < index < len(text) and (
        unicodedata.combining(text[index])
        or ord(text[index]) in _JOINERS
        or ord(text[index - 1]) == 0x200D
        or 0x1F3FB <= ord(text[index]) <= 0x1F3FF
    ):
        index -= 1
    return index
