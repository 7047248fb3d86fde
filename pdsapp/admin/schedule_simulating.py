"""A page that simulates one slot of a schedule: whom it draws, and how each would decide."""

from datetime import datetime
from zoneinfo import ZoneInfo

from flask import current_app, request
from flask_admin import expose

from ..domain import cron
from ..dt_service import load_service
from ..errors import BadInput
from ..extensions import db
from ..models import utc_now
from ..services import schedules as service
from ..services.simulation import Asked, simulate
from ..web.drawbar import DrawBar, draw_bar
from .schedule_switching import ScheduleSwitching

TYPED = "%Y-%m-%dT%H:%M"


class ScheduleSimulating(ScheduleSwitching):
    """Simulating slots. It stores nothing, so that whoever may look may do it."""

    @expose("/simulate/")
    def simulate(self):
        """One slot at or after a chosen time, by default the next one."""
        row = self.get_one(request.args.get("id"))
        zone, typed = service.zone_of(row), request.args.get("at", "")
        found, error = None, ""
        try:
            settings = current_app.extensions["settings"]
            found = simulate(db.session(), row, _read(typed, zone), load_service(settings), settings)
        except BadInput as wrong:
            error = str(wrong)
        page = self.render(
            "admin/schedule/simulate.html",
            model=row,
            zone=zone,
            found=found,
            error=error,
            typed=typed or (found.slot_at.astimezone(zone).strftime(TYPED) if found else ""),
        )
        return page, 400 if error and typed else 200

    def bar_of(self, asked: Asked) -> DrawBar | None:
        """The draw bar of one decision."""
        decision, obstacle = asked.preview.decision, asked.preview.obstacle
        return draw_bar(
            decision.recency_probability, decision.share_probability, decision.draw,
            probability=decision.skip_probability, is_forced=decision.forced,
            held_back_by="something else" if obstacle else "",
        )  # fmt: skip


def _read(text: str, zone: ZoneInfo) -> datetime:
    """The instant of a local time, the present for none. Raises BadInput."""
    if not text:
        return utc_now()
    try:
        at = datetime.strptime(text[:16], TYPED).replace(tzinfo=zone)
        if not cron.EARLIEST_AT <= at <= cron.LATEST_AT:
            raise ValueError(text)
    except (ValueError, OverflowError):
        raise BadInput("Choose a date and a time between 1970 and 2999.", "at") from None
    return at
