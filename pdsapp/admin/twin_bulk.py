"""Setting up many twins: from files or a pattern, a plan first, then all of it or nothing."""

import csv
import io
from collections.abc import Sequence
from typing import Any

from flask import Response, abort, flash, redirect, request
from flask_admin import expose
from sqlalchemy import select

from ..database import set_read_only
from ..errors import BadInput, NotFound
from ..extensions import db
from ..models import ApiToken, BulkImport, Experiment, ImportState, Persona, utc_now
from ..scheduling import queue
from ..services import bulk, bulk_files, bulk_imports, heartbeats
from ..services.bulk_files import NamedFile, Sheet
from ..services.bulk_plan import Options, Plan, Step, Verb
from ..services.chunks import portions
from ..services.fields import parameters_words
from ..web import access, frame, queue_sign
from . import cells, choices
from .base import Screen
from .twin_bulk_forms import PATTERN, SOURCES, TABLE, TEXTS, BulkForm

ROWS_SHOWN = 200
ERRORS_SHOWN = 1000
NOT_FOLDED = 20
# What somebody has to look at comes first.
ORDER_SHOWN = (Verb.wrong, Verb.skip, Verb.update, Verb.create)
VERBS = {
    Verb.create: "create",
    Verb.update: "update",
    Verb.skip: "skip",
    Verb.wrong: "to be mended",
}
STATES = {
    ImportState.planned: ("draft", "not confirmed"),
    ImportState.waiting: ("due", "waiting"),
    ImportState.running: ("running", "being set up"),
    ImportState.done: ("posted", "done"),
    ImportState.failed: ("failed", "not set up"),
}
RENEW_SECONDS = {ImportState.waiting: 2, ImportState.running: 1}


class TwinBulk(Screen):
    """The pages on which many twins are set up at once."""

    @expose("/bulk/", methods=("GET", "POST"))
    def bulk(self):
        """Asks where the twins come from; then their plan."""
        if not access.may_write():
            abort(403)
        session = db.session()
        form = BulkForm(request.form if request.method == "POST" else None)
        choices.offer_experiments(form.experiment)
        form.api_token.offer(choices.tokens(session))
        form.chosen.choices = dict(choices.as_text(choices.library(session)))
        if request.method == "POST" and form.validate():
            row = self._write(form, lambda session, now, account: self._keep(session, form, now, account))
            if row is not None:
                return redirect(self.get_url(".bulk_plan", uuid=row.uuid))
        return self._form_page(
            "admin/twin/bulk.html", form, access.redirect_target() or self.get_url(".index_view"),
            columns=bulk_files.COLUMNS_EXPLAINED, sources=SOURCES, kept=self._kept(session),
        )  # fmt: skip

    def _kept(self, session) -> list[tuple[BulkImport, str, str]]:
        """Set-ups one can go back to, with the state of each as the pills have it, and in words."""
        of_whom = None if access.may_administer() else access.account()
        return [(row, *STATES[row.state]) for row in bulk_imports.kept(session, of_whom)]

    def _keep(self, session, form: BulkForm, now, account) -> BulkImport:
        source, sheet = _sheet(session, form)
        token = form.api_token.chosen(session, ApiToken)
        options = Options(token.id if token else None, form.is_active.data)
        experiment = form.experiment.chosen(session, Experiment)
        return bulk_imports.keep(session, experiment, source, sheet, options, now, account)

    @expose("/bulk/template.csv")
    def bulk_template(self):
        """A file to fill."""
        return _csv(bulk_files.template(), "twins.csv")

    @expose("/bulk/<uuid>/")
    def bulk_plan(self, uuid: str):
        """What it would do; how far it is; what it has done."""
        return self._page(self._import(uuid))

    @expose("/bulk/<uuid>/state/")
    def bulk_state(self, uuid: str):
        """204 as long as nothing has changed since the page was made."""
        row = self._import(uuid)
        return ("", 204) if request.args.get("since") == _cursor(row, _is_served(row)) else ("", 200)

    @expose("/bulk/<uuid>/errors.csv")
    def bulk_errors(self, uuid: str):
        """All that has to be mended, as a file."""
        row = self._import(uuid)
        if row.state != ImportState.planned:
            raise NotFound("There is nothing to be mended here any more.")
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(("row", "column", "value", "what to do"))
        for error in bulk_imports.plan_of(db.session(), row).errors:
            values = (error.place, error.column, error.value, error.message)
            writer.writerow([cells.csv_value(value) for value in values])
        return _csv(text.getvalue(), "errors.csv")

    @expose("/bulk/<uuid>/set-up/", methods=("POST",))
    def bulk_set_up(self, uuid: str):
        """Sets them up, or leaves it to a worker."""
        row = self._import(uuid)
        self.end_transaction()
        row = self._import(uuid)
        if row.state != ImportState.planned:
            return redirect(self.get_url(".bulk_plan", uuid=uuid))
        reason, problem = request.form.get("reason", ""), None
        session = db.session()
        try:
            plan = bulk_imports.plan_of(session, row)
            session.rollback()
            set_read_only(False)
            row = self._import(uuid)
            bulk_imports.confirm(
                session, row, plan, request.form.get("fingerprint", ""), reason, utc_now(), access.account()
            )
            session.commit()
        except BadInput as error:
            session.rollback()
            problem = error
        if problem is not None:
            self.end_transaction()
            return self._page(self._import(uuid), problem=problem, typed_reason=reason), 400
        number, state = row.id, row.state
        self.end_transaction()
        if state == ImportState.waiting:
            queue_sign.tell(lambda connection: queue.wake_imports(connection, [number]))
        return redirect(self.get_url(".bulk_plan", uuid=uuid))

    @expose("/bulk/<uuid>/again/", methods=("POST",))
    def bulk_again(self, uuid: str):
        """Leaves a failed one to the workers once more."""
        row = self._import(uuid)
        if self.act(lambda session, now, account: bulk_imports.run_again(session, row, now, account)):
            number = row.id
            self.end_transaction()
            queue_sign.tell(lambda connection: queue.wake_imports(connection, [number]))
        return redirect(self.get_url(".bulk_plan", uuid=uuid))

    @expose("/bulk/<uuid>/drop/", methods=("POST",))
    def bulk_drop(self, uuid: str):
        """Forgets it before it is set up."""
        row = self._import(uuid)
        if self.act(lambda session, _now, _account: bulk_imports.drop(session, row)):
            flash("What was uploaded is forgotten. Nothing was set up.", "success")
            return redirect(self.get_url(".bulk"))
        return redirect(self.get_url(".bulk_plan", uuid=uuid))

    def _import(self, uuid: str) -> BulkImport:
        """The import, of this account; of anybody for administrators. Raises NotFound."""
        if not access.may_write():
            abort(403)
        row = bulk_imports.find(db.session(), uuid)
        if row.account_id != access.account().id and not access.may_administer():
            raise NotFound(bulk_imports.NOT_KEPT)
        frame.speak_of(row.experiment)
        return row

    def _page(self, row: BulkImport, problem: BadInput | None = None, typed_reason: str = "") -> str:
        plan = None
        if row.state == ImportState.planned:
            try:
                plan = bulk_imports.plan_of(db.session(), row)
            except BadInput as error:  # its experiment is over
                problem = problem or error
        is_served = _is_served(row)
        return self.render(
            "admin/twin/plan.html",
            row=row,
            plan=plan,
            state=row.state,
            is_served=is_served,
            cursor=_cursor(row, is_served),
            renew=RENEW_SECONDS.get(row.state),
            counts=_counts(plan) if plan else [],
            shown=_folded(_steps_shown(plan)) if plan else (),
            errors=_folded(plan.errors[:ERRORS_SHOWN]) if plan else (),
            wakes=is_large(row),
            problem=problem,
            typed_reason=typed_reason,
            list_url=self.get_url(".index_view", experiment=row.experiment.identifier),
        )  # fmt: skip


def is_large(row: BulkImport) -> bool:
    """Whether a worker will set it up instead of the request that confirms it."""
    return row.row_count > bulk_imports.AT_ONCE_LIMIT


def _sheet(session, form: BulkForm) -> tuple[str, Sheet]:
    """The rows that were sent or asked for, and their name. Raises BadInput at the field to blame."""
    source = form.source.data
    if source == PATTERN:
        names: list[str] = []
        for part in portions([int(key) for key in form.chosen.data or []]):
            names += session.scalars(select(Persona.name).where(Persona.id.in_(part)).order_by(Persona.name))
        return "pattern", Sheet(bulk.pattern_rows(names, form.count.data or 0, form.pattern.data or ""))
    field = TABLE if source == TABLE else TEXTS
    files = []
    for each in request.files.getlist(field):
        with each.stream:
            if each.filename:
                files.append(NamedFile(each.filename, each.read()))
    kinds = bulk_files.TABLE_KINDS if source == TABLE else bulk_files.TEXT_SUFFIXES
    wrong = [file.name for file in files if not file.name.lower().endswith(kinds)]
    if wrong:
        raise BadInput(f"{wrong[0][:80]} is not one of {', '.join(kinds)}.", field)
    try:
        sheet = bulk_files.read_files(files)
    except BadInput as error:
        raise BadInput(str(error), field) from None
    return (files[0].name if len(files) == 1 else f"{len(files):,} files"), sheet


def _counts(plan: Plan) -> list[tuple[str, int]]:
    return [(VERBS[verb], plan.count(verb)) for verb in Verb if plan.count(verb)]


def _steps_shown(plan: Plan) -> list[tuple[Step, str, list[tuple[str, str, str]]]]:
    """As many as a page holds, by what is done with them, each kind in the order of the rows."""
    ordered = sorted(plan.steps, key=lambda step: ORDER_SHOWN.index(step.verb))
    return [_shown(step) for step in ordered[:ROWS_SHOWN]]


def _folded(rows: Sequence[Any]) -> tuple[Sequence[Any], Sequence[Any]]:
    """Those that are seen at once, and those one asks for."""
    return rows[:NOT_FOLDED], rows[NOT_FOLDED:]


def _shown(step: Step) -> tuple[Step, str, list[tuple[str, str, str]]]:
    return step, VERBS[step.verb], _difference_words(step)


def _difference_words(step: Step) -> list[tuple[str, str, str]]:
    """(what, before, after) of a twin that would be updated."""
    return [
        (change.field.removeprefix("llm_").replace("_", " "), _words(change.before), _words(change.after))
        for change in step.changes
    ]


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return parameters_words(value) or "none"
    if isinstance(value, tuple):
        return ", ".join(value) or "none"
    text = str(value or "none")
    return text if len(text) <= 120 else f"{text[:119]}…"


def _is_served(row: BulkImport) -> bool:
    return row.state != ImportState.waiting or heartbeats.is_lane_served(
        db.session(), queue.IMPORT_LANE, utc_now()
    )


def _cursor(row: BulkImport, is_served: bool) -> str:
    """Changes with anything the page of an import under way shows."""
    return f"{row.state}.{row.progress}.{row.tries}.{int(is_served)}"


def _csv(text: str, name: str) -> Response:
    headers = {"Content-Disposition": f"attachment;filename={name}", "Cache-Control": "no-store"}
    return Response(text, headers=headers, mimetype="text/csv")
