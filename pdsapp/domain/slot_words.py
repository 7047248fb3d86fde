"""How far a slot is that asks many twins, in words. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """A fired slot: `asked` of `wanted` twins have an attempt, `unasked` get none, `ended` attempts ended.

    `is_at_work`: attempts are still to be made, wait or run.
    """

    wanted: int
    asked: int
    ended: int
    unasked: int = 0

    @property
    def is_at_work(self) -> bool:
        return self.asked + self.unasked < self.wanted or self.ended < self.asked

    @property
    def words(self) -> str:
        """ "4,000 of 10,000 asked, 1,200 ended"; "3,996 of 10,000 asked" when nothing is at work."""
        asked = (
            f"{self.asked:,} of {self.wanted:,} asked"
            if self.asked < self.wanted
            else f"{self.asked:,} asked"
        )
        return f"{asked}, {self.ended:,} ended" if self.is_at_work else asked
