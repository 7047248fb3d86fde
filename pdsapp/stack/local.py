"""Which children the local stack has, and in what order they come and go."""

import gc
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import SecretStr

from ..config import Settings
from .children import Child, ChildSpec, says
from .forking import can_fork
from .lock import StackLock, prepare_data_dir
from .output import Output
from .preflight import WEB_IS_READY, address_of, bind, free_port
from .supervisor import Supervisor
from .valkey import redis_url, valkey_child

if TYPE_CHECKING:
    from flask import Flask

ROOT = Path(__file__).resolve().parents[2]
LOCAL_STOP_SECONDS = 6.0
FLASK = (sys.executable, "-m", "flask", "--app", "app")
# Stop turns: workers first, while the web server still answers; the queue last.
WORKERS, SCHEDULER, WEB, WRITER, QUEUE = range(5)


def run(settings: Settings) -> int:
    """See `pdsapp.stack.run_local_stack`."""
    os.umask(0o077)  # what the stack and its children write is the owner's alone
    data_dir = prepare_data_dir(settings.data_dir)
    with StackLock(data_dir) as lock, closing(bind(settings.host, settings.port)) as listener:
        address = address_of(settings.host, listener)
        lock.announce(address)
        settings = _complete(settings, data_dir)
        _run(settings, listener, address)
    return 0


def _run(settings: Settings, listener: socket.socket, address: str) -> None:
    output = Output()
    parent_pid = os.environ.get("PDS_PARENT_PID")
    with Supervisor(output, parent_pid=int(parent_pid) if parent_pid else None) as supervisor:
        if settings.redis_url.get_secret_value() == redis_url(settings.data_dir):
            supervisor.start(valkey_child(settings.data_dir, output.say, stop_turn=QUEUE))
        if settings.offline_writer_url is None:
            settings = settings.model_copy(update={"offline_writer_url": _start_writer(supervisor)})
        app = _application(settings, output)
        environment = _environment(settings, listener)
        supervisor.start(_web(settings, environment, listener))
        supervisor.start(*_workers(app, settings, environment), _scheduler(app, environment))
        if settings.is_embedded:
            supervisor.start(_keeper(settings))
        supervisor.wait_until_ready()
        _announce(app, output, address)
        supervisor.watch()


def _application(settings: Settings, output: Output) -> "Flask":
    """The application of the supervisor itself, its database made or migrated."""
    # A thousand modules are loaded and none is garbage: looking for some takes a sixth of the time.
    gc.disable()
    from .. import create_app
    from ..services import database

    if can_fork():
        # What the children are going to need is imported once, here.
        import openai  # noqa: F401

        from .. import admin, web  # noqa: F401
        from ..scheduling import scheduler, worker  # noqa: F401

    app = create_app(settings, with_web=False)
    gc.enable()
    with _using(app):
        for line in database.prepare(app).lines:
            output.say(line)
    return app


@contextmanager
def _using(app: "Flask") -> Iterator[None]:
    """An application context that leaves no connection open: children are forked from this process."""
    from ..extensions import db

    with app.app_context():
        try:
            yield
        finally:
            db.session.remove()
            db.engine.dispose()


def _complete(settings: Settings, data_dir: Path) -> Settings:
    """The settings with everything the local stack decides by itself filled in."""
    from ..llm.secrets import ensure_local_secrets

    settings = ensure_local_secrets(settings.model_copy(update={"data_dir": data_dir}))
    updates: dict[str, object] = {}
    if settings.redis_url is None:
        (data_dir / "valkey").mkdir(mode=0o700, exist_ok=True)
        updates["redis_url"] = SecretStr(redis_url(data_dir))
    if "stop_seconds" not in settings.model_fields_set:
        updates["stop_seconds"] = LOCAL_STOP_SECONDS
    return settings.model_copy(update=updates)


def _environment(settings: Settings, listener: socket.socket) -> Mapping[str, str]:
    """What every child is told besides the supervisor's own environment."""
    return {
        "PDS_DATA_DIR": str(settings.data_dir),
        "REDIS_URL": settings.redis_url.get_secret_value(),
        "SECRET_KEY": settings.secret_key.get_secret_value(),
        "PDS_FERNET_KEYS": settings.fernet_keys.get_secret_value(),
        "PDS_OFFLINE_WRITER_URL": settings.offline_writer_url,
        "PDS_STOP_SECONDS": f"{settings.stop_seconds:g}",
        "PDS_PORT": str(listener.getsockname()[1]),
        "PYTHONUNBUFFERED": "1",
    }


def _start_writer(supervisor: Supervisor) -> str:
    """Start the offline writer; its base URL, which stays the same over restarts."""
    port = str(free_port())
    spec = ChildSpec(
        name="writer",
        argv=(sys.executable, "-m", "pdsapp.llm.offline_writer", "--port", port),
        env={"PYTHONUNBUFFERED": "1"},
        cwd=ROOT,
        is_ready=says("listening on"),
        stop_turn=WRITER,
        stop_seconds=0.25,
    )
    supervisor.start(spec)
    return f"http://127.0.0.1:{port}/v1"


def _web(settings: Settings, environment: Mapping[str, str], listener: socket.socket) -> ChildSpec:
    from . import web

    heartbeat_file = settings.data_dir / "web.heartbeat"
    argv = (
        *(sys.executable, "-m", "pdsapp.stack.web"),
        *("--socket", str(listener.fileno())),
        *("--heartbeat-file", str(heartbeat_file)),
    )
    return ChildSpec(
        name="web",
        argv=argv,
        function=lambda: web.run(listener, heartbeat_file),
        env=environment,
        cwd=ROOT,
        pass_fds=(listener.fileno(),),
        is_ready=says(WEB_IS_READY),
        heartbeat_age=lambda pid: _age_of_file(heartbeat_file, pid),
        stop_turn=WEB,
        stop_seconds=0.75,
    )


def _workers(app: "Flask", settings: Settings, environment: Mapping[str, str]) -> list[ChildSpec]:
    lanes = {f"worker-{number}": "default" for number in range(1, settings.workers + 1)}
    return [
        _beating(app, environment, name, ("worker", "--lanes", lane), WORKERS, settings.stop_seconds + 1)
        for name, lane in {**lanes, "worker-now": "now"}.items()
    ]


def _scheduler(app: "Flask", environment: Mapping[str, str]) -> ChildSpec:
    return _beating(app, environment, "scheduler", ("scheduler",), SCHEDULER, 0.5)


def _keeper(settings: Settings) -> ChildSpec:
    """Who makes the daily backups. It needs no time to stop: a half-made copy has no name."""
    from . import keeper

    return ChildSpec(
        name="keeper",
        argv=(
            *(sys.executable, "-m", "pdsapp.stack.keeper", str(settings.data_dir)),
            *("--min-free", str(settings.min_free)),
        ),
        function=lambda: keeper.keep(settings.data_dir, settings.min_free),
        env={"PYTHONUNBUFFERED": "1"},
        cwd=ROOT,
        stop_turn=WRITER,
        stop_seconds=0.25,
    )


def _beating(
    app: "Flask",
    environment: Mapping[str, str],
    name: str,
    command: tuple[str, ...],
    stop_turn: int,
    stop_seconds: float,
) -> ChildSpec:
    """A flask command that writes heartbeat rows; it is ready with the first one."""

    def heartbeat_age(pid: int) -> float | None:
        from ..services import heartbeats

        with _using(app):
            return heartbeats.age_seconds(pid, now=datetime.now(UTC))

    def has_beaten(child: Child) -> bool:
        age = heartbeat_age(child.pid)
        # An older row was left by an earlier process of the same number.
        return age is not None and age <= time.monotonic() - child.started_at

    return ChildSpec(
        name=name,
        argv=(*FLASK, *command),
        function=lambda: _flask(*command),
        env=environment,
        cwd=ROOT,
        is_ready=has_beaten,
        heartbeat_age=heartbeat_age,
        stop_turn=stop_turn,
        stop_seconds=stop_seconds,
    )


def _flask(*command: str) -> None:
    """Run a flask command in this process, as `flask --app app COMMAND` does. Raises SystemExit."""
    from flask.cli import ScriptInfo

    from .. import create_app

    app = create_app(with_web=False)
    app.cli.main(args=command, prog_name="flask", obj=ScriptInfo(create_app=lambda: app))


def _age_of_file(path: Path, pid: int) -> float | None:
    """Seconds since a process wrote its number into its heartbeat file; None if it has not yet."""
    try:
        if path.read_text() != str(pid):
            return None
        return datetime.now(UTC).timestamp() - path.stat().st_mtime
    except OSError:
        return None


def _announce(app: "Flask", output: Output, address: str) -> None:
    from ..services import accounts

    with _using(app):
        link = accounts.first_sign_in_link(address, now=datetime.now(UTC))
    output.plain(f"\n  Discourse Twins is running at {address}")
    if link:
        output.plain(f"  First administrator, sign in once with: {link}")
    output.plain("  Ctrl-C stops it.\n")
    if link:
        _open_in_browser(link)


def _open_in_browser(link: str) -> None:
    """Show a page to somebody who sits in front of this machine; nobody else gets a browser opened."""
    if not sys.stdout.isatty():
        return
    if sys.platform == "darwin":
        opener = "open"
    elif os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        opener = "xdg-open"
    else:
        return
    if program := shutil.which(opener):
        in_background = ("/bin/sh", "-c", 'exec "$0" "$1" >/dev/null 2>&1 </dev/null &', program, link)
        subprocess.run(in_background, check=False)
