"""Adding and changing a schedule: three ways to say when, ready patterns, and what it would do beside."""

from datetime import datetime, timedelta
from typing import Any

from flask import abort, flash, request
from flask_admin import expose
from sqlalchemy.orm import Session

from ..database import set_read_only
from ..domain.cron import CadenceError
from ..domain.jitter import shortest_spacing
from ..errors import BadInput
from ..extensions import db
from ..models import Account, Schedule, utc_now
from ..services import schedules as service
from ..services.schedule_wishes import wished
from ..web import access, zones
from . import asking, choices
from .forms import leave_out_reason
from .pausing import PausingScreen
from .schedule_effect import Effect, effect_of
from .schedule_forms import ScheduleForm, values_of
from .schedule_patterns import PATTERNS, filled
from .schedule_targets import Choices, choices_for, target_values

ALL = "all running experiments"
# They do not change what a schedule does: one looks at that before they are filled in.
NOT_LOOKED_AT = ("name", "reason")


class ScheduleEditing(PausingScreen):
    """The form of a schedule."""

    form = ScheduleForm
    create_template = "admin/schedule/create.html"
    edit_template = "admin/schedule/edit.html"
    patterns = PATTERNS

    @expose("/new/", methods=("GET", "POST"))
    def create_view(self):
        """The form of a new schedule, or what it would do."""
        if _is_looking():
            return self._look(None)
        return super().create_view()

    @expose("/edit/", methods=("GET", "POST"))
    def edit_view(self):
        """The form of a schedule, or what it would do."""
        if _is_looking():
            row = self.get_one(request.args.get("id"))
            if not self.may_edit(row):
                abort(403)
            return self._look(row)
        return super().edit_view()

    def may_edit(self, row: Schedule) -> bool:
        """An archived schedule stays as it was; one of all experiments is the administrators'."""
        return not row.is_archived and access.may_change(row)

    def values(self, row: Schedule) -> dict[str, Any]:
        """The schedule as it is typed."""
        return values_of(row) | target_values(db.session(), row)

    def posted(self) -> Any | None:
        """What was typed, with what a pattern puts in place of some of it."""
        typed = super().posted()
        if typed is None or "pattern" not in typed:
            return typed
        return filled(typed["pattern"], typed, self._typed_spacing(typed))

    def prepare_form(self, form: Any, row: Schedule | None) -> None:
        """Offers experiments (all of them to administrators only) and zones; asks why where it may matter."""
        form.experiment.every = ALL if access.may_administer() else ""
        if row is None:
            choices.offer_experiments(form.experiment)
        else:
            form.experiment.offer(choices.experiments(db.session()))
        form.zone.choices = zones.choices(row.zone if row else None, empty="the experiment's")
        if not service.needs_reason(db.session(), None):
            leave_out_reason(form)
        elif self.is_under_way(row) or _has_begun(form.experiment.data):
            form.reason.flags.required = True  # its label says so; another name alone is saved without one

    def add(self, session: Session, form: Any, now: datetime, account: Account) -> Schedule:
        """A schedule; enabled or not, it never fires at once."""
        return service.add_schedule(session, form.wish(session), now, account, reason_of(form))

    def change(self, session: Session, row: Schedule, form: Any, now: datetime, account: Account) -> None:
        """Another intent is a new revision."""
        service.change_schedule(
            session, row, form.wish(session, row), now, account, form.seen or 0, reason_of(form)
        )

    def saved(self, row: Schedule) -> None:
        """Tells the queue's projection."""
        is_enabled = row.is_enabled
        asking.project(row)
        if not is_enabled:
            flash("It is disabled: it asks nobody until you enable it.", "info")

    def is_under_way(self, row: Schedule | None) -> bool:
        """Whether a change of this schedule is one of a study under way."""
        return row is not None and service.needs_reason(db.session(), row.experiment_id)

    def choices(self, form: Any) -> Choices:
        """The tags and twins there are to tick; read once for each form."""
        if not hasattr(form, "found_choices"):
            form.found_choices = choices_for(db.session(), form)
        return form.found_choices

    def effect(self, form: Any, row: Schedule | None = None) -> Effect | None:
        """What it would do with what was typed; None, and the errors in the form, where it cannot be used."""
        session, now = db.session(), utc_now()
        form.validate()
        for name in NOT_LOOKED_AT:
            if name in form:
                form[name].errors = ()
        if form.errors:
            return None
        account = access.account()
        try:
            shown = wished(form.wish(session, row), now, account, row)
            return effect_of(session, shown, account.zone, now)
        except BadInput as error:
            form.put_error(error)
        return None

    def effect_at_first(self, form: Any, row: Schedule | None) -> tuple[Effect | None, Any]:
        """The same for a form that was opened or refused, and the form that says why there is none.

        A refused form keeps its own errors: another one is looked at.
        """
        if request.method == "POST":
            other = self.edit_form(row) if row is not None else self.create_form()
            return self.effect(other, row), other
        session, now, account = db.session(), utc_now(), access.account()
        if row is None and not form.experiment.data:
            return None, form
        try:
            shown = row if row is not None else wished(form.wish(session), now, account)
            return effect_of(session, shown, account.zone, now), form
        except (BadInput, CadenceError):
            return None, form

    def _look(self, row: Schedule | None):
        """The whole form with what it would do, or that alone; nothing is stored."""
        form = self.create_form() if row is None else self.edit_form(row)
        effect = self.effect(form, row)
        set_read_only(True)
        if request.headers.get("X-Part") == "effect":
            return self.render("admin/schedule/effect.html", looked_at=form, effect=effect)
        if request.headers.get("X-Part") == "choices":
            return self.render("admin/schedule/choices.html", form=form)
        template = self.create_template if row is None else self.edit_template
        return_url = access.redirect_target() or self.get_url(".index_view")
        more = {"model": row} if row is not None else {}
        return self.render(
            template,
            form=form,
            looked_at=form,
            form_opts=None,
            return_url=return_url,
            effect=effect,
            is_looking=True,
            **more,
        )

    def _typed_spacing(self, typed: Any) -> timedelta | None:
        """The shortest time between two slots as typed; None where that cannot be told."""
        form = ScheduleForm(typed)
        self.prepare_form(form, None)
        form.jitter_seconds.data = 0
        if not form.validate() and any(
            name not in (*NOT_LOOKED_AT, "jitter_seconds") for name in form.errors
        ):
            return None
        try:
            wish = form.wish(db.session())
            return shortest_spacing(service.cadence_of(wished(wish, utc_now(), access.account())))
        except (BadInput, CadenceError):
            return None


def reason_of(form: Any) -> str:
    """The reason that was typed, "" where none was asked for."""
    return (form.reason.data or "") if "reason" in form else ""


def _has_begun(experiment_id: str | None) -> bool:
    """Whether the experiment chosen at first is under way."""
    is_chosen = bool(experiment_id) and experiment_id.isascii() and experiment_id.isdigit()
    return is_chosen and len(experiment_id) < 10 and service.needs_reason(db.session(), int(experiment_id))


def _is_looking() -> bool:
    """Whether the form asks what it would do, or for a pattern, instead of being saved."""
    return request.method == "POST" and any(name in request.form for name in ("preview", "pattern", "find"))
