"""`flask experiments …`"""

import click
from flask.cli import AppGroup
from sqlalchemy import select

from ..database import reading, transaction
from ..models import Experiment, Installation
from ..services import experiments as service
from ..services import lookup, pauses
from . import common, pausing

SCOPE = pausing.Scope(lookup.find_experiment, lambda found: found.identifier)

experiments = AppGroup("experiments", help="List, add, pause, stop and resume experiments.")


@experiments.command("list")
@common.json_option
@common.with_database
def list_experiments(as_json):
    """The experiments, newest first."""
    with reading() as session:
        rows = [_row(e) for e in session.scalars(select(Experiment).order_by(Experiment.id.desc()))]
        pausing.note_of_everything(session)
    if as_json:
        for row in rows:
            common.emit(row)
    else:
        common.table(
            rows, "There is no experiment yet. Add one: flask experiments add 'My study' --zone Europe/Rome"
        )


@experiments.command("add")
@click.argument("name")
@click.option("--zone", default="UTC", show_default=True, help="IANA time zone, for example Europe/Rome.")
@click.option("--description", default="")
@common.json_option
@common.with_database
def add(name, zone, description, as_json):
    """Add a running experiment with the default policy and prompt."""
    with transaction() as session:
        experiment = service.add_experiment(session, name, zone, common.now(), description)
        session.flush()
        row = _row(experiment)
    common.emit(row) if as_json else click.echo(f"Added {row['name']} as {row['identifier']}.")


@experiments.command("pause")
@click.argument("experiment", metavar="ID")
@pausing.reason_option
@common.with_database
def pause(experiment, reason):
    """Pause an experiment: its twins are asked no more until it is resumed; what runs is finished."""
    SCOPE.hold(pauses.pause_experiment, experiment, reason)


@experiments.command("stop")
@click.argument("experiment", metavar="ID")
@pausing.reason_option
@common.with_database
def stop(experiment, reason):
    """Stop an experiment now: as pause, and what is being written is not published either."""
    SCOPE.hold(pauses.stop_experiment, experiment, reason)


@experiments.command("resume")
@click.argument("experiment", metavar="ID")
@common.with_database
def resume(experiment):
    """Let a paused or stopped experiment run again, from its next slots on."""
    SCOPE.resume(pauses.resume_experiment, experiment)
    with reading() as session:
        is_all_paused = pauses.is_paused(session.get_one(Installation, 1))
    if is_all_paused:
        common.note("Everything is still paused. Resume it with: flask resume")


def _row(experiment: Experiment) -> dict:
    return {
        "identifier": experiment.identifier,
        "name": experiment.name,
        "state": experiment.state.value,
        "demo": experiment.is_demo,
        "zone": experiment.zone,
        "active_twins": experiment.active_twin_count,
        "id": str(experiment.uuid),
    }
