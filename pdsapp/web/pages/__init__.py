"""The product's own pages: dashboard, activity, attempt, feed, health, one's own account."""

from flask import Flask

from . import activity, attempts, feed, health, own_account


def register(app: Flask) -> None:
    """Adds the pages to the application; the dashboard is drawn by Flask-Admin's index instead."""
    for module in (activity, attempts, feed, health, own_account):
        app.register_blueprint(module.routes)
