"""Eight worker processes and one cap: exactly as many posts as the limits allow, on every database."""

from collections import Counter
from datetime import timedelta

import pytest
from sqlalchemy import func, select, text

from pdsapp.database import transaction
from pdsapp.domain.reasons import AttemptState, Reason
from pdsapp.models import Attempt, Experiment, Post, utc_now
from pdsapp.services import limits
from pdsapp.services.ledger import ledger
from tests import builders

from . import herd

pytestmark = pytest.mark.database
WORKERS = 8


def posts_of(session):
    """Posts by profile."""
    query = select(Post.user_profile_id, func.count()).group_by(Post.user_profile_id)
    return dict(session.execute(query).all())


def outcomes(session):
    """How many attempts ended how."""
    session.rollback()
    return Counter(tuple(row) for row in session.execute(select(Attempt.state, Attempt.reason)))


@pytest.fixture
def capped(app):
    """Two experiments, one with a limit a day and one with a long gap, and how many posts a twin may have."""
    found = {}
    for name, changes, most, reason in (
        ("Three a day", {"posts_per_day": 3}, 3, Reason.daily_limit),
        ("A day between", {"min_gap_seconds": 86_400}, 1, Reason.min_gap),
    ):
        study = builders.make_experiment(name)
        with transaction() as session:
            limits.change_limits(session, session.get_one(Experiment, study.id), changes, utc_now())
        found[study.id] = (study, most, reason)
    return found


def check(session, capped, twins, asked, state):
    """Every twin has as many posts as it may have, and every other attempt ended by the limit."""
    assert posts_of(session) == {twin.user_profile_id: capped[twin.experiment_id][1] for twin in twins}
    expected = Counter()
    for twin in twins:
        _, most, reason = capped[twin.experiment_id]
        expected[AttemptState.posted, Reason.forced] += most
        expected[state, reason] += asked - most
    assert outcomes(session) == expected
    assert ledger(session).adds_up


def test_eight_workers_never_post_more_than_the_limits(session, settings, capped, model_server):
    token = builders.make_token(settings, model_server.base_url)
    twins = [builders.make_twin(study, token=token) for study, *_ in capped.values() for _ in range(2)]
    for _ in range(8):
        for twin in twins:
            builders.add_attempt(twin)
    herd.run(settings, "drain", [[f"w{n}", "all"] for n in range(WORKERS)])
    check(session, capped, twins, 8, AttemptState.skipped)
    assert session.scalar(select(func.count(func.distinct(Attempt.claimed_by)))) > 1


def test_drafts_of_one_twin_that_are_published_at_the_same_moment_are_counted_one_by_one(
    session, settings, capped
):
    """As if leases had been lost: the index that keeps a twin's attempts apart is taken away first."""
    twins = [builders.make_twin(study) for study, *_ in capped.values()]
    ids = [builders.add_attempt(twin) for _ in range(24) for twin in twins]
    with transaction() as writing:
        writing.execute(text("DROP INDEX uq_attempt_one_running_per_twin"))
        now = utc_now()
        for attempt in writing.scalars(select(Attempt)):
            attempt.state, attempt.reason = AttemptState.running, Reason.forced
            attempt.lease_token, attempt.lease_until = attempt.uuid, now + timedelta(minutes=5)
            attempt.claimed_at = attempt.decided_at = now
    herd.run(settings, "publish", [ids[number::WORKERS] for number in range(WORKERS)])
    check(session, capped, twins, 24, AttemptState.cancelled)
    assert session.scalar(select(func.count(Attempt.id)).where(Attempt.draft.is_(None))) == 0
