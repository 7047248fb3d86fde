"""Going back to the page on which a button of the frame was pressed."""

from flask import redirect, request, url_for

from . import access


def back():
    """A redirect to the form's `next`, if that is on this site, without its page and chosen experiment."""
    target = request.form.get("next")
    if not access.is_relative(target):
        return redirect(url_for("admin.index"))
    path, _, query = target.partition("?")
    kept = "&".join(
        part for part in query.split("&") if part and not part.startswith(("experiment=", "page="))
    )
    return redirect(f"{path}?{kept}" if kept else path)
