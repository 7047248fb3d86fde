"""What a form was sent for: which of its buttons was pressed, and whether the preview alone is wanted."""

from flask import request


def asks(name: str) -> bool:
    """Whether the form was sent by the button of this name."""
    return request.method == "POST" and name in request.form


def wants_effect_alone() -> bool:
    """Whether the page's own script (static/js/effect.js) asks for the preview without the page around it."""
    return asks("preview") and wants_part("effect")


def wants_part(name: str) -> bool:
    """Whether a script asks for this part of the page without the page around it."""
    return request.headers.get("X-Part") == name
