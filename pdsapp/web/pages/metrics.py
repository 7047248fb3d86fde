"""Figures in Prometheus' form, collected from the database when they are asked for."""

import hmac

from flask import Blueprint, Response, abort, current_app, request

from ...config import Settings
from ...extensions import db

routes = Blueprint("metrics", __name__)


@routes.route("/metrics")
def metrics():
    """The figures for who sends PDS_METRICS_TOKEN as a bearer token; 404 for others."""
    settings: Settings = current_app.extensions["settings"]
    given = request.headers.get("Authorization", "").encode()
    wanted = settings.metrics_token.get_secret_value() if settings.metrics_token else ""
    if not wanted or not hmac.compare_digest(given, f"Bearer {wanted}".encode()):
        abort(404)
    from . import metric_families

    text, content_type = metric_families.page(db.session(), settings)
    return Response(text, content_type=content_type)
