"""`flask attempts list` and `flask ledger`."""

import click
from flask.cli import AppGroup

from ..database import reading, snapshot
from ..domain.reasons import AttemptState
from ..models import Attempt
from ..services import exports, lookup
from ..services import ledger as ledgers
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
        query = with_everything().order_by(Attempt.id.desc()).limit(limit + 1)
        if experiment:
            query = query.where(Attempt.experiment_id == lookup.find_experiment(session, experiment).id)
        if state:
            query = query.where(Attempt.state == AttemptState(state))
        if since:
            query = query.where(Attempt.created_at >= common.parse_time(since))
        found = session.scalars(query).all()
        rows = [attempt_object(attempt) for attempt in found[:limit]]
    if as_json:
        _note_export(experiment)
        for row in rows:
            common.emit(row)
    else:
        shown = [_short(row, _wait_words(attempt)) for row, attempt in zip(rows, found[:limit], strict=True)]
        common.table(shown, "No attempts. Ask a twin: flask generate-dt-post")
    if len(found) > limit:
        common.note(f"These are the newest {limit:,}; there are more. Show more with --limit.")


def _note_export(experiment: str | None) -> None:
    with reading() as session:
        scope = lookup.find_experiment(session, experiment).id if experiment else None
    exports.note("attempts", scope, common.now())


@click.command("ledger")
@experiment_option
@since_option
@common.json_option
@common.with_database
def ledger(experiment, since, as_json):
    """The sums of slots and attempts; exit status 1 if they do not add up."""
    with snapshot() as session:
        scope = lookup.find_experiment(session, experiment) if experiment else None
        found = ledgers.ledger(session, scope, common.parse_time(since), common.now())
    if as_json:
        common.emit(_object(found))
    else:
        _print(found)
    if not found.adds_up:
        raise SystemExit(common.EXIT_FAILED)


def _object(found: ledgers.Ledger) -> dict:
    slots, turns = found.slot_sum, found.turn_sum
    return {
        "slots": found.slots,
        "slots_due": slots.due,
        "slots_waiting": slots.waiting,
        "missing": slots.missing,
        "missing_slots": [_entry(entry) for entry in slots.missing_slots],
        "surplus": slots.surplus,
        "surplus_slots": [_entry(entry) for entry in slots.surplus_slots],
        "wanted": turns.wanted,
        "expanded": turns.expanded,
        "attempts_of_slots": turns.attempts_of_slots,
        "posts_of_attempts": turns.posts_of_attempts,
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


def _entry(entry: ledgers.Entry) -> dict:
    return {"schedule": entry.schedule, "slot_at": entry.at, "kind": entry.kind}


def _print(found: ledgers.Ledger) -> None:
    slots, turns = found.slot_sum, found.turn_sum
    click.echo(f"Slots: {found.slot_sentence}")
    click.echo(
        f"  {slots.missing:,} missing, {slots.surplus:,} surplus, {slots.waiting:,} waiting to be claimed"
    )
    click.echo(f"Turns: {found.sentence}")
    click.echo(f"  {turns.wanted:,} wanted by fired slots, {turns.expanded:,} expanded, "
               f"{turns.attempts_of_slots:,} attempts; {turns.posts_of_attempts:,} posts")  # fmt: skip
    for (state, cls, reason), count in sorted(found.reasons.items()):
        click.echo(f"  {count:>9,}  {state:<10} {cls:<12} {reason or 'not decided yet'}")
    click.echo("It adds up." if found.adds_up else "It does not add up:")
    for problem in found.problems:
        click.echo(f"  {problem}")


def _wait_words(attempt: Attempt) -> str:
    """When one that is put off is due, and what it waits for; "" for all others."""
    if attempt.state != AttemptState.due or attempt.not_before <= common.now():
        return ""
    return f"due {attempt.not_before:%Y-%m-%d %H:%M:%S} UTC. {attempt.waits_for}".rstrip()


def _short(row: dict, wait: str) -> dict:
    return {
        "created": row["created_at"],
        "twin": f"@{row['twin']}",
        "state": row["state"],
        "reason": row["reason"],
        "what": (wait or row["content"] or row["detail"] or "")[:100],
    }
