"""The screen of personas."""

from datetime import datetime
from typing import Any

from flask import flash, request
from flask_admin import expose
from markupsafe import Markup
from sqlalchemy import and_, select
from sqlalchemy.orm import Session, joinedload

from ..extensions import db
from ..models import Account, DigitalTwin, Persona, PersonaVersion, UserProfile
from ..services import edits, removals
from ..services import personas as service
from . import cells, filters
from .forms import Form
from .persona_editing import PersonaEditing, moved_words
from .persona_forms import PersonaEditForm, PersonaForm
from .row_actions import PostAction

PREVIEW = 160
TWINS_SHOWN = 50


class PersonaScreen(PersonaEditing):
    """Personas and their versions."""

    noun = "persona"
    plural = "personas"
    lead = "How somebody thinks and writes. Twins share them; each changed text is a new version."
    empty_words = "There is no persona yet. A twin needs one to know whose voice to write in."
    offers_delete = True
    form = PersonaForm
    form_columns = ("name", "text", "notes", "twin", "moves", "reason")
    column_list = ("name", "text", "latest_number", "twins", "created_at")
    column_details_list = (
        "name", "notes", "latest_number", "twins", "is_archived", "created_at", "uuid",
    )  # fmt: skip
    column_export_list = (
        "uuid",
        "name",
        "text",
        "notes",
        "latest_number",
        "twins",
        "is_archived",
        "created_at",
    )
    column_sortable_list = ("name", "latest_number", "created_at")
    column_searchable_list = ("name", "notes")
    column_labels = {
        "latest_number": "Version",
        "twins": "Used by",
        "created_at": "Added",
        "uuid": "UUID",
        "is_archived": "Archived",
    }
    search_words = "name, text, notes"
    list_filters = (
        filters.ListFilter(
            "archived",
            "Archived",
            lambda query, value: query.filter(Persona.is_archived.is_(value == "yes")),
            lambda: [("yes", "only archived ones")],
        ),
        filters.of_flag(
            "used",
            "Used by",
            Persona.versions.any(PersonaVersion.id.in_(select(DigitalTwin.persona_version_id))),
            "some twin",
            "nobody",
        ),
    )
    list_template = "admin/persona/list.html"
    details_template = "admin/persona/details.html"
    export_types = ("csv", "jsonl")

    column_formatters = {
        "text": lambda _v, _c, row, _n: cells.clip(" ".join(row.text.split())[:PREVIEW]),
        "twins": lambda view, _c, row, _n: view.used_by(row),
        "created_at": lambda view, _c, row, _n: cells.time(row.created_at, view.zone_of(row), "day"),
    }
    column_formatters_detail = column_formatters | {
        "created_at": lambda view, _c, row, _n: cells.time(row.created_at, view.zone_of(row), "year"),
        "notes": lambda _v, _c, row, _n: cells.preformatted(row.notes) if row.notes else "",
        "uuid": lambda _v, _c, row, _n: Markup("<code>{}</code>").format(row.uuid),
        "is_archived": lambda _v, _c, row, _n: cells.yes_no(row.is_archived),
    }
    column_extra_row_actions = [
        PostAction(
            "Archive",
            ".archive",
            confirm=lambda row: f"Archive “{row}”? It leaves the lists; twins that have it keep it.",
            shown_if=lambda row: not row.is_archived,
            is_rare=True,
        ),
        PostAction("Bring back", ".bring_back", shown_if=lambda row: row.is_archived),
    ]

    def used_by(self, row: Persona) -> str | Markup:
        """How many twins have it, leading to them, and in how many experiments."""
        if not row.twins:
            return "nobody"
        url = self.get_url("digitaltwin.index_view", persona=row.id)
        link = cells.link(url, f"{row.twins:,} twin{'' if row.twins == 1 else 's'}")
        noun = "experiment" if row.experiments == 1 else "experiments"
        return cells.two_lines(link, f"{row.experiments:,} {noun}")

    def get_edit_form(self) -> type[Form]:
        """The form with what becomes of the twins."""
        return PersonaEditForm

    def get_query(self):
        """Archived personas only when the filter asks for them; searches also look into the latest text."""
        query = super().get_query()
        if not request.args.get("archived"):
            query = query.filter(Persona.is_archived.is_(False))
        return query

    def _apply_search(self, query, count_query, joins, count_joins, search):
        latest = and_(PersonaVersion.persona_id == Persona.id, PersonaVersion.number == Persona.latest_number)
        query = query.join(PersonaVersion, latest)
        for word in search.split():
            query = query.filter(
                (Persona.name + "\n" + Persona.notes + "\n" + PersonaVersion.text).icontains(
                    word, autoescape=True
                )
            )
        return query, count_query, joins, count_joins

    def enrich(self, session: Session, rows: list[Persona]) -> None:
        """Latest texts and numbers of twins, for all rows in two queries."""
        keys = [row.id for row in rows]
        texts = dict(
            session.execute(
                select(PersonaVersion.persona_id, PersonaVersion.text)
                .join(Persona, Persona.id == PersonaVersion.persona_id)
                .where(PersonaVersion.persona_id.in_(keys), PersonaVersion.number == Persona.latest_number)
            ).all()
        )
        uses = service.uses_of(session, keys)
        for row in rows:
            row.text = texts.get(row.id, "")
            row.twins, row.experiments = uses.get(row.id, (0, 0))

    def add(self, session: Session, form: Any, now: datetime, account: Account) -> Persona:
        """A persona with its first version."""
        version = service.add_persona(session, form.name.data, form.text.data, now, account, form.notes.data)
        return version.persona

    def change(self, session: Session, row: Persona, form: Any, now: datetime, account: Account) -> None:
        """A new version if the text changed."""
        before = row.latest_number
        version, moved = edits.change_persona(
            session, row, form.seen, now,
            name=form.name.data, text=form.text.data, notes=form.notes.data,
            moves=form.chosen_moves, reason=form.reason_given, account=account,
        )  # fmt: skip
        if version.number != before:
            flash(f"Version {version.number} is the latest now. {moved_words(moved)} moved to it.", "info")

    def remove(self, session: Session, row: Persona, now: datetime, account: Account) -> None:
        """Deletes a persona nobody ever had."""
        removals.remove_persona(session, row, now, account)

    def delete_words(self, _row: Persona) -> str:
        """What deleting does."""
        return "Only a persona that no twin has and no attempt used can be deleted. Others can be archived."

    @expose("/archive/", methods=("POST",))
    def archive(self):
        """Takes a persona off the lists."""
        return self._set_archived(True, "Archived “{}”.")

    @expose("/bring-back/", methods=("POST",))
    def bring_back(self):
        """Puts an archived persona back on the lists."""
        return self._set_archived(False, "“{}” is back on the lists.")

    def _set_archived(self, is_archived: bool, words: str):
        row = self.get_one(request.form.get("id"))
        name = row.name
        if self.act(lambda s, now, account: edits.set_persona_archived(s, row, is_archived, now, account)):
            flash(words.format(name), "success")
        return self.back()

    def twins_of(self, row: Persona) -> list[DigitalTwin]:
        """Some of the twins that have this persona, by name."""
        query = (
            select(DigitalTwin)
            .join(DigitalTwin.persona_version)
            .join(DigitalTwin.user_profile)
            .where(PersonaVersion.persona_id == row.id)
            .options(joinedload(DigitalTwin.experiment))
            .order_by(UserProfile.username_key)
            .limit(TWINS_SHOWN)
        )
        return list(db.session.scalars(query))
