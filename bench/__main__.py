"""`make bench`: one table of what many twins cost, each figure beside its floor, under ten minutes.

`ARGS="rules"` chooses parts, of the table or others; some take minutes each, and "drain" is not cut short
there. Without ARGS the figures also go to `bench/results.json`. Set BENCH_DATABASE_URL to a PostgreSQL server
to measure there too.
"""

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator

from . import (
    clocks,
    control_room,
    data,
    drain,
    figures,
    jobs,
    large_slots,
    lateness,
    lists,
    memory,
    million,
    overhead,
    rules,
    selection,
    single_post,
    stages,
    startup,
    throughput,
)

# What gives rows of the one table, in its order.
TABLE: dict[str, Callable[[], Iterator[figures.Figure]]] = {
    "throughput": throughput.figures,
    "stages": stages.figures,
    "single-post": single_post.figures,
    "drain": drain.short_figures,
    "jobs": jobs.figures,
}
# What stands below it, as tables of its own.
BELOW: dict[str, Callable[[], Iterator[str]]] = {
    "selection": selection.lines,
    "memory": memory.lines,
    "startup": startup.lines,
}
PARTS: dict[str, Callable[[], Iterator[str]]] = {
    "rules": rules.lines,
    "clocks": clocks.lines,
    "overhead": overhead.lines,
    "lateness-short": lateness.short_lines,
    "lateness": lateness.lines,
    "lists": lists.lines,
    "control-room": control_room.lines,
    "large-slots": large_slots.lines,
    "growth": data.growth,
    "backup": data.backup,
    "move": data.moving,
    "drain": lambda: figures.table(drain.figures()),
    "growing": memory.growth_lines,
    "million": million.lines,
    "throughput-server": lambda: figures.table(throughput.on_server()),
    **BELOW,
}


def main(names: list[str]) -> int:
    """Exit code 0, or 2 for a part that does not exist."""
    known = dict.fromkeys([*TABLE, *PARTS])
    if unknown := [name for name in names if name not in known]:
        print(f"There is no part “{unknown[0]}”. Parts: {', '.join(known)}.", file=sys.stderr)
        return 2
    for name in names:
        lines = PARTS[name]() if name in PARTS else figures.table(TABLE[name]())
        _print([f"\n## {name}\n"])
        _print(lines)
    return 0 if names else _all_in_one()


def _all_in_one() -> int:
    """Exit code 0, or 1 if a part was an error; what the others have measured is written all the same."""
    results = figures.machine(os.environ.get("BENCH_DATABASE_URL"))
    _print([figures.machine_words(results), ""])
    began = time.monotonic()
    parts: dict[str, list[figures.Figure]] = {name: [] for name in TABLE}
    below: dict[str, list[str]] = {name: [] for name in BELOW}
    errors: dict[str, str] = {}
    rows = (row for name, part in TABLE.items() for row in _kept(name, part, parts[name], errors))
    _print(figures.table(rows))
    for name, part in BELOW.items():
        _print([f"\n## {name}\n"])
        _print(_kept(name, part, below[name], errors))
    results |= {"seconds": time.monotonic() - began, "load_after": os.getloadavg()[0], "errors": errors}
    results["loop_ms_after"] = figures.loop_ms()
    results |= {"parts": {name: figures.as_rows(found) for name, found in parts.items()}, "below": below}
    figures.write(results)
    after = f"load {results['load_after']:.2f}, the loop {results['loop_ms_after']:.0f} ms"
    _print(["", f"{results['seconds']:.0f} seconds; afterwards {after}."])
    _print([f"Everything measured: bench/{figures.RESULTS.name}."])
    for name, words in errors.items():
        print(f"ERROR in {name}: {words}", file=sys.stderr)
    return 1 if errors else 0


def _kept(name: str, part: Callable[[], Iterator], into: list, errors: dict[str, str]) -> Iterator:
    """Gives what a part gives, and keeps it; of a part that fails, what it gave before, and why."""
    try:
        for each in part():
            into.append(each)
            yield each
    except RuntimeError as error:
        errors[name] = str(error)


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
