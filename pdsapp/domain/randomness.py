"""Keyed randomness: the same key gives the same numbers on every machine, for ever.

A stream is SHA-256 over the key parts and a counter, so a stored key is all that replay needs.
It does not depend on Python's own generator, whose methods may change between versions.
"""

import hashlib
from collections.abc import Iterator

KEY_SEPARATOR = "|"


def key_of(*parts: object) -> str:
    """A readable key: the parts' texts joined with `|`. Parts must not contain `|` themselves."""
    return KEY_SEPARATOR.join(str(part) for part in parts)


class Stream:
    """An endless row of independent draws belonging to one key and one purpose.

    The purpose keeps, say, the draw and the length of one attempt apart although they share a key. `first`
    is how many draws of the row are left out.
    """

    def __init__(self, key: str, purpose: str, first: int = 0):
        self.key = key
        self.purpose = purpose
        self._counter = first

    def _word(self) -> int:
        text = f"{self.purpose}\x1f{self.key}\x1f{self._counter}"
        self._counter += 1
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")

    def uniform(self) -> float:
        """A float uniform in [0, 1): 53 random bits, as many as a float holds."""
        return (self._word() >> 11) / (1 << 53)

    def below(self, n: int) -> int:
        """An integer uniform in 0 … n−1, without modulo bias. Raises ValueError if n < 1."""
        if n < 1:
            raise ValueError("below() needs n >= 1")
        limit = (1 << 64) - (1 << 64) % n
        while (word := self._word()) >= limit:
            pass
        return word % n

    def distinct_below(self, n: int) -> Iterator[int]:
        """The integers 0 … n−1 in uniformly random order, lazily (a sparse Fisher–Yates shuffle).

        Taking the first k is a uniform choice of k distinct ones at O(k) time and memory.
        """
        moved: dict[int, int] = {}
        for i in range(n):
            j = i + self.below(n - i)
            yield moved.get(j, j)
            moved[j] = moved.get(i, i)
            moved.pop(i, None)
