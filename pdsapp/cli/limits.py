"""`flask experiments limits`"""

from dataclasses import asdict
from typing import Any

import click

from ..database import reading, transaction
from ..errors import BadInput
from ..services import limits as service
from ..services import lookup
from . import common

OPTIONS = {
    "quiet_from": "--quiet",
    "quiet_until": "--quiet",
    "quiet": "--quiet",
    "posts_per_day": "--per-day",
    "min_gap_seconds": "--min-gap",
    "max_draft_age_seconds": "--draft-age",
}


@click.command("limits")
@click.argument("experiment", metavar="ID")
@click.option("--quiet", metavar="FROM-UNTIL|none", help="When no twin posts. For example 22:00-07:00.")
@click.option("--per-day", metavar="N|none", help="Posts of one twin a day, at most. For example 3.")
@click.option(
    "--min-gap",
    metavar="SECONDS|none",
    help="Between two posts of a twin, at least. For example 900 or 15min.",
)
@click.option(
    "--draft-age", metavar="SECONDS|none", help="A draft older than this is not published. For example 600."
)
@click.option("--reason", default="", help="Why, for the list of protocol changes.")
@common.json_option
@common.with_database
def limits(experiment, quiet, per_day, min_gap, draft_age, reason, as_json):
    """Show an experiment's limits, or set those that are given. They hold at once, for forced posts too."""
    try:
        changes = _changes(quiet, per_day, min_gap, draft_age)
        with transaction() if changes else reading() as session:
            row = lookup.find_experiment(session, experiment)
            if changes:
                service.change_limits(session, row, changes, common.now(), reason)
            found = service.policy_of(row).limits
            identifier, title, zone = row.identifier, str(row), row.zone
    except BadInput as error:
        raise BadInput(str(error), OPTIONS.get(error.field or "", error.field)) from None
    if as_json:
        common.emit({"experiment": identifier, "zone": zone, **asdict(found)})
        return
    click.echo(f"Limits of {title}:")
    facts = service.limit_facts(found, zone)
    width = max(len(name) for name, _ in facts)
    for name, words in facts:
        click.echo(f"  {name.ljust(width)}  {words}")


def _changes(quiet: str | None, *others: str | None) -> dict[str, Any]:
    found: dict[str, Any] = {} if quiet is None else service.read_quiet_hours(quiet)
    for name, text in zip(("posts_per_day", "min_gap_seconds", "max_draft_age_seconds"), others, strict=True):
        if text is not None:
            found[name] = service.read_limit(name, text.strip() or "?")  # only "none" takes a limit away
    return found
