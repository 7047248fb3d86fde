"""Editing what an experiment is run by: its posting policy and its prompt, with what each change does."""

from collections.abc import Callable
from secrets import token_hex
from typing import Any

from flask import current_app, flash, redirect, request
from flask_admin import expose
from markupsafe import Markup
from sqlalchemy import select

from ..attempts.preview import Preview, preview
from ..database import set_read_only
from ..domain.policy import PostingPolicy
from ..domain.prompt import PromptTemplates
from ..dt_service import load_service
from ..errors import BadInput
from ..extensions import db
from ..models import DigitalTwin, Experiment, utc_now
from ..services import limits, protocol
from ..services.policy_texts import BAND_FIELDS, STEP_FIELDS, policy_texts, read_policy
from ..web.policy_charts import length_chart, skip_chart
from ..web.protocol_view import change_views
from .asked import asks, wants_effect_alone
from .base import Screen
from .policy_form import PolicyForm
from .prompt_form import PARTS, PromptForm

MOST_TWINS_OFFERED = 200
UNCHANGED = "Nothing was changed: these are the present values."


class ProtocolEditing(Screen):
    """The pages of an experiment's posting policy, of its prompt, and of what was changed when and why."""

    @expose("/policy/", methods=("GET", "POST"))
    def policy(self):
        """The numbers of the posting rule, and what they do."""
        row = self._editable()
        present = limits.policy_of(row)
        shown = PostingPolicy() if asks("reset") else present
        form = self._form(PolicyForm, row, policy_texts(shown))
        policy, is_saved = self._edit(
            row, form, shown, lambda: read_policy(form.data, present), protocol.save_policy
        )
        if is_saved:
            return self._to(row)
        template = "policy_effect" if wants_effect_alone() else "policy"
        return self._page(
            template, row, form, steps=STEP_FIELDS, bands=BAND_FIELDS,
            skips=skip_chart(policy) if policy else None,
            lengths=length_chart(policy) if policy else None,
        )  # fmt: skip

    @expose("/prompt/", methods=("GET", "POST"))
    def prompt(self):
        """The words around persona and feed, the rule of disclosure, and what a twin would be sent."""
        row = self._editable()
        present = PromptTemplates.from_dict(row.prompt_version.body)
        shown = PromptTemplates() if asks("reset") else present
        form = self._form(PromptForm, row, shown.to_dict() | {"twin": _first_twin(row)})
        form.twin.offer(_twins_of(row))
        templates, is_saved = self._edit(row, form, shown, lambda: _templates(form), protocol.save_prompt)
        if is_saved:
            return self._to(row)
        template = "prompt_effect" if wants_effect_alone() else "prompt"
        return self._page(template, row, form, parts=list(PARTS), effect=_effect(form, row, templates))

    @expose("/protocol/")
    def protocol(self):
        """Every change of policy, prompt and the rest: who, when, why, and what it was before."""
        row = self.get_one(request.args.get("id"))
        changes = change_views(protocol.changes_of(db.session(), row), row.zone)
        return self.render(
            "admin/experiment/protocol.html",
            model=row,
            changes=changes,
            most=protocol.MOST_LISTED,
            return_url=self.get_url(".index_view"),
        )

    def latest_changes(self, row: Experiment) -> list[Any]:
        """The last few, for the experiment's own page."""
        return change_views(protocol.changes_of(db.session(), row, 3), row.zone)

    def _editable(self) -> Experiment:
        return self.get_changeable(request.values.get("id"))

    def _form(self, kind: type, row: Experiment, values: dict[str, Any]):
        is_posted = request.method == "POST" and not asks("reset")
        kept = {name: request.form.get(name) for name in ("edit_version", "reason") if name in request.form}
        return kind(
            request.form if is_posted else None, data=values | {"edit_version": row.edit_version} | kept
        )

    def _edit(
        self, row: Experiment, form: Any, shown: Any, read: Callable, save: Callable
    ) -> tuple[Any, bool]:
        """What the page is about, None when what was typed cannot be used; and whether it was saved."""
        if request.method != "POST" or asks("reset"):
            return shown, False
        is_valid = form.validate()
        try:
            content = read()
        except BadInput as error:
            if not (error.field and form[error.field].errors):
                form.put_error(error)
            return None, False
        return content, _is_saving() and is_valid and self._save(row, form, save, content)

    def _save(self, row: Experiment, form: Any, save: Callable, content: Any) -> bool:
        done = []

        def change(session, now, account):
            done.append(save(session, row, form.seen, content, now, form.reason.data or "", account))
            return row

        if self._write(form, change) is None:
            return False
        if done[0] is None:
            flash(UNCHANGED, "info")
        else:
            url = self.get_url(".details_view", id=row.id)
            flash(Markup('Saved. {} of <a href="{}">{}</a>.').format(done[0].summary, url, row), "success")
        return True

    def _to(self, row: Experiment):
        return redirect(self.get_url(".details_view", id=row.id))

    def _page(self, template: str, row: Experiment, form: Any, **more: Any):
        if request.method == "POST":
            set_read_only(True)
        form.reason.flags.required = protocol.needs_reason(row)
        page = self.render(
            f"admin/experiment/{template}.html",
            model=row,
            form=form,
            needs_reason=protocol.needs_reason(row),
            return_url=self.get_url(".details_view", id=row.id),
            **more,
        )
        return page, 400 if _is_saving() else 200


def _is_saving() -> bool:
    return request.method == "POST" and not asks("reset") and not asks("preview")


def _templates(form: Any) -> PromptTemplates:
    words = {name: (form[name].data or "").replace("\r\n", "\n").strip() for name in PARTS}
    sentence = (form.disclosure_sentence.data or "").strip()
    return protocol.make_templates(words, form.disclosure_rule.data or "", sentence)


def _twins_of(row: Experiment) -> list[tuple[int, str]]:
    query = (
        select(DigitalTwin)
        .where(DigitalTwin.experiment_id == row.id)
        .order_by(DigitalTwin.id)
        .limit(MOST_TWINS_OFFERED)
    )
    return [(twin.id, f"@{twin.user_profile.username}") for twin in db.session.scalars(query)]


def _first_twin(row: Experiment) -> int | None:
    query = select(DigitalTwin.id).where(DigitalTwin.experiment_id == row.id).order_by(DigitalTwin.id)
    return db.session.scalar(query.limit(1))


def _effect(form: Any, row: Experiment, templates: PromptTemplates | None) -> Preview | None:
    """What the chosen twin would be sent with these words; None without a twin or with unusable words."""
    twin = form.twin.chosen(db.session(), DigitalTwin) if form.twin.data in form.twin.choices else None
    if templates is None or twin is None or twin.experiment_id != row.id:
        return None
    settings = current_app.extensions["settings"]
    key = f"preview {token_hex(8)}"
    return preview(db.session(), twin, load_service(settings), settings, key, utc_now(), templates=templates)
