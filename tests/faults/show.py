"""One run of one stack from beginning to end: start, disturb, let it come to rest, count, stop."""

import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flask_migrate import upgrade

from pdsapp import create_app
from pdsapp.extensions import db
from pdsapp.services.database import prepare

from . import checks, scene
from .director import Director
from .plan import Size, make_plan
from .report import Result
from .stacks import ROOT, Deployed, Stack, wait_for

SLOTS_SECONDS = 600
REST_SECONDS = 240
STOP_SECONDS = 30


def run(kind: type[Stack], size: Size, seed: int) -> Result:
    """The result of one run. What the run made is removed, unless something was not as promised."""
    folder = Path(tempfile.mkdtemp(prefix="dt-faults-", dir="/tmp"))
    stack = kind(folder, size.workers, size.schedulers, size.lease_seconds)
    began = time.monotonic()
    with stack.database(), model_server(folder / "calls", seed) as url, application(stack):
        result = _run(stack, size, seed, url, began)
    if result.problems:
        print(f"The logs of this run are kept in {folder}.", file=sys.stderr)
    else:
        shutil.rmtree(folder)
    return result


def _run(stack: Stack, size: Size, seed: int, model_url: str, began: float) -> Result:
    settings = stack.settings()
    scene.seed(settings, model_url, size.twins, size.schedules)
    keeper = stack.make_keeper()
    director = Director(stack, settings, make_plan(size, random.Random(seed)), size, seed)
    try:
        keeper.start()
        director.wait_until_up()
        scene.switch_schedules(True)
        until = time.monotonic() + SLOTS_SECONDS
        while not director.is_done or (scene.slot_count() < size.slots and time.monotonic() < until):
            director.turn()
            time.sleep(0.1)
        director.is_posting = False
        scene.switch_schedules(False)
        wait_for(lambda: not scene.waiting_count(), REST_SECONDS, "rest", keeper.tick)
        code, words = checks.ledger_output(stack)
        wait = checks.DUE_AGAIN_SECONDS if size.lease_seconds is None else size.lease_seconds + 30
        problems = list(checks.problems(stack, director.faults, stack.folder / "calls", wait))
        if code != 0:
            problems.append(f"flask ledger ends with {code}: {words}")
        if scene.slot_count() < size.slots:
            problems.append(f"Only {scene.slot_count()} slots were due.")
        problems += stop(stack)
    finally:
        director.thaw()
        keeper.sweep()
    return Result(
        stack.words, checks.tallies(director.faults), checks.facts(stack), words, problems,
        time.monotonic() - began,
    )  # fmt: skip


def stop(stack: Stack) -> Iterator[str]:
    """Stops everything in good order, the queue server last; what did not go as it should."""
    for kept in reversed(stack.keeper.kept):
        kept.end(signal.SIGTERM, STOP_SECONDS)
        if kept.exits[-1].code != 0:
            yield f"{kept.name} ended with {kept.exits[-1].code} when it was asked to stop."
    if left := stack.keeper.wait_until_gone(5):
        yield f"{len(left)} processes of the run are left."


@contextmanager
def application(stack: Stack) -> Iterator[None]:
    """The harness's own application on this stack's database, which is brought to head first."""
    app = create_app(stack.settings(), with_web=False)
    with app.app_context():
        if isinstance(stack, Deployed):
            upgrade()
        prepare(app)
        try:
            yield
        finally:
            db.session.remove()
            db.engine.dispose()


@contextmanager
def model_server(calls: Path, seed: int) -> Iterator[str]:
    calls.touch()
    with subprocess.Popen(
        [sys.executable, "-m", "tests.faults.model", str(calls), str(seed)],
        cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True,
    ) as process:  # fmt: skip
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()
