"""Draws for the offline writer: everything random comes from one key, so a key gives one text."""

from collections.abc import Sequence
from typing import TypeVar

from ...domain.randomness import Stream

T = TypeVar("T")


class Dice:
    """An endless row of draws belonging to one key."""

    def __init__(self, key: str):
        self._stream = Stream(key, "offline-writer")

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self._stream.uniform() < probability

    def pick(self, items: Sequence[T]) -> T:
        """One of them, each as likely. Raises ValueError if there are none."""
        return items[self._stream.below(len(items))]

    def pick_weighted(self, items: Sequence[T], weights: Sequence[float]) -> T:
        """One of them, as likely as its weight says; the last if all weights are 0."""
        point = self._stream.uniform() * sum(weights)
        for item, weight in zip(items, weights, strict=True):
            if point < weight:
                return item
            point -= weight
        return items[-1]
