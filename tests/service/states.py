"""What the tests of an experiment's life share: putting it into a state, starting, ending."""

from datetime import UTC, datetime

from sqlalchemy import update

from pdsapp.domain.reasons import ExperimentState
from pdsapp.models import Experiment, utc_now
from pdsapp.services import lifecycle

DRAFT, RUNNING, PAUSED, ENDED, ARCHIVED = ExperimentState
END = datetime(2026, 11, 21, 23, 0, tzinfo=UTC)  # of 21 November in Rome


def put(write, experiment, state):
    """Puts an experiment into a state by hand."""
    with write() as session:
        session.execute(update(Experiment).where(Experiment.id == experiment.id).values(state=state))


def load(session, row):
    session.rollback()
    session.expire_all()
    return session.get_one(type(row), row.id)


def start(write, settings, experiment, **options):
    with write() as session:
        found = session.get_one(Experiment, experiment.id)
        return lifecycle.start(
            session, found, settings, options.pop("now", utc_now()), accepts_warnings=True, **options
        )


def end(write, experiment, now=None, **options):
    with write() as session:
        found = session.get_one(Experiment, experiment.id)
        return lifecycle.end(session, found, now or utc_now(), reason="done", **options)


def plan_end(write, study, at=END):
    with write() as session:
        session.get_one(Experiment, study.id).ends_at = at
