"""What a bench starts beside itself and ends again: writers and model servers, a Valkey, a database."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex

import redis
import sqlalchemy as sa

from pdsapp.config import Settings
from pdsapp.stack.valkey import binary_path

ROOT = Path(__file__).resolve().parent.parent


@contextmanager
def ended(process: subprocess.Popen) -> Iterator[subprocess.Popen]:
    """A process that is told to end afterwards, and killed if it does not within ten seconds."""
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


@contextmanager
def offline_writer() -> Iterator[str]:
    """The base URL of an offline writer."""
    command = [sys.executable, "-m", "pdsapp.llm.offline_writer", "--port", "0"]
    with ended(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)) as writer:
        yield writer.stdout.readline().split()[-1]


@contextmanager
def model_server() -> Iterator[str]:
    """The address of a model server of `bench.model_server`; put `/0/v1` or `/2000/v1` behind it."""
    command = [sys.executable, "-m", "bench.model_server"]
    with ended(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)) as server:
        yield server.stdout.readline().strip()


@contextmanager
def valkey(data_dir: Path) -> Iterator[str]:
    """The URL of a private Valkey with the options the local stack gives it, once it answers."""
    folder = data_dir / "valkey"
    folder.mkdir(mode=0o700)
    command = [str(binary_path()), "--port", "0", "--unixsocket", str(folder / "s"), "--dir", str(folder)]
    options = ["--appendonly", "yes", "--appendfsync", "everysec", "--save", ""]
    url = f"unix://{folder / 's'}?db=0"
    with (
        ended(subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL)),
        redis.from_url(url) as client,
    ):
        for _ in range(200):
            try:
                client.ping()
                break
            except redis.ConnectionError:
                time.sleep(0.05)
        yield url


@contextmanager
def own_database(server: str) -> Iterator[str]:
    """The URL of a new, empty database on the PostgreSQL server of this URL; it is dropped afterwards."""
    name = f"dt_bench_{token_hex(4)}"
    engine = sa.create_engine(server, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    try:
        yield sa.make_url(server).set(database=name).render_as_string(hide_password=False)
    finally:
        with engine.connect() as connection:
            connection.execute(sa.text(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))


@contextmanager
def command(settings: Settings, *words: str, **others: str) -> Iterator[subprocess.Popen]:
    """A flask command as a process of its own, told its settings by the environment alone.

    `others` are further settings by their names. What it says goes to a file in the data dir.
    """
    argv = [sys.executable, "-m", "flask", "--app", str(ROOT / "app.py"), *words]
    log = settings.data_dir / f"{words[0]}-{token_hex(3)}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            argv, stdout=output, stderr=subprocess.STDOUT, cwd=settings.data_dir,
            env=environment(settings) | others,
        )  # fmt: skip
    with ended(process):
        yield process


def environment(settings: Settings) -> dict[str, str]:
    """These settings, secrets too, as the environment of a process to be started."""
    return os.environ | {
        "SECRET_KEY": settings.require("secret_key"),
        "PDS_FERNET_KEYS": settings.require("fernet_keys"),
        "REDIS_URL": settings.require("redis_url"),
        "DATABASE_URL": "" if settings.is_embedded else settings.require("database_url"),
        "PDS_DATA_DIR": str(settings.data_dir),
        "PDS_DEMO": "0",
        "PDS_OFFLINE_WRITER_URL": settings.offline_writer_url or "",
        "PDS_LLM_ALLOWED_HOSTS": ",".join(settings.allowed_hosts),
        "PDS_STOP_SECONDS": "2",
        "FLASK_SKIP_DOTENV": "1",
    }
