"""What the queue tests share: an application on a queue server, schedules, processes of their own."""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from pdsapp.database import transaction
from pdsapp.models import Experiment, utc_now
from pdsapp.services import schedules
from tests import stopwatch

ROOT = Path(__file__).resolve().parents[2]
WORKER = (
    "import sys; from pdsapp import create_app; from pdsapp.scheduling.worker import run_worker; "
    "sys.exit(run_worker(create_app(with_web=False), sys.argv[1].split(',')))"
)
SCHEDULER = (
    "import sys; from pdsapp import create_app; from pdsapp.scheduling.scheduler import run_scheduler; "
    "sys.exit(run_scheduler(create_app(with_web=False)))"
)
COMMAND = (
    "import sys; from flask.cli import ScriptInfo; from pdsapp import create_app; "
    "app = create_app(with_web=False); "
    "app.cli.main(args=sys.argv[1:], prog_name='flask', obj=ScriptInfo(create_app=lambda: app))"
)
# Writes where each thread is when it is sent SIGUSR1.
WEB = (
    "import faulthandler, signal; faulthandler.register(signal.SIGUSR1); "
    "from pdsapp.stack.web import main; main()"
)
STEPPED_SCHEDULER = """
import sys
from datetime import timedelta
from pathlib import Path
from pdsapp import create_app
from pdsapp.dt_service import load_service
from pdsapp.models import utc_now
from pdsapp.scheduling import queue
from pdsapp.scheduling.scheduler import TwinScheduler

app, offset = create_app(with_web=False), Path(sys.argv[1])
settings = app.extensions["settings"]
with app.app_context():
    clock = lambda: utc_now() + timedelta(seconds=float(offset.read_text()))
    connection = queue.connection(settings, 0.5, 2.0)
    TwinScheduler(connection, load_service(settings), clock=clock).run()
"""


def make_schedule(experiment, ago=timedelta(seconds=90), **wish):
    """A committed, enabled schedule made some time ago; an interval of a minute from then on."""
    now = utc_now() - ago
    if "cron" not in wish:
        wish = {"interval_seconds": 60, "anchor_at": now, **wish}
    with transaction() as session:
        found = session.get_one(Experiment, experiment.id) if experiment else None
        return schedules.add_schedule(
            session, schedules.Wish(**{"name": "Test", "experiment": found, "is_enabled": True, **wish}), now
        )


def wait_for(condition, seconds=15.0, every=0.03):
    """What the condition gave when it was first true. Raises AssertionError after some seconds."""
    until = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < until, "waited in vain"
        time.sleep(every)
    return found


class Process:
    """A process of ours and what it wrote."""

    def __init__(self, code, settings, *arguments, **environment):
        Path(settings.data_dir).mkdir(exist_ok=True)
        self.log = Path(settings.data_dir) / f"process-{time.monotonic_ns()}.log"
        given = {"PDS_STOP_SECONDS": "2", **self.environment_of(settings), **environment}
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-W", "error", "-c", code, *arguments],
                stdout=output, stderr=subprocess.STDOUT, cwd=settings.data_dir,
                env={**os.environ, **given}, start_new_session=True,
            )  # fmt: skip

    @staticmethod
    def environment_of(settings):
        """The environment that gives a process these settings."""
        given = {
            "PDS_DATA_DIR": str(settings.data_dir),
            "REDIS_URL": settings.redis_url.get_secret_value(),
            "SECRET_KEY": settings.require("secret_key"),
            "PDS_FERNET_KEYS": settings.require("fernet_keys"),
            "PDS_LLM_ALLOWED_HOSTS": ",".join(settings.allowed_hosts),
            "PYTHONPATH": str(ROOT),
        }
        if settings.database_url:
            given["DATABASE_URL"] = settings.database_url.get_secret_value()
        return given

    @property
    def pid(self):
        return self.process.pid

    @property
    def output(self):
        return self.log.read_text()

    def says(self, text):
        """Waits until it has written this."""
        until = time.monotonic() + 60
        while text not in self.output and self.process.poll() is None and time.monotonic() < until:
            time.sleep(0.03)
        assert text in self.output, f"after {self.process.poll()}: {self.output}"

    def stop(self, number=signal.SIGTERM):
        """Signals it and waits; (exit code, seconds it took, the wait for a processor left out)."""
        self.process.send_signal(number)
        seconds = stopwatch.seconds_until_end(self.process, 60)
        return self.process.returncode, seconds


@contextmanager
def running(code, settings, *arguments, **environment):
    """A process that is ended, with everything in its session, when the test is over."""
    found = Process(code, settings, *arguments, **environment)
    try:
        yield found
    finally:
        found.process.kill()
        found.process.wait()


def worker(settings, lanes="default", **environment):
    """A worker process that has started."""
    return running(WORKER, settings, lanes, **environment)


def scheduler(settings, **environment):
    """A scheduler process that has started."""
    return running(SCHEDULER, settings, **environment)


def command(settings, *arguments, **environment):
    """A process that runs a flask command."""
    return running(COMMAND, settings, *arguments, **environment)


def web(settings, port, **environment):
    """A web server process on a port of 127.0.0.1."""
    return running(WEB, settings, PDS_PORT=str(port), **environment)


def children_of(pid):
    """The processes forked by a process that are still there."""
    found = subprocess.run(
        ["ps", "-o", "pid=,stat=", "--ppid", str(pid)], capture_output=True, text=True, check=False
    ).stdout
    return [int(line.split()[0]) for line in found.splitlines() if "Z" not in line.split()[1]]


def stepped_scheduler(settings, offset):
    """A scheduler process whose clock is off by the seconds that stand in the file `offset`."""
    return running(STEPPED_SCHEDULER, settings, str(offset))
