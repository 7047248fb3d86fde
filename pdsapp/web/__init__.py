"""Everything a browser meets outside the Flask-Admin screens, and the rules for all of it."""

from flask import Flask, redirect, request, url_for

from .. import database
from . import access, errors, frame, headers, pages, queue_sign, security
from .extensions import csrf

# Where more may be sent than anywhere else, in bytes: by the name of the view.
UPLOADS = {"digitaltwin.bulk": 21_000_000, "feed_import.show": 15_000_000}
# Where that may be one field of a form: what was pasted, and what a dry run brings back.
LARGE_FIELDS = frozenset({"feed_import.show"})
# And in so many parts: a file for each twin that is set up at once, and the fields beside them.
UPLOAD_PARTS = 20_100


def init_app(app: Flask) -> None:
    """Closes the application to strangers and registers the web's pages.

    The order matters: first how transactions begin, then who is there, then whether they may.
    """
    app.config.update(WTF_CSRF_TIME_LIMIT=None)  # a form may stay open as long as its session
    app.before_request(_begin)
    headers.init_app(app)
    security.init_app(app)
    access.init_app(app)
    csrf.init_app(app)
    security.init_limiter(app)
    frame.init_app(app)
    queue_sign.init_app(app)
    errors.init_app(app)
    pages.register(app)
    app.add_url_rule("/", "home", _home)


def _begin() -> None:
    database.set_read_only(request.method in access.SAFE_METHODS)
    if request.blueprint == "health":  # answers also while the database does not
        access.be_a_stranger()
    if request.endpoint in UPLOADS:
        request.max_content_length = UPLOADS[request.endpoint]
        request.max_form_parts = UPLOAD_PARTS
    if request.endpoint in LARGE_FIELDS:
        request.max_form_memory_size = UPLOADS[request.endpoint]


def _home():
    return redirect(url_for("admin.index"))
