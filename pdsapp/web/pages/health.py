"""Signs of life for machines: is the process up, is everything ready."""

from dataclasses import dataclass
from urllib.parse import quote

import sqlalchemy as sa
from flask import Blueprint, current_app, jsonify
from sqlalchemy.orm import Session

from ...config import Settings
from ...errors import NotConfigured, QueueDown
from ...models import ProcessKind, utc_now
from ...scheduling import queue
from ...services import heartbeats
from ...services.database import head_revision

TIME_OUT_SECONDS = 1
NOT_ASKED = "not asked, the database does not answer"

routes = Blueprint("health", __name__)


@dataclass(frozen=True)
class Check:
    """One thing that must be there, and a sentence about it without addresses or secrets."""

    is_ok: bool
    detail: str


@routes.route("/healthz")
def live():
    """That this process answers; asks nothing of anybody else."""
    return jsonify(status="ok")


@routes.route("/readyz")
def ready():
    """Whether database, queue, worker and scheduler are there: 200, or 503 with what is missing."""
    settings: Settings = current_app.extensions["settings"]
    checks = {**_of_database(settings), "queue": _queue(settings)}
    is_ready = all(check.is_ok for check in checks.values())
    body = {
        "ready": is_ready,
        "checks": {name: {"ok": check.is_ok, "detail": check.detail} for name, check in checks.items()},
    }
    return jsonify(body), 200 if is_ready else 503


def _of_database(settings: Settings) -> dict[str, Check]:
    """The checks that need the database, over a connection of their own that waits a second at most."""
    engine = _probe(settings)
    try:
        with engine.connect() as connection:
            found = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
            if found != head_revision():
                database = Check(False, "its tables are of another version than the code")
            else:
                database = Check(True, "answers")
            session = Session(connection)
            return {
                "database": database,
                "worker": _alive(session, ProcessKind.worker, "flask worker"),
                "scheduler": _alive(session, ProcessKind.scheduler, "flask scheduler"),
            }
    except sa.exc.SQLAlchemyError:
        return {
            "database": Check(False, "does not answer or has no tables"),
            "worker": Check(False, NOT_ASKED),
            "scheduler": Check(False, NOT_ASKED),
        }


def _alive(session: Session, kind: ProcessKind, command: str) -> Check:
    sign = heartbeats.life_sign(session, kind, utc_now())
    return Check(sign.is_alive, sign.words if sign.is_alive else f"{sign.words}; start one: {command}")


def _queue(settings: Settings) -> Check:
    try:
        queue.ping(queue.connection(settings, TIME_OUT_SECONDS, TIME_OUT_SECONDS))
    except (QueueDown, NotConfigured):
        return Check(False, "does not answer")
    return Check(True, "answers")


def _probe(settings: Settings) -> sa.Engine:
    """An engine without a pool: an exhausted pool or a long time-out must not make this check hang."""
    if (engine := current_app.extensions.get("probe_engine")) is None:
        url = sa.make_url(settings.sqlalchemy_url)
        if url.get_backend_name() == "sqlite":
            arguments: dict = {"timeout": TIME_OUT_SECONDS}
            url = url.set(database=f"file:{quote(url.database)}", query={"mode": "rw", "uri": "true"})
        else:
            arguments = {
                "connect_timeout": TIME_OUT_SECONDS,
                "options": f"-c timezone=UTC -c statement_timeout={TIME_OUT_SECONDS * 1000}",
            }
        engine = sa.create_engine(url, poolclass=sa.NullPool, connect_args=arguments)
        current_app.extensions["probe_engine"] = engine
    return engine
