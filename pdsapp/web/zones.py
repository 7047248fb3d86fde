"""Time zones as choices of a select field."""

from functools import cache
from zoneinfo import available_timezones

Groups = dict[str, dict[str, str]]


def choices(present: str | None = None, empty: str = "") -> Groups:
    """All zones by region, UTC first; the present one is always among them. `empty` offers none of them."""
    general = ({"": empty} if empty else {}) | {"UTC": "UTC"}
    if present and present not in _names():
        general[present] = present
    groups: Groups = {"General": general}
    for name in _names():
        groups.setdefault(name.partition("/")[0], {})[name] = name.replace("_", " ")
    return groups


@cache
def _names() -> tuple[str, ...]:
    names = available_timezones()
    return tuple(sorted(n for n in names if "/" in n and not n.startswith(("posix/", "right/", "Etc/"))))
