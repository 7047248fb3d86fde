"""Erasing what one participant said from texts of others: their words where they are quoted, and their names.

Words count as quoted when five or more in a row are the participant's, or a whole text of theirs of three
or four words; of scripts that put no spaces between words, ten characters in a row, or six to nine. Only what
was said later than the participant's text quotes it.
"""

import html
import json
import re
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache, lru_cache
from itertools import pairwise
from typing import Any
from urllib.parse import unquote

ERASED = "[erased]"
IN_A_ROW, FEWEST_OF_WHOLE = 5, 3
# A word weighs two, a character of a script without spaces one: so ten of those count as five words.
_WORD, _CHARACTER = 2, 1
_HEAVY = IN_A_ROW * _WORD
SHORTEST_NAME, SHORTEST_OF_CHARACTERS = 3, 2
_WITHOUT_SPACES = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_CHARACTERS = re.compile(f"[{_WITHOUT_SPACES}]")
# Apostrophes, hyphens and a letter that are typed for another one.
_SAME = dict(zip("\u2018\u2019\u02bc\u2010\u2011\u2013\u0131", "'''---i", strict=True))
_AT = "@\uff20\ufe6b"
_FIELD = re.compile("[a-z][a-z0-9_ ]*")
_ESCAPE = re.compile(r"&#?\w+;|\\u[0-9a-fA-F]{4}|%[0-9a-fA-F]{2}")

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

    `rows` are rows of five of their words, `wholes` whole short texts, each with when it was said first;
    `lengths` how many words those texts have.
    """

    rows: dict[Words, datetime]
    wholes: dict[Words, datetime]
    lengths: tuple[int, ...]
    names: re.Pattern[str] | None
    pseudonym: str

    def text(self, text: str, at: datetime) -> str:
        """The text, said at `at`, without their words and names; the same object if there are none.

        One in which they stand with the escapes of HTML, JSON or addresses comes back without escapes.
        """
        found = self._erase(text, at)
        plain = _unescaped(found)
        if plain is not found and (mended := self._erase(plain, at)) is not plain:
            return mended
        return found

    def json_text(self, text: str, at: datetime) -> str:
        """A text that is JSON, erased as `data` does; as `text` does if it is none."""
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return self.text(text, at)
        erased = self.data(value, at)
        return json.dumps(erased) if erased != value else text

    def data(self, value: Any, at: datetime) -> Any:
        """JSON data with all its texts erased as `text` does; keys too, but for names of fields."""
        if isinstance(value, str):
            return self.text(value, at)
        if isinstance(value, list):
            return [self.data(each, at) for each in value]
        if isinstance(value, dict):
            return {self._key(key, at): self.data(each, at) for key, each in value.items()}
        return value

    def _key(self, key: str, at: datetime) -> str:
        """Somebody called “text” does not rename a field of that name, by which code finds its value."""
        return key if _FIELD.fullmatch(key) else self.text(key, at)

    def _erase(self, text: str, at: datetime) -> str:
        for start, end in reversed(self._spans(text, at) if self.lengths else ()):
            text = f"{text[:start]}{ERASED}{text[end:]}"
        for start, end in reversed(self._named(text) if self.names is not None else ()):
            sign = "@" if text[start] in _AT else "#" if text[start] == "#" else ""
            text = f"{text[:start]}{sign}{self.pseudonym}{text[end:]}"
        return text

    def _named(self, text: str) -> list[tuple[int, int]]:
        """From where to where their names stand, but for somebody called “erased” in what was erased."""
        folded, places = _folded(text)
        marks = [(match.start(), match.end()) for match in re.finditer(re.escape(ERASED), text)]
        found = []
        for match in self.names.finditer(folded):
            start, end = places[match.start()], places[match.end() - 1] + 1
            if _stands_alone(folded, match) and not any(low <= start < high for low, high in marks):
                while end < len(text) and not _fold(text[end]):  # accents of the last letter
                    end += 1
                found.append((start, end))
        return found

    def _spans(self, text: str, at: datetime) -> list[tuple[int, int]]:
        """From where to where the text quotes, in order and apart."""
        tokens = _tokens(text)
        words = tuple(token.word for token in tokens)
        is_quoted, is_whole = [False] * len(tokens), [False] * len(tokens)
        for length in self.lengths:
            for first in range(len(words) - length + 1):
                row, places = words[first : first + length], slice(first, first + length)
                if length == IN_A_ROW and _is_said(self.rows, row, at):
                    is_quoted[places] = [True] * length
                if _is_said(self.wholes, row, at):
                    is_quoted[places] = is_whole[places] = [True] * length
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
    wholes: dict[Words, datetime] = {}
    for at, text in texts:
        tokens = _tokens(text)
        words = tuple(token.word for token in tokens)
        if FEWEST_OF_WHOLE * _WORD <= sum(token.weight for token in tokens) < _HEAVY:
            wholes[words] = min(at, wholes.get(words, at))
            continue
        for first in range(len(words) - IN_A_ROW + 1):
            row = words[first : first + IN_A_ROW]
            rows[row] = min(at, rows.get(row, at))
    lengths = {len(row) for row in wholes} | ({IN_A_ROW} if rows else set())
    return Eraser(rows, wholes, tuple(sorted(lengths)), _pattern(names, only_mentions), pseudonym)


def _is_said(said: dict[Words, datetime], row: Words, at: datetime) -> bool:
    said_at = said.get(row)
    return said_at is not None and said_at <= at


def _pattern(names: Sequence[str], only_mentions: bool) -> re.Pattern[str] | None:
    """The longest first, so that no part of a name is taken for another one."""
    found = set()
    for name in (" ".join(each.split()).removeprefix("@") for each in names):
        parts = _folded(name)[0].split()
        if not parts:
            continue
        shortest = SHORTEST_NAME if _CHARACTERS.search(name) is None else SHORTEST_OF_CHARACTERS
        optional = "" if only_mentions or len(name) < shortest else "?"
        words = r"[\s_.+-]+".join(map(re.escape, parts))
        found.add((len(words), f"@{optional}{words}"))
        if len(parts) > 1:  # as a tag is written
            found.add((len(words), f"[#@]{''.join(map(re.escape, parts))}"))
    if not found:
        return None
    return re.compile("|".join(pattern for _, pattern in sorted(found, reverse=True)))


def _stands_alone(text: str, match: re.Match[str]) -> bool:
    """Whether what was found is no part of a word. Underscores around one only stress it; scripts without
    spaces have no parts."""
    before = text[: match.start()].rstrip("_")[-1:]
    after = text[match.end() :].lstrip("_")[:1]
    return all(
        not beside.isalnum() or edge in "@#" or _CHARACTERS.match(edge) is not None
        for beside, edge in ((before, match[0][0]), (after, match[0][-1]))
    )


def _folded(text: str) -> tuple[str, Sequence[int]]:
    """The text as names are compared, without case, accents and characters nobody sees; and of each of its
    characters where it comes from."""
    if text.isascii():
        return text.lower(), range(len(text))
    letters, places = [], []
    for place, character in enumerate(text):
        for letter in _fold(character):
            letters.append(letter)
            places.append(place)
    return "".join(letters), places


@cache
def _fold(character: str) -> str:
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", character).casefold())
    seen = (c for c in plain if unicodedata.category(c) != "Cf" and not "\u0300" <= c <= "\u036f")
    return "".join(_SAME.get(c, c) for c in seen)


def _unescaped(text: str) -> str:
    """The text without the escapes of HTML, JSON and addresses; the same object if it has none."""
    if _ESCAPE.search(text) is None:
        return text
    text = re.sub(r"\\u([0-9a-fA-F]{4})", lambda match: chr(int(match[1], 16)), text)
    paired = text.encode("utf-16", "surrogatepass").decode(
        "utf-16", "replace"
    )  # two of them make one character
    return html.unescape(unquote(paired)).replace("\0", "")


def _tokens(text: str) -> list[_Token]:
    return [
        _Token(match.start(), match.end(), word, _CHARACTER if match["character"] else _WORD)
        for match in _words().finditer(text)
        if (word := _plain(match[0]))
    ]


@lru_cache(maxsize=16_384)
def _plain(word: str) -> str:
    """A word as it is compared: without case, forms of the same letter, and characters nobody sees."""
    if word.isascii():
        return word.lower()
    word = re.sub("[’‘ʼ]", "'", unicodedata.normalize("NFKC", word))
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
    letter = rf"(?:(?![_{_WITHOUT_SPACES}])[\w{inner}])"
    return re.compile(rf"(?P<character>[{_WITHOUT_SPACES}])|{letter}+(?:['’‘]{letter}+)*")


_IN_WORDS = frozenset({"Mn", "Mc", "Me", "Cf"})
