"""Applications that tests have one after another.

Making one takes longer than most tests, and so do the statements and templates that it compiles when it
needs them first. Each test has a folder, settings and a database of its own: the application is led there.
"""

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from flask import Flask
from limits.storage import MemoryStorage

from pdsapp import create_app
from pdsapp.config import Settings
from pdsapp.factory import completed


@dataclass
class Kept:
    """An application, and what it was like when it was made."""

    app: Flask
    engine: sa.Engine
    config: dict[str, Any]
    wsgi_app: Any
    storage: Any  # of the rate limits: another application with screens has others from then on
    listeners: dict[str, list]

    @property
    def is_as_made(self) -> bool:
        """Whether it can be handed on: nobody listens to its database who did not at first."""
        is_latest = self.storage is None or self.storage is _rate_limits().storage
        return is_latest and _listeners(self.engine) == self.listeners


class KeptApps:
    """One with screens and one without, for settings that differ in nothing but where things lie."""

    def __init__(self):
        self._kept: dict[bool, Kept] = {}

    def take(self, settings: Settings, with_web: bool) -> Flask:
        """The application, as if it had been made for these settings."""
        kept = self._kept.get(with_web)
        if kept is None or not kept.is_as_made:
            kept = self._kept[with_web] = _make(settings, with_web)
        _lead(kept, completed(settings), with_web)
        return kept.app


def _make(settings: Settings, with_web: bool) -> Kept:
    from pdsapp.extensions import db

    app = create_app(settings, with_web=with_web)
    with app.app_context():
        engine = db.engine

    @sa.event.listens_for(engine, "do_connect")
    def follow(dialect, _record, args, options):
        args[:], found = dialect.create_connect_args(engine.url)
        options.update(found)

    storage = _rate_limits().storage if with_web else None
    return Kept(app, engine, dict(app.config), app.wsgi_app, storage, _listeners(engine))


def _lead(kept: Kept, settings: Settings, with_web: bool) -> None:
    app = kept.app
    kept.engine.dispose()
    kept.engine.url = sa.make_url(settings.sqlalchemy_url)
    app.config.clear()
    app.config.update(kept.config, SQLALCHEMY_DATABASE_URI=settings.sqlalchemy_url)
    app.extensions["settings"] = settings
    app.wsgi_app, app.test_client_class = kept.wsgi_app, None
    if with_web:
        from pdsapp.web.queue_sign import QueueSign

        app.extensions["queue_sign"] = QueueSign(settings)
        if "probe_engine" in app.extensions:
            app.extensions.pop("probe_engine").dispose()
        for storage in (kept.storage, _rate_limits()._fallback_storage):  # tries are counted in one of them
            if isinstance(storage, MemoryStorage):
                storage.reset()


def _listeners(engine: sa.Engine) -> dict[str, list]:
    found = {}
    for of in (engine.dispatch, engine.pool.dispatch, engine.dialect.dispatch):
        found |= {name: list(getattr(of, name)) for name in of._event_names}
    return found


def _rate_limits():
    from pdsapp.web.extensions import limiter

    return limiter
