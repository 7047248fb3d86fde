"""Who is writing: voice, subjects, stances and habits, read out of a persona's text.

The same persona always gives the same character, also where the text leaves things open.
"""

import functools
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from .details import Thing, place_in, role_in, things_in
from .dice import Dice
from .words import Lines, Subject, Voice, vocabulary

_AGAINST = re.compile(
    r"\b(?:hates?|dislikes?|distrusts?|sceptical|skeptical|against|opposes?|critical|annoyed|angry"
    r"|fed up|tired of|anti-|worri(?:es|ed)|fears?|can't stand|cannot stand|too much"
    r"|resents?|suspicious|no patience)\b",
    re.IGNORECASE,
)
_FOR = re.compile(
    r"\b(?:loves?|likes?|enjoys?|supports?|fan of|passionate|in favou?r|believes? in|champions?|advocates?"
    r"|proud|pro-|campaigns? for|volunteers?|enthusiastic|adores?|fond of)\b",
    re.IGNORECASE,
)
_NOT = re.compile(
    r"\b(?:no|not|never|without|avoids?|rarely|hardly|isn't|doesn't|don't|hates?|dislikes?)"
    r"[^\w.;\n]+(?:\w+[^\w.;\n]+){0,5}$",
    re.IGNORECASE,
)
_TILT = {"upbeat": 0.9, "warm": 0.8, "plain": 0.5, "curious": 0.5, "formal": 0.5, "dry": 0.3, "blunt": 0.2}
_OPEN_VOICES = ("plain", "warm", "dry", "curious")
_KEPT_SHARE = 0.6


@dataclass(frozen=True)
class Interest:
    """A subject of this person, how often it comes up, and which side they are on ("for", "against").

    `is_named`: the persona speaks of it; otherwise it was made up to fill the week.
    """

    subject: Subject
    weight: float
    stance: str
    phrases: Lines
    is_named: bool

    def about(self, subject: Subject) -> "Interest":
        """The same attitude towards another subject, one that somebody else brought up."""
        return replace(self, subject=subject, phrases=_common_phrases(subject), is_named=True)


@dataclass(frozen=True)
class Character:
    """A person to write as. `key` identifies the persona; favourites are lines this person prefers."""

    key: str
    voice: Voice
    second_voice: Voice
    interests: tuple[Interest, ...]
    things: tuple[Thing, ...]
    role: str | None
    place: str | None
    emoji: Lines
    uses_hashtags: bool
    is_terse: bool

    def own(self, lines: Lines, share: float = _KEPT_SHARE, least: int = 3) -> Lines:
        """The part of these lines that is this person's: two people hardly share a repertoire."""
        return _own_part(self.key, lines, share, least)


@functools.lru_cache(maxsize=512)
def character_of(persona: str) -> Character:
    """The character of this persona; a made-up but steady one if the text says nothing."""
    words = vocabulary()
    key = hashlib.sha256(persona.encode("utf-8", "surrogatepass")).hexdigest()
    dice = Dice(f"character-{key}")
    voice, second = _voices(persona, words.voices, dice)
    text = re.sub(r"\b(?:writing|posting) (?:style|habits?)\b", "", persona, flags=re.IGNORECASE)
    likes_emoji = _has_habit(persona, r"emojis?|emoticons?")
    return Character(
        key=key,
        voice=voice,
        second_voice=second,
        interests=_interests(text, words.subjects, voice, dice),
        things=things_in(persona),
        role=role_in(persona),
        place=place_in(persona),
        emoji=_favourite_emoji(voice, likes_emoji, dice),
        uses_hashtags=_has_habit(persona, r"hashtags?") is True,
        is_terse=_has_habit(persona, r"short sentences|terse|few words|laconic|brief|fragments") is True,
    )


@functools.lru_cache(maxsize=20_000)
def _own_part(key: str, lines: Lines, share: float, least: int) -> Lines:
    ranked = sorted(lines, key=lambda line: _hash(key, line))
    return tuple(ranked[: max(least, round(len(ranked) * share))])


def _hash(*parts: str) -> int:
    return int.from_bytes(hashlib.sha256("\x1f".join(parts).encode("utf-8", "replace")).digest()[:8], "big")


def _voices(persona: str, voices: Mapping[str, Voice], dice: Dice) -> tuple[Voice, Voice]:
    scores: dict[str, tuple[float, int]] = {}
    for voice in voices.values():
        score, first = 0.0, len(persona)
        for cue in voice.cues:
            match = re.search(rf"\b{re.escape(cue)}\b", persona, re.IGNORECASE)
            if match and not _NOT.search(persona[: match.start()]):
                score += 0.8 if cue in vocabulary().weak_cues else 2
                first = min(first, match.start())
        scores[voice.name] = (-score, first)
    spare = dice.pick(_OPEN_VOICES)
    order = sorted(voices, key=lambda name: (*scores[name], name != spare))
    first = order[0] if scores[order[0]][0] else spare
    second = order[1] if scores[order[1]][0] <= -2 else "curious" if first == "plain" else "plain"
    return voices[first], voices[second]


def _interests(
    persona: str, subjects: Mapping[str, Subject], voice: Voice, dice: Dice
) -> tuple[Interest, ...]:
    found = []
    for subject in subjects.values():
        keywords = subject.find(persona)
        score = sum(0.4 if word in vocabulary().vague else 1.0 for word in keywords)
        if score >= 1 or (keywords and len(persona) < 200):
            phrases = tuple(dict.fromkeys(subject.phrases[w] for w in keywords))
            weight = min(score, 3.0)
            found.append(Interest(subject, weight, _stance(subject, persona, voice, dice), phrases, True))
    found.sort(key=lambda interest: -interest.weight)
    found = found[:6]
    names = {interest.subject.name for interest in found}
    others = [s for s in subjects.values() if s.name not in names and s.name != "everyday"]
    for weight in (1.0, 0.8, 0.6) if not found else (0.35,):
        subject = dice.pick(others)
        others.remove(subject)
        found.append(Interest(subject, weight, _tilt(voice, dice), _common_phrases(subject), False))
    if "everyday" not in names:
        everyday = subjects["everyday"]
        found.append(Interest(everyday, 0.5, _tilt(voice, dice), _common_phrases(everyday), False))
    return tuple(found)


def _common_phrases(subject: Subject) -> Lines:
    return tuple(dict.fromkeys(subject.phrases.values()))[:5]


def _stance(subject: Subject, persona: str, voice: Voice, dice: Dice) -> str:
    for sentence in re.split(r"[.;\n]", persona):
        if not subject.pattern.search(sentence):
            continue
        if _AGAINST.search(sentence):
            return "against"
        if _FOR.search(sentence):
            return "for"
    return _tilt(voice, dice)


def _tilt(voice: Voice, dice: Dice) -> str:
    return "for" if dice.chance(_TILT.get(voice.name, 0.4)) else "against"


def _has_habit(persona: str, pattern: str) -> bool | None:
    """True or False if the persona says so, None if it does not mention it."""
    match = re.search(rf"\b(?:{pattern})\b", persona, re.IGNORECASE)
    if not match:
        return None
    return not _NOT.search(persona[: match.start()])


def _favourite_emoji(voice: Voice, likes_emoji: bool | None, dice: Dice) -> Lines:
    may = likes_emoji if likes_emoji is not None else dice.chance(0.35)
    if not may:
        return ()
    pool = voice.emoji or (("🙂", "🌿") if likes_emoji else ())
    return tuple(dict.fromkeys(dice.pick(pool) for _ in range(3))) if pool else ()
