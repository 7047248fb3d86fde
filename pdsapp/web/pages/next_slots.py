"""What comes next: schedules by their next slot, as rows for a template (macros/slots.html)."""

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy.orm import Session

from ...attempts.words import span_words
from ...domain.reasons import ASKING_STATES
from ...models import Experiment
from ...scheduling.cadence import zone_of
from ...services import reports_now
from .. import cadences, holds
from ..charts import OutcomeStrip, outcome_strip
from . import links


@dataclass(frozen=True)
class SlotRow:
    """A schedule's next slot. `pill` is a state that keeps it from firing, with its words, or None.

    `progress` tells how far the slot before is, where it asks very many twins and is at work.
    """

    at: datetime
    zone: ZoneInfo
    in_words: str
    schedule: str
    url: str
    cadence: str
    experiment: str
    strip: OutcomeStrip | None
    pill: tuple[str, str] | None
    progress: str = ""


def slot_rows(session: Session, experiment: Experiment | None, now: datetime, count: int) -> list[SlotRow]:
    """The schedules due next, of one experiment (with those of all) or of all; a fixed number of queries."""
    found = reports_now.next_slots(session, experiment, count)
    return [_slot(session, slot, experiment, now) for slot in found]


def _slot(
    session: Session, slot: reports_now.NextSlot, experiment: Experiment | None, now: datetime
) -> SlotRow:
    held = holds.on_schedule(session, slot.schedule)
    late = (now - slot.at).total_seconds()
    if held:
        in_words = holds.UNASKED
    elif late > 0:
        in_words = "due now" if late < 60 else f"due since {span_words(late)}"
    else:
        in_words = f"in {span_words(-late)}"
    return SlotRow(
        at=slot.at,
        zone=zone_of(slot.schedule),
        in_words=in_words,
        schedule=slot.schedule.name,
        url=links.details("schedule", slot.schedule.id),
        cadence=cadences.words_at(slot.schedule, now) or "its cadence cannot be read",
        experiment="" if experiment and slot.experiment else slot.experiment or "all experiments",
        strip=outcome_strip(slot.outcomes) if slot.outcomes else None,
        pill=_slot_pill(slot, held),
        progress=f"now: {slot.progress.words}" if slot.progress and slot.progress.is_at_work else "",
    )


def _slot_pill(slot: reports_now.NextSlot, held: tuple[holds.Hold, ...]) -> tuple[str, str] | None:
    if held:
        return "paused", held[0].pill
    if slot.experiment_state in (None, *ASKING_STATES):
        return None
    return slot.experiment_state, f"experiment {slot.experiment_state}"
