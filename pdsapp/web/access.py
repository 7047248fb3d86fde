"""Who may do what. Everything is closed unless it stands on a list here."""

from urllib.parse import urlsplit

from flask import Flask, abort, g, redirect, request, url_for
from flask_login import current_user

from .. import grants
from ..models import Account, Schedule
from ..services.accounts import WRITERS, role_of
from .extensions import security

PUBLIC_RULES = frozenset(
    {
        "/login",
        "/first-sign-in/<token>",
        "/healthz",
        "/readyz",
        "/metrics",  # has a token of its own
        "/static/<path:filename>",
    }
)
# POSTs that change nothing but one's own session and account
PERSONAL_RULES = frozenset({"/logout", "/theme", "/switch", "/account/zone", "/account/password"})
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def init_app(app: Flask) -> None:
    """Puts the guard in front of every request; what a thread does after one is not limited."""
    app.before_request(_guard)
    app.teardown_request(lambda _error: grants.see_as(None))


def account() -> Account | None:
    """The account that is signed in, None for a stranger."""
    return current_user._get_current_object() if current_user.is_authenticated else None


def be_a_stranger() -> None:
    """From here on this request is nobody's, and the database is not asked whose it is.

    Flask-Login looks before each request and for each template.
    """
    g._login_user = security.login_manager.anonymous_user()


def takes_file() -> bool:
    """Whether this request takes the file it asks for: one for its head does not."""
    return request.method != "HEAD"


def role() -> str | None:
    """The highest role of the account that is signed in, None for a stranger or without a role."""
    signed_in = account()
    return role_of(signed_in) or None if signed_in else None


def may_write() -> bool:
    """Whether this request's account may change anything but its own session."""
    return role() in WRITERS


def may_administer() -> bool:
    """Whether this request's account is an administrator."""
    return role() == "administrator"


def is_limited() -> bool:
    """Whether this request's account sees granted experiments only; see `pdsapp.grants`."""
    return grants.is_limited()


def no_experiment_words() -> str:
    """Why this request's account finds no experiment, and what to do."""
    if not is_limited():
        return "There is no experiment yet. Twins live in experiments, so begin with one."
    own = ", or add one of your own" if may_write() else ""
    return f"You are granted no experiment yet. Ask an administrator to grant you one{own}."


def may_change(row: object) -> bool:
    """Whether this request's account may change a row: a schedule of all experiments is administrators'."""
    is_of_all = isinstance(row, Schedule) and row.experiment_id is None
    return may_administer() if is_of_all else may_write()


def is_relative(target: str | None) -> bool:
    """Whether an address stays on this site: a plain path, nothing a browser reads as another host."""
    if not target or not target.startswith("/") or target[1:2] in ("/", "\\"):
        return False
    if "\\" in target or any(ord(character) < 32 for character in target):
        return False
    parts = urlsplit(target)
    return not parts.scheme and not parts.netloc


def page_address() -> str:
    """The address of this page on its host, with its query: what a browser can be sent back to."""
    return f"{request.script_root}{request.full_path}" if request.query_string else page_path()


def page_path() -> str:
    """The address of this page on its host, without its query."""
    return f"{request.script_root}{request.path}"


def redirect_target() -> str | None:
    """Where a form or link asks to go back to, if that is on this site."""
    target = request.values.get("url")
    return target if is_relative(target) else None


def _guard():
    grants.see_as(None)
    rule = request.url_rule.rule if request.url_rule else None
    if rule in PUBLIC_RULES:
        return None
    if account() is None:
        return _to_sign_in()
    if role() is None:
        abort(403)
    grants.see_as(account())
    if request.method not in SAFE_METHODS and rule not in PERSONAL_RULES and not may_write():
        abort(403)
    return None


def _to_sign_in():
    wants_page = not request.accept_mimetypes or request.accept_mimetypes.accept_html
    if request.method not in ("GET", "HEAD") or not wants_page:
        abort(401)
    wanted = None if request.full_path == "/?" else page_address()
    return redirect(url_for("sign_in.login", next=wanted))
