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
