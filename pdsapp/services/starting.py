"""Starting several drafts, with their schedules: what stands in the way of each, then each by itself."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from ..config import Settings
from ..domain.reasons import ExperimentState
from ..errors import BadInput
from ..models import Account, Experiment, Schedule
from . import lifecycle, pauses, schedules
from .start_checks import CheckLine, CheckState, Place, blocking, checklist, to_accept

MOST_STARTED = 50  # each costs its checklist and the counts of its rehearsal


@dataclass(frozen=True)
class Outlook:
    """A draft before its start: its checklist, and those of its schedules that are off."""

    experiment: Experiment
    lines: list[CheckLine]
    off: list[Schedule]

    @property
    def verdict(self) -> CheckState:
        """`missing` where it cannot start, `look` where something has to be accepted, else `ready`."""
        if blocking(self.lines):
            return CheckState.missing
        return CheckState.look if to_accept(self.lines) else CheckState.ready


@dataclass(frozen=True)
class Start:
    """What a start did, and the schedules that were switched on with it."""

    effect: lifecycle.Effect
    switched_on: list[Schedule]


def outlooks(
    session: Session,
    drafts: Sequence[Experiment],
    settings: Settings,
    now: datetime,
    *,
    switches_on: bool,
    account: Account | None = None,
) -> list[Outlook]:
    """What `start` would find of each, in their order; one query, and a checklist for each. Reads only."""
    off = defaultdict(list)
    for schedule in session.scalars(_off([draft.id for draft in drafts])):
        off[schedule.experiment_id].append(schedule)
    found = []
    for draft in drafts:
        own = off[draft.id]
        broken = [line for line in (_line(each, now, account) for each in own) if line] if switches_on else []
        switched_on = len(own) - len(broken) if switches_on else 0
        found.append(Outlook(draft, [*checklist(session, draft, settings, now, switched_on), *broken], own))
    return found


def start(
    session: Session,
    experiment: Experiment,
    settings: Settings,
    now: datetime,
    *,
    switches_on: bool,
    archives_rehearsal: bool = True,
    accepts_warnings: bool = False,
    account: Account | None = None,
) -> Start:
    """As `lifecycle.start`; with `switches_on` its schedules that are off are enabled first.

    The caller commits, then shows the queue what was switched on. Raises BadInput as `lifecycle.start` does,
    and for a schedule that cannot be enabled; the caller then rolls back what was enabled before.
    """
    pauses.hold(session, experiment)  # before any schedule is locked, as every start does
    switched_on = []
    if switches_on and experiment.state == ExperimentState.draft:
        locked = _off([experiment.id]).with_for_update(of=Schedule)
        for schedule in session.scalars(locked.execution_options(populate_existing=True)).all():
            try:
                schedules.enable(session, schedule, now, account)
            except BadInput as error:
                raise BadInput(f"{_title(schedule)} {_cannot(error)}", "checks") from None
            switched_on.append(schedule)
    effect = lifecycle.start(
        session, experiment, settings, now, account=account,
        archives_rehearsal=archives_rehearsal, accepts_warnings=accepts_warnings,
    )  # fmt: skip
    return Start(effect, switched_on)


def _off(keys: Sequence[int]) -> Select[tuple[Schedule]]:
    query = select(Schedule).where(
        Schedule.experiment_id.in_(keys), Schedule.is_enabled.is_(False), Schedule.is_archived.is_(False)
    )
    return query.order_by(Schedule.id)


def _line(schedule: Schedule, now: datetime, account: Account | None) -> CheckLine | None:
    """That a schedule cannot be switched on; None for one that can."""
    try:
        schedules.check_can_run(schedule, now, account)
    except BadInput as error:
        words = f"It {_cannot(error)} Mend it, archive it, or start without switching schedules on."
        return CheckLine(CheckState.missing, _title(schedule), words, Place.schedule, schedule.id)
    return None


def _title(schedule: Schedule) -> str:
    return f"Schedule “{schedule.name}”"


def _cannot(error: BadInput) -> str:
    return f"cannot be switched on: {error}"
