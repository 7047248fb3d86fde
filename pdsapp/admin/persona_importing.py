"""Personas from and to files: an import that shows first what it would do, and an export as JSON lines."""

from typing import Any

from flask import Response, abort, flash, redirect, request
from flask_admin import expose

from ..database import set_read_only
from ..domain.diffs import word_diff
from ..extensions import db
from ..services import persona_files as files
from ..services import persona_import as service
from ..services.fields import PERSONA_LIMIT
from ..web import access
from .base import Screen

DIFFS_SHOWN = 20
VERBS = {
    service.Verb.create: "create",
    service.Verb.update: "update as a new version",
    service.Verb.notes: "update the notes",
    service.Verb.same: "same, nothing to do",
}
DONE = {
    service.Verb.create: "created",
    service.Verb.update: "updated as a new version",
    service.Verb.notes: "with other notes",
    service.Verb.same: "the same as before",
}


class PersonaImporting(Screen):
    """The pages that read personas from files and write them to one."""

    @expose("/import/", methods=("GET", "POST"))
    def import_view(self):
        """The files to choose, then what each row would do, then all of it or nothing."""
        if not access.may_write():
            abort(403)
        if request.method == "GET":
            return self._import_page()
        try:
            if "rows" in request.form:
                rows = files.load_rows(request.form["rows"])
                return self._import(rows, request.form.get("fingerprint", ""))
            rows = files.read_files(_chosen())
        except files.FileErrors as error:
            return self._import_page(errors=error.errors), 400
        self.end_transaction()
        return self._plan_page(rows)

    def _import(self, rows: list[files.PersonaRow], fingerprint: str):
        done: list[service.Plan] = []
        is_done = self.act(
            lambda session, now, account: done.append(
                service.import_personas(session, rows, fingerprint, now, account)
            )
        )
        if not is_done:
            self.end_transaction()
            return self._plan_page(rows), 400
        counts = [f"{n:,} {words}" for verb, words in DONE.items() if (n := done[0].count(verb))]
        flash(f"Imported: {', '.join(counts)}.", "success")
        return redirect(self.get_url(".index_view"))

    def _plan_page(self, rows: list[files.PersonaRow]) -> str:
        plan = service.make_plan(db.session(), rows)
        updates = [step for step in plan.steps if step.verb == service.Verb.update]
        shown = {step.row.place: word_diff(step.text_before, step.row.text) for step in updates[:DIFFS_SHOWN]}
        counts = [(VERBS[verb], plan.count(verb)) for verb in service.Verb if plan.count(verb)]
        return self._import_page(plan=plan, diffs=shown, counts=counts, packed=files.dump_rows(rows))

    def _import_page(self, **more: Any) -> str:
        if request.method == "POST":
            set_read_only(True)
        return self.render(
            "admin/persona/import.html",
            return_url=self.get_url(".index_view"),
            verbs=VERBS,
            limits={
                "bytes": files.TOGETHER_LIMIT, "files": files.FILE_LIMIT, "rows": files.ROW_LIMIT,
                "characters": PERSONA_LIMIT,
            },
            **more,
        )  # fmt: skip

    @expose("/export/<export_type>/")
    def export(self, export_type: str):
        """The list as CSV, or as JSON lines, which an import reads back to the letter."""
        if export_type != "jsonl":
            return super().export(export_type)
        if not self.can_export:
            abort(404)
        _, rows = self._export_data()
        lines = [
            files.json_line(
                {
                    "name": row.name, "text": row.text, "notes": row.notes, "version": row.latest_number,
                    "twins": row.twins, "is_archived": row.is_archived,
                    "created_at": row.created_at.isoformat(timespec="seconds"), "uuid": str(row.uuid),
                }
            )
            for row in rows
        ]  # fmt: skip
        name = self.get_export_name(export_type="jsonl")
        headers = {"Content-Disposition": f"attachment;filename={name}", "Cache-Control": "no-store"}
        return Response("".join(lines), headers=headers, mimetype="application/x-ndjson")


def _chosen() -> list[files.NamedFile]:
    """The files of the request."""
    sent = [each for each in request.files.getlist("files") if each.filename]
    return [files.NamedFile(each.filename, each.read()) for each in sent]
