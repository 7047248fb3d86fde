"""`flask experiments …`"""

import click
from flask.cli import AppGroup
from sqlalchemy import select

from ..database import reading, transaction
from ..domain.reasons import ExperimentState
from ..errors import PdsError
from ..models import Experiment, Installation
from ..services import experiments as service
from ..services import lifecycle, lookup, pauses, start_checks
from . import common, pausing
from .limits import limits


class Refused(PdsError):
    """The checklist of a start holds it back; nothing was changed."""


SCOPE = pausing.Scope(lookup.find_experiment, lambda found: found.identifier)

experiments = AppGroup("experiments", help="List, add, start, pause, stop, resume and end experiments.")
experiments.add_command(limits)


@experiments.command("list")
@common.json_option
@common.with_database
def list_experiments(as_json):
    """The experiments, newest first."""
    with reading() as session:
        query = select(Experiment).where(Experiment.delete_asked_at.is_(None))
        rows = [_row(e) for e in session.scalars(query.order_by(Experiment.id.desc()))]
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
@click.option(
    "--last-day", type=click.DateTime(["%Y-%m-%d"]), help="It ends at midnight after it, in its zone."
)
@click.option(
    "--pause-at-model-change", is_flag=True, help="Pause when the provider answers with another model."
)
@click.option("--running", is_flag=True, help="Without draft and rehearsal: it runs at once.")
@common.json_option
@common.with_database
def add(name, zone, description, last_day, pause_at_model_change, running, as_json):
    """Add an experiment with the default policy and prompt, as a draft: start it when it is ready."""
    state = ExperimentState.running if running else ExperimentState.draft
    with transaction() as session:
        experiment = service.add_experiment(
            session, name, zone, common.now(), description, state=state,
            last_day=last_day and last_day.date(), pauses_at_model_change=pause_at_model_change,
        )  # fmt: skip
        session.flush()
        row = _row(experiment)
    if as_json:
        common.emit(row)
        return
    click.echo(f"Added {row['name']} as {row['identifier']}.")
    if not running:
        common.note(f"It is a draft. Start it with: flask experiments start {row['identifier']}")


@experiments.command("start")
@click.argument("experiment", metavar="ID")
@click.option("--anyway", is_flag=True, help="Start although lines of the checklist say “look”.")
@click.option("--keep-rehearsal", is_flag=True, help="Leave the posts of the rehearsal in the feed.")
@common.with_database
def start(experiment, anyway, keep_rehearsal):
    """Start a draft: print the checklist, and let it run.

    Exit status: 1 if a line of the checklist is in the way, 2 for usage, unknown ids and what is no draft.
    """
    settings, now = common.settings(), common.now()
    with transaction() as session:
        found = lookup.find_experiment(session, experiment)
        lines = start_checks.checklist(session, found, settings, now)
        for line in lines:
            click.echo(f"{line.state.value:8}{line.title}: {line.words}")
        is_draft = found.state == ExperimentState.draft
        if is_draft and start_checks.blocking(lines):
            raise Refused("Not started: mend what is missing.")
        if is_draft and start_checks.to_accept(lines) and not anyway:
            raise Refused("Not started: mend what says “look”, or give --anyway.")
        effect = lifecycle.start(
            session, found, settings, now, archives_rehearsal=not keep_rehearsal, accepts_warnings=anyway
        )
        label = found.identifier
    click.echo(f"{label} is running. {effect.words}".strip())


@experiments.command("end")
@click.argument("experiment", metavar="ID")
@click.option("--reason", default="", help="Kept with the protocol.")
@common.with_database
def end(experiment, reason):
    """End an experiment for good: what waits is cancelled, nothing more is published, it is only read."""
    with transaction() as session:
        found = lookup.find_experiment(session, experiment)
        effect = lifecycle.end(session, found, common.now(), reason=reason)
        label = found.identifier
    click.echo(f"{label} has ended. {effect.words}".strip())


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
