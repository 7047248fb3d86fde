"""Putting the application together."""

from pathlib import Path
from zoneinfo import reset_tzpath

from flask import Flask
from pydantic import SecretStr

from . import database, logs
from .config import Settings, read_settings
from .extensions import db, migrate
from .llm.secrets import ensure_local_secrets
from .stack.valkey import redis_url

ROOT = Path(__file__).resolve().parent.parent


def build(settings: Settings | None, with_web: bool) -> Flask:
    """The application; see `pdsapp.create_app`."""
    # Screens read zones as slots do (domain.zones): from the locked package, not from this machine.
    reset_tzpath(())
    settings = completed(settings or read_settings())
    app = Flask("pdsapp", root_path=str(ROOT), template_folder="templates", static_folder="static")
    app.config.update(
        SECRET_KEY=settings.require("secret_key"),
        SQLALCHEMY_DATABASE_URI=settings.sqlalchemy_url,
        SQLALCHEMY_ENGINE_OPTIONS=database.engine_options(
            settings.sqlalchemy_url, settings.database_pool, settings.database_overflow
        ),
        SQLALCHEMY_TRACK_MODIFICATIONS=False,
        MAX_CONTENT_LENGTH=2 * 1024 * 1024,
        MAX_FORM_MEMORY_SIZE=2 * 1024 * 1024,
    )
    app.extensions["settings"] = settings
    settings.require("fernet_keys")
    logs.configure()
    db.init_app(app)
    with app.app_context():
        database.install(db.engine)
    migrate.init_app(app, db, directory=str(ROOT / "migrations"), render_as_batch=True)
    from . import cli

    cli.init_app(app)
    if with_web:
        from . import admin, web

        web.init_app(app)
        admin.init_app(app)
    return app


def completed(settings: Settings) -> Settings:
    """The settings with what a local installation has of its own: secrets, made once, and a queue server.

    Those of a deployment as they are.
    """
    if not settings.is_embedded:
        return settings
    settings = ensure_local_secrets(settings)
    if settings.redis_url is None:
        settings = settings.model_copy(update={"redis_url": SecretStr(redis_url(settings.data_dir))})
    return settings
