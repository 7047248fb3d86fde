"""What the tests of pauses share: to pause, stop and resume, and to do so while a post is written."""

from datetime import UTC, datetime

from pdsapp.database import transaction
from pdsapp.domain.reasons import AttemptState, Reason
from pdsapp.dt_service import DTService
from pdsapp.models import (
    ApiToken,
    DigitalTwin,
    Experiment,
    utc_now,
)
from pdsapp.services import pauses
from tests import builders

AT = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
CANCELLED = (AttemptState.cancelled, Reason.paused)
STOPPED = (AttemptState.cancelled, Reason.stopped)


def on(kind, key, act, *more, **options):
    """`act(session, row, …)` on one row, committed."""
    with transaction() as session:
        return act(session, session.get_one(kind, key), *more, **options)


def pause(experiment, reason="", now=None, **options):
    return on(Experiment, experiment.id, pauses.pause_experiment, now or utc_now(), reason, **options)


def stop(experiment, reason="", **options):
    return on(Experiment, experiment.id, pauses.stop_experiment, utc_now(), reason, **options)


def resume(experiment, now=None):
    return on(Experiment, experiment.id, pauses.resume_experiment, now or utc_now())


class While(DTService):
    """Does something as soon as the model has answered, before the post is published."""

    name = DTService().name

    def __init__(self, act):
        self.act = act

    async def generate_original_post_content(self, brief, ask):
        draft = await super().generate_original_post_content(brief, ask)
        self.act()
        return draft


def ended(session, attempt_id):
    attempt = builders.load_attempt(session, attempt_id)
    return attempt.state, attempt.reason


def token_of(session, twin):
    return session.get_one(ApiToken, session.get_one(DigitalTwin, twin.id).api_token_id)
