"""Posts by hour and weekday, as a table whose cells are shaded: for macros/chart.html."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
LEVELS = 4


@dataclass(frozen=True)
class Cell:
    """An hour of a weekday: how many posts, and how dark, 0 to LEVELS."""

    count: int
    level: int


def hours_of(counts: Sequence[Sequence[int]]) -> tuple[tuple[str, tuple[Cell, ...]], ...]:
    """Rows of (hour in words, cells) from `counts[hour][weekday]`, Monday first."""
    most = max(max(row) for row in counts)
    return tuple(
        (f"{hour:02}", tuple(Cell(count, ceil(count / most * LEVELS) if most else 0) for count in row))
        for hour, row in enumerate(counts)
    )
