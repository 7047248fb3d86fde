"""`flask doctor`: is everything in its place?"""

import click
from flask.cli import with_appcontext

from ..services import checkup
from . import common

GLYPHS = {"ok": "✓", "warn": "!", "fail": "✗"}


@click.command("doctor")
@common.json_option
@with_appcontext
def doctor(as_json):
    """Check settings, database, queue, processes, secrets and disk; exit status 1 if a check fails."""
    with common.errors_as_exits():
        checks = checkup.examine(common.settings(), common.now())
    for check in checks:
        if as_json:
            common.emit({"name": check.name, "state": check.state, "detail": check.detail})
        else:
            click.echo(f"{GLYPHS[check.state]} {check.name}: {check.detail}")
    if any(check.state == "fail" for check in checks):
        raise SystemExit(common.EXIT_FAILED)
