"""What starting costs: commands and processes beside the bare import of the packages they stand on.

Each is started in turns with the floor, `import flask, sqlalchemy, flask_migrate`, in a process of its own.
The figure is the median of the ratios of neighbours, so that a busy machine weighs on both.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROUNDS = 4
FLOOR = ("-c", "import flask, sqlalchemy, flask_migrate")
APPLICATION = "from pdsapp import create_app; create_app(with_web={})"
WORKER = "from pdsapp.scheduling import worker; import pdsapp.tasks, openai"
STARTED = {
    "`flask --help`": ("-m", "flask", "--help"),
    "`flask ledger --help`": ("-m", "flask", "ledger", "--help"),
    "the application without screens": ("-c", APPLICATION.format(False)),
    "a worker, before its first attempt": ("-c", f"{APPLICATION.format(False)}; {WORKER}"),
    "the application with its screens": ("-c", APPLICATION.format(True)),
}
MOST_FOR_HELP = 1.3


def lines() -> Iterator[str]:
    """The table in Markdown."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "PDS_DATA_DIR": folder, "PDS_DEMO": "0", "SECRET_KEY": "x" * 32}
        for arguments in (FLOOR, *STARTED.values()):  # compiled and in memory before anything counts
            _seconds(arguments, environment)
        yield f"| started {ROUNDS} times, in turns with the floor | median seconds | ratio to the floor |"
        yield "| --- | ---: | ---: |"
        floors = []
        rows = []
        for name, arguments in STARTED.items():
            pairs = [(_seconds(FLOOR, environment), _seconds(arguments, environment)) for _ in range(ROUNDS)]
            floors += [floor for floor, _ in pairs]
            ratio = statistics.median(own / floor for floor, own in pairs)
            rows.append(f"| {name} | {statistics.median(own for _, own in pairs):.2f} | {ratio:.2f} |")
        yield f"| floor: `import flask, sqlalchemy, flask_migrate` | {statistics.median(floors):.2f} | 1 |"
        yield from rows
    yield ""
    yield f"`flask --help` may cost {MOST_FOR_HELP} of the floor at most."


def _seconds(arguments: tuple[str, ...], environment: dict[str, str]) -> float:
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL
    )
    return time.perf_counter() - began
