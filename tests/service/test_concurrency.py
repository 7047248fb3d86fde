"""Several worker processes on one database: every attempt once, nothing lost, nothing locked."""

import pytest
from sqlalchemy import func, select

from pdsapp.database import transaction
from pdsapp.models import ApiToken, Attempt, Experiment, ModelCall, Post, utc_now
from pdsapp.services import bulk
from pdsapp.services.ledger import ledger
from tests import builders

from . import herd

pytestmark = pytest.mark.database
WORKERS, TWINS = 4, 60


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
    herd.run(settings, "drain", [[f"worker-{number}"] for number in range(WORKERS)])
    states = dict(session.execute(select(Attempt.state, func.count()).group_by(Attempt.state)).all())
    assert states == {"posted": TWINS}
    assert session.scalar(select(func.count(Post.id))) == TWINS
    assert session.scalar(select(func.count(func.distinct(Attempt.claimed_by)))) > 1
    assert session.scalar(select(func.max(Attempt.strikes))) == 0
    calls = session.scalar(select(func.count(ModelCall.id)))
    assert calls == len(model_server.calls)
    assert ledger(session).adds_up
