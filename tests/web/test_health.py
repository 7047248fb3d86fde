"""Signs of life for machines: to anybody, quickly, and without giving anything away."""

import json
import socket
import time
from datetime import timedelta

import pytest
import sqlalchemy as sa
from prometheus_client.parser import text_string_to_metric_families

from pdsapp.domain.reasons import CallState
from pdsapp.models import ModelCall, ProcessKind, utc_now
from pdsapp.services import heartbeats, rollups
from tests.attempt_rows import add_row
from tests.builders import make_experiment, make_twin
from tests.conftest import TEST_DATABASE_URL

on_sqlite = pytest.mark.skipif(TEST_DATABASE_URL is not None, reason="removes the database's file")


@pytest.fixture
def alive(write):
    """A worker and a scheduler that beat just now."""
    with write() as session:
        heartbeats.beat(session, ProcessKind.worker, "w1", utc_now(), "default,now")
        heartbeats.beat(session, ProcessKind.scheduler, "s1", utc_now(), is_leader=True)


@pytest.fixture
def no_database(app, settings):
    """The database is gone."""
    from pdsapp.extensions import db

    db.engine.dispose()
    (settings.data_dir / "discourse_twins.sqlite3").unlink()


def checks_of(answer):
    return {name: check["ok"] for name, check in answer.json["checks"].items()}


def test_healthz_answers_a_stranger(client):
    answer = client.get("/healthz")
    assert (answer.status_code, answer.json) == (200, {"status": "ok"})
    assert answer.headers["Cache-Control"] == "no-store"


@on_sqlite
def test_healthz_needs_no_database(client, no_database):
    assert client.get("/healthz").status_code == 200


class TestWithAQueue:
    @pytest.fixture
    def overrides(self, redis_url):
        return {"REDIS_URL": redis_url}

    def test_readyz_is_ready_when_everything_is_there(self, client, alive):
        answer = client.get("/readyz")
        assert answer.status_code == 200
        assert answer.json["ready"] is True
        assert checks_of(answer) == {"database": True, "queue": True, "worker": True, "scheduler": True}

    def test_readyz_names_the_command_that_starts_what_is_missing(self, client):
        answer = client.get("/readyz")
        assert answer.status_code == 503
        assert checks_of(answer) == {"database": True, "queue": True, "worker": False, "scheduler": False}
        assert "flask worker" in answer.json["checks"]["worker"]["detail"]
        assert "flask scheduler" in answer.json["checks"]["scheduler"]["detail"]


def test_readyz_says_that_the_queue_is_missing(client, alive):
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert checks_of(answer) == {"database": True, "queue": False, "worker": True, "scheduler": True}


@on_sqlite
def test_readyz_says_that_the_database_is_missing_and_does_not_make_one(client, settings, no_database):
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert checks_of(answer) == {"database": False, "queue": False, "worker": False, "scheduler": False}
    assert not (settings.data_dir / "discourse_twins.sqlite3").exists()


def test_readyz_says_that_the_tables_are_of_another_version(client, write):
    with write() as session:
        session.execute(sa.text("UPDATE alembic_version SET version_num = 'older'"))
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json["checks"]["database"] == {
        "ok": False,
        "detail": "its tables are of another version than the code",
    }


class TestWithASilentQueue:
    @pytest.fixture
    def overrides(self):
        """A server that takes connections and never answers, with a password in its address."""
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            yield {"REDIS_URL": f"redis://:very-secret-word@127.0.0.1:{listener.getsockname()[1]}/0"}

    def test_readyz_does_not_wait_for_it_and_shows_no_secret(self, client, alive):
        began = time.monotonic()
        answer = client.get("/readyz")
        assert time.monotonic() - began < 5
        assert answer.status_code == 503
        assert "very-secret-word" not in json.dumps(answer.json)
        assert "127.0.0.1" not in json.dumps(answer.json)


def test_metrics_are_not_there_without_a_token(client):
    assert client.get("/metrics").status_code == 404


class TestWithAMetricsToken:
    @pytest.fixture
    def overrides(self):
        return {"PDS_METRICS_TOKEN": "m3trics"}

    @pytest.mark.parametrize("given", ["", "Bearer wrong", "Bearer m3trics2", "Basic m3trics", "Bearer é"])
    def test_metrics_are_not_there_for_whoever_has_another(self, client, given):
        assert client.get("/metrics", headers={"Authorization": given}).status_code == 404

    def test_metrics_hold_states_lanes_and_processes(self, client, alive):
        twin = make_twin(make_experiment())
        add_row(twin, "skipped", "recency", utc_now())
        add_row(twin, "due", None, utc_now())
        answer = client.get("/metrics", headers={"Authorization": "Bearer m3trics"})
        assert answer.status_code == 200
        assert 'dt_attempts{state="skipped"} 1.0' in answer.text
        assert 'dt_lane_due{lane="default"} 1.0' in answer.text
        assert 'dt_processes_alive{kind="worker"} 1.0' in answer.text

    def test_metrics_count_reasons_tokens_and_seconds_of_models_from_the_rows(self, client, write):
        twin = make_twin(make_experiment())
        number = add_row(
            twin, "posted", "drawn", utc_now(), draw=0.9, prompt_tokens=100, completion_tokens=20
        )
        with write() as session:
            session.add(
                ModelCall(
                    attempt_id=number, experiment_id=twin.experiment_id, state=CallState.answered,
                    endpoint="https://user:pw@llm.example.org:8443/v1", model_asked='g"p\nt\\',
                    latency_ms=1500, started_at=utc_now(), finished_at=utc_now(),
                )
            )  # fmt: skip
        answer = client.get("/metrics", headers={"Authorization": "Bearer m3trics"})
        figures = {
            (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(answer.text)
            for sample in family.samples
        }
        model = ("llm.example.org:8443", 'g"p\nt\\')
        assert figures["dt_attempts_ended_total", "drawn", "rule", "posted"] == 1
        assert figures["dt_tokens_total", "prompt"] == 100
        assert figures["dt_tokens_total", "completion"] == 20
        assert figures["dt_model_seconds_sum", *model] == 1.5
        assert figures["dt_model_seconds_count", *model] == 1
        assert "user:pw" not in answer.text and twin.user_profile.username not in answer.text

    def test_rolling_up_changes_no_figure(self, client):
        twin = make_twin(make_experiment())
        for days in (0, 1, 40, 400):
            add_row(twin, "skipped", "recency", utc_now() - timedelta(days=days))
        wanted = 'dt_attempts_ended_total{reason="recency",reason_class="rule",state="skipped"} 4.0'

        def figures():
            return client.get("/metrics", headers={"Authorization": "Bearer m3trics"}).text

        assert wanted in figures()
        while rollups.roll_up(utc_now()):
            pass
        assert wanted in figures()
