"""Addresses of screens that pages lead to; empty where the screen does not exist."""

from flask import url_for
from werkzeug.routing import BuildError


def to(endpoint: str, **values) -> str:
    """The address of an endpoint, "" if this application has none of that name."""
    try:
        return url_for(endpoint, **values)
    except BuildError:
        return ""


def details(view: str, number: int | None) -> str:
    """The page of one row of a management screen, "" where there is no row."""
    return "" if number is None else to(f"{view}.details_view", id=number)


def editing(view: str, number: int) -> str:
    """The form of one row of a management screen."""
    return to(f"{view}.edit_view", id=number)


def attempt(uuid) -> str:
    """The page of an attempt."""
    return to("attempt_page.show", uuid=uuid)


def post_in_feed(attempt) -> str:
    """The feed at the post of an attempt that has one."""
    address = to("feed.show", text=attempt.experiment.identifier, start=attempt.post.uuid)
    return f"{address}#post-{attempt.post.uuid}"


def brief(uuid) -> str:
    """An attempt in short, for a row that is opened in place."""
    return to("attempt_page.brief", uuid=uuid)
