"""The offline writer's vocabulary, read from the text files beside it.

A line of a file is one or more whole sentences. `{nine|eleven}` stands for one of several words,
`{topic}` for a value; `{Topic}` is the same with a capital. To add a subject, add a file.
"""

import functools
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .dice import Dice

FOLDER = Path(__file__).parent / "words"
_SLOT = re.compile(r"\{([^{}]*)\}")
_ENTRY = re.compile(r'\s*"?([^">]+?)"?\s*>\s*([^,]+?)\s*(?:,|$)')

Lines = tuple[str, ...]


@dataclass(frozen=True)
class Subject:
    """Something people talk about. `phrases` says how to name it after "about", by keyword."""

    name: str
    phrases: Mapping[str, str]
    pattern: re.Pattern[str]
    tags: Lines
    sections: Mapping[str, Lines]

    def find(self, text: str) -> list[str]:
        """The keywords that occur, in lower case, each once, in order."""
        return list(dict.fromkeys(match[0].lower() for match in self.pattern.finditer(text)))


@dataclass(frozen=True)
class Voice:
    """A way of speaking: its own sentences, and how often it uses which kind of the subject's."""

    name: str
    cues: Lines
    weights: Mapping[str, int]
    emoji: Lines
    sections: Mapping[str, Lines]


@dataclass(frozen=True)
class Vocabulary:
    """All there is. `version` is a hash over every file: the writer's fingerprint."""

    subjects: Mapping[str, Subject]
    voices: Mapping[str, Voice]
    things: Mapping[str, Lines]
    echo: Lines
    roles: Lines
    weak_cues: frozenset[str]
    vague: frozenset[str]
    in_passing: frozenset[str]
    not_places: frozenset[str]
    version: str


@functools.lru_cache(maxsize=1)
def vocabulary() -> Vocabulary:
    """The vocabulary, read once per process."""
    digest = hashlib.sha256()
    for path in sorted(FOLDER.rglob("*.txt")):
        digest.update(path.read_bytes())
    _, found = _read(FOLDER / "lists.txt")
    lists = {name: _list(", ".join(lines)) for name, lines in found.items()}
    return Vocabulary(
        subjects={p.stem: _subject(p) for p in sorted((FOLDER / "subjects").glob("*.txt"))},
        voices={p.stem: _voice(p) for p in sorted((FOLDER / "voices").glob("*.txt"))},
        things=_read(FOLDER / "things.txt")[1],
        echo=_read(FOLDER / "echo.txt")[1]["echo"],
        roles=lists["roles"],
        weak_cues=frozenset(lists["weak cues"]),
        vague=frozenset(lists["vague"]),
        in_passing=frozenset(lists["in passing"]),
        not_places=frozenset(lists["not places"]),
        version=digest.hexdigest()[:10],
    )


def expand(line: str, dice: Dice, values: Mapping[str, str]) -> str:
    """The line with every slot filled. Values are put in as they are, never expanded themselves."""

    def fill(match: re.Match[str]) -> str:
        inner = match[1]
        if "|" in inner:
            return dice.pick(inner.split("|"))
        if inner in values:
            return values[inner]
        value = values[inner.lower()]
        return value[:1].upper() + value[1:]

    return _SLOT.sub(fill, line)


def _read(path: Path) -> tuple[dict[str, str], dict[str, Lines]]:
    """The head ("name: value" lines) and the sections ("[name]" and the lines below it)."""
    head: dict[str, str] = {}
    sections: dict[str, list[str]] = {}
    current: list[str] | None = None
    for line in path.read_text(encoding="utf-8").splitlines():
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        if line.startswith("[") and line.endswith("]"):
            current = sections.setdefault(line[1:-1], [])
        elif current is None:
            name, _, value = line.partition(":")
            head[name] = value.strip()
        else:
            current.append(line)
    return head, {name: tuple(lines) for name, lines in sections.items()}


def _subject(path: Path) -> Subject:
    head, sections = _read(path)
    phrases = {word.strip().lower(): phrase for word, phrase in _ENTRY.findall(head["words"])}
    longest_first = sorted(phrases, key=len, reverse=True)
    either = "|".join(re.escape(word) for word in longest_first)
    pattern = re.compile(rf"(?<!\w)(?:{either})(?![\w-])", re.IGNORECASE)
    return Subject(path.stem, phrases, pattern, _list(head["tags"]), sections)


def _voice(path: Path) -> Voice:
    head, sections = _read(path)
    weights = {}
    for entry in _list(head["sections"]):
        name, _, weight = entry.partition(" ")
        weights[name] = int(weight)
    return Voice(path.stem, _list(head["cues"]), weights, tuple(head["emoji"].split()), sections)


def _list(text: str) -> Lines:
    return tuple(part.strip() for part in text.split(",") if part.strip())
