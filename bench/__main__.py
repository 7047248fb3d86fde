"""`make bench`: prints what is measured. `ARGS="rules"` chooses one part; some run only when chosen."""

import sys

from . import data, overhead, rules

PARTS = {
    "rules": rules.lines,
    "overhead": overhead.lines,
    "growth": data.growth,
    "backup": data.backup,
    "move": data.moving,
}
# Minutes each: only when they are asked for.
SLOW = {"growth", "backup", "move"}


def main(names: list[str]) -> int:
    """Exit code 0, or 2 for a part that does not exist."""
    if unknown := [name for name in names if name not in PARTS]:
        print(f"There is no part “{unknown[0]}”. Parts: {', '.join(PARTS)}.", file=sys.stderr)
        return 2
    for name in names or [name for name in PARTS if name not in SLOW]:
        print(f"\n## {name}\n")
        for line in PARTS[name]():
            print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
