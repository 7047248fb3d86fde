"""`flask pause`, `flask stop-now` and `flask resume`: everything at once; how one thing is paused."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click
from sqlalchemy.orm import Session

from ..database import transaction
from ..models import Installation
from ..services import pauses
from . import common

reason_option = click.option("--reason", default="", help="Shown wherever the pause shows.")


@dataclass(frozen=True)
class Scope:
    """A kind of thing that commands pause: how it is found by what was typed, and named in the answer."""

    find: Callable[[Session, str], Any]
    name: Callable[[Any], str]
    resumed_words: str = "goes on with the next slots"

    def hold(self, act: Callable, text: str, reason: str) -> None:
        """Pauses or stops it, prints what became of attempts, then ends those there were too many of."""
        with transaction() as session:
            found = self.find(session, text)
            effect = act(session, found, common.now(), reason)
        state = "stopped" if effect.is_stop else "paused"
        already = "" if effect.changed else " already"
        click.echo(f"{self.name(found)} is {state}{already}: {effect.words}")
        pauses.cancel_rest(found, effect, common.now())

    def resume(self, act: Callable, text: str) -> Any:
        """Lets it go on, and prints that; what was found."""
        with transaction() as session:
            found = self.find(session, text)
            changed = act(session, found, common.now())
        click.echo(f"{self.name(found)} {self.resumed_words if changed else 'was not paused'}.")
        return found


def note_of_everything(session: Session) -> None:
    """Says beside a list that everything is paused: its rows say what they are by themselves."""
    if (words := pauses.everything_words(session)) is not None:
        common.note(f"{words} Nobody is asked, whatever the rows say. Go on: flask resume")


EVERYTHING = Scope(lambda session, _text: session.get_one(Installation, 1), lambda _row: "Everything")


@click.command("pause")
@reason_option
@common.with_database
def pause(reason):
    """Pause everything: no twin is asked until it is resumed; what is being written is finished."""
    EVERYTHING.hold(lambda session, _row, *rest: pauses.pause_everything(session, *rest), "", reason)


@click.command("stop-now")
@reason_option
@common.with_database
def stop_now(reason):
    """Stop everything: as pause, and what is being written is not published either."""
    EVERYTHING.hold(lambda session, _row, *rest: pauses.stop_everything(session, *rest), "", reason)


@click.command("resume")
@common.with_database
def resume():
    """End the pause of everything; experiments that are paused by themselves stay so."""
    EVERYTHING.resume(lambda session, _row, now: pauses.resume_everything(session, now), "")
