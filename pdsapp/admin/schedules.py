"""The screen of schedules: cadence in words, next slots with their zone, what became of the last one."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from flask import current_app, flash, request
from flask_admin import expose
from flask_admin.actions import action
from markupsafe import Markup
from sqlalchemy import or_, select
from sqlalchemy.orm import Query, Session, joinedload

from ..domain.days import day_text
from ..domain.jitter import jitter_words
from ..dt_service import load_service
from ..errors import BadInput, NobodyEligible
from ..extensions import db
from ..models import Account, Schedule, ScheduleRevision, Slot, utc_now
from ..services import heartbeats, pauses
from ..services import schedules as service
from ..web import access, holds
from . import asking, cells, choices, filters, schedule_cells, zones
from .pausing import PausingScreen, pause_actions
from .row_actions import PostAction
from .schedule_forms import FORM_SECTIONS, MISSED_WORDS, OVERLAP_WORDS, ScheduleForm, values_of

ALL = "all running experiments"
SLOTS_SHOWN = 5
ROWS_SHOWN = 20
REVISIONS_SHOWN = 50


class ScheduleScreen(PausingScreen):
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
    form = ScheduleForm
    form_sections = FORM_SECTIONS
    form_columns = (
        "name", "experiment", "kind", "every", "anchor_at", "cron", "zone", "first_day", "last_day",
        "jitter_seconds", "twins_per_slot", "is_forced", "lane",
        "missed_policy", "overlap_policy", "is_enabled",
    )  # fmt: skip
    column_list = (
        "name",
        "cadence",
        "is_enabled",
        "next_slot_at",
        "last_slot",
        "twins_per_slot",
        "experiment",
    )
    column_details_list = (
        "experiment", "cadence", "expression", "zone", "first_day", "last_day",
        "jitter_seconds", "next_slot_at", "last_slot", "twins_per_slot", "is_forced", "lane",
        "missed_policy", "overlap_policy", "revision_number", "created_at", "uuid",
    )  # fmt: skip
    column_export_list = (
        "uuid", "name", "experiment", "cadence", "expression", "zone", "first_day", "last_day",
        "jitter_seconds", "is_enabled", "next_slot_at", "twins_per_slot", "is_forced", "lane",
        "missed_policy", "overlap_policy", "revision_number", "broken_reason", "created_at",
    )  # fmt: skip
    column_sortable_list = ("name", "is_enabled", "next_slot_at")
    column_searchable_list = ("name",)
    column_labels = {
        "is_enabled": "State",
        "next_slot_at": "Next slot",
        "last_slot": "Last slot",
        "twins_per_slot": "Twins",
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
            ),
        ),
        ("Who is asked", ("experiment", "twins_per_slot", "is_forced")),
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
        "cadence": lambda _v, _c, row, _n: cells.two_lines(schedule_cells.brief_cadence(row), row.zone),
        "experiment": lambda _v, _c, row, _n: row.experiment.name if row.experiment else ALL,
        "is_enabled": lambda _v, _c, row, _n: schedule_cells.state_pill(row),
        "next_slot_at": lambda _v, _c, row, _n: schedule_cells.next_slot(row),
        "last_slot": lambda _v, _c, row, _n: schedule_cells.last_slot(row),
    }
    column_formatters_detail = column_formatters | {
        "cadence": lambda _v, _c, row, _n: schedule_cells.cadence(row),
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
        "experiment": lambda _v, _c, row, _n: row.experiment.identifier if row.experiment else "",
        "expression": lambda _v, _c, row, _n: schedule_cells.expression(row),
    }
    column_extra_row_actions = [
        *pause_actions(schedule_cells.why_not),
        PostAction("Enable", ".enable", shown_if=lambda row: not row.is_enabled and not row.is_archived),
        PostAction("Disable", ".disable", shown_if=lambda row: row.is_enabled),
        PostAction(
            "Fire once now",
            ".fire",
            fields=asking.request_fields,
            shown_if=lambda row: not row.is_archived,
            is_rare=True,
        ),
        PostAction(
            "Archive",
            ".archive",
            confirm=lambda row: f"Archive “{row}”? It never fires again; its slots and attempts stay.",
            shown_if=lambda row: not row.is_archived,
            is_rare=True,
        ),
    ]

    def may_edit(self, row: Schedule) -> bool:
        """An archived schedule stays as it was; one of all experiments is the administrators'."""
        return not row.is_archived and access.may_change(row)

    def get_query(self) -> Query:
        """Archived schedules only when the filter asks for them."""
        query = super().get_query().options(joinedload(Schedule.experiment))
        if not request.args.get("archived"):
            query = query.filter(Schedule.is_archived.is_(False))
        return query

    def of_experiment(self, query: Query, experiment_id: int) -> Query:
        """Schedules of all experiments ask this one's twins too."""
        return query.filter(or_(Schedule.experiment_id == experiment_id, Schedule.experiment_id.is_(None)))

    def enrich(self, session: Session, rows: list[Schedule]) -> None:
        """The last slot of each, in one query."""
        newest = (
            select(Slot.id)
            .where(Slot.schedule_id == Schedule.id)
            .order_by(Slot.slot_at.desc(), Slot.id.desc())
            .limit(1)
            .correlate(Schedule)
            .scalar_subquery()
        )
        query = (
            select(Slot).join(Schedule, Slot.id == newest).where(Schedule.id.in_([row.id for row in rows]))
        )
        found = {slot.schedule_id: slot for slot in session.scalars(query)}
        for row in rows:
            row.last_slot = found.get(row.id)

    def zone_of(self, row: Schedule) -> ZoneInfo:
        """A schedule's times are shown in its own zone."""
        return service.zone_of(row)

    def record_lead(self, row: Schedule) -> str:
        """Cadence and zone."""
        return f"{schedule_cells.cadence(row)}, {row.zone}"

    def values(self, row: Schedule) -> dict[str, Any]:
        """The schedule as it is typed."""
        return values_of(row)

    def prepare_form(self, form: Any, row: Schedule | None) -> None:
        """Offers experiments (all of them to administrators only) and zones."""
        form.experiment.empty = ALL if access.may_administer() else "choose …"
        if row is None:
            choices.offer_experiments(form.experiment)
        else:
            form.experiment.offer(choices.experiments(db.session()))
        form.experiment.flags.required = not access.may_administer()
        form.zone.choices = zones.choices(row.zone if row else None, empty="the experiment's")

    def add(self, session: Session, form: Any, now: datetime, account: Account) -> Schedule:
        """A schedule; enabled or not, it never fires at once."""
        return service.add_schedule(session, form.wish(session), now, account)

    def change(self, session: Session, row: Schedule, form: Any, now: datetime, account: Account) -> None:
        """Another intent is a new revision."""
        service.change_schedule(session, row, form.wish(session, row), now, account, seen=form.seen or 0)

    def saved(self, row: Schedule) -> None:
        """Tells the queue's projection."""
        is_enabled = row.is_enabled
        asking.project(row)
        if not is_enabled:
            flash("It is disabled: it asks nobody until you enable it.", "info")

    def saved_pause(self, row: Schedule) -> None:
        """Tells the queue's projection where it goes on."""
        asking.project(row)

    @expose("/enable/", methods=("POST",))
    def enable(self):
        """Switches a schedule on."""
        return self._switch(
            service.enable,
            "“{}” is enabled. It fires with its next slot, not at once.",
            words_if_paused="“{}” is enabled and still paused. It fires after you resume it.",
        )

    @expose("/disable/", methods=("POST",))
    def disable(self):
        """Switches a schedule off."""
        return self._switch(service.disable, "“{}” is disabled. Attempts it has made go on.")

    @expose("/archive/", methods=("POST",))
    def archive(self):
        """Puts a schedule away for good."""
        return self._switch(service.archive, "Archived “{}”.")

    def _switch(self, change, words: str, words_if_paused: str = ""):
        row = self.get_one(request.form.get("id"))
        name, is_paused = row.name, row.paused_at is not None
        if self.act(lambda session, now, account: change(session, row, now, account)):
            self.saved(row)
            flash(((is_paused and words_if_paused) or words).format(name), "success")
        return self.back()

    @expose("/fire/", methods=("POST",))
    def fire(self):
        """One round of attempts at once, beside the slots."""
        row, session = self.get_one(request.form.get("id")), db.session()
        request_id = asking.request_id()
        try:
            attempts = service.fire_once(
                session, row, load_service(current_app.extensions["settings"]), request_id, utc_now(),
                access.account(),
            )  # fmt: skip
            lane, keys = row.lane, [attempt.id for attempt in attempts]
            session.commit()
        except (BadInput, NobodyEligible) as error:
            session.rollback()
            flash(str(error), "error")
            return self.back()
        is_served = heartbeats.is_lane_served(session, lane, utc_now())
        self.end_transaction()
        asking.wake(lane, is_served, len(keys))
        noun = "twin is" if len(keys) == 1 else "twins are"
        flash(f"{len(keys):,} {noun} asked now, beside the schedule's slots.", "success")
        return self.back()

    @action("enable", "Enable", "They fire with their next slots, not at once.")
    def action_enable(self, ids: Sequence[str]) -> None:
        """Enables the ticked schedules."""
        self._switch_many(ids, service.enable, "Enabled")

    @action("disable", "Disable", "They fire no more.")
    def action_disable(self, ids: Sequence[str]) -> None:
        """Disables the ticked schedules."""
        self._switch_many(ids, service.disable, "Disabled")

    def _switch_many(self, ids: Sequence[str], change, done: str) -> None:
        rows: list[Schedule] = []

        def change_all(session: Session, now: datetime, account: Account) -> None:
            rows.extend(row for row in self.selected(session, ids) if change(session, row, now, account))

        if self.act(change_all):
            for row in rows:
                self.saved(row)
            flash(
                f"{done}: {', '.join(row.name for row in rows) or 'none, they were so already'}.", "success"
            )

    def slots_ahead(self, row: Schedule) -> list[datetime]:
        """The next slots from now on, as if it were enabled."""
        return service.next_slots(row, utc_now(), SLOTS_SHOWN)

    def unasked_words(self, row: Schedule) -> str:
        """That its next slots pass unasked, while a pause holds them back; "" if none does."""
        is_held = schedule_cells.will_be_due(row) and holds.on_schedule(db.session(), row)
        return f"{holds.UNASKED[0].upper()}{holds.UNASKED[1:]}." if is_held else ""

    def ended_words(self, row: Schedule) -> str:
        """Why it has no slot ahead of it."""
        if row.last_day is None:
            return "It never fires again."
        return f"No slot is left: its last day is {day_text(row.last_day)}. To go on, give it a later one."

    def latest_slots(self, row: Schedule) -> list[Slot]:
        """The newest slot rows, newest first."""
        query = select(Slot).where(Slot.schedule_id == row.id)
        return list(db.session.scalars(query.order_by(Slot.slot_at.desc(), Slot.id.desc()).limit(ROWS_SHOWN)))

    def revisions_of(self, row: Schedule) -> list[tuple[ScheduleRevision, str]]:
        """What it wanted and when, newest first, with the cadence in words."""
        query = (
            select(ScheduleRevision)
            .where(ScheduleRevision.schedule_id == row.id)
            .order_by(ScheduleRevision.number.desc())
            .limit(REVISIONS_SHOWN)
        )
        return [(each, schedule_cells.cadence_as_wished(each)) for each in db.session.scalars(query)]
