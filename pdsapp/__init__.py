"""Discourse Twins: the digital-twin workbench of the Public Discourse Sandbox."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Flask

    from .config import Settings

__version__ = "0.1.0"


def create_app(settings: "Settings | None" = None, with_web: bool = True) -> "Flask":
    """The Flask application for these settings (default: those of the environment).

    Touches neither database nor queue. `with_web=False` leaves out screens and sign-in, for workers
    and commands. Raises NotConfigured when a deployment lacks a secret.
    """
    from .factory import build

    return build(settings, with_web)


def list_of_commands() -> "Flask":
    """An application that knows the names of its commands and nothing else: for `flask --help`.

    It needs no setting and none of the packages behind the commands.
    """
    from click import Command
    from flask import Flask

    from . import cli

    app = Flask("pdsapp")
    cli.init_app(app)
    app.cli.add_command(Command("db", short_help="Perform database migrations."))  # Flask-Migrate's
    return app
