"""`flask experiments …`"""

import click
from flask.cli import AppGroup
from sqlalchemy import select

from ..database import reading, transaction
from ..domain.reasons import ExperimentState
from ..models import Experiment
from ..services import experiments as service
from ..services import lookup
from . import common

experiments = AppGroup("experiments", help="List, add, pause and resume experiments.")


@experiments.command("list")
@common.json_option
@common.with_database
def list_experiments(as_json):
    """The experiments, newest first."""
    with reading() as session:
        rows = [_row(e) for e in session.scalars(select(Experiment).order_by(Experiment.id.desc()))]
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
@click.option("--reason", default="", help="Shown wherever the pause shows.")
@common.with_database
def pause(experiment, reason):
    """Pause an experiment: its twins are asked no more until it is resumed."""
    _set(experiment, ExperimentState.paused, reason)


@experiments.command("resume")
@click.argument("experiment", metavar="ID")
@common.with_database
def resume(experiment):
    """Let a paused experiment run again."""
    _set(experiment, ExperimentState.running, "")


def _set(text: str, state: ExperimentState, reason: str) -> None:
    with transaction() as session:
        experiment = lookup.find_experiment(session, text)
        service.set_state(session, experiment, state, common.now(), reason)
        click.echo(f"{experiment.identifier} is {experiment.state}.")


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
