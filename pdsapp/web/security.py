"""Signing in: Flask-Security's sessions and password hashes, the product's own two pages.

Of Flask-Security's many pages none is registered: no registration, no recovery by mail, no tokens.
"""

from datetime import timedelta
from hashlib import sha256

from flask import Blueprint, Flask, flash, redirect, render_template, request, session, url_for
from flask_limiter.util import get_remote_address
from flask_security import SQLAlchemyUserDatastore, hash_password, verify_password
from flask_security.utils import login_user, logout_user
from flask_wtf import FlaskForm
from werkzeug.middleware.proxy_fix import ProxyFix
from wtforms import BooleanField, EmailField, HiddenField, PasswordField
from wtforms.validators import DataRequired, EqualTo, Length

from ..config import Settings
from ..database import reading
from ..errors import BadInput, NotFound
from ..extensions import db
from ..models import Account, Role, utc_now
from ..scheduling import queue
from ..services import accounts
from . import access, below, queue_sign
from .extensions import limiter, security

TRIES_PER_ADDRESS = "10 per minute"
# From one address; from all together more, so that a stranger cannot lock somebody out so easily.
TRIES_PER_ACCOUNT = "5 per minute"
TRIES_PER_ACCOUNT_FROM_ANYWHERE = "30 per minute"
REMEMBERED_FOR = timedelta(days=14)

pages = Blueprint("sign_in", __name__)


NO_LONGER = Length(
    max=accounts.LONGEST_TRIED,
    message=f"No password is longer than {accounts.LONGEST_TRIED:,} characters. Check it and try again.",
)


class SignInForm(FlaskForm):
    """E-mail address and password."""

    email = EmailField("E-mail", validators=[DataRequired("Enter your e-mail address.")])
    password = PasswordField("Password", validators=[DataRequired("Enter your password."), NO_LONGER])
    remember = BooleanField(f"Keep me signed in on this computer for {REMEMBERED_FOR.days} days")
    next = HiddenField()


class PasswordForm(FlaskForm):
    """A first password, typed twice."""

    password = PasswordField(
        "New password",
        validators=[DataRequired("Choose a password.")],
        description=f"At least {accounts.PASSWORD_MINIMUM} characters. A few words in a row are easy to "
        f"keep in mind.",
    )
    password_confirm = PasswordField(
        "The same again",
        validators=[
            DataRequired("Type the password again."),
            EqualTo("password", "The two differ. Type both again."),
        ],
    )


def init_app(app: Flask) -> None:
    """Configures sessions, throttling and Flask-Security, and registers the sign-in pages."""
    settings: Settings = app.extensions["settings"]
    app.config.update(
        SESSION_COOKIE_NAME="discourse_twins",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_SECURE=settings.is_https,
        PERMANENT_SESSION_LIFETIME=REMEMBERED_FOR,  # older cookies are refused by the server too
        SECURITY_PASSWORD_SCHEMES=["argon2"],
        SECURITY_PASSWORD_HASH="argon2",
        SECURITY_PASSWORD_SINGLE_HASH={"argon2"},
        SECURITY_PASSWORD_HASH_PASSLIB_OPTIONS={f"argon2__{name}": v for name, v in accounts.ARGON2.items()},
        SECURITY_PASSWORD_SALT="",  # argon2 salts each hash itself
        SECURITY_PASSWORD_NORMALIZE_FORM=None,
        SECURITY_CLI_USERS_NAME=None,
        SECURITY_CLI_ROLES_NAME=None,
        RATELIMIT_STORAGE_URI=_limiter_storage(settings),
        RATELIMIT_STORAGE_OPTIONS=_limiter_options(settings),
        RATELIMIT_IN_MEMORY_FALLBACK_ENABLED=True,
    )
    app.session_interface = below.Sessions()
    app.wsgi_app = below.BelowPath(app.wsgi_app, settings.path_prefix, settings.trusted_proxies)
    if settings.trusted_proxies:
        count = settings.trusted_proxies
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=count, x_proto=count, x_host=count, x_port=count)
    security.init_app(app, SQLAlchemyUserDatastore(db, Account, Role), register_blueprint=False)
    security.principal.skip_static = True
    security.login_manager.request_loader(None)  # a session is the only way in
    app.register_blueprint(pages)


def init_limiter(app: Flask) -> None:
    """Binds the throttle, behind the guard and the CSRF check."""
    limiter.init_app(app)


def _name_tried() -> str:
    """The account tried, as a hash: keys of the throttle show up in logs."""
    name = request.form.get("email", "").strip().lower()
    return f"account:{sha256(name.encode('utf-8', 'replace')).hexdigest()[:16]}"


def _name_and_address() -> str:
    return f"{_name_tried()}:{get_remote_address()}"


@pages.route("/login", methods=["GET", "POST"])
@limiter.limit(TRIES_PER_ADDRESS, key_func=get_remote_address, methods=["POST"])
@limiter.limit(TRIES_PER_ACCOUNT, key_func=_name_and_address, methods=["POST"])
@limiter.limit(TRIES_PER_ACCOUNT_FROM_ANYWHERE, key_func=_name_tried, methods=["POST"])
def login():
    """The sign-in page."""
    if access.account() is not None:
        return redirect(url_for("home"))
    form = SignInForm()
    if request.method == "GET":
        form.next.data = request.args.get("next", "")
        return render_template("security/login_user.html", login_user_form=form)
    if form.validate():
        account = _verified(form.email.data, form.password.data)
        if account is not None:
            login_user(account)
            session.permanent = form.remember.data
            return redirect(form.next.data if access.is_relative(form.next.data) else url_for("home"))
        form.form_errors.append("E-mail address or password is wrong. Check both and try again.")
    return render_template("security/login_user.html", login_user_form=form), 400


@pages.route("/logout", methods=["POST"])
def logout():
    """Ends the session here and, so that no copied cookie lives on, on all other devices."""
    signed_in = access.account()
    if signed_in is not None:
        accounts.end_sessions(db.session(), signed_in.id)
        db.session.commit()
    logout_user()
    session.clear()
    flash("You are signed out, on all devices.", "success")
    return redirect(url_for(".login"))


@pages.route("/first-sign-in/<token>", methods=["GET", "POST"])
@limiter.limit(TRIES_PER_ADDRESS, key_func=get_remote_address, methods=["POST"])
def first_sign_in(token: str):
    """Looking at the link shows the form and uses nothing up; sending the form does."""
    try:
        email = accounts.find_link(db.session(), token, utc_now()).account.email
    except NotFound as error:
        return render_template("security/one_time_link.html", problem=str(error)), 404
    form = PasswordForm()
    if form.validate_on_submit():
        try:
            account = accounts.use_link(db.session(), token, form.password.data, utc_now())
            db.session.commit()
        except BadInput as error:
            db.session.rollback()
            form.password.errors = [*form.password.errors, str(error)]
        else:
            if access.account() is not None:
                logout_user()
            login_user(account)
            return redirect(url_for("admin.index"))
    status = 400 if request.method == "POST" else 200
    return render_template("security/one_time_link.html", form=form, email=email), status


def _verified(email: str, password: str) -> Account | None:
    """The account, if the password is right and it may sign in. No transaction is open meanwhile."""
    with reading() as own_session:
        account = accounts.find_account(own_session, email)
    if account is None or account.password is None:
        hash_password(password)  # an unknown name takes as long as a wrong password
        return None
    return account if verify_password(password, account.password) and account.active else None


def _limiter_storage(settings: Settings) -> str:
    if settings.redis_url is None:
        return "memory://"
    url = settings.redis_url.get_secret_value()
    return f"redis+{url}" if url.startswith("unix://") else url


def _limiter_options(settings: Settings) -> dict[str, object]:
    if settings.redis_url is None:
        return {}
    seconds = queue_sign.TELL_SECONDS
    return {"socket_connect_timeout": seconds, "socket_timeout": seconds, "retry": queue.once_more()}
