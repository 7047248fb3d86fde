"""The product's own pages: dashboard, activity, attempt, feed, health, one's own account."""

from flask import Flask

from . import (
    activity,
    attempts,
    attention,
    dashboard,
    feed,
    feed_import,
    health,
    metrics,
    notices,
    own_account,
    system,
)


def register(app: Flask) -> None:
    """Adds the pages to the application; Flask-Admin's index shows the dashboard."""
    for module in (
        activity, attempts, attention, dashboard, feed, feed_import, health, metrics, notices, own_account,
        system,
    ):  # fmt: skip
        app.register_blueprint(module.routes)
