"""What the stacks have to do meanwhile: an experiment full of twins, schedules every minute, "post now"."""

import random
from contextlib import suppress
from datetime import timedelta
from uuid import uuid4

from sqlalchemy import func, select

from pdsapp.attempts import create
from pdsapp.attempts.create import Request, add_for_twin
from pdsapp.config import Settings
from pdsapp.database import reading, transaction
from pdsapp.domain.reasons import AttemptState, Trigger
from pdsapp.errors import QueueDown
from pdsapp.llm.secrets import SecretBox
from pdsapp.models import Attempt, DigitalTwin, Heartbeat, Schedule, Slot, utc_now
from pdsapp.scheduling import queue
from pdsapp.services import bulk, experiments, schedules, tokens

CADENCE_SECONDS = 60


def seed(settings: Settings, model_url: str, twins: int, schedule_count: int) -> None:
    """Twins of one running experiment and disabled schedules, all to be posting whatever the draw."""
    now = utc_now()
    with transaction() as session:
        experiment = experiments.add_experiment(session, "Faults", "UTC", now)
        box = SecretBox(settings.require("fernet_keys"))
        token = tokens.add_token(session, box, "Model server", model_url, "sk-faults-0001", "fake-model", now)
        session.flush()
        bulk.set_up_twins(session, experiment, bulk.built_in_rows(), twins, now, token)
        for number in range(schedule_count):
            # Spread over the minute, so that something is always in the middle of being done.
            shift = timedelta(seconds=number * CADENCE_SECONDS // schedule_count)
            wish = schedules.Wish(
                name=f"Every minute {number}",
                experiment=experiment,
                interval_seconds=CADENCE_SECONDS,
                anchor_at=now.replace(second=0, microsecond=0) + shift,
                is_forced=True,
            )
            schedules.add_schedule(session, wish, now)


def switch_schedules(is_on: bool) -> None:
    """All schedules at once; off, what was due until now is accounted for first."""
    switch = schedules.enable if is_on else schedules.disable
    with transaction() as session:
        for schedule in session.scalars(select(Schedule).order_by(Schedule.id)):
            switch(session, schedule, utc_now())


def post_now(settings: Settings, dice: random.Random, count: int) -> None:
    """Some "post now" requests together, so that a worker has several attempts in hand."""
    with transaction() as session:
        for twin in dice.sample(session.scalars(select(DigitalTwin)).all(), count):
            request = Request(Trigger.button, f"faults-{uuid4()}", is_forced=True)
            add_for_twin(session, twin, request, utc_now())
    with suppress(QueueDown):  # the rows are there; the scheduler wakes the lane later
        queue.wake(queue.connection(settings), create.LANE_NOW, count)


def slot_count() -> int:
    """How many slots are accounted for."""
    with reading() as session:
        return int(session.scalar(select(func.coalesce(func.sum(Slot.slot_count), 0))))


def waiting_count() -> int:
    """How many attempts have not ended."""
    with reading() as session:
        query = select(func.count(Attempt.id)).where(
            Attempt.state.in_((AttemptState.due, AttemptState.running))
        )
        return session.scalar(query)


def live_beats(kind: str) -> list[Heartbeat]:
    """The processes of a kind that beat lately, the leader first."""
    with reading() as session:
        query = select(Heartbeat).where(
            Heartbeat.kind == kind,
            Heartbeat.stopped_at.is_(None),
            Heartbeat.beat_at > utc_now() - timedelta(seconds=12),
        )
        return list(session.scalars(query.order_by(Heartbeat.is_leader.desc(), Heartbeat.id)))
