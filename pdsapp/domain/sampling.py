"""Drawing many of many without a list: a uniform choice made in one walk, which can go on anywhere. Pure."""

from dataclasses import dataclass

from .randomness import KEY_SEPARATOR, Stream

WALK = "walk"
PURPOSE = "selection"


def walk_key(key: str, wanted: int) -> str:
    """The selection key of `wanted` that are drawn in a walk; that number can be read from it."""
    return f"{key}{KEY_SEPARATOR}{WALK}{KEY_SEPARATOR}{wanted}"


def wanted_of(key: str) -> int | None:
    """How many are drawn with this key in a walk; None for the key of another kind of draw."""
    *_, word, wanted = ("", "", *key.split(KEY_SEPARATOR))
    return int(wanted) if word == WALK and wanted.isdigit() else None


@dataclass
class Walk:
    """A walk along the places 0 … `of`−1 that chooses `wanted` of them, each choice being as likely.

    `seen` places were passed, `made` of them chosen: with the key, that is all it takes to go on. Each place
    takes one draw of the key's row. Source: Knuth, The Art of Computer Programming, 3.4.2, algorithm S.
    """

    key: str
    of: int
    wanted: int
    seen: int = 0
    made: int = 0

    @property
    def is_over(self) -> bool:
        """Whether all that are wanted were chosen."""
        return self.made >= self.wanted

    def passed(self, places: int, most: int | None = None) -> list[tuple[int, int]]:
        """Those chosen of the next `places`, as (place, its number among the chosen ones).

        Stops behind the one that makes it `most`, or all.
        """
        end = min(self.seen + places, self.of)
        if self.wanted >= self.of:
            end = min(end, self.seen + most) if most is not None else end
            found = [(place, place) for place in range(self.seen, end)]
            self.seen = self.made = end
            return found
        stream, found = Stream(self.key, PURPOSE, self.seen), []
        while self.seen < end and self.made < self.wanted and (most is None or len(found) < most):
            if stream.uniform() * (self.of - self.seen) < self.wanted - self.made:
                found.append((self.seen, self.made))
                self.made += 1
            self.seen += 1
        return found


def place_of(key: str, of: int, number: int) -> int | None:
    """The place of the chosen one with this number, as replay asks for it; None if there is none."""
    walk = Walk(key, of, wanted_of(key) or 0)
    found = walk.passed(of, number + 1)
    return found[number][0] if number < len(found) else None
