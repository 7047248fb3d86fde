"""What stands in a cell of a list, a fact of a page, a field of an export.

Everything a person typed goes through the templates' macros or `Markup.format`, which escape it.
"""

from datetime import datetime
from enum import Enum
from typing import Any
from zoneinfo import ZoneInfo

from flask import get_template_attribute
from markupsafe import Markup

from ..services.tables import guarded

MOST_NAMED = 6  # a flash travels in a cookie, which has little room
COMMA = Markup(", ")  # between links


def pill(state: Any, words: str | None = None) -> Markup:
    """A state as word, glyph and colour."""
    return get_template_attribute("macros/state.html", "pill")(state, words)


def experiment_pill(state: Any, words: str | None = None) -> Markup:
    """The state of an experiment."""
    return get_template_attribute("macros/state.html", "experiment_pill")(state, words)


def stand_in() -> Markup:
    """The label of a text by the offline writer."""
    return get_template_attribute("macros/state.html", "stand_in")()


def rehearsal() -> Markup:
    """The label of what was tried out before the start of its experiment."""
    return get_template_attribute("macros/state.html", "rehearsal")()


def yes_no(value: bool, yes: str = "yes", no: str = "no") -> Markup:
    """A tick with a word, or a quiet word."""
    return get_template_attribute("macros/state.html", "yes_no")(value, yes, no)


def time(at: datetime | None, zone: ZoneInfo, form: str = "minute") -> Markup:
    """A time with its zone; a dash for none."""
    return get_template_attribute("macros/time.html", "time")(at, zone, form)


def moment(at: datetime | None, zone: ZoneInfo) -> Markup:
    """A time of day with its zone, its day quieter below it."""
    return two_lines(time(at, zone, "clock"), time(at, zone, "day"))


def link(url: str, text: str) -> Markup:
    """A link with this text."""
    return Markup('<a href="{}">{}</a>').format(url, text)


def first_of(names: list, most: int = MOST_NAMED, comma: str | Markup = ", ") -> str | Markup:
    """The first of these names, and how many more there are; of links with COMMA between them."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return comma.join(names[:most]) + more


def zone(name: str) -> Markup:
    """A zone's name that breaks between its parts, if it has to, and not within one."""
    return Markup("/<wbr>").join(name.split("/"))


def sub(text: str) -> Markup:
    """Quieter words below or beside others."""
    return Markup('<span class="sub">{}</span>').format(text)


def two_lines(first: str | Markup, second: str | Markup) -> str | Markup:
    """The first, with the second quieter below it; the first alone if there is no second."""
    return Markup('{}<br><span class="sub">{}</span>').format(first, second) if second else first


def with_reason(state: Markup, reason: str) -> Markup:
    """A state with a sentence below it, which gets the room a sentence needs."""
    return Markup('{}<div class="sub reason">{}</div>').format(state, reason) if reason else state


def clip(text: str) -> Markup:
    """A text cut to its line by the style sheet; the whole of it is there."""
    return Markup('<span class="clip" dir="auto">{}</span>').format(text)


def preformatted(text: str) -> Markup:
    """A text with its line breaks."""
    return Markup('<div class="said" dir="auto">{}</div>').format(text)


def parts(*cells: str | Markup) -> Markup:
    """Several cells beside each other."""
    return Markup(" ").join(cell for cell in cells if cell)


def lines(texts: list[str]) -> Markup:
    """Several short texts, one below the other."""
    return Markup('<div class="brief">{}</div>').format(Markup("<br>").join(texts))


def csv_value(value: Any) -> str:
    """A value as a spreadsheet may read it: never as a formula, times in UTC with their zone."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    return guarded(str(value.value if isinstance(value, Enum) else value))
