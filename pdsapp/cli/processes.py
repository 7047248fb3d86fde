"""`flask up`, `flask worker`, `flask scheduler`: the processes that do the work."""

import re

import click
from flask import current_app
from flask.cli import with_appcontext

from ..errors import BadInput
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


@click.command("scheduler")
@with_appcontext
def scheduler():
    """Claim due slots until told to stop (SIGTERM). Two or more may run; one leads."""
    from ..scheduling.scheduler import run_scheduler

    with common.errors_as_exits():
        raise SystemExit(run_scheduler(current_app._get_current_object()))
