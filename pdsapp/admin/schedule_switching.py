"""Switching schedules on, off and away, with the reason where a study is under way; one round at once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from flask import abort, current_app, flash, request
from flask_admin import expose
from flask_admin.actions import action
from sqlalchemy.orm import Session

from ..database import set_read_only
from ..domain.protocol import MOST_REASON
from ..dt_service import load_service
from ..errors import BadInput, NobodyEligible
from ..extensions import db
from ..models import Account, Schedule, Slot, utc_now
from ..services import heartbeats, protocol, slot_stops
from ..services import schedules as service
from ..web import access
from ..web.request_ids import request_fields, request_id
from . import asking
from .row_actions import LinkAction, PostAction
from .schedule_editing import ScheduleEditing


@dataclass(frozen=True)
class Switch:
    """A way to switch: its use case, its button, what it does, what is said when it is done."""

    key: str
    change: Callable[..., bool]
    title: str
    note: str
    words: str
    words_if_paused: str = ""


ENABLE = Switch(
    "enable", service.enable, "Enable", "It fires with its next slot, not at once.",
    "“{}” is enabled. It fires with its next slot, not at once.",
    "“{}” is enabled and still paused. It fires after you resume it.",
)  # fmt: skip
DISABLE = Switch(
    "disable", service.disable, "Disable", "It fires no more. Attempts it has made go on.",
    "“{}” is disabled. Attempts it has made go on.",
)  # fmt: skip
ARCHIVE = Switch(
    "archive", service.archive, "Archive", "It never fires again; its slots and attempts stay.",
    "Archived “{}”.",
)  # fmt: skip


def may_enable(row: Schedule) -> bool:
    """Whether it can be switched on."""
    return not row.is_enabled and not row.is_archived


def may_archive(row: Schedule) -> bool:
    """Whether it can be put away."""
    return not row.is_archived


def switch_actions() -> list:
    """The row's buttons; while a study is under way they lead to the page that asks why."""

    def pair(switch: Switch, is_possible: Callable[[Schedule], bool], is_rare=False, confirm=None) -> list:
        endpoint = f".{switch.key}"
        return [
            PostAction(
                switch.title, endpoint, confirm=confirm, is_rare=is_rare,
                shown_if=lambda row: is_possible(row) and not row.asks_why,
            ),
            LinkAction(
                f"{switch.title} …", endpoint, is_rare=is_rare,
                shown_if=lambda row: is_possible(row) and row.asks_why,
            ),
        ]  # fmt: skip

    return [
        *pair(ENABLE, may_enable),
        *pair(DISABLE, lambda row: row.is_enabled),
        PostAction("Fire once now", ".fire", fields=request_fields, shown_if=may_archive, is_rare=True),
        *pair(ARCHIVE, may_archive, True, lambda row: f"Archive “{row}”? {ARCHIVE.note}"),
    ]


class ScheduleSwitching(ScheduleEditing):
    """Enabling, disabling, archiving and firing schedules."""

    @expose("/enable/", methods=("GET", "POST"))
    def enable(self):
        """Switches a schedule on, or asks why."""
        return self._switch(ENABLE)

    @expose("/disable/", methods=("GET", "POST"))
    def disable(self):
        """Switches a schedule off, or asks why."""
        return self._switch(DISABLE)

    @expose("/archive/", methods=("GET", "POST"))
    def archive(self):
        """Puts a schedule away for good, or asks why."""
        return self._switch(ARCHIVE)

    @action("enable", "Enable", "They fire with their next slots, not at once.")
    def action_enable(self, ids: Sequence[str]):
        """Enables the ticked schedules, or asks why."""
        return self._switch_many(ids, ENABLE, "Enabled")

    @action("disable", "Disable", "They fire no more.")
    def action_disable(self, ids: Sequence[str]):
        """Disables the ticked schedules, or asks why."""
        return self._switch_many(ids, DISABLE, "Disabled")

    @expose("/fire/", methods=("POST",))
    def fire(self):
        """One round of attempts at once, beside the slots."""
        row, session = self.get_one(request.form.get("id")), db.session()
        asked_as = request_id()
        try:
            attempts = service.fire_once(
                session, row, load_service(current_app.extensions["settings"]), asked_as, utc_now(),
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

    @expose("/stop-slot/", methods=("POST",))
    def stop_slot(self):
        """Stops one slot half way; the schedule goes on."""
        row, done = self.get_changeable(request.form.get("id")), []
        key = request.form.get("slot", "")
        slot = db.session.get(Slot, int(key)) if key.isdecimal() and len(key) < 19 else None
        if slot is None or slot.schedule_id != row.id:
            abort(404)

        def stop(session: Session, now: datetime, account: Account) -> None:
            done.append(slot_stops.stop_slot(session, slot, now, account=account))

        if self.act(stop):
            flash(f"The slot of “{row.name}” is stopped. {done[0].words}", "success")
        return self.back()

    def _switch(self, switch: Switch):
        row = self.get_one(request.values.get("id"))
        if request.method == "GET":
            if not access.may_change(row):
                abort(403)
            return self._ask_why(switch, [row])
        name, is_paused, reason = row.name, row.paused_at is not None, request.form.get("reason", "")
        if access.may_change(row) and self._lacks_reason([row], reason):
            return self._ask_why(switch, [row], protocol.NEEDS_REASON)
        if self.act(lambda session, now, account: switch.change(session, row, now, account, reason)):
            self.saved(row)
            flash(((is_paused and switch.words_if_paused) or switch.words).format(name), "success")
        return self.back()

    def _switch_many(self, ids: Sequence[str], switch: Switch, done: str):
        reason, rows = request.form.get("reason", ""), []
        ticked = self.selected(db.session(), ids)
        if self._lacks_reason(ticked, reason):
            return self._ask_why(switch, ticked, protocol.NEEDS_REASON if "reason" in request.form else "")

        def change_all(session: Session, now: datetime, account: Account) -> None:
            rows.extend(row for row in ticked if switch.change(session, row, now, account, reason))

        if self.act(change_all):
            for row in rows:
                self.saved(row)
            flash(
                f"{done}: {', '.join(row.name for row in rows) or 'none, they were so already'}.", "success"
            )
        return None

    def _lacks_reason(self, rows: list[Schedule], reason: str) -> bool:
        """Whether one of them cannot be switched without a reason, and there is none."""
        return not reason.strip() and any(
            service.needs_reason(db.session(), key) for key in {row.experiment_id for row in rows}
        )

    def _ask_why(self, switch: Switch, rows: list[Schedule], error: str = ""):
        is_one = not request.form.getlist("rowid")
        needs = self._lacks_reason(rows, "")
        if request.method == "POST":
            set_read_only(True)
        page = self.render(
            "admin/schedule/switch.html",
            switch=switch,
            rows=rows,
            model=rows[0] if is_one else None,
            needs_reason=needs,
            most_reason=MOST_REASON,
            error=error,
            action_url=self.get_url(f".{switch.key}" if is_one else ".action_view"),
            return_url=access.redirect_target() or self.get_url(".index_view"),
        )
        return page, 400 if error else 200
