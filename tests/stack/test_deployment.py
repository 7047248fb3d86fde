"""A deployment as compose.yaml describes it, without containers: its own commands on PostgreSQL and Valkey.

Two web processes behind a proxy below /twins, two schedulers of which the leader is killed, two workers and
one for lane `now`. In the end the ledger adds up and every post was made once.
"""

import re
import shutil
import signal
import socket
import subprocess
import uuid
from datetime import timedelta
from http.cookiejar import CookieJar
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, ProxyHandler, build_opener

import pytest
from sqlalchemy import func, select

from pdsapp import create_app
from pdsapp.config import read_settings
from pdsapp.database import reading, transaction
from pdsapp.domain.reasons import AttemptState, SlotKind
from pdsapp.extensions import db
from pdsapp.models import Attempt, Heartbeat, Post, ProcessKind, Slot, utc_now
from pdsapp.services import accounts
from pdsapp.services.ledger import ledger
from tests import builders
from tests.conftest import KEYS, TEST_DATABASE_URL, _create_database, _drop_database
from tests.faults.stacks import wait_for
from tests.queue.world import make_schedule
from tests.stack.deployed import ROOT, Deployment
from tests.stack.proxy import ReverseProxy

pytestmark = [
    pytest.mark.stack,
    pytest.mark.database,
    pytest.mark.skipif(TEST_DATABASE_URL is None, reason="a deployment needs PostgreSQL: TEST_DATABASE_URL"),
]
PASSWORD = "correct horse battery"
PREFIX = "/twins"
SCHEDULES = 12


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@pytest.fixture
def database():
    name = f"dt_deploy_{uuid.uuid4().hex[:12]}"
    yield _create_database(name)
    _drop_database(name)


@pytest.fixture
def deployment(tmp_path, database, clean_environment):
    """Nothing of it runs yet; its queue's address is a socket, its secrets are those the script makes."""
    port = free_port()
    changes = {"PDS_HOST": "127.0.0.1", "PDS_PORT": str(port), "PDS_DATA_DIR": str(tmp_path / "data")}
    made = Deployment(
        tmp_path,
        {"PDS_PUBLIC_URL": f"http://127.0.0.1{PREFIX}", "PDS_LLM_ALLOWED_HOSTS": "127.0.0.0/8"},
        changes,
    )
    made.port, made.socket = port, Path("/tmp") / f"dt-deploy-{uuid.uuid4().hex[:8]}"
    made.tell("database_url", database)
    password = (made.secrets / "queue_password").read_text().strip()
    made.tell("queue_url", f"unix://:{password}@{made.socket}?db=0")
    made.tell("fernet_keys", KEYS)
    yield made
    made.close()
    made.socket.unlink(missing_ok=True)


@pytest.fixture
def at_work(deployment, database):
    """The deployment's database after `migrate`, seen from here."""
    deployment.start("queue", extra=f"--port 0 --unixsocket {deployment.socket} --unixsocketperm 700")
    done = deployment.run("migrate")
    assert done.returncode == 0, done.stderr
    told = deployment.run("migrate", ["flask", "create-admin", "a@example.org"])
    link = re.fullmatch(rf"http://127\.0\.0\.1{PREFIX}/first-sign-in/(\S+)", told.stdout.strip())
    assert link, told.stdout + told.stderr
    settings = read_settings(
        DATABASE_URL=database,
        REDIS_URL=(deployment.secrets / "queue_url").read_text().strip(),
        PDS_DATA_DIR=str(deployment.folder / "data"),
        SECRET_KEY="x" * 32,
        PDS_FERNET_KEYS=KEYS,
        PDS_LLM_ALLOWED_HOSTS="127.0.0.0/8",
    )
    app = create_app(settings, with_web=False)
    with app.app_context():
        with transaction() as session:
            accounts.use_link(session, link[1], PASSWORD, utc_now())
        yield settings
        db.engine.dispose()


class Visitor:
    """Somebody with a browser, at the address of a proxy."""

    def __init__(self, address: str):
        self.address = address
        self._opener = build_opener(ProxyHandler({}), HTTPCookieProcessor(CookieJar()))

    def get(self, path: str) -> str:
        """A page's text."""
        with self._opener.open(f"{self.address}{path}", timeout=30) as answer:
            assert answer.url.startswith(f"{self.address}{PREFIX}/"), answer.url
            return answer.read().decode()

    def send(self, path: str, page: str, **fields: str) -> str:
        """Sends a form of a page, with its token."""
        token = re.search(r'name="csrf_token"[^>]* value="([^"]+)"', page)[1]
        body = urlencode({"csrf_token": token, **fields}).encode()
        with self._opener.open(f"{self.address}{path}", body, timeout=30) as answer:
            assert answer.url.startswith(f"{self.address}{PREFIX}/"), answer.url
            return answer.read().decode()

    def sign_in(self) -> str:
        """Signs in; the dashboard."""
        page = self.get(f"{PREFIX}/login")
        return self.send(f"{PREFIX}/login", page, email="a@example.org", password=PASSWORD)


def test_it_works_below_a_path_and_goes_on_when_the_leader_is_killed(deployment, at_work, model_server):
    twins = _study(at_work, model_server)
    for service, name in [
        ("web", "web"), ("scheduler", "scheduler-1"), ("scheduler", "scheduler-2"), ("worker", "worker-1"),
        ("worker", "worker-2"), ("worker-now", "worker-now"),
    ]:  # fmt: skip
        deployment.start(service, name)
    wait_for(lambda: _alive(ProcessKind.worker) == 3, 60, "three workers")
    wait_for(lambda: _alive(ProcessKind.scheduler) == 2, 60, "two schedulers")
    wait_for(lambda: deployment.is_healthy("web"), 60, "web")
    for service in ("worker", "worker-now", "scheduler"):
        assert deployment.is_healthy(service), service
    assert _children_of(deployment.processes["web"].pid) == 2
    for takes_away in (False, True):
        with ReverseProxy(deployment.port, PREFIX, takes_away) as proxy:
            visitor = Visitor(f"http://127.0.0.1:{proxy.port}")
            assert '"ready":true' in visitor.get(f"{PREFIX}/readyz").replace(" ", "")
            assert "Dashboard" in visitor.sign_in()
            _post_now(visitor, twins[0])
    wait_for(lambda: _count(Post) >= 2, 30, "the two posts that were asked for by hand")

    leader = wait_for(_leader, 30, "a leader")
    before = _fired()
    deployment.processes[_name_of(deployment, leader.pid)].send_signal(signal.SIGKILL)
    wait_for(lambda: (found := _leader()) and found.pid != leader.pid, 30, "the other scheduler's lead")
    wait_for(lambda: _fired() >= before + SCHEDULES // 2, 90, "slots after the kill")

    for name in ("worker-1", "worker-2", "worker-now", "web"):
        deployment.processes[name].terminate()
    for name in ("worker-1", "worker-2", "worker-now", "web"):
        assert deployment.processes[name].wait(40) == 0, deployment.log(name)[-2000:]
    with reading() as session:
        found = ledger(session, now=utc_now())
        posted = session.scalar(select(func.count()).where(Attempt.state == AttemptState.posted))
        doubles = session.scalar(select(func.count(Post.id) - func.count(Post.attempt_id.distinct())))
    assert found.adds_up, found.problems
    assert posted == _count(Post) > 2 and doubles == 0


def test_a_deployment_without_its_secrets_ends_with_a_sentence(deployment):
    (deployment.secrets / "secret_key").unlink()
    for service in ("web", "worker", "scheduler", "migrate"):
        ended = deployment.run(service)
        assert ended.returncode != 0
        assert "SECRET_KEY_FILE names a file that cannot be read" in ended.stderr, ended.stderr


def test_the_proxy_of_the_compose_file_drops_what_a_visitor_pretends(deployment, at_work, tmp_path):
    caddy = shutil.which("caddy")
    if caddy is None:
        pytest.skip("Caddy is not installed; what stands in deploy/Caddyfile was not tried")
    deployment.start("web")
    wait_for(lambda: deployment.is_healthy("web"), 60, "web")
    port = free_port()
    environment = {
        "TWINS_SITE": f"http://127.0.0.1:{port}",
        "TWINS_WEB": f"127.0.0.1:{deployment.port}",
        "HOME": str(tmp_path),
        "XDG_DATA_HOME": str(tmp_path),
    }
    proxy = subprocess.Popen(
        [caddy, "run", "--adapter", "caddyfile", "--config", str(ROOT / "deploy" / "Caddyfile")],
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_for(lambda: _accepts(port), 20, "Caddy")
        visitor = Visitor(f"http://127.0.0.1:{port}")
        visitor._opener.addheaders = [("X-Forwarded-Prefix", "/evil"), ("X-Forwarded-Port", "1")]
        page = visitor.sign_in()
        assert "/evil" not in page and "Dashboard" in page
        with pytest.raises(URLError):  # by status 413, or by a line that is cut while it is still sent
            visitor._opener.open(f"{visitor.address}{PREFIX}/login", b"x" * 23_000_000, timeout=60)
    finally:
        proxy.terminate()
        proxy.wait(20)


def _study(settings, model_server) -> list[int]:
    """Twins with schedules whose slots are five seconds apart."""
    experiment = builders.make_experiment(zone="UTC")
    token = builders.make_token(settings, model_server.base_url)
    found = [builders.make_twin(experiment, token=token).id for _ in range(SCHEDULES)]
    for number in range(SCHEDULES):
        make_schedule(
            experiment, name=f"Schedule {number}", anchor_at=utc_now() + timedelta(seconds=5 * number)
        )
    return found


def _post_now(visitor: Visitor, twin: int) -> None:
    page = visitor.get(f"{PREFIX}/admin/digitaltwin/ask/?id={twin}")
    request = re.search(r'name="request_id" value="([^"]+)"', page)[1]
    visitor.send(f"{PREFIX}/admin/digitaltwin/post-now/", page, id=str(twin), request_id=request)


def _accepts(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def _children_of(pid: int) -> int:
    return len(Path(f"/proc/{pid}/task/{pid}/children").read_text().split())


def _name_of(deployment: Deployment, pid: int) -> str:
    return next(name for name, process in deployment.processes.items() if process.pid == pid)


def _beats(kind: ProcessKind) -> list[Heartbeat]:
    with reading() as session:
        fresh = utc_now() - timedelta(seconds=15)
        return list(
            session.scalars(select(Heartbeat).where(Heartbeat.kind == kind, Heartbeat.beat_at > fresh))
        )


def _alive(kind: ProcessKind) -> int:
    return len(_beats(kind))


def _leader() -> Heartbeat | None:
    leaders = [beat for beat in _beats(ProcessKind.scheduler) if beat.is_leader]
    return max(leaders, key=lambda beat: beat.beat_at, default=None)


def _fired() -> int:
    with reading() as session:
        return session.scalar(select(func.count()).where(Slot.kind == SlotKind.fired))


def _count(model) -> int:
    with reading() as session:
        return session.scalar(select(func.count(model.id)))
