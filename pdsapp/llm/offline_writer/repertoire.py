"""Which lines a character has for a purpose, and one of them filled in."""

from collections.abc import Mapping
from dataclasses import dataclass

from .character import Character, Interest
from .dice import Dice
from .words import Lines, expand, vocabulary

SECOND_VOICE_PROBABILITY = 0.1
_SUBJECT_SHARE = 0.7
_VOICE_SHARE = 0.8
_STRICT_VOICES = frozenset({"casual", "formal"})
_OWN_WORDS = frozenset({"open", "close", "about", "echo"})
# How often a short line or a question is the voice's own rather than the subject's.
_VOICE_SHORTS = {"formal": 0.8, "warm": 0.6, "anxious": 0.7, "upbeat": 0.7, "casual": 0.6, "blunt": 0.5}


@dataclass(frozen=True)
class Line:
    """One line of a draft: its kind, the template it came from, and its text."""

    kind: str
    template: str
    text: str


class Repertoire:
    """The lines of one character."""

    def __init__(self, character: Character, dice: Dice):
        self._character = character
        self._dice = dice

    def line(
        self, kind: str, interest: Interest, values: Mapping[str, str], *, is_loose: bool = False
    ) -> Line:
        """One line of a kind: open, close, about, echo, seen, for, against, ask, short.

        `is_loose`: the topic belongs to no subject, so that only the voice has something to say on it.
        """
        if (
            kind in _OWN_WORDS
            or is_loose
            or (kind in ("short", "ask") and interest.is_named and self._prefers_voice())
        ):
            lines = self._voice_lines(kind)
        else:
            lines = self._character.own(interest.subject.sections[kind], _SUBJECT_SHARE)
        return self._filled(kind, lines, values)

    def detail(self, section: str, values: Mapping[str, str]) -> Line:
        """A line about something the persona named: like, topic, worry, dislike, short, role, place."""
        return self._filled("detail", vocabulary().things[section], values)

    def greeting(self, values: Mapping[str, str]) -> Line:
        """An answer to a post that belongs to no subject."""
        return self._filled("echo", self._character.own(vocabulary().echo, 0.7), values)

    def _filled(self, kind: str, lines: Lines, values: Mapping[str, str]) -> Line:
        template = self._dice.pick(lines)
        return Line(kind, template, expand(template, self._dice, values))

    def _prefers_voice(self) -> bool:
        return self._dice.chance(_VOICE_SHORTS.get(self._character.voice.name, 0.4))

    def _voice_lines(self, kind: str) -> Lines:
        character = self._character
        voice = character.voice
        if voice.name not in _STRICT_VOICES and self._dice.chance(SECOND_VOICE_PROBABILITY):
            voice = character.second_voice
        if voice.name == "casual" and character.voice.name != "casual":
            voice = character.voice
        return character.own(voice.sections[kind], _VOICE_SHARE, least=4)
