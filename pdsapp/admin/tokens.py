"""The screen of API tokens. A secret goes in and never comes out."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

from flask import current_app, flash, request
from flask_admin import expose
from markupsafe import Markup
from sqlalchemy import case, func, select
from sqlalchemy.orm import Session
from wtforms import BooleanField, PasswordField, StringField

from ..config import Settings
from ..domain.reasons import CallState, TokenState
from ..extensions import db
from ..llm.endpoint import normalize_base_url
from ..llm.secrets import SecretBox
from ..models import Account, ApiToken, DigitalTwin, ModelCall, utc_now
from ..services import edits, pauses, removals, token_tests
from ..services import tokens as service
from ..services.fields import clean_line, clean_parameters, parameters_words
from ..web import access
from . import cells, filters
from .forms import Clean, Form, Needed
from .pausing import PausingScreen, pause_actions, state_with_pause
from .row_actions import PostAction
from .twin_forms import PARAMETERS_HELP

STEP_WORDS = {
    "token": "Token",
    "address": "Address allowed",
    "models": "Models listed",
    "completion": "A tiny completion",
}

FORM_SECTIONS = (
    ("Endpoint", ("name", "base_url", "secret", "removes_secret")),
    ("What is asked", ("default_model", "parameters")),
)


class TokenForm(Form):
    """What people type about an API token."""

    name = StringField(
        "Name",
        validators=[Needed(), Clean(lambda text: clean_line(text, "name", 80))],
        description="How you find it. For example: Lab vLLM",
    )
    base_url = StringField(
        "Base URL",
        validators=[Needed(), Clean(normalize_base_url)],
        render_kw={"inputmode": "url", "spellcheck": "false"},
        description="Where the OpenAI-compatible endpoint is. For example: https://api.openai.com/v1, or "
        "for an "
        "Ollama on this computer http://127.0.0.1:11434/v1",
    )
    secret = PasswordField(
        "Key",
        description="As the provider gave it to you, for example sk-…; stored encrypted and never shown "
        "again. "
        "Leave it empty if the endpoint needs none.",
    )
    default_model = StringField(
        "Default model",
        validators=[Clean(lambda text: clean_line(text, "default_model", 200))],
        render_kw={"spellcheck": "false"},
        description="For twins that name none. For example: gpt-4o-mini",
    )
    parameters = StringField(
        "Parameters",
        validators=[Clean(clean_parameters)],
        render_kw={"spellcheck": "false"},
        description=f"Sent with every call; a twin's own go first. {PARAMETERS_HELP}",
    )


class TokenEditForm(TokenForm):
    """As for a new token, with what becomes of the stored key."""

    secret = PasswordField(
        "Key",
        description="Leave it empty to keep the stored key. A new address asks for its key again, for "
        "example sk-….",
    )
    removes_secret = BooleanField(
        "Remove the stored key",
        description="The endpoint is then asked without one, for example a local Ollama.",
    )


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


def _test_cell(view: Any, row: ApiToken) -> Markup:
    if row.last_test_at is None:
        return cells.pill("untested")
    state = cells.pill("ok" if row.last_test_ok else "failing", "answers" if row.last_test_ok else "fails")
    return cells.two_lines(state, cells.time(row.last_test_at, view.zone_of(row)))


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
    form_columns = ("name", "base_url", "secret", "removes_secret", "default_model", "parameters")
    column_list = ("name", "endpoint", "key", "state", "last_test_at", "twins")
    column_details_list = (
        "name", "base_url", "default_model", "parameters", "key", "fingerprint", "state",
        "last_test_at", "last_test_detail", "twins", "calls", "created_at", "uuid",
    )  # fmt: skip
    column_export_list = (
        "uuid", "name", "base_url", "default_model", "parameters", "key", "state", "paused_by",
        "paused_reason",
        "last_test_at",
        "last_test_ok", "twins", "created_at",
    )  # fmt: skip
    column_sortable_list = ("name", ("endpoint", "base_url"), "state", "last_test_at")
    column_searchable_list = ("name", "base_url", "default_model")
    search_words = "name, URL, model"
    column_labels = {
        "base_url": "Base URL",
        "default_model": "Default model",
        "last_test_at": "Last test",
        "last_test_ok": "Last test passed",
        "last_test_detail": "What it said",
        "paused_reason": "Why paused",
        "paused_by": "Paused by",
        "twins": "Used by twins",
        "calls": "Calls, last 24 h",
        "created_at": "Added",
        "uuid": "UUID",
    }
    list_filters = (filters.of_enum("state", "State", ApiToken.state, TokenState),)
    details_template = "admin/token/details.html"
    details_sections = (
        ("Endpoint", ("name", "base_url", "default_model", "parameters", "key", "fingerprint")),
        ("State", ("state", "last_test_at", "last_test_detail")),
        ("Use", ("twins", "calls", "created_at", "uuid")),
    )

    column_formatters = {
        "endpoint": lambda _v, _c, row, _n: cells.two_lines(
            Markup("<code>{}</code>").format(row.base_url), row.default_model
        ),
        "state": lambda view, _c, row, _n: state_with_pause(
            cells.pill(row.state), row, view.zone_of(row).key
        ),
        "key": lambda _v, _c, row, _n: _key_words(row),
        "last_test_at": lambda view, _c, row, _n: _test_cell(view, row),
        "twins": lambda view, _c, row, _n: _link_to_twins(view, row),
    }
    column_formatters_detail = column_formatters | {
        "base_url": lambda _v, _c, row, _n: Markup("<code>{}</code>").format(row.base_url),
        "parameters": lambda _v, _c, row, _n: parameters_words(row.parameters),
        "created_at": lambda view, _c, row, _n: cells.time(row.created_at, view.zone_of(row), "year"),
        "uuid": lambda _v, _c, row, _n: Markup("<code>{}</code>").format(row.uuid),
        "fingerprint": lambda _v, _c, row, _n: (
            Markup("<code>{}</code>").format(row.fingerprint) if row.fingerprint else ""
        ),
    }
    column_formatters_export = {
        "parameters": lambda _v, _c, row, _n: parameters_words(row.parameters),
        "key": lambda _v, _c, row, _n: _key_words(row),
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
        """Numbers of twins that use each, in one query."""
        keys = [row.id for row in rows]
        query = (
            select(DigitalTwin.api_token_id, func.count(DigitalTwin.id))
            .where(DigitalTwin.api_token_id.in_(keys))
            .group_by(DigitalTwin.api_token_id)
        )
        counts = dict(session.execute(query).all())
        for row in rows:
            row.twins = counts.get(row.id, 0)

    def details_page(self, row: ApiToken, **more: Any) -> str:
        """With the token's calls of the last day."""
        row.calls = _calls_words(db.session(), row)
        return super().details_page(row, **more)

    def values(self, row: ApiToken) -> dict[str, Any]:
        """Everything but the key."""
        return {
            "name": row.name,
            "base_url": row.base_url,
            "default_model": row.default_model,
            "parameters": parameters_words(row.parameters),
        }

    def prepare_form(self, form: Any, row: ApiToken | None) -> None:
        """Without a stored key there is none to remove."""
        if row is None:
            return
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
        """A token with its key sealed for its address."""
        return service.add_token(
            session, _box(), form.name.data, form.base_url.data, (form.secret.data or "").strip(),
            form.default_model.data, now, form.parameters.data, account,
        )  # fmt: skip

    def change(self, session: Session, row: ApiToken, form: Any, now: datetime, account: Account) -> None:
        """New values; an empty key keeps the stored one."""
        edits.change_token(
            session, _box(), row, form.seen, now,
            name=form.name.data, base_url=form.base_url.data, secret=(form.secret.data or "").strip(),
            removes_secret="removes_secret" in form and form.removes_secret.data,
            default_model=form.default_model.data, parameters=form.parameters.data, account=account,
        )  # fmt: skip

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
        steps = [
            (STEP_WORDS.get(step.name, step.name), step.ok, step.detail, step.ms) for step in result.steps
        ]
        return self.details_page(self.get_one(key), test=result, steps=steps)

    @expose("/archive/", methods=("POST",))
    def archive(self):
        """Takes a token off the lists."""
        row = self.get_one(request.form.get("id"))
        name = row.name
        if self.act(lambda session, now, account: edits.archive_token(session, row, now, account)):
            flash(f"Archived “{name}”.", "success")
        return self.back()


def _box() -> SecretBox:
    return SecretBox(current_app.extensions["settings"].require("fernet_keys"))


def _calls_words(session: Session, row: ApiToken) -> str:
    calls, failed, tokens_in, tokens_out = session.execute(
        select(
            func.count(ModelCall.id),
            func.sum(case((ModelCall.state == CallState.failed, 1), else_=0)),
            func.sum(ModelCall.prompt_tokens),
            func.sum(ModelCall.completion_tokens),
        ).where(ModelCall.api_token_id == row.id, ModelCall.started_at > utc_now() - timedelta(hours=24))
    ).one()
    if not calls:
        return "none"
    return f"{calls:,} ({failed or 0:,} failed), {tokens_in or 0:,} tokens in, {tokens_out or 0:,} out"
