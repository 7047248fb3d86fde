"""What people may type into names, texts and parameters. Every door checks with these."""

import json
import re
import unicodedata
from collections.abc import Iterable
from itertools import groupby
from typing import Any

from ..domain.call_limits import Bound
from ..domain.cron import CadenceError, parse_zone
from ..errors import BadInput

PERSONA_LIMIT = 20_000
POST_LIMIT = 280
PARAMETERS_LIMIT = 2_000
MOST_TAGS = 20  # of one twin
_USERNAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,28}[A-Za-z0-9_])?")
MOST_MARKS = 30  # in a row, as in Unicode's stream-safe texts: putting more in order takes the square of them
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_DIRECTION = re.compile(r"[\u202a-\u202e\u2066-\u2069]")
_BLANK_LETTERS = frozenset("\u115f\u1160\u2800\u3164\uffa0")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")

PARAMETERS: dict[str, tuple[type, float, float]] = {
    "temperature": (float, 0, 2),
    "top_p": (float, 0, 1),
    "frequency_penalty": (float, -2, 2),
    "presence_penalty": (float, -2, 2),
    "max_tokens": (int, 1, 100_000),
    "seed": (int, -(2**53), 2**53),
}


def clean_text(text: str | None, field: str, limit: int, required: bool = True) -> str:
    """The text in NFC, with LF as line ends, trimmed.

    Raises BadInput when there is nothing to see in it, when it is too long, and on control characters.
    """
    text = (text or "").replace("\r\n", "\n").replace("\r", "\n").strip()
    if len(text) > 4 * limit:  # longer in NFC too
        raise _too_long(text, field, limit)
    if found := _CONTROL.search(text):
        raise BadInput(f"Remove the control character U+{ord(found[0]):04X}.", field)
    if _has_heap_of_marks(text):
        raise BadInput(f"Remove accents and other marks: at most {MOST_MARKS} fit on one letter.", field)
    text = unicodedata.normalize("NFC", text).strip()
    if required and not any(map(_is_seen, text)):
        raise BadInput("This must not be empty.", field)
    if len(text) > limit:
        raise _too_long(text, field, limit)
    return text


def clean_line(text: str | None, field: str, limit: int, required: bool = True) -> str:
    """Like `clean_text`, on one line and without what would turn the words of a sentence around it.

    Raises BadInput on controls of direction too: such a line stands in sentences, choices, titles, terminals
    and spreadsheets, and not all of these can keep its direction to itself. Marks that letters need may stay.
    """
    text = clean_text(text, field, limit, required)
    if found := _DIRECTION.search(text):
        code = f"U+{ord(found[0]):04X}"
        raise BadInput(f"Remove the character {code}: it turns the words around it.", field)
    return " ".join(text.split())


def clean_username(text: str | None, field: str = "username") -> str:
    """A username without @. Raises BadInput with the rule."""
    text = clean_line(text, field, 31).removeprefix("@")
    if not _USERNAME.fullmatch(text):
        raise BadInput(
            "Use 1 to 30 letters a–z, digits, _ . or -, a letter or digit first. Example: maya_reads",
            field,
        )
    return text


def username_key(username: str) -> str:
    """What makes two usernames the same."""
    return username.casefold()


def clean_zone(text: str | None, field: str = "zone") -> str:
    """An IANA time zone. Raises BadInput with the right spelling where it is near."""
    try:
        return parse_zone((text or "").strip())
    except CadenceError as error:
        raise BadInput(str(error), field) from None


def clean_email(text: str | None, field: str = "email") -> str:
    """An e-mail address in lower case. Raises BadInput."""
    text = clean_line(text, field, 254).lower()
    if not _EMAIL.fullmatch(text):
        raise BadInput("This is not an e-mail address. Example: ada@example.org", field)
    return text


def clean_tags(given: str | Iterable[str], field: str = "tags", most: int | None = None) -> tuple[str, ...]:
    """Tags, each once and in order: of a text with commas between them, or of several. Raises BadInput."""
    words = given.split(",") if isinstance(given, str) else given
    found = {clean_line(tag, field, 40) for tag in words if tag.strip()}
    if most is not None and len(found) > most:
        raise BadInput(f"Use at most {most} tags.", field)
    return tuple(sorted(found))


def clean_bound(value: str | int | None, bound: Bound) -> int | None:
    """The whole number of one of a token's limits; None for nothing and for “none”. Raises BadInput."""
    text = str("" if value is None else value).strip().replace(",", "").replace("\u202f", "")
    if text.lower() in ("", "none"):
        return None
    if not text.isascii() or not text.isdigit() or not bound.least <= int(text[:20]) <= bound.most:
        raise BadInput(
            f"Write a whole number from {bound.least:,} to {bound.most:,}, for example {bound.example:,}; "
            "leave it empty, or write none, for no limit.",
            bound.field,
        )
    return int(text)


def clean_parameters(value: str | dict[str, Any] | None, field: str = "parameters") -> dict[str, Any]:
    """Model parameters from `temperature=0.8, max_tokens=300`, JSON or a dict. Raises BadInput.

    Known: temperature 0–2, top_p 0–1, frequency_penalty and presence_penalty −2–2, max_tokens, seed.
    """
    if isinstance(value, str) and len(value) > PARAMETERS_LIMIT:
        raise BadInput(f"This has {len(value):,} characters; at most {PARAMETERS_LIMIT:,} fit.", field)
    given = _parse(value, field) if isinstance(value, str) else dict(value or {})
    found: dict[str, Any] = {}
    for name, raw in given.items():
        if name not in PARAMETERS:
            shown = "".join(c for c in str(name) if c.isprintable())[:40]
            raise BadInput(f"“{shown}” is not a parameter. Known: {', '.join(PARAMETERS)}.", field)
        kind, low, high = PARAMETERS[name]
        try:
            number = kind(str(raw))
        except ValueError:
            raise BadInput(f"{name} must be a number. Example: {name}={low}", field) from None
        if not low <= number <= high:
            raise BadInput(f"{name} must be between {low} and {high}.", field)
        found[name] = number
    return found


def parameters_words(parameters: dict[str, Any] | None) -> str:
    """The parameters as they are typed: `temperature=0.8, max_tokens=300`."""
    return ", ".join(f"{name}={value}" for name, value in (parameters or {}).items())


def _too_long(text: str, field: str, limit: int) -> BadInput:
    return BadInput(f"This has {len(text):,} characters; at most {limit:,} fit.", field)


def _has_heap_of_marks(text: str) -> bool:
    if text.isascii():
        return False
    heaps = groupby(text, lambda character: unicodedata.combining(character) != 0)
    return any(is_mark and sum(1 for _ in heap) > MOST_MARKS for is_mark, heap in heaps)


def _is_seen(character: str) -> bool:
    """Whether there is something to see of it; of spaces, joiners and fillers there is not."""
    return unicodedata.category(character)[0] not in "ZCM" and character not in _BLANK_LETTERS


def _parse(text: str, field: str) -> dict[str, Any]:
    text = text.strip()
    if text.startswith("{"):
        try:
            return dict(json.loads(text))
        except (ValueError, RecursionError):
            raise BadInput(
                "This is not JSON. Write for example: temperature=0.8, max_tokens=300", field
            ) from None
    parts = [part for part in re.split(r"[,\n]", text) if part.strip()]
    pairs = [part.partition("=") for part in parts]
    if any(not sep for _, sep, _ in pairs):
        raise BadInput(
            "Write name=value, separated by commas. Example: temperature=0.8, max_tokens=300", field
        )
    return {name.strip(): value.strip() for name, _, value in pairs}
