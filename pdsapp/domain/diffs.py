"""What differs between two texts, word by word, and between two versions of numbers."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

_WORDS = re.compile(r"\n|[^\S\n]+|\w+|[^\w\s]")
# Beyond it a text is compared line by line: words would take seconds.
MOST_WORDS = 6000


@dataclass(frozen=True)
class Piece:
    """A stretch of text: `kind` is "same", "added" or "removed"."""

    kind: str
    text: str


def word_diff(before: str, after: str) -> tuple[Piece, ...]:
    """The pieces that lead from one text to the other, in the order of reading.

    All but the added ones give `before`, all but the removed ones `after`.
    """
    old, new = _WORDS.findall(before), _WORDS.findall(after)
    if len(old) + len(new) > MOST_WORDS:
        old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    head = _alike(old, new)
    tail = _alike(old[head:][::-1], new[head:][::-1])
    begun, ended = old[:head], old[len(old) - tail :]
    old, new = old[head : len(old) - tail], new[head : len(new) - tail]
    pieces = [Piece("same", "".join(begun))]
    for kind, a, b, c, d in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind == "equal":
            pieces.append(Piece("same", "".join(old[a:b])))
            continue
        pieces.append(Piece("removed", "".join(old[a:b])))
        pieces.append(Piece("added", "".join(new[c:d])))
    pieces.append(Piece("same", "".join(ended)))
    return tuple(piece for piece in pieces if piece.text)


def _alike(old: list[str], new: list[str]) -> int:
    """How many words the two begin with in common: a small edit of a long text is compared in no time."""
    return next(
        (n for n, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new))
    )


def changed_leaves(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """(path, before, after) of every value that differs in two nested JSON objects; None where one has none.

    Parts of a path are joined by dots, places in lists count from 1.
    """
    old, new = dict(_leaves("", before)), dict(_leaves("", after))
    paths = [*old, *(path for path in new if path not in old)]
    return [(path, old.get(path), new.get(path)) for path in paths if old.get(path) != new.get(path)]


def _leaves(path: str, value: Any):
    if isinstance(value, Mapping):
        for name, part in value.items():
            yield from _leaves(f"{path}.{name}" if path else str(name), part)
    elif isinstance(value, (list, tuple)):
        for number, part in enumerate(value, 1):
            yield from _leaves(f"{path}.{number}", part)
    else:
        yield path, value
