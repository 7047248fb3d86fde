"""The hidden value that makes pressing a button twice the same as pressing it once."""

import re
from uuid import uuid4

from flask import request

from ..errors import BadInput

_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{16,60}", re.ASCII)


def request_fields(_row: object = None) -> dict[str, str]:
    """The hidden fields of a button that asks for something once."""
    return {"request_id": f"web-{uuid4().hex}"}


def request_id() -> str:
    """The request id the pressed button sent. Raises BadInput where there is none."""
    text = request.form.get("request_id", "")
    if not _REQUEST_ID.fullmatch(text):
        raise BadInput("The button has no request id. Go back, reload the page and press it again.")
    return text
