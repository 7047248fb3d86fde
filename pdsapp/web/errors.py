"""Errors at the web's door: each mapped once to a page with a sentence that says what to do."""

from secrets import token_hex

import structlog
from flask import Flask, g, render_template, request, url_for
from flask_wtf.csrf import CSRFError
from sqlalchemy.exc import (
    DBAPIError,
    InterfaceError,
    OperationalError,
    PendingRollbackError,
    ProgrammingError,
    TimeoutError,
)
from werkzeug.exceptions import HTTPException

from ..errors import (
    AddressRefused,
    BadInput,
    CopyFailed,
    DatabaseNotReady,
    DiskLow,
    LeaseLost,
    NobodyEligible,
    NotConfigured,
    NotFound,
    NotNow,
    PdsError,
    QueueDown,
    ReadOnly,
    RowUnreadable,
    SecretUnreadable,
    Stopped,
)
from ..extensions import db
from . import access

STATUS: dict[type[PdsError], int] = {
    BadInput: 400,
    ReadOnly: 409,
    AddressRefused: 400,
    NotFound: 404,
    NobodyEligible: 409,
    LeaseLost: 409,
    Stopped: 409,
    SecretUnreadable: 409,
    RowUnreadable: 409,
    CopyFailed: 500,
    DiskLow: 503,
    NotConfigured: 503,
    NotNow: 503,
    DatabaseNotReady: 503,
    QueueDown: 503,
}
OTHER_SCHEMA = frozenset({"42P01", "42703"})  # PostgreSQL: no such table, no such column
CSRF_SENTENCE = (
    "The page this came from was open for too long, or from before you signed in. Nothing was changed. "
    "Go back, reload the page and try again."
)
DATABASE_SENTENCE = (
    "The database does not answer, or is not at the revision this version needs. Nothing was half saved. "
    "Try again in a moment; if it stays, “flask doctor” says what is wrong."
)
log = structlog.get_logger(__name__)


def init_app(app: Flask) -> None:
    """Registers the pages for every error that can reach the web."""
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(CSRFError, _csrf_error)
    app.register_error_handler(PdsError, _own_error)
    for database_error in (OperationalError, InterfaceError, PendingRollbackError, TimeoutError):
        app.register_error_handler(database_error, _database_error)
    app.register_error_handler(ProgrammingError, _programming_error)
    app.register_error_handler(DBAPIError, _other_database_error)
    app.register_error_handler(500, _crash)


def error_page(code: int, sentence: str = "", reference: str = ""):
    """The page for a status code, and the code. Without `sentence`, the usual words for that code."""
    words = {"code": code, "sentence": sentence, "reference": reference}
    if code >= 500:
        g.frame = None  # what broke may be what the frame needs
        access.be_a_stranger()
        words |= {"url": url_for("home"), "url_label": "To the start page"}
    return render_template("errors/error.html", **words), code


def _http_error(error: HTTPException):
    if error.code is None or error.code < 400:
        return error
    page, code = error_page(error.code, _too_large_words() if error.code == 413 else "")
    headers = [(k, v) for k, v in error.get_headers() if k.lower() in ("allow", "retry-after")]
    if code == 429:
        headers.append(("Retry-After", "60"))
    return page, code, headers


def _too_large_words() -> str:
    """What is said of a request that is larger than its view takes."""
    limit = (request.max_content_length or 0) // 1_000_000
    return f"Send a smaller text, or fewer files: at most {limit} MB in one go. Nothing was changed."


def _csrf_error(_error: CSRFError):
    return error_page(400, CSRF_SENTENCE)


def _own_error(error: PdsError):
    _undo()
    code = next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)
    if code >= 500:
        log.error("request failed", path=request.path, error=type(error).__name__, sentence=str(error))
    return error_page(code, str(error))


def _database_error(error: Exception):
    _undo()
    log.error(
        "database failed", path=request.path, error=type(error).__name__, cause=str(error.__cause__)[:300]
    )
    return error_page(503, DATABASE_SENTENCE)


def _programming_error(error: ProgrammingError):
    if getattr(error.orig, "sqlstate", None) in OTHER_SCHEMA:
        return _database_error(error)
    raise error


def _other_database_error(error: DBAPIError):
    if error.connection_invalidated:  # such as PostgreSQL's end of a session that slept in its transaction
        return _database_error(error)
    raise error


def _crash(error: Exception):
    _undo()
    reference = token_hex(4)
    log.error("request crashed", reference=reference, path=request.path, method=request.method)
    return error_page(500, reference=reference)


def _undo() -> None:
    """Ends a transaction the error left open, so that nothing half done is committed."""
    try:
        db.session.rollback()
    except (OperationalError, InterfaceError):
        log.warning("rollback failed", path=request.path)
