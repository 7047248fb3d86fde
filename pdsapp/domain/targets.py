"""Which twins of its experiment a schedule asks: all active ones, those with a tag, or chosen ones. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

MOST_TAGS = 20
MOST_CHOSEN = 500  # what a form sends in one go; for more there are tags
EVERYBODY_WORDS = "all active twins"


class TargetError(ValueError):
    """What is stored as a target is none: somebody has written it by hand."""


@dataclass(frozen=True)
class Target:
    """Twins with any of `tags`, or the chosen `twins` (UUIDs as text); with neither, all active ones.

    Both are sorted and without doubles, so that the same target is always stored the same. The words on
    a twin count at the instant of the slot.
    """

    tags: tuple[str, ...] = ()
    twins: tuple[str, ...] = ()

    @classmethod
    def tagged(cls, tags: Iterable[str]) -> "Target":
        """Twins that have any of these tags."""
        return cls(tags=tuple(sorted(set(tags))))

    @classmethod
    def chosen(cls, uuids: Iterable[object]) -> "Target":
        """The twins with these UUIDs."""
        return cls(twins=tuple(sorted({str(uuid) for uuid in uuids})))

    @classmethod
    def from_dict(cls, value: object) -> "Target":
        """The target that was stored as JSON. Raises TargetError."""
        if not isinstance(value, Mapping) or len(value) > 1 or set(value) - {"tags", "twins"}:
            raise TargetError("Whom it asks cannot be read. Save it again.")
        for name, words in value.items():
            if not isinstance(words, list) or not words or not all(isinstance(w, str) and w for w in words):
                raise TargetError("Whom it asks cannot be read. Save it again.")
            return cls(**{name: tuple(words)})
        return cls()

    def to_dict(self) -> dict[str, Any]:
        """What is stored: {}, {"tags": […]} or {"twins": […]}."""
        if self.tags:
            return {"tags": list(self.tags)}
        return {"twins": list(self.twins)} if self.twins else {}

    @property
    def is_everybody(self) -> bool:
        """Whether all active twins are meant."""
        return not self.tags and not self.twins


EVERYBODY = Target()


def tag_words(tags: Iterable[str]) -> str:
    """ "“evening”", "“evening” or “morning”", "“a”, “b” or “c”"."""
    *most, last = [f"“{tag}”" for tag in tags]
    return f"{', '.join(most)} or {last}" if most else last


def whom_words(target: Target, names: Mapping[str, str]) -> str:
    """ "all active twins", "twins tagged “morning”", "@ada, @ben". `names` are the usernames by UUID."""
    if target.tags:
        return f"twins tagged {tag_words(target.tags)}"
    if target.twins:
        found = sorted((names[uuid] for uuid in target.twins if uuid in names), key=str.casefold)
        gone = len(target.twins) - len(found)
        words = [f"@{name}" for name in found] + ([f"{gone:,} that cannot be found"] if gone else [])
        return ", ".join(words)
    return EVERYBODY_WORDS


def asked_words(target: Target, per_slot: int | None) -> str:
    """ "3 twins", "3 twins tagged “morning”", "3 of 7 chosen twins", "each active twin": whom a slot asks,
    nothing counted. `per_slot` None is each of them."""
    if per_slot is None and not target.twins:
        return f"each twin tagged {tag_words(target.tags)}" if target.tags else "each active twin"
    per_slot = len(target.twins) if per_slot is None else per_slot
    many = "1 twin" if per_slot == 1 else f"{per_slot:,} twins"
    if target.tags:
        return f"{many} tagged {tag_words(target.tags)}"
    if not target.twins:
        return many
    chosen = len(target.twins)
    if chosen == 1:
        return "the chosen twin"
    return (
        f"all {chosen:,} chosen twins" if per_slot >= chosen else f"{per_slot:,} of {chosen:,} chosen twins"
    )


def nobody_of_target(target: Target, of_all: int) -> str:
    """Why nobody of a target can be asked: "none of the 3 chosen twins is active".

    `of_all` is how many twins the target has, whether or not they are active.
    """
    if target.tags and not of_all:
        return f"no twin has the tag {tag_words(target.tags)}"
    whom = f"tagged {tag_words(target.tags)}" if target.tags else "chosen"
    if of_all == 1:
        return f"the only twin {whom} is not active" if target.tags else "the chosen twin is not active"
    return f"none of the {of_all:,} {f'twins {whom}' if target.tags else 'chosen twins'} is active"
