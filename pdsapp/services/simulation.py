"""What a slot of a schedule would do: whom it draws, when each begins, how each would decide. Reads only."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload

from .. import grants
from ..attempts.big_draws import BigDraw, Cursor, next_piece
from ..attempts.preview import Preview, preview
from ..attempts.selection import installation_seed, slot_key
from ..config import Settings
from ..domain import cron
from ..domain.cron import CadenceError
from ..domain.jitter import delay_of
from ..domain.randomness import key_of
from ..domain.targets import Target
from ..dt_service import DTService, draw_for
from ..errors import BadInput
from ..models import DigitalTwin, Schedule
from ..scheduling.cadence import cadence_of, check_values
from ..scheduling.pauses import nobody_words

MOST_DECIDED = 20
PURPOSE = "simulation"
PART_SEEN = (
    "This schedule asks all experiments, and you see some of them only: its draw cannot be shown. Ask an "
    "administrator to simulate it."
)


@dataclass(frozen=True)
class Asked:
    """A twin that would be drawn: its place in the draw, when its attempt would begin, its decision then."""

    twin_id: int
    ordinal: int
    rank: int
    begins_at: datetime
    preview: Preview


@dataclass(frozen=True)
class Simulation:
    """A slot that was not stored. `asked` holds the first MOST_DECIDED of `asked_count` twins.

    `nobody` is the sentence that says why none would be drawn, or "".
    """

    slot_at: datetime
    candidate_count: int
    asked_count: int
    asked: tuple[Asked, ...]
    nobody: str = ""


def simulate(
    session: Session, schedule: Schedule, at: datetime, service: DTService, settings: Settings
) -> Simulation:
    """The first slot at or after `at`, with the twins of now. Raises BadInput where there is none.

    Its twins and delays are those the slot will have if the active twins stay the same; its draws are not:
    an attempt draws with a key of its own, which does not exist yet. Also raises BadInput for a schedule of
    all experiments where only some are seen: it would draw among a part of its twins.
    """
    if schedule.experiment_id is None and grants.is_limited():
        raise BadInput(PART_SEEN)
    try:
        slot_at = cron.next_slot(cadence_of(schedule), at - timedelta.resolution)
        check_values(schedule)
    except CadenceError as error:
        raise BadInput(str(error)) from None
    if slot_at is None:
        raise BadInput("No slot is due then or later. Choose an earlier time.", "at")
    key = slot_key(installation_seed(session), schedule.uuid, slot_at)
    picks = draw_for(service, session, schedule.experiment, schedule, key)
    if isinstance(picks, BigDraw):
        asked_count = picks.wanted
        target = Target.from_dict(schedule.target)
        picks = next_piece(session, picks, target, Cursor(), MOST_DECIDED).picks
    else:
        asked_count = len(picks)
    if not picks:
        return Simulation(slot_at, 0, 0, (), nobody_words(session, schedule))
    shown = picks[:MOST_DECIDED]
    query = (
        select(DigitalTwin)
        .options(joinedload(DigitalTwin.experiment), joinedload(DigitalTwin.user_profile))
        .where(DigitalTwin.id.in_([pick.twin_id for pick in shown]))
    )
    twins = {twin.id: twin for twin in session.scalars(query)}
    asked = []
    for pick in shown:
        delay = delay_of(pick.key, pick.ordinal, schedule.jitter_seconds)
        begins_at = slot_at + timedelta(seconds=delay)
        made = preview(
            session, twins[pick.twin_id], service, settings, key_of(key, PURPOSE, pick.ordinal), begins_at,
            schedule.is_forced, schedule,
        )  # fmt: skip
        asked.append(Asked(pick.twin_id, pick.ordinal, pick.rank, begins_at, made))
    return Simulation(slot_at, picks[0].candidate_count, asked_count, tuple(asked))
