"""Editing a persona beside what a twin would be sent with it, its history, and moving twins to it."""

import asyncio
from secrets import token_hex
from typing import Any

from flask import current_app, flash, redirect, request
from flask_admin import expose

from ..attempts.preview import Preview, preview
from ..database import set_read_only
from ..domain.estimates import ESTIMATE_WORDS, estimated_tokens
from ..dt_service import load_service
from ..errors import BadInput, DiskLow, NotFound
from ..extensions import db
from ..models import DigitalTwin, Persona, utc_now
from ..services import edits, persona_history, persona_moves
from ..services.fields import PERSONA_LIMIT, clean_text
from ..services.trials import Trial, bands_of, try_text
from ..web import access, frame
from .asked import asks, wants_effect_alone
from .persona_forms import PersonaMoveForm, group_words, offer_twins
from .persona_importing import PersonaImporting

LATEST_SHOWN = 3


class PersonaEditing(PersonaImporting):
    """The pages of a persona's text: form with preview, versions, and twins on older versions.

    One after the other, not side by side: Flask-Admin puts every page of a base on each class.
    """

    create_template = "admin/persona/create.html"
    edit_template = "admin/persona/edit.html"

    @expose("/new/", methods=("GET", "POST"))
    def create_view(self):
        """The form for a new persona; only what it does when a preview or a trial is asked for."""
        if not _only_shows():
            return super().create_view()
        self.end_transaction()
        return self._form_page(self.create_template, self.create_form(), self._return_url())

    @expose("/edit/", methods=("GET", "POST"))
    def edit_view(self):
        """The form for a persona; only what it does when a preview or a trial is asked for."""
        if not _only_shows():
            return super().edit_view()
        self.end_transaction()
        row = self.get_one(request.args.get("id"))
        return self._form_page(self.edit_template, self.edit_form(row), self._return_url(), model=row)

    @expose("/history/")
    def history(self):
        """The versions of a persona, a page of them."""
        row = self.get_one(request.args.get("id"))
        page = persona_history.history_of(db.session(), row, _number("below"))
        return self.render("admin/persona/history.html", model=row, page=page, return_url=self._return_url())

    @expose("/move/", methods=("GET", "POST"))
    def move(self):
        """Which of the twins on older versions go to the latest."""
        row = self.get_changeable(request.args.get("id"))
        groups = persona_moves.groups_of(db.session(), row, row.latest_number)
        is_first = request.method == "GET"
        form = PersonaMoveForm(None if is_first else request.form, data={"edit_version": row.edit_version})
        form.offer_moves(groups, is_first)
        if "moves" in form:
            form.moves.label.text = f"Move these twins to version {row.latest_number}"
        if not is_first and form.validate() and self._move(row, form):
            return redirect(self.get_url(".details_view", id=row.id))
        return self._form_page("admin/persona/move.html", form, self._return_url(), model=row, groups=groups)

    def _move(self, row: Persona, form: Any) -> bool:
        def change(session, now, account):
            moved = edits.move_twins(
                session, row, form.seen, form.chosen_moves, now, form.reason_given, account
            )
            flash(f"{moved_words(moved)} moved to version {row.latest_number}.", "success")
            return row

        return self._write(form, change) is not None

    def prepare_form(self, form: Any, row: Persona | None) -> None:
        """Offers twins to preview with and, for a persona that is there, the experiments to move."""
        is_first = request.method == "GET"
        offer_twins(db.session(), form, row, frame.current_experiment(), is_first)
        if row is not None:
            form.offer_moves(persona_moves.groups_of(db.session(), row), is_first)

    def values(self, row: Persona) -> dict[str, Any]:
        """The latest text, or the older one that is to be restored, with name and notes."""
        number = self.restored_number(row) or row.latest_number
        text = persona_history.text_of(db.session(), row, number) or ""
        return {"name": row.name, "text": text, "notes": row.notes}

    def restored_number(self, row: Persona) -> int | None:
        """The older version the address asks to restore, None for none. Raises NotFound for none there is."""
        number = _number("version")
        if number is None or number == row.latest_number:
            return None
        if persona_history.text_of(db.session(), row, number) is None:
            raise NotFound(f"{row} has no version {number}.")
        return number

    def _form_page(self, template: str, form: Any, return_url: str, **more: Any):
        if "text" not in form:
            return super()._form_page(template, form, return_url, **more)
        if request.method == "POST":
            set_read_only(True)
        text, problem = _typed(form)
        twin = None if problem or not text else _chosen_twin(form)
        trials, refusal = self._try_it(twin, text) if asks("try") else ([], "")
        shown = {
            "typed": text,
            "problem": problem,
            "effect": None if twin is None else _effect(twin, text),
            "bands": () if twin is None else bands_of(twin.experiment),
            "chosen_bands": request.form.getlist("bands"),
            "trials": trials,
            "refusal": refusal,
            "is_unsaved": _only_shows(),
            "estimated_tokens": estimated_tokens,
            "estimate_words": ESTIMATE_WORDS,
        }
        if wants_effect_alone():
            return self.render("admin/persona/effect.html", **shown)
        page, status = super()._form_page(template, form, return_url, **more, **shown)
        return page, (400 if refusal else 200) if _only_shows() else status

    def _try_it(self, twin: DigitalTwin | None, text: str) -> tuple[list[Trial], str]:
        """The sample drafts, or why there are none. No transaction is open while the model is asked."""
        if twin is None:
            return [], "Write a text and choose a twin to try it with."
        key, account_id = twin.id, access.account().id
        settings = current_app.extensions["settings"]
        self.end_transaction()
        service, bands = load_service(settings), request.form.getlist("bands")
        try:
            return asyncio.run(try_text(key, text, bands, service, settings, utc_now, account_id)), ""
        except (BadInput, DiskLow) as error:
            return [], str(error)

    def size_words(self, text: str) -> str:
        """ "1,200 characters, about 300 tokens"."""
        return f"{len(text):,} characters, about {estimated_tokens(text):,} tokens"

    def over_words(self, row: Persona) -> list[str]:
        """The groups of twins that are in experiments that are over, in words."""
        groups = persona_moves.groups_of(db.session(), row)
        return [group_words(group) for group in groups if group.is_over]

    def latest_versions(self, row: Persona) -> persona_history.HistoryPage:
        """The last few versions, for the persona's own page."""
        return persona_history.history_of(db.session(), row, limit=LATEST_SHOWN)

    def twins_behind(self, row: Persona) -> int:
        """How many twins could be moved to the latest version."""
        groups = persona_moves.groups_of(db.session(), row, row.latest_number)
        return sum(group.twins for group in groups if not group.is_over)

    def _return_url(self) -> str:
        return access.redirect_target() or self.get_url(".index_view")


def moved_words(moved: int) -> str:
    """ "3 twins were"."""
    return {0: "No twin was", 1: "1 twin was"}.get(moved, f"{moved:,} twins were")


def _only_shows() -> bool:
    """Whether the form was sent to see what it does, and saves nothing."""
    return asks("preview") or asks("try")


def _number(name: str) -> int | None:
    text = request.args.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else None


def _typed(form: Any) -> tuple[str, str]:
    """The text as it would be saved, and what is wrong with it ("" for nothing)."""
    try:
        return clean_text(form.text.data, "text", PERSONA_LIMIT, required=False), ""
    except BadInput as error:
        return "", str(error)


def _chosen_twin(form: Any) -> DigitalTwin | None:
    return form.twin.chosen(db.session(), DigitalTwin) if form.twin.data in form.twin.choices else None


def _effect(twin: DigitalTwin, text: str) -> Preview:
    """What this twin would be sent with this text."""
    settings = current_app.extensions["settings"]
    key = f"preview {token_hex(8)}"
    return preview(db.session(), twin, load_service(settings), settings, key, utc_now(), persona=text)
