"""The clock of the whole local stack is set by an hour either way while it works.

Every process of the stack sees the stepped clock, as on a machine whose clock is set; what the harness counts
with is the database.
"""

import subprocess

import pytest
from sqlalchemy import func, select

from pdsapp.database import reading
from pdsapp.domain.reasons import SlotKind, Trigger
from pdsapp.models import Attempt, Experiment, LostLease, Slot

from . import checks, scene, show
from .processes import Keeper
from .stacks import FLASK, ROOT, Embedded, wait_for

HOUR = 3600
TOGETHER = 4
WORKED_OFF_SECONDS = 60
SCHEDULES = 20


def ask(keeper: Keeper, experiment: str) -> None:
    """As a person at the stack's machine: some twins post now, through the queue."""
    command = ["generate-dt-post", "--experiment", experiment, "--count", str(TOGETHER), "--force", "--queue"]
    subprocess.run([*FLASK, *command], cwd=ROOT, env=keeper.environment, check=True, timeout=60)


def by_hand():
    """Of what was asked by hand: {state: how many}."""
    with reading() as session:
        asked = select(Attempt.state, func.count()).where(Attempt.trigger != Trigger.schedule)
        return {state.value: number for state, number in session.execute(asked.group_by(Attempt.state))}


def has_come_to_rest(keeper: Keeper):
    """Waits until nothing asked by hand is left to do."""
    wait_for(
        lambda: not by_hand().keys() & {"due", "running"}, WORKED_OFF_SECONDS, "what was asked", keeper.tick
    )


def slots_by_kind():
    with reading() as session:
        kinds = select(Slot.kind, func.sum(Slot.slot_count)).group_by(Slot.kind)
        return {kind: int(number) for kind, number in session.execute(kinds)}


@pytest.mark.stack
@pytest.mark.parametrize("steps", [(HOUR, 0), (-HOUR, 0)], ids=["forward and back", "back and forward"])
def test_with_the_clock_set_by_an_hour_what_is_asked_is_posted_once_and_the_sums_hold(
    other_clock, tmp_path_factory, steps
):
    folder = tmp_path_factory.mktemp("clocked")
    stack = Embedded(folder, workers=2, schedulers=2, lease_seconds=None)
    stack.environment |= other_clock.environment
    with stack.database(), show.model_server(folder / "calls", 1) as url, show.application(stack):
        scene.seed(stack.settings(), url, twins=60, schedule_count=SCHEDULES)
        with reading() as session:
            experiment = session.scalars(select(Experiment.identifier)).one()
        keeper = stack.make_keeper()
        try:
            keeper.start()
            wait_for(lambda: len(scene.live_beats("worker")) >= 2, 60, "the stack", keeper.tick)
            scene.switch_schedules(True)
            wait_for(lambda: scene.slot_count() >= 5, 60, "slots", keeper.tick)
            for seconds in steps:
                ask(keeper, experiment)  # these are at work while the clock is set
                other_clock.set_ahead(seconds)
                ask(keeper, experiment)
                has_come_to_rest(keeper)
            scene.switch_schedules(False)
            wait_for(lambda: not scene.waiting_count(), WORKED_OFF_SECONDS, "rest", keeper.tick)
            code, words = checks.ledger_output(stack)
            problems = [*checks.problems(stack, [], folder / "calls", 0), *show.stop(stack)]
        finally:
            keeper.sweep()
        assert (code, problems) == (0, []), words
        assert by_hand() == {"posted": 2 * len(steps) * TOGETHER}
        with reading() as session:
            lost = session.scalars(select(LostLease)).all()
        told = [f"{r.worker} {r.stage} {r.claimed_at} {r.lease_until} {r.taken_back_at}" for r in lost]
        assert told == [], (folder / "app.log").read_text() + (folder / "scheduler-2.log").read_text()
        # An hour ahead each schedule has missed about sixty slots: they stay told once on the way back.
        missed = slots_by_kind().get(SlotKind.missed, 0)
        assert SCHEDULES * 55 <= missed <= SCHEDULES * 62 if HOUR in steps else missed < SCHEDULES
    assert "no sign of life" not in (folder / "app.log").read_text()
    assert {entry.code for kept in keeper.kept for entry in kept.exits} == {0}
