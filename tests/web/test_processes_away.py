"""Pages while the queue, all workers or all schedulers are away: soon, and with the line that says so."""

import pytest

from pdsapp.models import Attempt, ProcessKind, utc_now
from pdsapp.services import heartbeats
from tests import stopwatch
from tests.attempt_rows import add_row

from .looking import words_of
from .test_database_away import NOTED, PAGES, TOKEN
from .test_queue_away import BANNER, SOON_SECONDS, silent_server

WITHOUT_FRAME = ("csv", "csv/", "healthz", "/rows", "/now", "/state", "/brief", "/progress", "/metrics")


@pytest.fixture
def overrides():
    return {"PDS_METRICS_TOKEN": TOKEN, "REDIS_URL": "unix:///nowhere/socket?db=0"}


@pytest.fixture
def look(app, session, rows, administrator, schedule):
    """`look(path)` is the answer of a page; there is an attempt that waits."""
    attempt = session.get_one(Attempt, add_row(rows.twin, "due", None, utc_now(), lane="now"))
    identifier, uuid = rows.experiment.identifier, str(attempt.uuid)
    session.rollback()

    def asked(path):
        path = path.replace("EXPERIMENT", identifier).replace("ATTEMPT", uuid)
        return administrator.get(path, headers={"Authorization": f"Bearer {TOKEN}"})

    return asked


def has_frame(path):
    return not path.partition("?")[0].endswith(WITHOUT_FRAME)


class TestTheQueue:
    """It refuses, or takes connections and never answers."""

    @pytest.fixture(params=["gone", "frozen"])
    def overrides(self, request, overrides):
        if request.param == "gone":
            yield overrides
            return
        with silent_server() as url:
            yield overrides | {"REDIS_URL": url}

    def test_every_page_answers_soon_and_says_so(self, app, look):
        for path in (*PAGES, *NOTED, "/healthz"):
            app.extensions["queue_sign"]._until = 0.0
            began = stopwatch.seconds()
            answer = look(path)
            assert (answer.status_code, stopwatch.seconds() - began < SOON_SECONDS) == (200, True), path
            assert not has_frame(path) or BANNER in answer.text, path
        began = stopwatch.seconds()
        checks = look("/readyz").json["checks"]
        assert not checks["queue"]["ok"] and checks["database"]["ok"]
        assert stopwatch.seconds() - began < SOON_SECONDS
        assert "The queue does not answer" in words_of(look("/system"))


KINDS = {ProcessKind.worker: ProcessKind.scheduler, ProcessKind.scheduler: ProcessKind.worker}


@pytest.mark.parametrize("away", KINDS)
def test_without_a_worker_or_a_scheduler_every_page_says_which_is_away(app, look, write, away):
    app.extensions["queue_sign"].note(is_away=True)
    there = KINDS[away]
    with write() as session:
        heartbeats.beat(session, there, f"{there}-1", utc_now(), "default,now")
    for path in (*PAGES, *NOTED):
        answer = look(path)
        assert answer.status_code == 200, path
        if has_frame(path):
            assert f'<li class="dead">{away}' in answer.text, path
            assert f'<li class="dead">{there}' not in answer.text, path
    for path in ("/admin/", "/activity"):
        assert f"Start one with flask {away}" in words_of(look(path)), path
    checks = look("/readyz").json["checks"]
    assert (checks[away]["ok"], checks[there]["ok"]) == (False, True)
    assert f'dt_processes_alive{{kind="{away}"}} 0.0' in look("/metrics").text
    is_waited_for = away == ProcessKind.worker
    for path in ("/attempts/ATTEMPT", "/attempts/ATTEMPT/progress", "/admin/digitaltwin/ask/?id=1"):
        words = words_of(look(path))
        assert ("No worker" in words) is is_waited_for, (path, words[-300:])
