"""What the screen of schedules says of one: its state, its times, and why there is nothing to pause."""

import re
from collections import Counter
from typing import Any

from flask import get_template_attribute
from markupsafe import Markup

from ..domain.days import day_text
from ..domain.reasons import ASKING_STATES, SlotKind
from ..domain.slot_words import Progress
from ..extensions import db
from ..models import Schedule, ScheduleRevision, utc_now
from ..services import schedules as service
from ..services.schedule_health import Health, progress_of, verdict
from ..web import cadences, holds
from ..web.slot_marks import ends_words
from . import cells
from .pausing import state_with_pause

UNREADABLE = "cannot be read"
HEALTH_LOOKS = {
    Health.broken: "failing", Health.paused: "paused", Health.late: "missed", Health.never_fired: "due",
    Health.failing: "failing", Health.only_skipping: "skipped", Health.on_time: "ok",
}  # fmt: skip
_ASIDE = re.compile(r" \([^)]*\)")


def state_pill(row: Schedule) -> Markup:
    """The one state that matters: what is over or broken is not paused, and a pause stands below the rest."""
    if row.is_archived:
        return cells.pill("archived")
    if row.broken_reason:
        return cells.with_reason(cells.pill("failing", "broken"), row.broken_reason)
    if (last_day := service.ended_on(row)) is not None:
        return cells.two_lines(cells.pill("ended"), f"on {day_text(last_day)}")
    if row.paused_at is not None:
        state = cells.pill("paused" if row.is_enabled else "disabled")
        return state_with_pause(state, row, service.zone_of(row).key)
    if row.is_enabled and (found := holds.on_schedule(db.session(), row)):
        what, _, word = found[0].pill.rpartition(" ")
        return cells.two_lines(cells.pill("paused", word), f"with {what}, itself enabled")
    if row.is_enabled and row.experiment is not None and row.experiment.state not in ASKING_STATES:
        return cells.two_lines(cells.pill("enabled"), f"experiment {row.experiment.state}")
    return cells.pill("enabled" if row.is_enabled else "disabled")


def state(row: Schedule) -> Markup:
    """The state, and under it every pause that holds its slots back: by whom, since when and why."""
    found = holds.on_schedule(db.session(), row) if not row.broken_reason and will_be_due(row) else ()
    if not found:
        return state_pill(row)
    pill = cells.pill("paused", found[0].pill)
    return Markup("{}{}").format(
        pill, Markup("").join(Markup('<p class="reason">{}</p>').format(hold.words) for hold in found)
    )


def will_be_due(row: Schedule) -> bool:
    """Whether slots of it are still to come."""
    return row.is_enabled and not row.is_archived and service.ended_on(row) is None


def why_not(row: Schedule) -> str:
    """Why there is nothing to pause; "" if there is."""
    if row.is_archived:
        return "This schedule is archived. Make a new one."
    if not row.is_enabled:
        return f"“{row.name}” is disabled: no slot of it comes due, so there is nothing to pause."
    if (last_day := service.ended_on(row)) is not None:
        return f"“{row.name}” ended on {day_text(last_day)}: there is nothing to pause."
    return ""


def cadence(row: Schedule) -> str:
    """When it is due, in words that are true now."""
    return cadences.words_at(row, utc_now()) or UNREADABLE


def cadence_as_wished(intent: Schedule | ScheduleRevision) -> str:
    """The same with all its days, whatever the day is."""
    return service.cadence_words(intent) or UNREADABLE


def brief_cadence(row: Schedule) -> str:
    """The same without what stands in brackets."""
    return _ASIDE.sub("", cadence(row))


def zone_and_twins(row: Schedule) -> Markup:
    """ "Europe/Rome, 3 twins": where its times are meant, and whom it asks each time."""
    return Markup("{}, {}").format(cells.zone(row.zone), service.targets.brief_words(row))


def per_slot(row: Schedule, words: str) -> str | int:
    """How many twins each slot asks; `words` where it is each of them."""
    return words if row.asks_all else row.twins_per_slot


def last_slot(row: Schedule) -> Markup | str:
    """What became of its newest slot, and when that was."""
    if row.last_slot is None:
        return "none yet"
    slot = row.last_slot
    many = f" × {slot.slot_count:,}" if slot.slot_count > 1 else ""
    lines = cells.two_lines(
        cells.pill(slot.kind, f"{slot.kind.value.replace('_', ' ')}{many}"),
        cells.time(slot.slot_at, service.zone_of(row), "minute"),
    )
    far = progress(row, slot)
    if far is None or not far.is_at_work or slot.stage is None:
        return lines
    return Markup('{}<div class="sub progress">{}</div>').format(lines, far.words)


def progress(row: Schedule, slot: Any) -> Progress | None:
    """How far one of its newest slots is; None for one that asked nobody."""
    if slot.kind != SlotKind.fired:
        return None
    return progress_of(slot, row.facts.states.get(slot.id, {}))


def ends(row: Schedule, slot: Any) -> str:
    """ "1,284 cancelled, 716 posted" of one of its newest slots; "" for one that asked nobody."""
    states = row.facts.states.get(slot.id, Counter())
    return ends_words(slot, states) if slot.kind == SlotKind.fired else ""


def last_slot_and_marks(row: Schedule) -> Markup | str:
    """The same, with a mark for each of the slots before it."""
    return Markup("{}{}").format(last_slot(row), marks(row))


def marks(row: Schedule) -> Markup:
    """One mark for each of its last slots."""
    return get_template_attribute("macros/slots.html", "marks")(row.marks)


def health(row: Schedule) -> Markup | str:
    """How it is doing, and why; nothing for one that is not to fire. What is broken says why as its state."""
    is_held = bool(will_be_due(row) and holds.on_schedule(db.session(), row))
    found = verdict(row, row.facts, is_held, utc_now())
    if found is None:
        return ""
    state, words = found
    return cells.two_lines(
        cells.pill(HEALTH_LOOKS[state], state.value), "" if state == Health.broken else words
    )


def state_and_health(row: Schedule) -> Markup:
    """Its state, and below it how it is doing, unless that is the same."""
    found = health(row)
    is_said = not found or row.broken_reason or holds.on_schedule(db.session(), row)
    return (
        state_pill(row) if is_said else Markup('{}<div class="below">{}</div>').format(state_pill(row), found)
    )


def next_slot(row: Schedule) -> Markup | str:
    """When it is due next."""
    if not row.is_enabled or row.next_slot_at is None:
        return "none"
    return cells.moment(row.next_slot_at, service.zone_of(row))


def expression(row: Schedule) -> str:
    """The cadence as it is stored."""
    return row.cron or f"every {row.interval_seconds or 0:,} s"
