"""`flask attempts list` and `flask ledger`."""

import click
from flask.cli import AppGroup

from ..database import reading
from ..domain.reasons import AttemptState
from ..models import Attempt
from ..services import ledger as ledgers
from ..services import lookup
from ..services.attempt_rows import attempt_object, with_everything
from . import common

attempts = AppGroup("attempts", help="Look at attempts.")
experiment_option = click.option("--experiment", metavar="ID", help="UUID or 5-character identifier.")
since_option = click.option("--since", metavar="TIME", help="ISO 8601; UTC unless it has a zone.")


@attempts.command("list")
@experiment_option
@click.option("--state", type=click.Choice([state.value for state in AttemptState]))
@since_option
@click.option("--limit", type=click.IntRange(1, 1_000_000), default=50, show_default=True)
@common.json_option
@common.with_database
def list_attempts(experiment, state, since, limit, as_json):
    """Attempts, newest first."""
    with reading() as session:
        query = with_everything().order_by(Attempt.id.desc()).limit(limit)
        if experiment:
            query = query.where(Attempt.experiment_id == lookup.find_experiment(session, experiment).id)
        if state:
            query = query.where(Attempt.state == AttemptState(state))
        if since:
            query = query.where(Attempt.created_at >= common.parse_time(since))
        rows = [attempt_object(attempt) for attempt in session.scalars(query)]
    if as_json:
        for row in rows:
            common.emit(row)
        return
    common.table([_short(row) for row in rows], "No attempts. Ask a twin: flask generate-dt-post")


@click.command("ledger")
@experiment_option
@since_option
@common.json_option
@common.with_database
def ledger(experiment, since, as_json):
    """The sums of slots and attempts; exit status 1 if they do not add up."""
    with reading() as session:
        scope = lookup.find_experiment(session, experiment) if experiment else None
        found = ledgers.ledger(session, scope, common.parse_time(since))
    if as_json:
        common.emit(
            {
                "slots": found.slots,
                "states": found.states,
                "reasons": [
                    {"state": s, "class": c, "reason": r, "count": n}
                    for (s, c, r), n in sorted(found.reasons.items())
                ],
                "asked": found.asked,
                "waiting": found.waiting,
                "adds_up": found.adds_up,
                "problems": list(found.problems),
            }
        )
    else:
        _print(found)
    if not found.adds_up:
        raise SystemExit(common.EXIT_FAILED)


def _print(found: ledgers.Ledger) -> None:
    slots = " + ".join(f"{count} {kind}" for kind, count in sorted(found.slots.items())) or "none yet"
    click.echo(f"Slots: {sum(found.slots.values())} due = {slots}")
    click.echo(f"Attempts: {found.sentence}")
    for (state, cls, reason), count in sorted(found.reasons.items()):
        if reason:
            click.echo(f"  {count:>7}  {state:<10} {cls:<12} {reason}")
    click.echo("It adds up." if found.adds_up else "It does not add up:")
    for problem in found.problems:
        click.echo(f"  {problem}")


def _short(row: dict) -> dict:
    return {
        "created": row["created_at"],
        "twin": f"@{row['twin']}",
        "state": row["state"],
        "reason": row["reason"],
        "what": (row["content"] or row["detail"] or "")[:80],
    }
