"""Changing or copying many twins: what is to change, then counts before and after, then all or nothing."""

from collections.abc import Sequence
from typing import Any

from flask import abort, flash, redirect, request
from flask_admin import expose
from flask_admin.actions import action
from sqlalchemy.orm import Session
from wtforms import BooleanField, SelectField, StringField

from ..database import set_read_only
from ..domain.reasons import ExperimentState
from ..errors import BadInput
from ..extensions import db
from ..models import ApiToken, DigitalTwin, Experiment, PersonaVersion, utc_now
from ..services import bulk_edit, chunks
from ..services.bulk_edit import MOST_TWINS, EditPlan, Wish
from ..services.fields import clean_line, clean_parameters, clean_tags
from ..services.lookup import parse_key
from ..web import access
from . import choices
from .base import Screen
from .forms import Clean, Form, RowField
from .twin_bulk import TwinBulk
from .twin_forms import PARAMETERS_HELP

NAMES_SHOWN = 12
NONE = "none"
NOT_CARRIED = frozenset({"csrf_token", "fingerprint", "reason", "back"})
SECTIONS = (
    (
        "Change them",
        ("persona_version", "api_token", "llm_model", "clears_model", "parameters", "clears_parameters",
         "is_active", "tags_added", "tags_removed"),
        "What you leave empty stays as it is.",
    ),
    (
        "Or copy them",
        ("copy_to", "copies_are_active"),
        "Profiles, persona versions, tokens, models, parameters and tags, as they are now. A username that "
        "is taken there gets a number: maya_2.",
    ),
)  # fmt: skip


class BulkEditForm(Form):
    """What is to become of all chosen twins."""

    persona_version = RowField(
        "Persona", empty="leave as it is", description="At its latest version. For example: Maya, version 4"
    )
    api_token = RowField("API token", empty="leave as it is", description="For example: Lab vLLM")
    llm_model = StringField(
        "Model",
        validators=[Clean(lambda text: clean_line(text, "llm_model", 200))],
        render_kw={"spellcheck": "false"},
        description="A model of their own. For example: llama3.1:8b",
    )
    clears_model = BooleanField(
        "Take their own model away", description="The token's or the platform's counts."
    )
    parameters = StringField(
        "Parameters",
        validators=[Clean(clean_parameters)],
        render_kw={"spellcheck": "false"},
        description=f"In place of all they have of their own. {PARAMETERS_HELP}",
    )
    clears_parameters = BooleanField("Take their own parameters away", description="The token's count.")
    is_active = SelectField(
        "Active",
        choices={"": "leave as it is", "yes": "activate", "no": "deactivate"},
        description="Deactivating cancels what waits for them.",
    )
    tags_added = StringField("Add tags", description="With commas between. For example: pilot, section 2")
    tags_removed = StringField("Take tags away", description="With commas between. For example: pilot")
    copy_to = RowField("To experiment", empty="do not copy", description="For example: Main study (b3c4d)")
    copies_are_active = BooleanField(
        "Copies of active twins are active", description="Otherwise all copies are inactive."
    )

    def wish(self, session: Session) -> Wish:
        """What was chosen. Raises BadInput at the field to blame."""
        drops = self.api_token.data == NONE
        model = clean_line(self.llm_model.data, "llm_model", 200, required=False) or None
        parameters = clean_parameters(self.parameters.data) if self.parameters.data.strip() else None
        return Wish(
            persona=self.persona_version.chosen(session, PersonaVersion),
            token=None if drops else self.api_token.chosen(session, ApiToken),
            drops_token=drops,
            llm_model=_one_of(self.llm_model, self.clears_model, "", model),
            parameters=_one_of(self.parameters, self.clears_parameters, {}, parameters),
            is_active={"yes": True, "no": False}.get(self.is_active.data),
            tags_added=clean_tags(self.tags_added.data, "tags_added"),
            tags_removed=clean_tags(self.tags_removed.data, "tags_removed"),
            copy_to=self.copy_to.chosen(session, Experiment),
            copies_are_active=bool(self.copy_to.data) and self.copies_are_active.data,
        )


class TwinBulkEdit(TwinBulk):
    """The pages on which many twins are changed or copied at once."""

    @action("edit", "Change or copy …")
    def action_edit(self, ids: Sequence[str]):
        """The form for the ticked twins."""
        keys = self._own(",".join(ids))
        self.end_transaction()
        if not keys:
            flash("Select at least one twin first.", "error")
            return None
        return self._ask_page(BulkEditForm(), keys)

    @expose("/bulk-edit/", methods=("GET", "POST"))
    def bulk_edit(self):
        """The form for all twins that match the list's address; their counts; and carrying out."""
        if not access.may_write():
            abort(403)
        if request.method == "GET":
            keys = self._matching()
            if not keys:
                flash("No twin matches.", "error")
                return redirect(self.get_url(".index_view"))
            return self._ask_page(BulkEditForm(), keys)
        session = db.session()
        form, keys = BulkEditForm(request.form), self._own(request.form.get("ids", ""))
        self._offer(form)
        if "back" in request.form or not form.validate():
            self.end_transaction()
            return self._ask_page(form, keys), 200 if "back" in request.form else 400
        problem = None
        try:
            wish = form.wish(session)
            if "fingerprint" in request.form:
                done = bulk_edit.carry_out(
                    session, keys, wish, request.form["fingerprint"], utc_now(),
                    request.form.get("reason", ""), access.account(),
                )  # fmt: skip
                session.commit()
                flash(_done_words(done), "success")
                return redirect(self.get_url(".index_view", **_where(done)))
        except BadInput as error:
            session.rollback()
            problem = error
        self.end_transaction()
        try:
            plan = bulk_edit.make_plan(db.session(), keys, form.wish(db.session()))
        except BadInput as error:
            form.put_error(error)
            return self._ask_page(form, keys), 400
        return self._counts_page(plan, problem), 400 if problem else 200

    def _own(self, text: str) -> list[int]:
        """Those of these ids that are twins the list could show."""
        keys = [key for each in text.split(",") if (key := parse_key(each)) is not None]
        if len(keys) > MOST_TWINS:
            raise BadInput(f"These are {len(keys):,} twins; at most {MOST_TWINS:,} are changed at once.")
        query = Screen.get_query(self).with_entities(DigitalTwin.id)
        return [row.id for row in chunks.rows_by_id(query, DigitalTwin.id, keys)]

    def _matching(self) -> list[int]:
        """The ids of all twins that the list with this address would show on its pages."""
        _, query = self.get_list(
            0, None, None, request.args.get("search"), self._get_list_filter_args(),
            execute=False, page_size=MOST_TWINS + 1,
        )  # fmt: skip
        keys = [row.id for row in query.enable_eagerloads(False)]
        if len(keys) > MOST_TWINS:
            raise BadInput(
                f"More than {MOST_TWINS:,} twins match; so many are not changed at once. Narrow the list "
                "with its filters."
            )
        return keys

    def _offer(self, form: BulkEditForm) -> None:
        session = db.session()
        form.persona_version.offer(choices.persona_versions(session))
        form.api_token.offer(choices.tokens(session))
        form.api_token.choices = {**form.api_token.choices, NONE: "take their token away"}
        form.copy_to.offer(choices.experiments(session, (ExperimentState.archived, ExperimentState.ended)))

    def _ask_page(self, form: BulkEditForm, keys: list[int]) -> str:
        if request.method == "POST":
            set_read_only(True)
        self._offer(form)
        first = self.selected(db.session(), [str(key) for key in keys[:NAMES_SHOWN]])
        return self.render(
            "admin/twin/bulk_edit.html", form=form, sections=SECTIONS, count=len(keys),
            names=[str(twin) for twin in first], ids=",".join(map(str, keys)),
            return_url=self.get_url(".index_view"),
        )  # fmt: skip

    def _counts_page(self, plan: EditPlan, problem: BadInput | None) -> str:
        carried = [(name, value) for name, value in request.form.items(multi=True) if name not in NOT_CARRIED]
        return self.render(
            "admin/twin/bulk_counts.html", plan=plan, problem=problem, carried=carried,
            typed_reason=request.form.get("reason", ""), target=plan.wish.copy_to,
            dodged=[(copy.source.username, copy.new.username) for copy in plan.dodged[:NAMES_SHOWN]],
            active_copies=sum(copy.new.is_active for copy in plan.copies),
            return_url=self.get_url(".index_view"),
        )  # fmt: skip


def _one_of(field: Any, box: Any, cleared: Any, value: Any) -> Any:
    if box.data and value is not None:
        raise BadInput("Write something here, or tick the box below; not both.", field.short_name)
    return cleared if box.data else value


def _twins(count: int) -> str:
    return f"{count:,} twin" if count == 1 else f"{count:,} twins"


def _done_words(plan: EditPlan) -> str:
    if plan.wish.copy_to is not None:
        dodged = f" {len(plan.dodged):,} got another username." if plan.dodged else ""
        return f"Copied {_twins(len(plan.copies))} to {plan.wish.copy_to}.{dodged}"
    return f"Changed {_twins(len(plan.edits))}."


def _where(plan: EditPlan) -> dict[str, str]:
    return {"experiment": plan.wish.copy_to.identifier} if plan.wish.copy_to is not None else {}
