"""Names that look like the one that was typed."""

from collections.abc import Iterable
from difflib import get_close_matches

MOST_NAMES = 3
MOST_COMPARED = 500


def near_names(wanted: str, names: Iterable[str], most: int = MOST_NAMES) -> tuple[str, ...]:
    """The names somebody may have meant, the likeliest first: the same word behind another maker's name
    ("gpt-4o" for "openai/gpt-4o"), one that holds the other, one with a few other letters."""
    key = wanted.casefold().strip()
    if not key:
        return ()
    known = {name.casefold(): name for name in list(names)[:MOST_COMPARED]}
    last = key.rsplit("/", 1)[-1]
    same = [fold for fold in known if fold.rsplit("/", 1)[-1] == last]
    holding = [fold for fold in known if last in fold or (len(fold) > 2 and fold in key)]
    alike = get_close_matches(key, known, n=most, cutoff=0.6)
    found = dict.fromkeys([*same, *sorted(holding, key=len), *alike])
    return tuple(known[fold] for fold in list(found)[:most])
