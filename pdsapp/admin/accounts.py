"""Accounts: who may sign in, as what; for administrators."""

from datetime import datetime
from typing import Any

from flask import request, url_for
from flask_admin import expose
from markupsafe import Markup
from sqlalchemy.orm import Session, selectinload
from wtforms import BooleanField, RadioField, StringField

from ..database import set_read_only
from ..extensions import db
from ..models import Account, Role
from ..services import accounts as service
from ..services import granting
from ..services.accounts import ROLES
from ..services.fields import clean_email
from ..web import access, frame
from . import cells, filters
from .base import Screen
from .forms import Clean, Form, Needed, TicksField
from .row_actions import PostAction


class AccountForm(Form):
    """What an administrator types about somebody who is to sign in."""

    email = StringField(
        "E-mail",
        validators=[Needed(), Clean(clean_email)],
        render_kw={"inputmode": "email", "autocomplete": "off", "spellcheck": "false"},
        description="What they sign in with; nothing is sent there. For example: ada@example.org",
    )
    role = RadioField(
        "Role",
        default="researcher",
        choices={name: f"{name}: {words[0].lower()}{words[1:]}" for name, words in ROLES.items()},
        description="For example, a teaching assistant who sets up sections is a researcher.",
    )
    sees = RadioField(
        "Sees",
        default="granted",
        choices={"granted": "the experiments granted below", "all": "all experiments, those to come too"},
        description="An administrator sees all of them anyway. Who adds an experiment is granted it.",
    )
    granted = TicksField(
        "Granted experiments",
        nothing="There is no experiment yet.",
        description="A researcher may change them, a viewer may look at them. For example, the sections an "
        "assistant teaches.",
    )


class AccountEditForm(AccountForm):
    """Role, experiments and door; the address stays."""

    email = None
    active = BooleanField(
        "May sign in",
        description="Unticked, every window they have open is shut at once. For example, when somebody "
        "leaves.",
    )


class AccountScreen(Screen):
    """Accounts of the workbench; members of experiments are profiles."""

    noun = "account"
    plural = "accounts"
    lead = "Who may sign in here, and as what. People who post in an experiment are profiles, not accounts."
    create_lead = "They set a password of their own by a one-time link, which you give them afterwards."
    empty_words = "There is no account yet."
    offers_export = True
    form = AccountForm
    form_columns = ("email", "role", "sees", "granted", "active")
    column_list = ("email", "role", "sees", "active", "created_at")
    column_details_list = ("email", "role", "sees", "active", "zone", "created_at")
    column_export_list = ("email", "role", "sees", "active", "created_at")
    column_searchable_list = ("email",)
    column_sortable_list = ("email", "created_at")
    search_words = "e-mail"
    column_labels = {"email": "E-mail", "active": "State", "created_at": "Added", "zone": "Time zone"}
    list_filters = (
        filters.ListFilter(
            "role",
            "Role",
            lambda query, value: query.filter(Account.roles.any(Role.name == value)),
            lambda: [(name, name) for name in ROLES],
        ),
        filters.of_flag("state", "State", Account.active, "may sign in", "shut"),
    )
    column_formatters = {
        "email": lambda view, _c, row, _n: cells.link(view.get_url(".details_view", id=row.id), row.email),
        "role": lambda _v, _c, row, _n: service.role_of(row),
        "sees": lambda _v, _c, row, _n: _sees(row),
        "active": lambda _v, _c, row, _n: _state(row),
        "zone": lambda _v, _c, row, _n: row.zone or "not chosen",
        "created_at": lambda _v, _c, row, _n: cells.time(row.created_at, frame.current_zone(), "day"),
    }
    column_formatters_detail = column_formatters | {
        "sees": lambda view, _c, row, _n: _sees_which(view, row),
        "created_at": lambda _v, _c, row, _n: cells.time(row.created_at, frame.current_zone(), "year"),
    }
    column_formatters_export = {
        "role": lambda _v, _c, row, _n: service.role_of(row),
        "sees": lambda _v, _c, row, _n: _sees(row),
    }
    column_extra_row_actions = [
        PostAction("Make a sign-in link", ".link", shown_if=lambda row: row.active),
    ]

    def is_accessible(self) -> bool:
        """Administrators only."""
        return access.may_administer()

    def loads(self) -> tuple:
        """What a row shows of other tables."""
        return (selectinload(Account.roles),)

    def enrich(self, session: Session, rows: list[Account]) -> None:
        """How many experiments each is granted, in one query."""
        counts = granting.counts(session, [row.id for row in rows])
        for row in rows:
            row.granted_count = counts.get(row.id, 0)

    def prepare_form(self, form: Any, row: Account | None) -> None:
        """Offers the experiments that can be granted."""
        found = granting.offered_experiments(db.session())
        form.granted.offer([(each.id, f"{each}, {each.state.value}") for each in found])

    def get_edit_form(self) -> type[Form]:
        """The form without the address."""
        return AccountEditForm

    def record_title(self, row: Account) -> str:
        """The address."""
        return row.email

    def record_lead(self, row: Account) -> str:
        """What is left to do before they can come in; mostly nothing."""
        if not row.active or row.password:
            return ""
        return "No password yet. Make a sign-in link and give it to them: with it they set one."

    def values(self, row: Account) -> dict[str, Any]:
        """Role, experiments and door."""
        granted = granting.experiments_of(db.session(), row)
        return {
            "role": service.role_of(row),
            "sees": "all" if row.sees_all_experiments else "granted",
            "granted": [each.id for each in granted],
            "active": row.active,
        }

    def add(self, session: Session, form: Any, now: datetime, account: Account) -> Account:
        """An account without a password, and what it is granted."""
        sees_all = form.sees.data == "all"
        row = service.add_account(
            session, form.email.data, form.role.data, now, by=account, sees_all=sees_all
        )
        granting.grant_experiments(session, row, form.granted.chosen(), now, account)
        return row

    def change(self, session: Session, row: Account, form: Any, now: datetime, account: Account) -> None:
        """Another role, other experiments, or the door shut or opened."""
        service.change_account(
            session, row, form.seen, now, role=form.role.data, is_active=form.active.data,
            sees_all=form.sees.data == "all", by=account,
        )  # fmt: skip
        granting.grant_experiments(session, row, form.granted.chosen(), now, account)

    @expose("/link/", methods=("POST",))
    def link(self):
        """Makes a one-time link and shows it, once: it is stored nowhere."""
        row, made = self.get_one(request.form.get("id")), []
        if not self.act(
            lambda session, now, account: made.append(service.invite(session, row, now, account))
        ):
            return self.back()
        set_read_only(True)
        return self.render(
            "admin/account/link.html",
            model=row,
            link=url_for("sign_in.first_sign_in", token=made[0], _external=True),
            days=service.LINK_LIFETIME.days,
            return_url=self.get_url(".details_view", id=row.id),
        )


def _state(row: Account):
    if not row.active:
        return cells.pill("inactive", "shut")
    return cells.pill("active", "may sign in") if row.password else cells.pill("due", "no password yet")


def _sees(row: Account) -> str:
    if row.sees_everything:
        return "all experiments"
    return f"{row.granted_count:,} experiment{'' if row.granted_count == 1 else 's'}"


def _sees_which(view: Any, row: Account) -> str | Markup:
    if row.sees_everything:
        return "all experiments"
    found = granting.experiments_of(db.session(), row)
    if not found:
        return "no experiment until it is granted one"
    links = [cells.link(view.get_url("experiment.details_view", id=each.id), str(each)) for each in found]
    return Markup(", ").join(links)
