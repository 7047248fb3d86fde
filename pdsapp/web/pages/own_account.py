"""Somebody's own account: its time zone and its password. Everybody who signs in may change these."""

from dataclasses import dataclass

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask_limiter.util import get_remote_address
from flask_security import verify_password
from flask_security.utils import login_user
from flask_wtf import FlaskForm
from wtforms import PasswordField, SelectField
from wtforms.validators import DataRequired

from ...database import set_read_only
from ...errors import BadInput
from ...extensions import db
from ...models import Experiment, utc_now
from ...services import accounts, granting
from .. import access, frame, zones
from ..extensions import limiter
from ..security import NO_LONGER, PasswordForm

TRIES = "10 per minute"
WRONG_PASSWORD = "This is not your present password. Check it and try again."

routes = Blueprint("own_account", __name__)


class ZoneForm(FlaskForm):
    """Whose clock times are shown in where no experiment says another."""

    zone = SelectField(
        "Time zone",
        choices={"": "as the experiment, or UTC"},
        validate_choice=False,
        description="An experiment's screens keep its own zone and show yours when you point at a time. "
        "Lists of all experiments are in yours. For example: Europe/Rome",
    )


class OwnPasswordForm(PasswordForm):
    """Another password, and the present one."""

    present = PasswordField(
        "Present password", validators=[DataRequired("Enter your present password."), NO_LONGER]
    )


@dataclass(frozen=True)
class OwnAccount:
    """What templates/web/own_account.html draws."""

    email: str
    facts: list[tuple]
    zone_form: ZoneForm
    password_form: OwnPasswordForm
    zone_url: str
    password_url: str


@routes.route("/account")
def show():
    """The page with both forms."""
    return _page()


@routes.route("/account/zone", methods=["POST"])
def zone():
    """Remembers the account's time zone; none shows times as the experiment's."""
    form = _zone_form()
    try:
        accounts.choose_zone(db.session(), access.account(), form.zone.data, utc_now())
        db.session.commit()
    except BadInput as error:
        db.session.rollback()
        form.zone.errors = [str(error)]
        return _page(zone_form=form), 400
    flash("Saved your time zone.", "success")
    return redirect(url_for(".show"))


@routes.route("/account/password", methods=["POST"])
@limiter.limit(TRIES, key_func=get_remote_address)
@limiter.limit(TRIES, key_func=lambda: f"own-password:{access.account().id}")
def password():
    """Sets another password and signs out every other window."""
    form = OwnPasswordForm()
    if form.validate():
        account = access.account()
        present = account.password
        db.session.rollback()  # hashing takes long: nobody waits for the database meanwhile
        if not verify_password(form.present.data, present):
            form.present.errors = [WRONG_PASSWORD]
        else:
            try:
                accounts.change_password(db.session(), account, form.password.data, utc_now())
                db.session.commit()
            except BadInput as error:
                db.session.rollback()
                form.password.errors = [str(error)]
            else:
                login_user(account)
                flash("Your password is changed. Every other window and device is signed out.", "success")
                return redirect(url_for(".show"))
    return _page(password_form=form), 400


def _page(zone_form: ZoneForm | None = None, password_form: OwnPasswordForm | None = None) -> str:
    if request.method == "POST":
        set_read_only(True)
    account = access.account()
    page = OwnAccount(
        email=account.email,
        facts=[("E-mail", account.email), ("Role", frame.ROLE_WORDS[access.role()]), ("Sees", _sees())],
        zone_form=zone_form or _zone_form(),
        password_form=password_form or OwnPasswordForm(formdata=None),
        zone_url=url_for(".zone"),
        password_url=url_for(".password"),
    )
    return render_template("web/own_account.html", page=page)


def _zone_form() -> ZoneForm:
    account = access.account()
    form = ZoneForm(zone=account.zone or "")
    form.zone.choices = zones.choices(account.zone, empty="as the experiment, or UTC")
    return form


def _sees() -> str:
    account = access.account()
    if account.sees_everything:
        return "all experiments"
    found: list[Experiment] = granting.experiments_of(db.session(), account)
    return ", ".join(map(str, found)) or "no experiment yet: an administrator grants them"
