"""`make faults`: kills and freezes real stacks again and again, and shows that nothing doubles or is lost."""

import argparse
import dataclasses
import random
import sys
from pathlib import Path

from tests.stack import watching

from . import report, show
from .plan import FULL, SMALL
from .stacks import STACKS


def main(arguments: list[str]) -> int:
    """The exit code: 0 if everything was as promised."""
    parser = argparse.ArgumentParser(prog="make faults", description=__doc__)
    parser.add_argument("--stack", choices=[*STACKS, "both"], default="both")
    parser.add_argument("--seed", type=int, help="draws the order of the faults; default: any")
    parser.add_argument("--rounds", type=int, help="kills per point and victim (7 in the full count)")
    parser.add_argument("--small", action="store_true", help="each point once, with a lease of 6 s")
    parser.add_argument("--document", type=Path, help="write the matrix between the markers of this file")
    parser.add_argument("--watchers", action="store_true", help="only: 50 people watch a stack that works")
    given = parser.parse_args(arguments)
    if given.watchers:
        return _watch()
    size = SMALL if given.small else FULL
    if given.rounds is not None:
        size = dataclasses.replace(size, rounds=given.rounds)
    seed = random.SystemRandom().randrange(1_000_000) if given.seed is None else given.seed
    kinds = STACKS.values() if given.stack == "both" else [STACKS[given.stack]]
    results = [show.run(kind, size, seed) for kind in kinds]
    command = f'make faults ARGS="{" ".join(arguments)}"' if arguments else "make faults"
    text = report.document(results, size, f"`{command}` (seed {seed})")
    print(text)
    is_full = size == FULL and len(results) == len(STACKS)
    if given.document or is_full:
        path = given.document or report.DOCUMENT
        report.write_between_markers(text, path)
        print(f"\nWritten into {path}.", file=sys.stderr)
    return int(any(result.problems for result in results))


def _watch() -> int:
    found = watching.watch(watching.FULL)
    print(found)
    for problem in found.problems:
        print(problem)
    return int(bool(found.problems))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
