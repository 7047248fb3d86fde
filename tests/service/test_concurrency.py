"""Several worker processes on one database: every attempt once, nothing lost, nothing locked."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import func, select

from pdsapp.database import transaction
from pdsapp.models import ApiToken, Attempt, Experiment, ModelCall, Post, utc_now
from pdsapp.services import bulk
from pdsapp.services.ledger import ledger
from tests import builders

pytestmark = pytest.mark.database
ROOT = Path(__file__).resolve().parents[2]
WORKERS, TWINS = 4, 60
HANGING_SECONDS = 300  # a busy machine takes its time, a lock that is never given back takes for ever


def test_four_workers_run_every_attempt_exactly_once(app, settings, session, model_server):
    token = builders.make_token(settings, model_server.base_url)
    study = builders.make_experiment()
    with transaction() as writing:
        rows = bulk.built_in_rows()
        made = bulk.set_up_twins(
            writing,
            writing.get_one(Experiment, study.id),
            rows,
            TWINS,
            utc_now(),
            token=writing.get_one(ApiToken, token.id),
        )
    for twin in made:
        builders.add_attempt(twin)
    environment = {
        **os.environ,
        "PDS_DATA_DIR": str(settings.data_dir),
        "SECRET_KEY": settings.require("secret_key"),
        "PDS_FERNET_KEYS": settings.require("fernet_keys"),
        "PDS_LLM_ALLOWED_HOSTS": "127.0.0.0/8",
    }
    if not settings.is_embedded:
        environment["DATABASE_URL"] = settings.sqlalchemy_url
    workers = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.service.drain", f"worker-{number}"],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(WORKERS)
    ]
    said = [worker.communicate(timeout=HANGING_SECONDS)[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * WORKERS, said
    assert "locked" not in "".join(said)
    states = dict(session.execute(select(Attempt.state, func.count()).group_by(Attempt.state)).all())
    assert states == {"posted": TWINS}
    assert session.scalar(select(func.count(Post.id))) == TWINS
    assert session.scalar(select(func.count(func.distinct(Attempt.claimed_by)))) > 1
    assert session.scalar(select(func.max(Attempt.strikes))) == 0
    calls = session.scalar(select(func.count(ModelCall.id)))
    assert calls == len(model_server.calls)
    assert ledger(session).adds_up
