"""The demo experiment of an empty local database: people, twins and a lively schedule, no key needed.

Demo twins are written by the offline writer; its text is labelled as a stand-in. A demo never
spends money: where a real endpoint is configured, the demo's schedule is made disabled.
"""

from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from ..attempts.create import Request, add_for_picks
from ..attempts.selection import draw_twins, installation_seed, request_key
from ..config import Settings
from ..domain.policy import PostingPolicy, demo_pace
from ..domain.reasons import Trigger
from ..models import Experiment, Post, PostRevision
from . import experiments, personas, schedules, twins
from .demo_cast import PEOPLE, POSTS, TWINS

NAME = "Riverton town square (demo)"
DESCRIPTION = (
    "A made-up town argues about a bus line, a library and a river path. The twins are written by the "
    "offline writer, a stand-in that needs no key; give them an API token to hear a real model."
)
WELCOME_COUNT = 6
WELCOME_GAP = timedelta(seconds=4)


def ensure_demo(session: Session, settings: Settings, now: datetime) -> str:
    """What was made, in words; "" if there is an experiment already. The caller commits."""
    if session.scalars(select(Experiment.id).limit(1)).first() is not None:
        return ""
    experiment = experiments.add_experiment(
        session,
        NAME,
        "America/Indiana/Indianapolis",
        now,
        DESCRIPTION,
        policy=demo_pace(PostingPolicy()),
        is_demo=True,
    )
    session.flush()
    _add_people(session, experiment, now)
    for username, display_name, bio, persona_name, text in TWINS:
        version = personas.add_version_of(session, persona_name, text, now)
        twins.add_twin(session, experiment, username, version, now, display_name, bio)
    spends = settings.openai_api_key is not None or settings.openai_base_url is not None
    schedules.add_schedule(
        session,
        schedules.Wish(
            name="Every minute, three twins",
            experiment=experiment,
            cron="* * * * *",
            zone=experiment.zone,
            twins_per_slot=3,
            is_enabled=not spends,
        ),
        now,
        reason="Part of the demo.",
    )
    if spends:
        return (
            "Made a demo experiment. Its schedule is disabled, because a real endpoint is configured "
            "and a demo never spends money."
        )
    _add_welcome(session, experiment, now)
    return "Made a demo experiment with ten twins; they begin to post in a moment."


def _add_people(session: Session, experiment: Experiment, now: datetime) -> None:
    profiles = {
        username: twins.add_profile(session, experiment, username, now, display_name, bio)
        for username, display_name, bio in PEOPLE
    }
    for username, minutes, text in POSTS:
        at = now - timedelta(minutes=minutes)
        post = Post(
            experiment_id=experiment.id,
            user_profile=profiles[username],
            text=text,
            created_at=at,
            changed_at=at,
        )
        session.add(post)
        session.flush()
        session.add(PostRevision(post_id=post.id, number=1, text=text, created_at=at))


def _add_welcome(session: Session, experiment: Experiment, now: datetime) -> None:
    """A first round, so that the first minute is not empty: six twins are asked, some seconds apart."""
    key = request_key(installation_seed(session), f"welcome-{experiment.identifier}")
    picks = draw_twins(session, experiment, WELCOME_COUNT, key)
    request = Request(Trigger.cli, f"welcome-{experiment.identifier}", lane="default")
    for attempt in add_for_picks(session, picks, request, now):
        attempt.not_before = now + WELCOME_GAP * attempt.ordinal
