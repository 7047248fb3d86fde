"""Which faults are to happen, in a random order that the seed decides."""

import random
from dataclasses import dataclass

from .orders import BOTH, FREEZE, FREEZES, HORSE, POINTS, STACK, WORKER, Order

# Faults that do not wait for an attempt to come by, and how they are told.
OUTSIDE = {
    "worker_frozen": "worker frozen, its work-horse running on",
    "scheduler_killed": "scheduler killed",
    "leader_frozen": "leading scheduler frozen until another led, then thawed",
    "queue_killed": "queue server killed",
    "queue_flushed": "queue emptied (FLUSHALL)",
    "queue_stopped": "queue server stopped for a while (SIGSTOP)",
    "socket_deleted": "queue server's socket file deleted",
    "lock_deleted": "schedulers' lock deleted, again and again",
}
EXCLUSIVE = ("frozen_inside", "worker_frozen", "leader_frozen", "queue_stopped", "socket_deleted")
WORDS = {**POINTS, **FREEZES, **OUTSIDE}


@dataclass(frozen=True)
class Size:
    """How much is done in one run of one stack. `lease_seconds` None: the product's own.

    `rounds`: at each point, each of work-horse, worker and both is killed so often. `stacks`: so often the
    whole stack is killed at each of the first `stack_points` points. `outside`: so often each other fault
    but those in `skips`. `at_once`: how many faults may be waiting to happen; `together`: how many posts are
    asked for at a time.
    """

    rounds: int
    stacks: int = 1
    stack_points: int = len(POINTS)
    freezes: int = 2
    outside: int = 3
    workers: int = 8
    schedulers: int = 3
    schedules: int = 120
    twins: int = 240
    slots: int = 500
    skips: tuple[str, ...] = ()
    at_once: int = 3
    together: int = 6
    queue_stop_seconds: float = 60
    pause_seconds: float = 2.0
    lease_seconds: float | None = None


FULL = Size(rounds=7)
# Each point once, victims in turn; the whole stack once.
SMALL = Size(
    rounds=0, stacks=1, stack_points=1, freezes=1, outside=1, skips=("worker_frozen",),
    workers=2, schedulers=2, schedules=20, twins=60, slots=0, at_once=4, together=3, queue_stop_seconds=3,
    pause_seconds=0.3, lease_seconds=5,
)  # fmt: skip


def make_plan(size: Size, dice: random.Random) -> list[Order]:
    """The orders of a run. Those frozen outside a transaction come first: they take the length of a lease."""
    kills = [(point, victim) for point in POINTS for victim in (HORSE, WORKER, BOTH) * size.rounds]
    if not size.rounds:
        turns = (HORSE, WORKER, BOTH)
        kills = [(point, turns[number % 3]) for number, point in enumerate(POINTS)]
    points = list(POINTS)
    dice.shuffle(points)
    kills += [(point, STACK) for point in points[: size.stack_points] for _ in range(size.stacks)]
    kills += [("frozen_inside", FREEZE)] * size.freezes
    kills += [(name, "") for name in OUTSIDE if name not in size.skips for _ in range(size.outside)]
    dice.shuffle(kills)
    kills = [("frozen_outside", FREEZE)] * size.freezes + kills
    return [Order(number, point, victim) for number, (point, victim) in enumerate(kills, 1)]


def is_exclusive(order: Order) -> bool:
    """Whether nothing else may be going on: it would be hit as well, and prove nothing any more."""
    return order.victim == STACK or order.point in EXCLUSIVE
