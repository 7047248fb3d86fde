"""Orders: which fault is to happen where, as files that exactly one process can take, and notes of it.

Only the standard library: this is imported by the processes that are going to be killed.
"""

import json
import os
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

FOLDER = "PDS_FAULTS_DIR"
LEASE = "PDS_FAULTS_LEASE_SECONDS"
# The seven points of an attempt, in the order it passes them.
POINTS = {
    "before_lease": "before the lease",
    "after_lease": "after the lease",
    "after_decision": "after the decision",
    "during_call": "during the model call",
    "after_result": "after its result",
    "inside_final": "inside the final transaction",
    "after_commit": "after the commit",
}
FREEZES = {
    "frozen_outside": "frozen outside a transaction, thawed after its lease",
    "frozen_inside": "frozen inside the final transaction",
}
# Whom a kill hits. The whole stack is killed from outside, while the work-horse waits at its point.
HORSE, WORKER, BOTH, STACK, FREEZE = "work-horse", "worker", "both", "whole stack", "freeze"


@dataclass(frozen=True)
class Order:
    """One fault to come: `victim` is to be hit where an attempt reaches `point`."""

    number: int
    point: str
    victim: str


@dataclass(frozen=True)
class Note:
    """What the process that takes an order leaves behind in the moment before it is hit.

    `attempts` are the UUIDs at the point, `token` is the lease's, `messages_sha256` of what was or was to
    be sent, "" before the decision. `backend` is the PostgreSQL session in the middle of its transaction.
    """

    number: int
    pid: int
    identity: str
    worker_pid: int
    worker_identity: str
    worker: str
    attempts: list[str]
    token: str = ""
    messages_sha256: str = ""
    backend: int | None = None
    at: float = field(default_factory=time.time)


def place(folder: Path, order: Order) -> None:
    """Makes an order that the first process to come by takes."""
    _write(_open(folder, order.point) / f"{order.number}.json", asdict(order))


def withdraw(folder: Path, order: Order) -> bool:
    """Whether the order could be taken back: nobody has taken it."""
    try:
        (_open(folder, order.point) / f"{order.number}.json").unlink()
    except FileNotFoundError:
        return False
    return True


def take(folder: Path, point: str) -> Order | None:
    """An order for this point, which nobody else gets any more."""
    for path in sorted(_open(folder, point).glob("*.json")):
        taken = _folder(folder, "taken") / path.name
        try:
            path.rename(taken)
        except FileNotFoundError:
            continue
        return Order(**json.loads(taken.read_text()))
    return None


def write_note(folder: Path, note: Note) -> None:
    """Leaves the note where the harness looks for it, whole or not at all."""
    _write(_folder(folder, "notes") / f"{note.number}.json", asdict(note))


def read_note(folder: Path, number: int) -> Note | None:
    """The note of an order, None while nobody has carried it out."""
    try:
        return Note(**json.loads((_folder(folder, "notes") / f"{number}.json").read_text()))
    except FileNotFoundError:
        return None


def tell(folder: Path, what: str, text: str) -> None:
    """Adds a line to a tally that every process may write to (`struck`, `violations`)."""
    with open(_folder(folder, "tallies") / what, "a") as file:
        file.write(f"{text}\n")


def told(folder: Path, what: str) -> list[str]:
    """The lines of a tally."""
    path = _folder(folder, "tallies") / what
    return path.read_text().splitlines() if path.exists() else []


def identity(pid: int) -> str:
    """A process as nothing else ever is: its number and when it started; "" when it is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if fields[0] in "ZX" else f"{pid}@{fields[19]}"


def _open(folder: Path, point: str) -> Path:
    return _folder(folder, f"open-{point}")


def _folder(folder: Path, name: str) -> Path:
    path = folder / name
    path.mkdir(exist_ok=True)
    return path


def _write(path: Path, value: dict) -> None:
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    fresh.write_text(json.dumps(value))
    fresh.rename(path)
