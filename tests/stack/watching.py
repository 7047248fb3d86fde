"""Many people who watch a real stack at once while its workers post: `make faults ARGS="--watchers"`.

The same attempts are asked for twice on one stack, first without anybody watching, then with the watchers.
"""

import re
import statistics
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from urllib.parse import urlencode

from sqlalchemy import select

from pdsapp import create_app
from pdsapp.attempts.create import LANE_NOW
from pdsapp.config import read_settings
from pdsapp.database import reading, transaction
from pdsapp.domain.reasons import TERMINAL_STATES
from pdsapp.extensions import db
from pdsapp.models import Attempt, utc_now
from pdsapp.scheduling import queue
from pdsapp.services.accounts import add_account
from pdsapp.services.database import prepare
from tests import builders
from tests.browser.real_stack import Stack
from tests.model_server import ModelServer, text

EMAIL, PASSWORD = "watcher@example.org", "a long enough password"
POST = "The library opens at nine now, and nobody told the people waiting at eight. We told each other then."
TWINS = 20
ASK_SECONDS = 0.25
POLL_SECONDS = 1.0
RELOAD_SECONDS = 10.0
WARM_SECONDS = 3.0
END_SECONDS = 60.0
MOST_GROWTH = 80_000_000


@dataclass(frozen=True)
class Size:
    """How many watch, and for how long."""

    watchers: int
    seconds: float


SMALL, FULL = Size(10, 8), Size(50, 20)


@dataclass
class Watched:
    """What came of it: answers by status, what was lost, seconds each answer took; of the attempts, how many
    were asked for, how they ended and seconds from asking to the end, without watchers and with them."""

    size: Size
    statuses: Counter = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    answer_seconds: list[float] = field(default_factory=list)
    rows_seen: set[str] = field(default_factory=set)
    states: list[Counter] = field(default_factory=list)
    asked: list[list[str]] = field(default_factory=list)
    end_seconds: list[list[float]] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)

    @property
    def growth(self) -> int:
        """Bytes the web process has grown by since it was warm."""
        return self.memory[-1] - self.memory[0]

    @property
    def problems(self) -> list[str]:
        """What is otherwise than promised."""
        unseen = len(set(self.asked[1]) - self.rows_seen)
        checks = {
            f"{len(self.lost)} answers were lost: {self.lost[:3]}": not self.lost,
            f"answers were not all well: {dict(self.statuses)}": set(self.statuses) <= {200, 204},
            f"not all attempts were posted: {self.states}": all(set(s) == {"posted"} for s in self.states),
            f"{unseen} attempts were never in the stream": unseen == 0,
            f"the web process grew by {self.growth:,} bytes": self.growth < MOST_GROWTH,
        }
        return [words for words, is_well in checks.items() if not is_well]

    def __str__(self) -> str:
        answers = sorted(self.answer_seconds)
        alone, watched = (statistics.median(each) for each in self.end_seconds)
        codes = ", ".join(f"{count:,} × {code}" for code, count in sorted(self.statuses.items()))
        return (
            f"{self.size.watchers} watchers for {self.size.seconds:g} s: {len(answers):,} answers ({codes}), "
            f"{len(self.lost)} lost; median {statistics.median(answers) * 1000:.0f} ms, "
            f"95 % within {answers[int(len(answers) * 0.95)] * 1000:.0f} ms. "
            f"{len(self.asked[0])} attempts without watchers ended after {alone:.2f} s (median), "
            f"{len(self.asked[1])} with them after {watched:.2f} s, {watched / alone:.1f} times. "
            f"The web process grew by {self.growth / 1e6:.1f} MB to {self.memory[-1] / 1e6:.0f} MB."
        )


def watch(size: Size) -> Watched:
    """Starts a stack on a folder of its own, has it watched, and ends it."""
    found = Watched(size)
    with tempfile.TemporaryDirectory(prefix="dt-watch-") as folder, ModelServer() as model:
        model.default = lambda _request: text(POST).later(0.2)
        data_dir = Path(folder) / "data"
        settings = read_settings(PDS_DATA_DIR=str(data_dir), PDS_DEMO="0")
        app = create_app(settings, with_web=False)
        prepare(app)
        with app.app_context():
            settings = app.extensions["settings"]
            twins = _make_rows(settings, model.base_url)
            with Stack(data_dir, PDS_DEMO="0", PDS_LLM_ALLOWED_HOSTS="127.0.0.0/8") as stack:
                address = stack.address.removeprefix("http://")
                _ask(found, settings, twins)
                with _watchers(found, address, data_dir / "web.heartbeat"):
                    time.sleep(WARM_SECONDS)
                    _ask(found, settings, twins)
            db.session.remove()
            db.engine.dispose()
    return found


def _make_rows(settings, base_url: str) -> list:
    with transaction() as session:
        add_account(session, EMAIL, "researcher", utc_now(), PASSWORD, sees_all=True)
    experiment = builders.make_experiment("Watched")
    token = builders.make_token(settings, base_url)
    return [builders.make_twin(experiment, f"twin_{number}", token) for number in range(TWINS)]


def _ask(found: Watched, settings, twins: list) -> None:
    """Asks one twin after another as long as it is watched, then waits until all attempts have ended."""
    until, ids = time.monotonic() + found.size.seconds, []
    while time.monotonic() < until:
        ids.append(builders.add_attempt(twins[len(ids) % TWINS], request_id=f"watch-{uuid.uuid4().hex}"))
        queue.wake(queue.connection(settings), LANE_NOW)
        time.sleep(ASK_SECONDS)
    until = time.monotonic() + END_SECONDS
    while (rows := _rows_of(ids)) and not all(row.state in TERMINAL_STATES for row in rows):
        if time.monotonic() > until:
            break
        time.sleep(0.2)
    found.states.append(Counter(row.state.value for row in rows))
    found.asked.append([str(row.uuid) for row in rows])
    ended = [(row.finished_at - row.created_at).total_seconds() for row in rows if row.finished_at]
    found.end_seconds.append(ended or [END_SECONDS])


def _rows_of(ids: list[int]) -> list:
    query = select(Attempt.uuid, Attempt.state, Attempt.created_at, Attempt.finished_at)
    with reading() as session:
        return list(session.execute(query.where(Attempt.id.in_(ids))))


@contextmanager
def _watchers(found: Watched, address: str, heartbeat_file: Path) -> Iterator[None]:
    """They watch for the length of the block and a second more; memory is looked at when they are warm."""
    cookie, stop = _sign_in(address), threading.Event()
    threads = [
        threading.Thread(target=_watch, args=(found, address, cookie, stop, number))
        for number in range(found.size.watchers)
    ]
    for thread in threads:
        thread.start()
    try:
        time.sleep(WARM_SECONDS)
        found.memory.append(_resident_bytes(int(heartbeat_file.read_text())))
        yield
        time.sleep(POLL_SECONDS)
        found.memory.append(_resident_bytes(int(heartbeat_file.read_text())))
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)


def _watch(found: Watched, address: str, cookie: str, stop: threading.Event, number: int) -> None:
    """One person with the activity page open, who reloads the dashboard now and then."""
    with closing(HTTPConnection(address, timeout=20)) as line:
        cursor = ""
        reload_at = time.monotonic() + number % RELOAD_SECONDS
        while not stop.wait(POLL_SECONDS * (1 if cursor else number / found.size.watchers)):
            if not cursor:
                page, _ = _get(found, line, "/activity", cookie)
                cursor = page.partition('data-cursor="')[2].partition('"')[0] or "0.0.0"
                continue
            rows, headers = _get(found, line, f"/activity/rows?since={cursor}", cookie)
            cursor = headers.get("X-Cursor", cursor)
            found.rows_seen.update(re.findall(r'id="attempt-([0-9a-f-]+)"', rows))
            _get(found, line, "/activity/now", cookie)
            if time.monotonic() > reload_at:
                reload_at += RELOAD_SECONDS
                _get(found, line, "/admin/", cookie)


def _get(found: Watched, line: HTTPConnection, path: str, cookie: str) -> tuple[str, dict[str, str]]:
    began = time.monotonic()
    try:
        line.request("GET", path, headers={"Cookie": cookie, "Accept": "text/html"})
        answer = line.getresponse()
        body = answer.read().decode()
    except (OSError, HTTPException) as error:
        found.lost.append(f"{path}: {type(error).__name__}: {error}")
        line.close()
        return "", {}
    found.answer_seconds.append(time.monotonic() - began)
    found.statuses[answer.status] += 1
    return body, dict(answer.getheaders())


def _sign_in(address: str) -> str:
    """The cookie of somebody who has signed in through the form."""
    with closing(HTTPConnection(address, timeout=20)) as line:
        line.request("GET", "/login")
        answer = line.getresponse()
        first = answer.getheader("Set-Cookie").partition(";")[0]
        token = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', answer.read().decode())[1]
        form = urlencode({"email": EMAIL, "password": PASSWORD, "csrf_token": token})
        headers = {
            "Cookie": first,
            "Content-Type": "application/x-www-form-urlencoded",
            "Referer": f"http://{address}/login",
        }
        line.request("POST", "/login", form, headers)
        answer = line.getresponse()
        answer.read()
        if answer.status != 302:
            raise RuntimeError(f"could not sign in: {answer.status}")
        return answer.getheader("Set-Cookie").partition(";")[0]


def _resident_bytes(pid: int) -> int:
    """How much memory a process has now."""
    with suppress(OSError):
        status = Path(f"/proc/{pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024
    return 0
