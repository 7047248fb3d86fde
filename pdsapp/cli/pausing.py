"""`flask pause`, `flask stop-now` and `flask resume`: everything at once. And what pausing commands share."""

from typing import Any

import click

from ..database import transaction
from ..models import Installation
from ..services import pauses
from ..services.pauses import Effect
from . import common

reason_option = click.option("--reason", default="", help="Shown wherever the pause shows.")


@click.command("pause")
@reason_option
@common.with_database
def pause(reason):
    """Pause everything: no twin is asked until it is resumed; what is being written is finished."""
    with transaction() as session:
        effect = pauses.pause_everything(session, common.now(), reason)
        scope = session.get_one(Installation, 1)
    say("Everything", effect, scope)


@click.command("stop-now")
@reason_option
@common.with_database
def stop_now(reason):
    """Stop everything: as pause, and what is being written is not published either."""
    with transaction() as session:
        effect = pauses.stop_everything(session, common.now(), reason)
        scope = session.get_one(Installation, 1)
    say("Everything", effect, scope)


@click.command("resume")
@common.with_database
def resume():
    """End the pause of everything; experiments that are paused by themselves stay so."""
    with transaction() as session:
        changed = pauses.resume_everything(session, common.now())
    say_resumed("Everything", changed)


def say(name: str, effect: Effect, scope: Any) -> None:
    """Prints what a pause or a stop did, and to how many attempts; then ends those there were too many of."""
    state = "stopped" if effect.is_stop else "paused"
    already = "" if effect.changed else " already"
    click.echo(f"{name} is {state}{already}: {effect.words}")
    pauses.cancel_rest(scope, effect, common.now())


def say_resumed(name: str, changed: bool, words: str = "goes on with the next slots") -> None:
    """Prints that something goes on."""
    click.echo(f"{name} {words}." if changed else f"{name} was not paused.")
