"""The screen of schedules: cadence in words, next slots with their zone, what became of the last one."""

from datetime import datetime
from zoneinfo import ZoneInfo

from flask import request
from markupsafe import Markup
from sqlalchemy import or_, select
from sqlalchemy.orm import Query, Session, joinedload

from ..domain.cron import CadenceError
from ..domain.days import day_text
from ..domain.jitter import jitter_words
from ..domain.slot_words import Progress
from ..domain.targets import TargetError
from ..domain.turn_words import mean_spacing
from ..extensions import db
from ..models import Schedule, ScheduleRevision, Slot, utc_now
from ..services import pauses, protocol, schedule_health
from ..services import schedules as service
from ..web import access, holds
from ..web.slot_marks import kinds_of, slot_marks
from . import cells, filters, schedule_cells
from .pausing import pause_actions
from .schedule_editing import ALL
from .schedule_effect import asked_now, asks_words
from .schedule_forms import DAY_FIELDS, MISSED_WORDS, OVERLAP_WORDS, TIME_NAMES
from .schedule_simulating import ScheduleSimulating
from .schedule_switching import switch_actions
from .schedule_targets import TARGET_NAMES

SLOTS_SHOWN = 5
ROWS_SHOWN = 20
REVISIONS_SHOWN = 50


class ScheduleScreen(ScheduleSimulating):
    """Schedules: when which experiment's twins are asked."""

    noun = "schedule"
    plural = "schedules"
    lead = (
        "When twins are asked by themselves. Each change is kept as a revision; switching one on never "
        "fires at once."
    )
    create_lead = "It asks twins at its times; whether one then posts is the posting rule's draw."
    empty_words = "There is no schedule yet, so no twin is asked by itself."
    pauses_with = pauses.pause_schedule
    resumes = pauses.resume_schedule
    why_not = schedule_cells.why_not
    paused_words = "“{}” is paused. Its slots pass unasked until you resume it."
    resumed_words = "“{}” goes on with its next slot; nothing is made up for."
    pause_note = (
        "Its slots pass unasked, recorded as paused with who, when and why. It is no new revision; to switch "
        "it off for good, disable it."
    )
    form_columns = (
        "name", "experiment", "kind", "every", "unit", "anchor_at", *TIME_NAMES, *DAY_FIELDS, "cron", "zone",
        "first_day", "last_day", "jitter_seconds", *TARGET_NAMES, "twins_per_slot", "asks_all", "is_forced",
        "lane", "missed_policy", "overlap_policy", "is_enabled", "reason",
    )  # fmt: skip
    column_list = (
        "name",
        "cadence",
        "is_enabled",
        "next_slot_at",
        "last_slot",
        "experiment",
    )
    column_details_list = (
        "experiment", "cadence", "expression", "zone", "first_day", "last_day",
        "jitter_seconds", "next_slot_at", "last_slot", "health", "target", "twins_per_slot", "is_forced",
        "lane", "missed_policy", "overlap_policy", "revision_number", "created_at", "uuid",
    )  # fmt: skip
    column_export_list = (
        "uuid", "name", "experiment", "cadence", "expression", "zone", "first_day", "last_day",
        "jitter_seconds", "is_enabled", "next_slot_at", "target", "twins_per_slot", "is_forced", "lane",
        "missed_policy", "overlap_policy", "revision_number", "broken_reason", "created_at",
    )  # fmt: skip
    column_sortable_list = ("name", "is_enabled", "next_slot_at")
    column_searchable_list = ("name",)
    column_labels = {
        "is_enabled": "State",
        "next_slot_at": "Next slot",
        "last_slot": "Last slot",
        "target": "Which twins",
        "twins_per_slot": "Twins per slot",
        "expression": "As typed",
        "zone": "Time zone",
        "first_day": "First day",
        "last_day": "Last day",
        "jitter_seconds": "Jitter",
        "is_forced": "Post whatever the draw",
        "missed_policy": "Slots missed",
        "overlap_policy": "Slot before still at work",
        "revision_number": "Revision",
        "created_at": "Added",
        "uuid": "UUID",
    }
    list_filters = (
        filters.of_flag("enabled", "Enabled", Schedule.is_enabled),
        filters.ListFilter(
            "archived",
            "Archived",
            lambda query, value: query.filter(Schedule.is_archived.is_(value == "yes")),
            lambda: [("yes", "only archived ones")],
        ),
    )
    is_of_experiments = True
    missed_words = MISSED_WORDS
    overlap_words = OVERLAP_WORDS
    list_template = "admin/schedule/list.html"
    details_template = "admin/schedule/details.html"
    details_sections = (
        (
            "When",
            (
                "cadence",
                "expression",
                "zone",
                "first_day",
                "last_day",
                "jitter_seconds",
                "next_slot_at",
                "last_slot",
                "health",
            ),
        ),
        ("Who is asked", ("experiment", "target", "twins_per_slot", "is_forced")),
        (
            "More",
            (
                "lane",
                "missed_policy",
                "overlap_policy",
                "revision_number",
                "created_at",
                "uuid",
            ),
        ),
    )

    column_formatters = {
        "cadence": lambda _v, _c, row, _n: cells.two_lines(
            schedule_cells.brief_cadence(row), schedule_cells.zone_and_twins(row)
        ),
        "target": lambda _v, _c, row, _n: row.target_words,
        "experiment": lambda _v, _c, row, _n: row.experiment.name if row.experiment else ALL,
        "twins_per_slot": lambda _v, _c, row, _n: schedule_cells.per_slot(row, "each of them"),
        "is_enabled": lambda _v, _c, row, _n: schedule_cells.state_and_health(row),
        "next_slot_at": lambda _v, _c, row, _n: schedule_cells.next_slot(row),
        "last_slot": lambda _v, _c, row, _n: schedule_cells.last_slot_and_marks(row),
        "health": lambda _v, _c, row, _n: schedule_cells.health(row),
    }
    column_formatters_detail = column_formatters | {
        "cadence": lambda _v, _c, row, _n: schedule_cells.cadence(row),
        "last_slot": lambda _v, _c, row, _n: schedule_cells.last_slot(row),
        "expression": lambda _v, _c, row, _n: Markup("<code>{}</code>").format(
            schedule_cells.expression(row)
        ),
        "is_enabled": lambda _v, _c, row, _n: schedule_cells.state(row),
        "is_forced": lambda _v, _c, row, _n: cells.yes_no(row.is_forced),
        "first_day": lambda _v, _c, row, _n: day_text(row.first_day) if row.first_day else "none",
        "last_day": lambda _v, _c, row, _n: day_text(row.last_day) if row.last_day else "none",
        "jitter_seconds": lambda _v, _c, row, _n: jitter_words(row.jitter_seconds) or "none",
        "missed_policy": lambda _v, _c, row, _n: MISSED_WORDS[row.missed_policy],
        "overlap_policy": lambda _v, _c, row, _n: OVERLAP_WORDS[row.overlap_policy],
        "created_at": lambda _v, _c, row, _n: cells.time(row.created_at, service.zone_of(row)),
        "uuid": lambda _v, _c, row, _n: Markup("<code>{}</code>").format(row.uuid),
    }
    column_formatters_export = {
        "cadence": lambda _v, _c, row, _n: schedule_cells.cadence_as_wished(row),
        "target": lambda _v, _c, row, _n: row.target_words,
        "twins_per_slot": lambda _v, _c, row, _n: schedule_cells.per_slot(row, "all"),
        "experiment": lambda _v, _c, row, _n: row.experiment.identifier if row.experiment else "",
        "expression": lambda _v, _c, row, _n: schedule_cells.expression(row),
    }
    column_extra_row_actions = [*pause_actions(schedule_cells.why_not), *switch_actions()]

    def get_query(self) -> Query:
        """Archived schedules only when the filter asks for them."""
        query = super().get_query()
        if not request.args.get("archived"):
            query = query.filter(Schedule.is_archived.is_(False))
        return query

    def loads(self) -> tuple:
        """What a row shows of other tables."""
        return (joinedload(Schedule.experiment),)

    def of_experiment(self, query: Query, experiment_id: int) -> Query:
        """Schedules of all experiments ask this one's twins too."""
        return query.filter(or_(Schedule.experiment_id == experiment_id, Schedule.experiment_id.is_(None)))

    def enrich(self, session: Session, rows: list[Schedule]) -> None:
        """The last slots and the health of each, its chosen twins, and whether a change needs a reason."""
        found = schedule_health.facts_of(session, [row.id for row in rows])
        of_all = any(row.experiment_id is None for row in rows) and service.needs_reason(session, None)
        whom = service.target_words(session, rows)
        for row in rows:
            row.target_words = whom[row.id]
            row.marks = slot_marks(found[row.id].slots, found[row.id].states, service.zone_of(row))
            row.facts = found[row.id]
            row.last_slot = row.facts.last_slot
            row.asks_why = protocol.needs_reason(row.experiment) if row.experiment else of_all

    def zone_of(self, row: Schedule) -> ZoneInfo:
        """A schedule's times are shown in its own zone."""
        return service.zone_of(row)

    def record_lead(self, row: Schedule) -> str:
        """Cadence and zone."""
        return f"{schedule_cells.cadence(row)}, {row.zone}"

    def slots_ahead(self, row: Schedule) -> list[datetime]:
        """The next slots from now on, as if it were enabled."""
        return service.next_slots(row, utc_now(), SLOTS_SHOWN)

    def asks_words(self, row: Schedule) -> str:
        """How many of how many twins it asks, and how often each has its turn; "" if it cannot be read."""
        try:
            spacing = mean_spacing(service.cadence_of(row), utc_now())
            return asks_words(db.session(), asked_now(db.session(), row), row, spacing)
        except (CadenceError, TargetError):
            return ""

    def unasked_words(self, row: Schedule) -> str:
        """That its next slots pass unasked, while a pause holds them back; "" if none does."""
        is_held = schedule_cells.will_be_due(row) and holds.on_schedule(db.session(), row)
        return f"{holds.UNASKED[0].upper()}{holds.UNASKED[1:]}." if is_held else ""

    def ended_words(self, row: Schedule) -> str:
        """Why it has no slot ahead of it."""
        if row.last_day is None:
            return "It never fires again."
        return f"No slot is left: its last day is {day_text(row.last_day)}. To go on, give it a later one."

    def latest_slots(self, row: Schedule) -> tuple[list[Slot], int]:
        """The newest slot rows, newest first, and how many of them cannot be read."""
        return schedule_health.latest_slots(db.session(), row.id, ROWS_SHOWN)

    def progress_of(self, row: Schedule, slot: Slot) -> Progress | None:
        """How far one of its newest slots is."""
        return schedule_cells.progress(row, slot)

    def ends_of(self, row: Schedule, slot: Slot) -> str:
        """What became of the attempts of one of its newest slots, in words."""
        return schedule_cells.ends(row, slot)

    def may_stop(self, row: Schedule, slot: Slot) -> bool:
        """Whether there is something to stop of a slot, and whoever looks may do it."""
        found = schedule_cells.progress(row, slot)
        return found is not None and found.is_at_work and access.may_change(row)

    def mark_kinds(self, rows: list[Schedule]) -> list[tuple[str, str]]:
        """What the marks of these schedules' slots mean."""
        return kinds_of(row.marks for row in rows)

    def revisions_of(self, row: Schedule) -> list[tuple[ScheduleRevision, str, str]]:
        """What it wanted and when, newest first, with the cadence and the twins in words."""
        query = (
            select(ScheduleRevision)
            .where(ScheduleRevision.schedule_id == row.id)
            .order_by(ScheduleRevision.number.desc())
            .limit(REVISIONS_SHOWN)
        )
        found, targets = db.session.scalars(query).all(), service.targets
        names = targets.names_of(db.session(), [targets.readable(each) for each in found])
        return [
            (
                each,
                schedule_cells.cadence_as_wished(each),
                targets.asked_of(each, targets.words_of(each, names)),
            )
            for each in found
        ]
