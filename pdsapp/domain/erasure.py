"""Erasing what one participant said from texts of others: their words where they are quoted, and their names.

Words count as quoted when five or more in a row are the participant's, or a whole text of theirs of three
or four words; of scripts that put no spaces between words, ten characters in a row. Only what was said later
than the participant's text quotes it.
"""

import re
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from itertools import pairwise
from typing import Any

ERASED = "[erased]"
IN_A_ROW, FEWEST_OF_WHOLE = 5, 3
# A word weighs two, a character of a script without spaces one: so ten of those count as five words.
_WORD, _CHARACTER = 2, 1
_HEAVY = IN_A_ROW * _WORD
SHORTEST_NAME = 3
_WITHOUT_SPACES = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"

Words = tuple[str, ...]


@dataclass(frozen=True)
class _Token:
    start: int
    end: int
    word: str
    weight: int


@dataclass(frozen=True)
class Eraser:
    """Erases one participant from texts and data; `pseudonym` stands where their names were.

    `rows` are rows of their words, and when each was said first; `lengths` how many words those rows have.
    """

    rows: dict[Words, datetime]
    lengths: tuple[int, ...]
    names: re.Pattern[str] | None
    pseudonym: str

    def text(self, text: str, at: datetime) -> str:
        """The text, said at `at`, without their words and names; the same object if there are none."""
        for start, end in reversed(self._spans(text, at) if self.rows else ()):
            text = f"{text[:start]}{ERASED}{text[end:]}"
        return self.names.sub(self._rename, text) if self.names is not None else text

    def data(self, value: Any, at: datetime) -> Any:
        """JSON data with all its texts, keys too, erased as `text` does."""
        if isinstance(value, str):
            return self.text(value, at)
        if isinstance(value, list):
            return [self.data(each, at) for each in value]
        if isinstance(value, dict):
            return {self.text(key, at): self.data(each, at) for key, each in value.items()}
        return value

    def _rename(self, match: re.Match[str]) -> str:
        return f"@{self.pseudonym}" if match[0].startswith("@") else self.pseudonym

    def _spans(self, text: str, at: datetime) -> list[tuple[int, int]]:
        """From where to where the text quotes, in order and apart."""
        tokens = _tokens(text)
        words = tuple(token.word for token in tokens)
        is_quoted, is_whole = [False] * len(tokens), [False] * len(tokens)
        for length in self.lengths:
            for first in range(len(words) - length + 1):
                said_at = self.rows.get(words[first : first + length])
                if said_at is not None and said_at <= at:
                    places = slice(first, first + length)
                    is_quoted[places] = [True] * length
                    if length != IN_A_ROW:
                        is_whole[places] = [True] * length
        found: list[list[int]] = []
        for number, quoted in enumerate(is_quoted):
            if quoted and number and is_quoted[number - 1]:
                found[-1].append(number)
            elif quoted:
                found.append([number])
        return [
            (tokens[run[0]].start, tokens[run[-1]].end)
            for run in found
            if any(is_whole[number] for number in run) or sum(tokens[n].weight for n in run) >= _HEAVY
        ]


def eraser_of(
    texts: Iterable[tuple[datetime, str]], names: Sequence[str], pseudonym: str, only_mentions: bool = False
) -> Eraser:
    """The eraser of somebody who said these texts at these times under these names.

    Names count as whole words, whatever their case; with `only_mentions`, and if shorter than three
    characters, only behind an @.
    """
    rows: dict[Words, datetime] = {}
    for at, text in texts:
        tokens = _tokens(text)
        words = tuple(token.word for token in tokens)
        weight = sum(token.weight for token in tokens)
        length = IN_A_ROW
        if weight >= FEWEST_OF_WHOLE * _WORD and len(words) < IN_A_ROW:
            length = len(words)
        for first in range(len(words) - length + 1):
            row = words[first : first + length]
            rows[row] = min(at, rows.get(row, at))
    lengths = tuple(sorted({len(row) for row in rows}))
    return Eraser(rows, lengths, _pattern(names, only_mentions), pseudonym)


def _pattern(names: Sequence[str], only_mentions: bool) -> re.Pattern[str] | None:
    """The longest first, so that no part of a name is taken for another one."""
    found = set()
    for name in (" ".join(each.split()).removeprefix("@") for each in names):
        if not name:
            continue
        optional = "" if only_mentions or len(name) < SHORTEST_NAME else "?"
        for form in ("NFC", "NFD"):
            words = r"\s+".join(re.escape(part) for part in unicodedata.normalize(form, name).split())
            found.add((len(name), rf"(?<!\w)@{optional}{words}(?!\w)"))
    if not found:
        return None
    return re.compile("|".join(pattern for _, pattern in sorted(found, reverse=True)), re.IGNORECASE)


def _tokens(text: str) -> list[_Token]:
    return [
        _Token(match.start(), match.end(), word, _CHARACTER if match["character"] else _WORD)
        for match in _words().finditer(text)
        if (word := _plain(match[0]))
    ]


def _plain(word: str) -> str:
    """A word as it is compared: without case, forms of the same letter, and characters nobody sees."""
    if word.isascii():
        return word.lower()
    word = unicodedata.normalize("NFKC", word).replace("’", "'")
    return "".join(c for c in word.casefold() if unicodedata.category(c) != "Cf")


@cache
def _words() -> re.Pattern[str]:
    """What is a word: letters and digits with the marks on them and apostrophes inside."""
    marks = [
        number for number in range(0x80, sys.maxunicode) if unicodedata.category(chr(number)) in _IN_WORDS
    ]
    starts = [n for n, before in zip(marks, [-1, *marks], strict=False) if n != before + 1]
    ends = [n for n, after in pairwise([*marks, -1]) if after != n + 1]
    inner = "".join(f"\\U{a:08x}-\\U{b:08x}" for a, b in zip(starts, ends, strict=True))
    letter = rf"(?:(?![{_WITHOUT_SPACES}])[\w{inner}])"
    return re.compile(rf"(?P<character>[{_WITHOUT_SPACES}])|{letter}+(?:['’]{letter}+)*")


_IN_WORDS = frozenset({"Mn", "Mc", "Me", "Cf"})
