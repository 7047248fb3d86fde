"""Going back to the page on which a button of the frame was pressed."""

from flask import current_app, redirect, request, url_for
from werkzeug.exceptions import HTTPException
from werkzeug.routing import RequestRedirect

from . import access


def back():
    """A redirect to the form's `next`, without its page and chosen experiment, if that is a page of ours.

    Otherwise to the dashboard: so from a page that only a POST makes, such as the result of a token's test.
    """
    target = request.form.get("next")
    if not access.is_relative(target) or not _is_page(target):
        return redirect(url_for("admin.index"))
    path, _, query = target.partition("?")
    kept = "&".join(
        part for part in query.split("&") if part and not part.startswith(("experiment=", "page="))
    )
    return redirect(f"{path}?{kept}" if kept else path)


def _is_page(target: str) -> bool:
    """Whether a GET of this address meets one of our rules."""
    try:
        path = target.partition("?")[0]
        if not path.startswith(f"{request.script_root}/"):
            return False
        current_app.create_url_adapter(request).match(path.removeprefix(request.script_root), method="GET")
    except RequestRedirect:  # a slash is missing at its end
        return True
    except HTTPException:
        return False
    return True
