"""The screen of attempts: read only, newest first; each leads to its own page."""

from typing import Any

from flask import redirect, request, url_for
from flask_admin import expose
from sqlalchemy import select
from sqlalchemy.orm import joinedload

from ..attempts.create import Request
from ..domain.reasons import REASON_WORDS, AttemptState, Reason, ReasonClass, Trigger
from ..errors import BadInput
from ..extensions import db
from ..models import Attempt, DigitalTwin, UserProfile
from ..services.attempt_rows import FIELDS, attempt_object
from ..services.reports_attempts import AttemptLine, attempt_lines
from ..web import access, frame
from ..web.pages.rows import AttemptRow, attempt_row
from ..web.request_ids import request_id
from . import asking, filters
from .base import Screen
from .forms import Form


class AttemptScreen(Screen):
    """Attempts: who was asked, what became of it, and why."""

    noun = "attempt"
    plural = "attempts"
    lead = (
        "One line for each time a twin was asked, with the draw and the reason. Nothing here can be changed."
    )
    empty_words = "No twin has been asked yet. A schedule asks by itself; Post now on a twin asks at once."
    offers_create = False
    offers_edit = False
    form = Form
    form_columns = ()
    column_list = ("created_at", "twin", "state", "draw", "detail", "latency_ms")
    column_details_list = ("uuid",)
    column_export_list = FIELDS
    column_labels = {name: name for name in FIELDS}  # an export has the contract's own names
    column_display_actions = False
    list_filters = (
        filters.ListFilter(
            "twin",
            "Twin",
            lambda query, value: query.filter(
                Attempt.digital_twin_id.in_(
                    select(DigitalTwin.id)
                    .join(DigitalTwin.user_profile)
                    .where(UserProfile.username_key == value.removeprefix("@").casefold())
                )
            ),
        ),
        filters.of_enum("state", "State", Attempt.state, AttemptState),
        filters.of_enum("reason", "Reason", Attempt.reason, Reason, REASON_WORDS),
        filters.of_enum("class", "Decided by", Attempt.reason_class, ReasonClass),
        filters.of_enum("trigger", "Trigger", Attempt.trigger, Trigger),
        filters.of_flag("rehearsal", "Part of", Attempt.is_rehearsal, "a rehearsal", "the study"),
    )
    is_of_experiments = True
    list_template = "admin/attempt/list.html"
    column_formatters_export = {name: lambda _v, _c, row, name: attempt_object(row)[name] for name in FIELDS}

    def loads(self) -> tuple:
        """Exports read everything at once; the list reads its lines by id."""
        if not (request.endpoint and request.endpoint.endswith(".export")):
            return ()
        return (
            joinedload(Attempt.experiment),
            joinedload(Attempt.digital_twin).joinedload(DigitalTwin.user_profile),
            joinedload(Attempt.schedule),
            joinedload(Attempt.slot),
            joinedload(Attempt.post),
        )

    def rows_of(self, attempts: list[Attempt]) -> list[AttemptRow]:
        """The attempts of the page as the rows the product's other pages show, in one query."""
        query = (
            attempt_lines().where(Attempt.id.in_([each.id for each in attempts])).order_by(Attempt.id.desc())
        )
        zone = frame.current_zone()
        return [attempt_row(AttemptLine(*row), zone) for row in db.session.execute(query)]

    @property
    def with_experiment(self) -> bool:
        """Whether the rows may be of several experiments."""
        return frame.current_experiment() is None

    @expose("/details/")
    def details_view(self) -> Any:
        """An attempt has a page of its own."""
        return redirect(url_for("attempt_page.show", uuid=self.get_one(request.args.get("id")).uuid))

    @expose("/again/", methods=("POST",))
    def again(self):
        """Asks the twin of a failed attempt once more, as it was asked then; the failed one stays."""
        row: Attempt = self.get_changeable(request.form.get("id"))
        if row.state != AttemptState.failed:
            raise BadInput(f"Only a failed attempt is tried again; this one is {row.state}.")
        asked = Request(Trigger.button, request_id(), row.is_forced, access.account().id, retry_of_id=row.id)
        return asking.ask(row.digital_twin, asked)
