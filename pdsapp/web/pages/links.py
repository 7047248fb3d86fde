"""Addresses of screens that pages lead to; empty where the screen does not exist."""

from uuid import UUID

from flask import g, url_for
from werkzeug.routing import BuildError

PLACE = "000000000000"


def to(endpoint: str, **values) -> str:
    """The address of an endpoint, "" if this application has none of that name."""
    try:
        return url_for(endpoint, **values)
    except BuildError:
        return ""


def details(view: str, number: int | None) -> str:
    """The page of one row of a management screen, "" where there is no row."""
    return "" if number is None else _one(f"{view}.details_view", "id", number)


def editing(view: str, number: int) -> str:
    """The form of one row of a management screen."""
    return to(f"{view}.edit_view", id=number)


def attempt(uuid) -> str:
    """The page of an attempt."""
    return _one("attempt_page.show", "uuid", uuid)


def post_in_feed(attempt) -> str:
    """The feed at the post of an attempt that has one."""
    address = to("feed.show", text=attempt.experiment.identifier, start=attempt.post.uuid)
    return f"{address}#post-{attempt.post.uuid}"


def brief(uuid) -> str:
    """An attempt in short, for a row that is opened in place."""
    return _one("attempt_page.brief", "uuid", uuid)


def _one(endpoint: str, name: str, value: int | UUID) -> str:
    """As `to` for one value that stands in an address as it is: the addresses of a list differ in nothing
    else, and building each would take as long as drawing its row."""
    known = g.setdefault("addresses", {})
    if endpoint not in known:
        known[endpoint] = to(endpoint, **{name: PLACE})
    return known[endpoint].replace(PLACE, str(value))
