"""`flask up`, `flask worker`, `flask scheduler`: the processes that do the work."""

import re

import click
from flask import current_app
from flask.cli import with_appcontext
from sqlalchemy.exc import SQLAlchemyError

from ..database import reading
from ..errors import BadInput, DatabaseNotReady
from ..models import ProcessKind
from ..services import heartbeats
from . import common


@click.command("up")
@with_appcontext
def up():
    """Start the whole local stack, like `make run`: queue, web, workers, scheduler."""
    from ..stack import run_local_stack

    with common.errors_as_exits():
        raise SystemExit(run_local_stack(common.settings()))


@click.command("worker")
@click.option("--lanes", default="default,now", show_default=True, help="Comma list, the first served first.")
@with_appcontext
def worker(lanes):
    """Run attempts of these lanes until told to stop (SIGTERM)."""
    from ..scheduling.worker import run_worker

    with common.errors_as_exits():
        names = [name.strip() for name in lanes.split(",") if name.strip()]
        if not names or not all(re.fullmatch(r"[a-z0-9-]{1,40}", name) for name in names):
            raise BadInput(
                "Name lanes with a–z, 0–9 and -, separated by commas. Example: default,now", "lanes"
            )
        raise SystemExit(run_worker(current_app._get_current_object(), names))


@click.command("alive")
@click.argument("kind", type=click.Choice([kind.value for kind in ProcessKind]))
@with_appcontext
def alive(kind):
    """Say whether a worker or scheduler on this machine has a fresh heartbeat; exit status 1 if not.

    For health checks of containers, whose machine is their own.
    """
    with common.errors_as_exits():
        try:
            with reading() as session:
                is_alive = heartbeats.is_alive_here(session, ProcessKind(kind), common.now())
        except SQLAlchemyError:
            raise DatabaseNotReady("The database does not answer.") from None
    click.echo(f"{kind}: {'alive' if is_alive else 'no fresh heartbeat'} on this machine")
    raise SystemExit(0 if is_alive else common.EXIT_FAILED)


@click.command("scheduler")
@with_appcontext
def scheduler():
    """Claim due slots until told to stop (SIGTERM). Two or more may run; one leads."""
    from ..scheduling.scheduler import run_scheduler

    with common.errors_as_exits():
        raise SystemExit(run_scheduler(current_app._get_current_object()))
