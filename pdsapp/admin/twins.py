"""The screen of digital twins: one form for profile, persona, endpoint and activity; asking one at once."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from flask import current_app, flash, request
from flask_admin import expose
from flask_admin.actions import action
from markupsafe import Markup
from sqlalchemy.orm import Session, joinedload, selectinload

from ..attempts.create import Request
from ..attempts.endpoints import NoEndpoint, endpoint_for
from ..attempts.words import several
from ..config import Settings
from ..domain.reasons import Trigger
from ..extensions import db
from ..llm.secrets import SecretBox
from ..models import Account, ApiToken, DigitalTwin, Experiment, PersonaVersion
from ..services import edits, protocol, removals, reports_attempts
from ..services import twins as service
from ..services.fields import parameters_words
from ..web import access
from ..web.pages.rows import AttemptRow, attempt_row
from ..web.request_ids import request_id
from . import asking, cells, choices, filters
from .forms import leave_out_reason
from .row_actions import LinkAction
from .twin_forms import FORM_SECTIONS, TwinEditForm, TwinForm
from .twin_pages import TwinPages

ATTEMPTS_SHOWN = 10
NAMES_SHOWN = 8


class TwinScreen(TwinPages):
    """Digital twins."""

    noun = "twin"
    plural = "twins"
    lead = "Personas with a profile in an experiment, who post by themselves while they are active."
    empty_words = "There is no twin yet. A twin is a persona with a profile in an experiment."
    offers_delete = True
    form = TwinForm
    form_sections = FORM_SECTIONS
    form_columns = (
        "experiment", "username", "display_name", "bio", "persona_version", "api_token", "llm_url",
        "llm_model",
        "parameters", "tags", "is_active", "reason",
    )  # fmt: skip
    column_list = ("username", "is_active", "persona_version", "endpoint", "last_post", "experiment")
    column_details_list = (
        "username", "display_name", "bio", "experiment", "is_active", "tags", "persona_version",
        "persona_text",
        "endpoint", "api_token", "llm_url", "llm_model", "parameters", "last_post", "created_at", "uuid",
    )  # fmt: skip
    column_export_list = (
        "uuid", "experiment", "username", "display_name", "bio", "persona_version", "api_token", "llm_url",
        "llm_model", "parameters", "tags", "is_active", "last_post", "created_at",
    )  # fmt: skip
    column_sortable_list = (("username", "user_profile.username_key"), "is_active", "last_post")
    column_searchable_list = ("user_profile.username", "user_profile.display_name", "user_profile.bio")
    search_words = "username, name, bio"
    column_labels = {
        "username": "Twin",
        "is_active": "State",
        "persona_version": "Persona",
        "persona_text": "What it is told",
        "endpoint": "Written by",
        "api_token": "API token",
        "llm_url": "Own URL",
        "llm_model": "Own model",
        "parameters": "Own parameters",
        "display_name": "Display name",
        "last_post": "Last post",
        "created_at": "Added",
        "uuid": "UUID",
    }
    list_filters = (
        filters.of_flag("active", "Active", DigitalTwin.is_active, "active", "inactive"),
        filters.ListFilter(
            "persona",
            "Persona",
            lambda query, value: query.filter(
                DigitalTwin.persona_version.has(PersonaVersion.persona_id == int(value))
            ),
            lambda: choices.as_text(choices.personas(db.session())),
        ),
        filters.ListFilter(
            "token",
            "API token",
            lambda query, value: query.filter(DigitalTwin.api_token_id == int(value)),
            lambda: choices.as_text(choices.tokens(db.session())),
        ),
        filters.ListFilter("tag", "Tag", lambda query, value: query.filter(DigitalTwin.tags.any(tag=value))),
    )
    is_of_experiments = True
    list_template = "admin/twin/list.html"
    details_template = "admin/twin/details.html"
    details_sections = (
        (
            "Twin",
            ("username", "display_name", "bio", "experiment", "is_active", "tags", "last_post", "created_at"),
        ),
        (
            "Who writes",
            ("persona_version", "endpoint", "api_token", "llm_url", "llm_model", "parameters", "uuid"),
        ),
        ("Persona", ("persona_text",)),
    )

    column_formatters = {
        "username": lambda view, _c, row, _n: cells.two_lines(
            cells.link(view.get_url(".details_view", id=row.id), f"@{row.user_profile.username}"),
            cells.parts(row.user_profile.display_name, tag_marks(row)),
        ),
        "is_active": lambda _v, _c, row, _n: state_pill(row),
        "experiment": lambda _v, _c, row, _n: row.experiment.name,
        "persona_version": lambda view, _c, row, _n: cells.two_lines(
            cells.link(
                view.get_url("persona.details_view", id=row.persona_version.persona_id),
                row.persona_version.persona.name,
            ),
            f"version {row.persona_version.number}",
        ),
        "endpoint": lambda _v, _c, row, _n: cells.two_lines(*endpoint_words(row)),
        "tags": lambda _v, _c, row, _n: tag_marks(row),
        "last_post": lambda view, _c, row, _n: (
            cells.moment(row.last_post, view.zone_of(row)) if row.last_post else "never"
        ),
    }
    column_formatters_detail = column_formatters | {
        "username": lambda view, _c, row, _n: cells.link(
            view.get_url("userprofile.details_view", id=row.user_profile_id), f"@{row.user_profile.username}"
        ),
        "display_name": lambda _v, _c, row, _n: row.user_profile.display_name,
        "bio": lambda _v, _c, row, _n: (
            cells.preformatted(row.user_profile.bio) if row.user_profile.bio else ""
        ),
        "experiment": lambda view, _c, row, _n: cells.link(
            view.get_url("experiment.details_view", id=row.experiment_id), str(row.experiment)
        ),
        "persona_text": lambda _v, _c, row, _n: cells.preformatted(row.persona_version.text),
        "endpoint": lambda _v, _c, row, _n: effective_endpoint(row),
        "api_token": lambda view, _c, row, _n: (
            cells.link(view.get_url("apitoken.details_view", id=row.api_token_id), row.api_token.name)
            if row.api_token
            else "none"
        ),
        "parameters": lambda _v, _c, row, _n: parameters_words(row.parameters),
        "created_at": lambda view, _c, row, _n: cells.time(row.created_at, view.zone_of(row)),
        "uuid": lambda _v, _c, row, _n: Markup("<code>{}</code>").format(row.uuid),
    }
    column_formatters_export = {
        "experiment": lambda _v, _c, row, _n: row.experiment.identifier,
        "username": lambda _v, _c, row, _n: row.user_profile.username,
        "display_name": lambda _v, _c, row, _n: row.user_profile.display_name,
        "bio": lambda _v, _c, row, _n: row.user_profile.bio,
        "persona_version": lambda _v, _c, row, _n: str(row.persona_version),
        "api_token": lambda _v, _c, row, _n: row.api_token.name if row.api_token else "",
        "parameters": lambda _v, _c, row, _n: parameters_words(row.parameters),
        "tags": lambda _v, _c, row, _n: edits.tag_words(row),
    }
    column_extra_row_actions = [
        LinkAction("Post now …", ".ask"),
    ]

    def get_edit_form(self) -> type[TwinForm]:
        """The form without the experiment: a twin never moves."""
        return TwinEditForm

    def loads(self) -> tuple:
        """What a row shows of other tables."""
        return (
            joinedload(DigitalTwin.experiment),
            joinedload(DigitalTwin.api_token),
            selectinload(DigitalTwin.tags),
        )

    def record_lead(self, row: DigitalTwin) -> str:
        """Display name and experiment."""
        return f"{row.user_profile.display_name} · {row.experiment}"

    def values(self, row: DigitalTwin) -> dict[str, Any]:
        """Profile, persona, endpoint and tags as they are typed."""
        return {
            "username": row.user_profile.username,
            "display_name": row.user_profile.display_name,
            "bio": row.user_profile.bio,
            "persona_version": row.persona_version_id,
            "api_token": row.api_token_id,
            "llm_url": row.llm_url,
            "llm_model": row.llm_model,
            "parameters": parameters_words(row.parameters),
            "tags": edits.tag_words(row),
            "is_active": row.is_active,
        }

    def prepare_form(self, form: Any, row: DigitalTwin | None) -> None:
        """Offers experiments, latest persona versions and tokens."""
        session = db.session()
        if row is None:
            choices.offer_experiments(form.experiment)
        elif not protocol.needs_reason(row.experiment):
            leave_out_reason(form)
        form.persona_version.offer(choices.persona_versions(session, row.persona_version if row else None))
        form.api_token.offer(choices.tokens(session, row.api_token if row else None))

    def add(self, session: Session, form: Any, now: datetime, account: Account) -> DigitalTwin:
        """A twin with its profile."""
        twin = service.add_twin(
            session,
            form.experiment.chosen(session, Experiment),
            form.username.data,
            form.persona_version.chosen(session, PersonaVersion),
            now,
            display_name=form.display_name.data,
            bio=form.bio.data,
            token=form.api_token.chosen(session, ApiToken),
            llm_url=form.llm_url.data,
            llm_model=form.llm_model.data,
            parameters=form.parameters.data,
            is_active=form.is_active.data,
            account=account,
        )
        edits.set_tags(session, twin, form.tags.data)
        return twin

    def change(self, session: Session, row: DigitalTwin, form: Any, now: datetime, account: Account) -> None:
        """Everything but the experiment."""
        edits.change_twin(
            session,
            row,
            form.seen,
            now,
            username=form.username.data,
            display_name=form.display_name.data,
            bio=form.bio.data,
            persona_version=form.persona_version.chosen(session, PersonaVersion),
            token=form.api_token.chosen(session, ApiToken),
            llm_url=form.llm_url.data,
            llm_model=form.llm_model.data,
            parameters=form.parameters.data,
            tags=form.tags.data,
            is_active=form.is_active.data,
            reason=form.reason.data if "reason" in form else "",
            account=account,
        )

    def remove(self, session: Session, row: DigitalTwin, now: datetime, account: Account) -> None:
        """Deletes a twin that was never asked."""
        removals.remove_twin(session, row, now, account)

    def delete_words(self, _row: DigitalTwin) -> str:
        """What deleting does."""
        return "Only a twin that was never asked and never posted can be deleted. Others can be deactivated."

    @action("activate", "Activate", "They are asked by schedules from now on.")
    def action_activate(self, ids: Sequence[str]) -> None:
        """Activates the ticked twins."""
        self._set_active(ids, True, "Activated", "active already")

    @action("deactivate", "Deactivate", "Schedules ask them no more.")
    def action_deactivate(self, ids: Sequence[str]) -> None:
        """Deactivates the ticked twins."""
        self._set_active(ids, False, "Deactivated", "inactive already")

    def _set_active(self, ids: Sequence[str], is_active: bool, done: str, already: str) -> None:
        changed: list[str] = []
        others = 0

        def change(session: Session, now: datetime, account: Account) -> None:
            nonlocal others
            for twin in sorted(self.selected(session, ids), key=lambda twin: (twin.experiment_id, twin.id)):
                if service.set_twin_active(session, twin, is_active, now, account):
                    twin.edit_version += 1
                    changed.append(str(twin))
                else:
                    others += 1

        if not ids:
            flash("Select at least one twin first.", "error")
        elif self.act(change):
            rest = f" {others:,} {'was' if others == 1 else 'were'} {already}." if others else ""
            names = (
                f"{done} {several(len(changed), 'twin')}: {cells.first_of(changed, NAMES_SHOWN)}."
                if changed
                else "Nothing had to change."
            )
            flash(f"{names}{rest}", "success")

    @expose("/post-now/", methods=("POST",))
    def post_now(self):
        """Asks the twin at once to post whatever the draw; limits, pauses and bans still hold."""
        return self._ask(is_forced=True)

    @expose("/ask-now/", methods=("POST",))
    def ask_now(self):
        """Asks the twin at once; the rule decides."""
        return self._ask(is_forced=False)

    def _ask(self, is_forced: bool):
        band = request.form.get("band", "").strip()
        asked = Request(Trigger.button, request_id(), is_forced, access.account().id, length_band=band)
        return asking.ask(self.get_one(request.form.get("id")), asked)

    def attempts_of(self, row: DigitalTwin) -> list[AttemptRow]:
        """The twin's latest attempts, as rows for the template."""
        lines = reports_attempts.page(db.session(), reports_attempts.Filters(twin=row)).lines
        return [attempt_row(line, self.zone_of(row)) for line in lines[:ATTEMPTS_SHOWN]]


def state_pill(row: DigitalTwin) -> Markup:
    """Active, inactive, or banned whatever else it is."""
    if row.user_profile.is_banned:
        return cells.pill("banned")
    return cells.pill("active" if row.is_active else "inactive")


def tag_marks(row: DigitalTwin) -> Markup:
    """The tags beside each other."""
    return cells.parts(*(Markup('<span class="tag">{}</span>').format(each.tag) for each in row.tags))


def endpoint_words(row: DigitalTwin) -> tuple[str, str]:
    """What the twin is written by, and the model where it is known without asking."""
    if row.api_token is not None:
        return row.api_token.name, row.llm_model or row.api_token.default_model
    if row.llm_url:
        return row.llm_url, row.llm_model
    if row.experiment.is_demo:
        return "offline writer", ""
    settings: Settings = current_app.extensions["settings"]
    if settings.openai_api_key is None and settings.openai_base_url is None:
        return "nothing yet", "give it a token"
    return "the platform", row.llm_model or settings.llm_model or ""


def effective_endpoint(row: DigitalTwin) -> Markup:
    """The endpoint an attempt would ask now, or why there is none. Never the key."""
    settings: Settings = current_app.extensions["settings"]
    found = endpoint_for(row, settings, SecretBox(settings.require("fernet_keys")))
    if isinstance(found, NoEndpoint):
        return cells.parts(cells.pill("failing", "nothing"), found.detail)
    return cells.two_lines(f"{found.model} at {found.base_url}", parameters_words(dict(found.parameters)))
