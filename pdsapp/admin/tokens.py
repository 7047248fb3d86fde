"""The screen of API tokens. A secret goes in and never comes out."""

import asyncio
from datetime import datetime
from typing import Any

from flask import current_app, flash, request
from flask_admin import expose
from markupsafe import Markup
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from ..config import Settings
from ..database import set_read_only
from ..domain.call_limits import BOUNDS
from ..domain.reasons import TokenState
from ..extensions import db
from ..llm.endpoint import normalize_base_url
from ..llm.presets import KEY_WORDS, PRESETS
from ..llm.secrets import SecretBox
from ..llm.token_test import TokenTest
from ..models import Account, ApiToken, DigitalTwin, utc_now
from ..services import edits, endpoints_down, pauses, put_off, removals, token_tests, token_use
from ..services import tokens as service
from ..services.fields import parameters_words
from ..web import access
from . import cells, filters, token_cells
from .asked import wants_effect_alone
from .forms import Form, leave_out_reason
from .pausing import PausingScreen, pause_actions, state_with_pause
from .row_actions import PostAction
from .token_forms import FORM_SECTIONS, TokenEditForm, TokenForm, address_of, key_is_missing

LIMITS = tuple(bound.field for bound in BOUNDS)


def _link_to_twins(view: Any, row: ApiToken) -> str | Markup:
    return (
        cells.link(view.get_url("digitaltwin.index_view", token=row.id), f"{row.twins:,}")
        if row.twins
        else "0"
    )


def _key_words(row: ApiToken) -> str:
    if row.secret_encrypted is None:
        return "none"
    return f"…{row.last_four}" if row.last_four else "stored"


def _why_not(row: ApiToken) -> str:
    if row.state == TokenState.archived:
        return f"Token “{row.name}” is archived: no twin is written with it, so there is nothing to pause."
    return ""


class TokenScreen(PausingScreen):
    """API tokens: endpoints, their keys (write-only), whether they answer."""

    noun = "API token"
    plural = "tokens"
    lead = "One OpenAI-compatible endpoint each, with its key, model and parameters."
    empty_words = (
        "There is no token yet. Twins outside a demo need an endpoint to ask: a token's, their own, or the "
        "platform's."
    )
    offers_delete = True
    pauses_with = pauses.pause_token
    resumes = pauses.resume_token
    why_not = _why_not
    paused_words = "Paused “{}”. Its twins cannot be written until you resume it."
    resumed_words = "“{}” is active again."
    pause_note = "Twins that use it are written no more until it is resumed. Others go on."
    form = TokenForm
    form_sections = FORM_SECTIONS
    form_columns = (
        "name", "base_url", "secret", "removes_secret", "default_model", "parameters", *LIMITS, "reason",
    )  # fmt: skip
    column_list = ("name", "endpoint", "key", "state", "last_test_at", "calls", "twins")
    column_details_list = (
        "name", "base_url", "default_model", "parameters", "limits", "key", "fingerprint", "state",
        "last_test_at", "last_test_detail", "twins", "calls", "calls_of_month", "created_at", "uuid",
    )  # fmt: skip
    column_export_list = (
        "uuid", "name", "base_url", "default_model", "parameters", *LIMITS, "key", "state", "paused_by",
        "paused_reason",
        "last_test_at",
        "last_test_ok", "last_test_detail", "calls", "twins", "created_at",
    )  # fmt: skip
    column_sortable_list = ("name", ("endpoint", "base_url"), "state", "last_test_at")
    column_searchable_list = ("name", "base_url", "default_model")
    search_words = "name, URL, model"
    column_labels = {
        "base_url": "Base URL",
        "default_model": "Default model",
        "limits": "At most",
        **{bound.field: bound.label for bound in BOUNDS},
        "last_test_at": "Last test",
        "last_test_ok": "Last test passed",
        "last_test_detail": "What it said",
        "paused_reason": "Why paused",
        "paused_by": "Paused by",
        "twins": "Twins",
        "calls": "Calls, 24 h",
        "calls_of_month": "Calls, 30 d",
        "created_at": "Added",
        "uuid": "UUID",
    }
    list_filters = (filters.of_enum("state", "State", ApiToken.state, TokenState),)
    create_template = "admin/token/create.html"
    edit_template = "admin/token/edit.html"
    details_template = "admin/token/details.html"
    details_sections = (
        ("Endpoint", ("name", "base_url", "default_model", "parameters", "limits", "key", "fingerprint")),
        ("State", ("state", "last_test_at", "last_test_detail")),
        ("Use", ("twins", "calls", "calls_of_month", "created_at", "uuid")),
    )

    column_formatters = {
        "endpoint": lambda _v, _c, row, _n: cells.two_lines(
            Markup("<code>{}</code>").format(row.base_url),
            cells.clip(row.default_model) if row.default_model else "",
        ),
        "state": lambda view, _c, row, _n: state_with_pause(
            cells.pill(row.state), row, view.zone_of(row).key
        ),
        "key": lambda _v, _c, row, _n: _key_words(row),
        "last_test_at": lambda view, _c, row, _n: token_cells.test_cell(row, view.zone_of(row)),
        "calls": lambda _v, _c, row, _n: token_cells.calls_cell(row.calls, row.call_limits),
        "twins": lambda view, _c, row, _n: _link_to_twins(view, row),
    }
    column_formatters_detail = column_formatters | {
        "base_url": lambda _v, _c, row, _n: Markup("<code>{}</code>").format(row.base_url),
        "parameters": lambda _v, _c, row, _n: parameters_words(row.parameters),
        "limits": lambda _v, _c, row, _n: "" if row.call_limits.is_empty else row.call_limits.words,
        "calls": lambda _v, _c, row, _n: token_cells.usage_words(row.calls),
        "calls_of_month": lambda _v, _c, row, _n: token_cells.usage_words(row.calls_of_month),
        "created_at": lambda view, _c, row, _n: cells.time(row.created_at, view.zone_of(row), "year"),
        "uuid": lambda _v, _c, row, _n: Markup("<code>{}</code>").format(row.uuid),
        "fingerprint": lambda _v, _c, row, _n: (
            Markup("<code>{}</code>").format(row.fingerprint) if row.fingerprint else ""
        ),
    }
    column_formatters_export = {
        "parameters": lambda _v, _c, row, _n: parameters_words(row.parameters),
        "key": lambda _v, _c, row, _n: _key_words(row),
        "calls": lambda _v, _c, row, _n: row.calls.calls,
    }
    column_extra_row_actions = [
        PostAction("Test", ".test", shown_if=lambda row: row.state != TokenState.archived),
        *pause_actions(_why_not, is_rare=True),
        PostAction("Resume", ".resume", shown_if=lambda row: row.state == TokenState.archived, is_rare=True),
        PostAction(
            "Archive",
            ".archive",
            confirm=lambda row: f"Archive “{row}”? It leaves the lists; twins that use it cannot be written.",
            shown_if=lambda row: row.state == TokenState.paused,
            is_rare=True,
        ),
    ]

    def get_edit_form(self) -> type[Form]:
        """The form with what becomes of the stored key."""
        return TokenEditForm

    def get_query(self):
        """Archived tokens only when the filter asks for them."""
        query = super().get_query()
        if not request.args.get("state"):
            query = query.filter(ApiToken.state != TokenState.archived)
        return query

    def enrich(self, session: Session, rows: list[ApiToken]) -> None:
        """Twins that use each, and calls of the last day, in one query each."""
        keys = [row.id for row in rows]
        query = (
            select(DigitalTwin.api_token_id, func.count(DigitalTwin.id))
            .where(DigitalTwin.api_token_id.in_(keys))
            .group_by(DigitalTwin.api_token_id)
        )
        counts = dict(session.execute(query).all())
        calls = token_use.usage_today(session, keys, utc_now())
        for row in rows:
            row.twins = counts.get(row.id, 0)
            row.calls = calls.get(row.id, token_use.Usage())

    def details_page(self, row: ApiToken, test: TokenTest | None = None, **more: Any) -> str:
        """With its twins, its last test (`test`: the one just made), its calls of a day and of a month."""
        session = db.session()
        now = utc_now()
        _, row.calls_of_month = token_use.usage(session, row.id, now)
        down = endpoints_down.of_address(session, row.base_url, now)
        twins = token_use.twins_of(session, row.id)
        steps = row.last_test_steps if test is None else token_tests.stored_steps(test)
        return super().details_page(
            row, test=test, rungs=token_cells.rungs(steps, row.base_url), twins=twins, zone=self.zone_of(row),
            down=down.words(now) if down else "", waiting=put_off.waiting(session, row.id, now), **more,
        )  # fmt: skip

    def values(self, row: ApiToken) -> dict[str, Any]:
        """Everything but the key."""
        return {
            "name": row.name,
            "base_url": row.base_url,
            "default_model": row.default_model,
            "parameters": parameters_words(row.parameters),
            **{name: f"{value:,}" if (value := getattr(row, name)) else "" for name in LIMITS},
        }

    def prepare_form(self, form: Any, row: ApiToken | None) -> None:
        """Without a stored key there is none to remove, without a study under way no reason to ask for."""
        if row is None:
            return
        if not token_use.under_way(db.session(), row.id):
            leave_out_reason(form)
        if row.secret_encrypted is None:
            del form.removes_secret
            form.secret.description = (
                "None is stored. Enter one if the endpoint asks for it, for example sk-…."
            )
        else:
            form.secret.render_kw = {
                "placeholder": f"stored, ends in {row.last_four}" if row.last_four else "stored"
            }

    def add(self, session: Session, form: Any, now: datetime, account: Account) -> ApiToken:
        """A token with its key sealed for its address, which has to be one that is asked."""
        self._require_allowed(session, form)
        return service.add_token(
            session, _box(), form.name.data, form.base_url.data, (form.secret.data or "").strip(),
            form.default_model.data, now, form.parameters.data, account,
            **_limits(form),
        )  # fmt: skip

    def change(self, session: Session, row: ApiToken, form: Any, now: datetime, account: Account) -> None:
        """New values; an empty key keeps the stored one."""
        if normalize_base_url(form.base_url.data) != row.base_url:
            self._require_allowed(session, form)
        edits.change_token(
            session, _box(), row, form.seen, now,
            name=form.name.data, base_url=form.base_url.data, secret=(form.secret.data or "").strip(),
            removes_secret="removes_secret" in form and form.removes_secret.data,
            default_model=form.default_model.data, parameters=form.parameters.data,
            reason=(form.reason.data or "") if "reason" in form else "", account=account,
            **_limits(form),
        )  # fmt: skip

    def _require_allowed(self, session: Session, form: Any) -> None:
        session.rollback()  # a name may have to be looked up: nobody waits for the database meanwhile
        service.require_allowed(current_app.extensions["settings"], form.base_url.data)

    @expose("/new/", methods=("GET", "POST"))
    def create_view(self):
        """The form for a new token; with `preview` only what stands beside it, and nothing is saved."""
        if "preview" in request.form:
            return self._form_page(self.create_template, self.create_form(), _return_url(self))
        return super().create_view()

    @expose("/edit/", methods=("GET", "POST"))
    def edit_view(self):
        """The form for a token that is there; with `preview` as for a new one."""
        if "preview" in request.form:
            row = self.get_one(request.args.get("id"))
            form = self.edit_form(obj=row)
            return self._form_page(self.edit_template, form, _return_url(self), model=row)
        return super().edit_view()

    def _form_page(self, template: str, form: Any, return_url: str, **more: Any):
        is_preview = "preview" in request.form
        if request.method == "POST":
            set_read_only(True)
        row = more.get("model")
        if wants_effect_alone():
            template = "admin/token/effect.html"
        address = address_of(form.base_url.data)
        has_stored = row is not None and row.secret_encrypted is not None
        page, status = super()._form_page(
            template, form, return_url, asked=address, presets=PRESETS, key_words=KEY_WORDS,
            key_is_missing=key_is_missing(form, address, has_stored),
            models=(row.last_test_models if row is not None else None) or (),
            uses=token_use.under_way(db.session(), row.id) if row is not None else (), **more,
        )  # fmt: skip
        return page, 200 if is_preview else status

    def remove(self, session: Session, row: ApiToken, now: datetime, account: Account) -> None:
        """Deletes a token nobody ever used."""
        removals.remove_token(session, row, now, account)

    def record_title(self, row: ApiToken) -> str:
        """Its name."""
        return row.name

    def delete_words(self, _row: ApiToken) -> str:
        """What deleting does."""
        return (
            "Only a token that no twin has and no call was made with can be deleted. Others can be archived."
        )

    @expose("/test/", methods=("POST",))
    def test(self):
        """Asks the endpoint now and shows each step."""
        key, account_id = self.get_one(request.form.get("id")).id, access.account().id
        self.end_transaction()
        settings: Settings = current_app.extensions["settings"]
        result = asyncio.run(token_tests.test_token(key, settings, utc_now, account_id))
        return self.details_page(self.get_one(key), test=result)

    @expose("/archive/", methods=("POST",))
    def archive(self):
        """Takes a token off the lists."""
        row = self.get_one(request.form.get("id"))
        name = row.name
        if self.act(lambda session, now, account: edits.archive_token(session, row, now, account)):
            flash(f"Archived “{name}”.", "success")
        return self.back()


def _limits(form: Any) -> dict[str, str]:
    return {name: form[name].data or "" for name in LIMITS}


def _return_url(view: TokenScreen) -> str:
    return access.redirect_target() or view.get_url(".index_view")


def _box() -> SecretBox:
    return SecretBox(current_app.extensions["settings"].require("fernet_keys"))
