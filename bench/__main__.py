"""`make bench`: one table of what many twins cost, each figure beside its floor, under ten minutes.

`ARGS="rules"` chooses parts, of the table or others; some take minutes each, and "drain" is not cut short
there. Without ARGS the figures also go to `bench/results.json`, and the drains share what is left of the ten
minutes. Set BENCH_DATABASE_URL to a PostgreSQL server to measure there too.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack

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
    servers,
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
    "jobs": jobs.figures,
    "drain": lambda: drain.figures(_seconds_for_drains()),
}
# What stands below it, as tables of its own. They are measured side by side: they are of memory, or in turns
# with their floor.
BELOW: dict[str, Callable[[], Iterator[str]]] = {
    "selection": selection.lines,
    "memory": memory.lines,
    "startup": startup.lines,
}
LONGEST_SECONDS, BELOW_SECONDS = 600, 240
BEGAN = time.monotonic()
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
    parts: dict[str, list[figures.Figure]] = {name: [] for name in TABLE}
    seconds: dict[str, float] = {}
    errors: dict[str, str] = {}
    rows = (row for name in TABLE for row in _kept(name, parts[name], seconds, errors))
    _print(figures.table(rows))
    results["load_after"] = os.getloadavg()[0]
    below = _side_by_side(seconds, errors)
    results |= {"seconds": time.monotonic() - BEGAN, "seconds_by_part": seconds, "errors": errors}
    results["loop_ms_after"] = figures.loop_ms()
    results |= {"parts": {name: figures.as_rows(found) for name, found in parts.items()}, "below": below}
    figures.write(results)
    after = f"load {results['load_after']:.2f}, the loop {results['loop_ms_after']:.0f} ms"
    _print(["", f"{results['seconds']:.0f} seconds; afterwards {after}."])
    _print([f"Everything measured: bench/{figures.RESULTS.name}."])
    for name, words in errors.items():
        print(f"ERROR in {name}: {words}", file=sys.stderr)
    return 1 if errors else 0


def _seconds_for_drains() -> float:
    """How long the drains may take together, so that all ends within ten minutes."""
    return LONGEST_SECONDS - BELOW_SECONDS - (time.monotonic() - BEGAN)


def _kept(
    name: str, into: list[figures.Figure], seconds: dict[str, float], errors: dict[str, str]
) -> Iterator[figures.Figure]:
    """Gives what a part gives, and keeps it; of a part that fails, what it gave before, and why."""
    began = time.monotonic()
    try:
        for each in TABLE[name]():
            into.append(each)
            yield each
    except RuntimeError as error:
        errors[name] = str(error)
    seconds[name] = time.monotonic() - began


def _side_by_side(seconds: dict[str, float], errors: dict[str, str]) -> dict[str, list[str]]:
    """The lines of what stands below the table, each part in a process of its own; prints them too."""
    began = time.monotonic()
    found = {}
    with ExitStack() as stack:
        command = (sys.executable, "-m", "bench")
        running = {
            name: subprocess.Popen((*command, name), cwd=servers.ROOT, stdout=subprocess.PIPE, text=True)
            for name in BELOW
        }
        for process in running.values():
            stack.enter_context(servers.ended(process))
        for name, process in running.items():
            said, _ = process.communicate()
            _print([said.rstrip("\n")])
            found[name] = said.splitlines()[3:]  # without its heading
            seconds[name] = time.monotonic() - began
            if process.returncode:
                errors[name] = f"it ended with {process.returncode}; what it said stands above."
    return found


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
