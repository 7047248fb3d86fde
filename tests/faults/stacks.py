"""The two stacks faults are injected into: the embedded one, and a deployment on PostgreSQL and Redis."""

import os
import re
import shutil
import sys
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import redis
import sqlalchemy as sa
from cryptography.fernet import Fernet

from pdsapp.config import SECRET_NAMES, Settings, read_settings
from pdsapp.stack import valkey

from . import orders
from .orders import Note, identity
from .processes import Keeper

ROOT = Path(__file__).resolve().parents[2]
FLASK = (sys.executable, "-m", "flask", "--app", "app")
DEFAULT_DATABASE_URL = "postgresql+psycopg://postgres@127.0.0.1:5432/postgres"
QUEUE_ANSWER_SECONDS = 1.0


class Stack(ABC):
    """What both have in common. `folder` is the run's own; everything of the run lies in it."""

    name: str
    words: str

    def __init__(self, folder: Path, workers: int, schedulers: int, lease_seconds: float | None):
        self.folder = folder
        self.data_dir = folder / "data"
        self.orders = folder / "orders"
        self.workers = workers
        self.schedulers = schedulers
        for path in (self.data_dir, self.orders):
            path.mkdir(mode=0o700)
        known = {*SECRET_NAMES, *(field.alias for field in Settings.model_fields.values())}
        self.environment = {
            **{name: value for name, value in os.environ.items() if name not in known},
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            "PDS_DATA_DIR": str(self.data_dir),
            "PDS_DEMO": "0",
            "PDS_PORT": "0",
            "PDS_STOP_SECONDS": "6",
            "PDS_DT_SERVICE": "tests.faults.hooks:FaultyService",
            "PDS_LLM_ALLOWED_HOSTS": "127.0.0.0/8",
            "SECRET_KEY": uuid.uuid4().hex,
            "PDS_FERNET_KEYS": Fernet.generate_key().decode(),
            orders.FOLDER: str(self.orders),
        }
        if lease_seconds is not None:
            self.environment[orders.LEASE] = f"{lease_seconds:g}"
        self.log = LogReader()

    @contextmanager
    def database(self) -> Iterator[None]:
        """Holds the database for the length of a block; by default it is a file in the folder."""
        yield

    @abstractmethod
    def make_keeper(self) -> Keeper:
        """The processes, described and not yet started."""

    @property
    @abstractmethod
    def queue_url(self) -> str:
        """The address of this stack's own queue server."""

    def settings(self) -> Settings:
        """The settings of the harness's own application on this stack."""
        wanted = {field.alias for field in Settings.model_fields.values()}
        given = {name: value for name, value in self.environment.items() if name in wanted}
        return read_settings(**given | {"PDS_DT_SERVICE": "pdsapp.dt_service:DTService"})

    def queue(self) -> redis.Redis:
        """A client of this stack's own queue server."""
        return redis.Redis.from_url(
            self.queue_url,
            socket_connect_timeout=QUEUE_ANSWER_SECONDS,
            socket_timeout=QUEUE_ANSWER_SECONDS,
        )

    def is_proven(self, note: Note, victim: str) -> bool:
        """Whether who was to be killed is gone, and whoever watches over it has seen a SIGKILL."""
        if orders.identity(note.pid) == note.identity:
            return False
        if victim == orders.HORSE:
            return self.log.take(f"horse {note.worker}")
        return identity(note.worker_pid) != note.worker_identity and self.saw_worker_die(note)

    @abstractmethod
    def saw_worker_die(self, note: Note) -> bool:
        """Whether whoever watches over the workers has seen one more end by SIGKILL."""


class Embedded(Stack):
    """`python app.py` on SQLite and its own Valkey, and more schedulers beside it."""

    name = "embedded"
    words = "embedded stack: SQLite, Valkey"

    def make_keeper(self) -> Keeper:
        environment = {
            **self.environment,
            "PDS_WORKERS": str(self.workers),
            "PDS_PARENT_PID": str(os.getpid()),
        }
        self.keeper = Keeper(f"embedded-{uuid.uuid4().hex}", self.folder, ROOT, environment)
        self.log.follow(self.keeper.add("app", (sys.executable, "app.py")).log)
        for number in range(2, self.schedulers + 1):
            self.keeper.add(f"scheduler-{number}", (*FLASK, "scheduler"), REDIS_URL=self.queue_url)
        return self.keeper

    @property
    def queue_url(self) -> str:
        return valkey.redis_url(self.data_dir)

    def saw_worker_die(self, note: Note) -> bool:
        return self.log.take("worker")


class Deployed(Stack):
    """PostgreSQL, Redis, `flask worker` and `flask scheduler` under a plain supervisor."""

    name = "deployed"
    words = "deployment: PostgreSQL, Redis"

    @contextmanager
    def database(self) -> Iterator[None]:
        self._server_url = os.environ.get("TEST_DATABASE_URL", DEFAULT_DATABASE_URL)
        name = f"dt_faults_{uuid.uuid4().hex[:12]}"
        url = sa.make_url(self._server_url).set(database=name)
        self.environment |= {
            "DATABASE_URL": url.render_as_string(hide_password=False),
            "REDIS_URL": self.queue_url,
        }
        self._execute(f"CREATE DATABASE {name}")
        try:
            yield
        finally:
            self._execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def make_keeper(self) -> Keeper:
        self.keeper = Keeper(f"deployed-{uuid.uuid4().hex}", self.folder, ROOT, self.environment)
        program = shutil.which("redis-server") or str(valkey.binary_path())
        self.server = self.keeper.add(
            "queue", (program, "--port", "0", "--unixsocket", str(self.folder / "queue.sock"),
                      "--dir", str(self.folder), "--appendonly", "yes", "--save", ""),
        )  # fmt: skip
        for number in range(1, self.workers + 1):
            kept = self.keeper.add(f"worker-{number}", (*FLASK, "worker", "--lanes", "now,default"))
            self.log.follow(kept.log)
        for number in range(1, self.schedulers + 1):
            self.keeper.add(f"scheduler-{number}", (*FLASK, "scheduler"))
        return self.keeper

    @property
    def queue_url(self) -> str:
        return f"unix://{self.folder / 'queue.sock'}"

    def saw_worker_die(self, note: Note) -> bool:
        return any(e.pid == note.worker_pid and e.code == -9 for k in self.keeper.kept for e in k.exits)

    def has_session(self, backend: int) -> bool:
        """Whether the PostgreSQL session still exists."""
        query = f"SELECT count(*) FROM pg_stat_activity WHERE pid = {int(backend)}"
        return bool(self._execute(query, lambda result: result.scalar()))

    def _execute(self, statement: str, read: Callable = lambda result: None):
        engine = sa.create_engine(self._server_url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
        with engine.connect() as connection:
            return read(connection.execute(sa.text(statement)))


STACKS = {stack.name: stack for stack in (Embedded, Deployed)}


class LogReader:
    """What supervisors and workers have said about the deaths of others, counted until it is used."""

    WORKER = re.compile(r"worker-\S+ was killed by SIGKILL; it is started again")
    FROZEN = re.compile(r"(worker-\S+) is frozen and has given no sign of life")
    HORSE = re.compile(r"event='work-horse died' .*?name='([^']+)'.*how='SIGKILL'")

    def __init__(self):
        self._files: dict[Path, int] = {}
        self._counts: dict[str, int] = {}
        self.totals: dict[str, int] = {}

    def follow(self, path: Path) -> None:
        """Reads this file from now on, from its beginning."""
        self._files[path] = 0

    def read(self) -> None:
        """Takes in what was written since."""
        for path, offset in self._files.items():
            if not path.exists():
                continue
            with path.open("rb") as file:
                file.seek(offset)
                data = file.read()
            whole = data[: data.rfind(b"\n") + 1]
            self._files[path] = offset + len(whole)
            for line in whole.decode(errors="replace").splitlines():
                self._take_in(line)

    def take(self, what: str) -> bool:
        """Whether it was said once more than it was taken."""
        self.read()
        if self._counts.get(what, 0) < 1:
            return False
        self._counts[what] -= 1
        return True

    def _take_in(self, line: str) -> None:
        if found := self.HORSE.search(line):
            self._count(f"horse {found[1]}", "work-horse")
        elif self.WORKER.search(line):
            self._count("worker", "worker")
        elif self.FROZEN.search(line):
            self._count("frozen", "frozen")

    def _count(self, what: str, total: str) -> None:
        self._counts[what] = self._counts.get(what, 0) + 1
        self.totals[total] = self.totals.get(total, 0) + 1


def wait_for(condition: Callable, seconds: float, what: str, meanwhile: Callable = lambda: None):
    """What the condition gave when it was first true. Raises AssertionError after some seconds."""
    until = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < until, f"waited {seconds:.0f} s for {what} in vain"
        meanwhile()
        time.sleep(0.1)
    return found
