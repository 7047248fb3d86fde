"""Making rows for tests through the same services the doors use."""

import asyncio
from datetime import timedelta

from pdsapp.attempts.batch import Batch
from pdsapp.attempts.create import Request, add_for_twin
from pdsapp.attempts.run import run_attempt
from pdsapp.attempts.workshop import make_workshop
from pdsapp.database import transaction
from pdsapp.domain.reasons import Trigger
from pdsapp.dt_service import load_service
from pdsapp.llm.secrets import SecretBox
from pdsapp.models import ApiToken, Attempt, DigitalTwin, Experiment, Post, PostRevision, utc_now
from pdsapp.services import experiments, personas, tokens, twins

SHORT_POST = (
    "The early train was on time for once, and nobody on the platform knew what to do with the minutes."
)
_numbers = iter(range(1, 1_000_000))


def make_experiment(name="Study", zone="Europe/Rome", **changes):
    """A committed, running experiment."""
    with transaction() as session:
        return experiments.add_experiment(session, name, zone, utc_now(), **changes)


def make_token(settings, base_url, name=None, secret="sk-test-secret-0001", model="fake-model", **changes):
    """A committed API token."""
    with transaction() as session:
        box = SecretBox(settings.require("fernet_keys"))
        name = name or f"token {next(_numbers)}"
        return tokens.add_token(session, box, name, base_url, secret, model, utc_now(), **changes)


def make_twin(experiment, username=None, token=None, persona="Likes trains. Dislikes delays.", **changes):
    """A committed, active twin."""
    number = next(_numbers)
    with transaction() as session:
        version = personas.add_persona(session, f"Persona {number}", persona, utc_now())
        experiment = session.get_one(Experiment, experiment.id)
        token = session.get_one(ApiToken, token.id) if token else None
        return twins.add_twin(
            session, experiment, username or f"twin_{number}", version, utc_now(), token=token, **changes
        )


def make_person(experiment, username="walt"):
    """A committed human profile."""
    with transaction() as session:
        return twins.add_profile(session, session.get_one(Experiment, experiment.id), username, utc_now())


def make_post(profile, text="Bread is dear.", minutes=5, attempt_id=None):
    """A committed top-level post, some minutes old."""
    at = utc_now() - timedelta(minutes=minutes)
    with transaction() as session:
        post = Post(
            experiment_id=profile.experiment_id,
            user_profile_id=profile.id,
            text=text,
            created_at=at,
            changed_at=at,
        )
        session.add(post)
        session.flush()
        session.add(PostRevision(post_id=post.id, number=1, text=text, created_at=at))
        return post


def add_attempt(twin, forced=True, trigger=Trigger.button, request_id=None):
    """A committed due attempt of a twin; its id."""
    with transaction() as session:
        request = Request(trigger, request_id or f"test-{next(_numbers)}", forced)
        attempt = add_for_twin(session, session.get_one(DigitalTwin, twin.id), request, utc_now())
        session.flush()
        return attempt.id


def run_due(settings, service=None, lane=None, limit=100, at_once=4, **changes):
    """Runs what is due in this process; counts by terminal state."""
    shop = make_workshop(settings, service or load_service(settings))
    batch = Batch(shop, "test-worker", lane, limit, at_once, **changes)
    asyncio.run(batch.drain())
    return batch.ended


def run_lease(settings, lease, service=None):
    """Runs one attempt that is claimed already; its state."""
    shop = make_workshop(settings, service or load_service(settings))

    async def run():
        async with shop.client:
            return await run_attempt(lease, shop)

    return asyncio.run(run())


def load_attempt(session, attempt_id):
    """The attempt as it is in the database now."""
    session.expire_all()
    session.rollback()
    return session.get_one(Attempt, attempt_id)


def ask_and_run(session, settings, twin, **options):
    """One attempt of a twin, asked and run to its end."""
    attempt_id = add_attempt(twin, **options)
    run_due(settings)
    return load_attempt(session, attempt_id)
