"""`flask generate-dt-post`: one attempt (or some), now, in the foreground or through the queue."""

import asyncio
import os
import socket
import time
from contextlib import ExitStack
from dataclasses import dataclass
from uuid import uuid4

import click
from sqlalchemy.orm import Session

from ..attempts import create
from ..attempts.batch import Batch
from ..attempts.claim import Lease, claim
from ..attempts.create import Request
from ..attempts.preview import Preview, preview
from ..attempts.selection import installation_seed, request_key
from ..attempts.workshop import Workshop
from ..config import Settings
from ..database import reading, transaction
from ..domain.reasons import ASKING_STATES, TERMINAL_STATES, AttemptState, ExperimentState, Trigger
from ..dt_service import DTService, load_service
from ..errors import BadInput, NobodyEligible, PdsError
from ..models import Attempt, DigitalTwin, Experiment
from ..services import disk, lookup
from ..services.attempt_rows import attempt_object, with_everything
from . import common

WAIT_SECONDS = 120.0


@dataclass(frozen=True)
class _Wish:
    """What was asked for on the command line."""

    experiment: str | None
    twin: str | None
    is_forced: bool
    schedule: str | None = None


@click.command("generate-dt-post")
@click.option("--experiment", metavar="ID", help="UUID or 5-character identifier. Default: any running one.")
@click.option("--twin", metavar="NAME|ID", help="Username or UUID. Default: a random active twin.")
@click.option("--force", is_flag=True, help="Post whatever the draw says. Limits and pauses still hold.")
@click.option(
    "--count", type=click.IntRange(1, 1000), default=1, show_default=True, help="How many attempts."
)
@click.option("--schedule", metavar="NAME|ID", help="With --dry-run: as if a slot of this schedule asked.")
@click.option("--queue", is_flag=True, help="Leave the work to a worker instead of doing it here.")
@click.option("--dry-run", is_flag=True, help="Decide and show the prompt; ask no model, store nothing.")
@common.json_option
@common.with_database
def generate_dt_post(experiment, twin, force, count, schedule, queue, dry_run, as_json):
    """Ask a twin whether and what to post, now.

    Exit status: 1 if any attempt failed, else 0 if any posted or was queued, else 3 if all skipped,
    4 if nobody is eligible, 2 for usage and unknown ids.
    """
    if dry_run and queue:
        raise BadInput("--dry-run and --queue exclude each other.")
    if schedule and not dry_run:
        raise BadInput("--schedule goes with --dry-run. To fire a schedule: flask schedules fire")
    wish = _Wish(experiment, twin, force, schedule)
    with ExitStack() as stack:
        settings = _with_writer(stack, common.settings(), wish, needs_model=not (queue or dry_run))
        service = load_service(settings)
        if dry_run:
            _dry_run(wish, service, settings, count, as_json)
        elif queue:
            _queue(wish, service, settings, count, as_json)
        else:
            _foreground(wish, service, settings, count, as_json)


def _with_writer(stack: ExitStack, settings: Settings, wish: _Wish, needs_model: bool) -> Settings:
    """The settings with an offline writer running for the length of the command, if a demo may need it."""
    if settings.offline_writer_url or not needs_model:
        return settings
    with reading() as session:
        if not any(e.is_demo for e in _experiments(session, wish)):
            return settings
    from ..llm.offline_writer import running_offline_writer

    return settings.model_copy(update={"offline_writer_url": stack.enter_context(running_offline_writer())})


def _experiments(session: Session, wish: _Wish) -> list[Experiment]:
    if wish.experiment:
        return [lookup.find_experiment(session, wish.experiment)]
    if wish.twin:
        return [lookup.find_twin(session, wish.twin).experiment]
    return list(session.query(Experiment).filter(Experiment.state == ExperimentState.running))


def _foreground(wish: _Wish, service: DTService, settings: Settings, count: int, as_json: bool) -> None:
    disk.require_room(settings)
    worker = f"{socket.gethostname()}-{os.getpid()}-cli"
    states: list[AttemptState] = []
    for _ in range(count):
        attempt_id, leases = _add(wish, service, worker)
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            if leases:  # it is given back when it has to wait for its endpoint
                asyncio.run(_batch(service, settings, worker).finish(leases))
            if _has_ended(attempt_id) or time.monotonic() >= deadline:
                break
            time.sleep(0.5)
            with transaction() as session:
                leases = claim(session, worker, common.now(), 1, only={attempt_id})
        states.append(_show(attempt_id, as_json))
    _exit(states)


def _add(wish: _Wish, service: DTService, worker: str) -> tuple[int, list[Lease]]:
    """A new attempt, leased to this process in the same transaction so that no worker takes it first."""
    request = Request(Trigger.cli, f"cli-{uuid4()}", wish.is_forced)
    with transaction() as session:
        attempt = _insert(session, wish, service, request)
        return attempt.id, claim(session, worker, common.now(), 1, only={attempt.id})


def _insert(session: Session, wish: _Wish, service: DTService, request: Request) -> Attempt:
    experiment = lookup.find_experiment(session, wish.experiment) if wish.experiment else None
    if wish.twin:
        twin = lookup.find_twin(session, wish.twin, experiment)
        attempt = create.add_for_twin(session, twin, request, common.now())
    else:
        key = request_key(installation_seed(session), request.request_id)
        picks = service.get_random_digital_twins(session, experiment, 1, key)
        if not picks:
            raise NobodyEligible(_nobody(experiment))
        attempt = create.add_for_picks(session, picks, request, common.now())[0]
    session.flush()
    return attempt


def _nobody(experiment: Experiment | None) -> str:
    if experiment is None:
        return "Nobody is eligible: no running experiment has an active twin. See: flask experiments list"
    if experiment.state not in ASKING_STATES:
        return f"Nobody is eligible: experiment {experiment.identifier} is {experiment.state}."
    return f"Nobody is eligible: experiment {experiment.identifier} has no active twin."


def _batch(service: DTService, settings: Settings, worker: str) -> Batch:
    from ..attempts.workshop import make_workshop

    shop: Workshop = make_workshop(settings, service)
    return Batch(shop, worker, lane=None, limit=1, at_once=1)


def _has_ended(attempt_id: int) -> bool:
    with reading() as session:
        return session.get_one(Attempt, attempt_id).state in TERMINAL_STATES


def _queue(wish: _Wish, service: DTService, settings: Settings, count: int, as_json: bool) -> None:
    from ..scheduling import queue

    ids = []
    with transaction() as session:
        for _ in range(count):
            request = Request(Trigger.cli, f"cli-{uuid4()}", wish.is_forced)
            ids.append(_insert(session, wish, service, request).id)
    try:
        queue.wake(queue.connection(settings), create.LANE_NOW, len(ids))
    except PdsError as error:
        common.note(f"{error} The attempts are stored and run when the queue is back.")
    for attempt_id in ids:
        _show(attempt_id, as_json)


def _dry_run(wish: _Wish, service: DTService, settings: Settings, count: int, as_json: bool) -> None:
    posts = 0
    for _ in range(count):
        with reading() as session:
            twin = _drawn_twin(session, wish, service)
            schedule = lookup.find_schedule(session, wish.schedule) if wish.schedule else None
            found = preview(
                session, twin, service, settings, f"dry-run-{uuid4()}", common.now(), wish.is_forced, schedule
            )
        posts += found.posts
        common.emit(found.to_dict()) if as_json else _print_preview(found)
    raise SystemExit(0 if posts else common.EXIT_SKIPPED)


def _drawn_twin(session: Session, wish: _Wish, service: DTService) -> DigitalTwin:
    experiment = lookup.find_experiment(session, wish.experiment) if wish.experiment else None
    if wish.twin:
        return lookup.find_twin(session, wish.twin, experiment)
    key = request_key(installation_seed(session), f"dry-run-{uuid4()}")
    picks = service.get_random_digital_twins(session, experiment, 1, key)
    if not picks:
        raise NobodyEligible(_nobody(experiment))
    return session.get_one(DigitalTwin, picks[0].twin_id)


def _print_preview(found: Preview) -> None:
    click.echo(f"@{found.twin}: {found.sentence}")
    if found.obstacle is not None:
        click.echo(f"It would be skipped all the same: {found.obstacle.words}")
    click.echo(f"Length: {found.length.band}, about {found.length.target} characters")
    click.echo(f"Endpoint: {found.endpoint_words}")
    for message in found.messages:
        click.echo(f"\n--- {message['role']}\n{message['content']}")
    click.echo("\nNothing was asked and nothing was stored.")


def _show(attempt_id: int, as_json: bool) -> AttemptState:
    with reading() as session:
        attempt = session.scalars(with_everything().where(Attempt.id == attempt_id)).one()
        row = attempt_object(attempt)
    common.emit(row) if as_json else click.echo(_words(row))
    if attempt.state == AttemptState.due and attempt.waits_for:
        common.note(f"It waits. {attempt.waits_for} A worker asks it later.")
    return attempt.state


def _words(row: dict) -> str:
    twin, state = f"@{row['twin']}", row["state"]
    if state == "posted":
        label = " [stand-in text of the offline writer]" if row["is_stand_in"] else ""
        return f"{twin} posted ({row['length']} characters, {row['length_band']}){label}: {row['content']}"
    if state == "skipped":
        return f"{twin} skipped ({row['reason']}): {row['detail']}"
    if state == "failed":
        return f"{twin} failed ({row['reason']}): {row['detail']}"
    if state == "cancelled":
        return f"{twin} was called off ({row['reason']}): {row['detail']}"
    return f"{twin}: attempt {row['id']} is {state}."


def _exit(states: list[AttemptState]) -> None:
    if AttemptState.failed in states or any(state not in TERMINAL_STATES for state in states):
        raise SystemExit(common.EXIT_FAILED)
    if all(state in (AttemptState.skipped, AttemptState.cancelled) for state in states):
        raise SystemExit(common.EXIT_SKIPPED)
