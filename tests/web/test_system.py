"""The system page: what runs here, failed jobs, backups; for administrators, and without a secret."""

import re

import pytest
from rq.results import Result

from pdsapp.scheduling import failed_jobs, queue
from pdsapp.services import backups
from tests.conftest import TEST_DATABASE_URL
from tests.web.looking import words_of

SECRETS = {
    "SECRET_KEY": "zqsecretkey", "OPENAI_API_KEY": "sk-zqopenai", "PDS_METRICS_TOKEN": "zqmetrics",
    "PDS_ADMIN_PASSWORD": "zqpassword", "PDS_LLM_PROXY": "http://user:zqproxy@127.0.0.1:9",
}  # fmt: skip
embedded = pytest.mark.skipif(TEST_DATABASE_URL is not None, reason="the database is a server's")


@pytest.fixture
def overrides():
    return SECRETS


def test_it_says_what_runs_here(administrator):
    words = words_of(administrator.get("/system"))
    for each in (
        "Python 3.",
        "flask-admin",
        "rq-scheduler",
        "Tables at revision",
        "Free",
        "No worker has been seen",
    ):
        assert each.lower() in words.lower(), each
    assert "PDS_WORKERS 1 default" in words and "DATABASE_URL" in words


def test_no_secret_stands_on_it(administrator):
    text = administrator.get("/system").text
    assert not [
        secret
        for secret in ("zqsecretkey", "zqopenai", "zqmetrics", "zqpassword", "zqproxy")
        if secret in text
    ]
    assert re.search(r"OPENAI_API_KEY</code></th><td>set, not shown", text)
    assert re.search(r"REDIS_URL</code></th><td>(not set|set, not shown)", text)


@pytest.mark.parametrize(
    "address", ["/system", "/system?checks=all", "/system/backups", "/system/backup/daily-2026-11-29.sqlite3"]
)
@pytest.mark.parametrize("who", ["viewer", "researcher"])
def test_only_administrators_see_it(request, who, address):
    assert request.getfixturevalue(who).get(address).status_code == 403


@pytest.mark.parametrize("address", ["/system/backup", "/system/job"])
def test_only_administrators_do_anything_there(researcher, address, settings):
    assert researcher.post(address, data={"do": "discard", "lane": "default", "id": "x"}).status_code == 403
    assert not (settings.data_dir / backups.FOLDER).exists()


def test_the_ledger_is_checked_row_by_row_when_asked_for(administrator):
    assert "ledger fail" not in words_of(administrator.get("/system"))
    assert re.search(r"<b>ledger</b>", administrator.get("/system?checks=all").text)
    assert not re.search(r"<b>ledger</b>", administrator.get("/system").text)


@embedded
@pytest.mark.parametrize("name", ["..%2Fsecret_key", "hand-2020.sqlite3", "%00", "daily.problem"])
def test_nothing_but_a_backup_can_be_downloaded(administrator, name):
    assert administrator.get(f"/system/backup/{name}").status_code == 404


@pytest.mark.skipif(TEST_DATABASE_URL is None, reason="the database is a file")
def test_a_server_is_backed_up_by_its_own_means(administrator):
    answer = administrator.post("/system/backup", follow_redirects=True)
    assert "The database is a server's." in words_of(answer)


def test_without_a_queue_the_page_says_so(administrator):
    words = words_of(administrator.get("/system"))
    assert "The queue does not answer, so its jobs cannot be listed." in words


def test_a_job_is_retried_or_discarded_and_nothing_else(administrator):
    answer = administrator.post("/system/job", data={"do": "run", "lane": "default", "id": "x"})
    assert answer.status_code == 400 and "retry or discard" in words_of(answer)


@pytest.mark.queue
class TestFailedJobs:
    """On a real queue server."""

    @pytest.fixture
    def overrides(self, redis_url):
        return {"REDIS_URL": redis_url}

    @pytest.fixture
    def connection(self, settings):
        connection = queue.connection(settings)
        connection.flushdb()
        return connection

    def fail(self, connection, job_id="lane-default", cause="ValueError: no such table <i>"):
        lane = queue.lane_queue(connection, "default")
        job = lane.enqueue("pdsapp.tasks.generate_attempts", "default", 1, job_id=job_id)
        lane.remove(job)
        registry = failed_jobs.FailedJobRegistry(lane.name, connection=connection, job_class=queue.LaneJob)
        registry.add(job, ttl=-1)
        Result.create_failure(job, -1, f"Traceback\n  File\n{cause}\n")
        return job

    def test_they_stand_with_their_cause(self, administrator, connection):
        self.fail(connection)
        answer = administrator.get("/system")
        words = words_of(answer)
        assert "generate_attempts(default, 1)" in words and "ValueError: no such table" in words
        assert "<i>" not in answer.text

    def test_one_that_is_retried_is_queued_again(self, administrator, connection):
        self.fail(connection)
        given = {"do": "retry", "lane": "default", "id": "lane-default"}
        assert "The job is back in its lane." in words_of(
            administrator.post("/system/job", data=given, follow_redirects=True)
        )
        assert queue.queued_count(connection, "default") == 1
        assert administrator.post("/system/job", data=given).status_code == 404

    def test_one_that_is_not_ours_can_only_be_discarded(self, administrator, connection):
        connection.zadd("rq:failed:pds:default", {"evil": 2e10})
        connection.hset("rq:job:evil", mapping={"data": b'["os.system", null, ["true"], {}]'})
        connection.sadd("rq:queues", "rq:queue:pds:default")
        text = administrator.get("/system").text
        assert "evil" in text and 'value="retry"' not in text
        refused = administrator.post("/system/job", data={"do": "retry", "lane": "default", "id": "evil"})
        assert refused.status_code == 400 and "This job is never run" in words_of(refused)
        gone = {"do": "discard", "lane": "default", "id": "evil"}
        assert administrator.post("/system/job", data=gone).status_code == 302
        assert not connection.exists("rq:job:evil") and not connection.zcard("rq:failed:pds:default")

    def test_of_many_the_first_are_shown_with_their_number(self, administrator, connection):
        connection.sadd("rq:queues", "rq:queue:pds:default")
        connection.zadd("rq:failed:pds:default", {f"job-{n}": n for n in range(60)})
        assert "The first 50 of 60." in words_of(administrator.get("/system"))
