"""`make bench`: prints what is measured. `ARGS="rules"` chooses one part; some run only when chosen."""

import sys

from . import clocks, control_room, data, lateness, lists, overhead, rules, throughput

PARTS = {
    "rules": rules.lines,
    "clocks": clocks.lines,
    "overhead": overhead.lines,
    "lateness-short": lateness.short_lines,
    "lateness": lateness.lines,
    "lists": lists.lines,
    "control-room": control_room.lines,
    "growth": data.growth,
    "backup": data.backup,
    "move": data.moving,
    "throughput": throughput.lines,
}
# The others take minutes each: only for those who ask.
USUAL = ("rules", "clocks", "overhead", "lateness-short")


def main(names: list[str]) -> int:
    """Exit code 0, or 2 for a part that does not exist."""
    if unknown := [name for name in names if name not in PARTS]:
        print(f"There is no part “{unknown[0]}”. Parts: {', '.join(PARTS)}.", file=sys.stderr)
        return 2
    for name in names or USUAL:
        print(f"\n## {name}\n")
        for line in PARTS[name]():
            print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
