"""`flask setup-digital-twins`"""

from pathlib import Path

import click
from sqlalchemy import select

from ..attempts.endpoints import NoEndpoint, endpoint_for
from ..database import transaction
from ..llm.secrets import SecretBox
from ..models import DigitalTwin
from ..services import bulk, bulk_files, lookup
from ..services.bulk_files import Sheet
from ..services.bulk_plan import Options, Plan, Step, Verb, make_plan
from ..services.chunks import portions
from . import common

SHOWN = 20
WOULD = {Verb.create: "set up", Verb.update: "update", Verb.skip: "skip"}
DONE = {Verb.create: "Set up", Verb.update: "updated", Verb.skip: "skipped"}


@click.command("setup-digital-twins")
@click.option("--experiment", required=True, metavar="ID", help="UUID or 5-character identifier.")
@click.option("--count", type=int, help="How many twins. Default: one for each persona given.")
@click.option(
    "--personas",
    type=click.Path(path_type=Path),
    metavar="FILE|DIR",
    help="A .csv or .jsonl file, or a folder of .txt and .md files. Default: the ten that come along.",
)
@click.option("--token", metavar="NAME", help="API token for new twins whose row names none.")
@click.option("--inactive", is_flag=True, help="Make new twins inactive.")
@click.option("--reason", default="", metavar="TEXT", help="Why twins of a study under way are updated.")
@click.option("--dry-run", is_flag=True, help="Check everything and change nothing.")
@common.json_option
@common.with_database
def setup_digital_twins(experiment, count, personas, token, inactive, reason, dry_run, as_json):
    """Set up many twins at once: all of them, or none and a list of what is wrong.

    Columns: username, persona_name, persona (text), display_name, bio, token, llm_url, llm_model,
    parameters, tags. A username that is there already is updated where a cell differs; empty cells leave
    what is there.
    """
    sheet = bulk_files.read_path(personas) if personas else Sheet(tuple(bulk.built_in_rows()))
    mute = 0
    with transaction() as session:
        found = lookup.find_experiment(session, experiment)
        own_token = lookup.find_token(session, token) if token else None
        options = Options(own_token.id if own_token else None, not inactive)
        sheet = Sheet(bulk.expand(sheet.rows, count) if sheet.rows else (), sheet.errors)
        plan = make_plan(session, found, sheet, options)
        if plan.errors:
            raise bulk.BulkErrors(plan.errors)
        why = reason or ("dry run" if dry_run else "")
        done = bulk.carry_out(session, found, plan, common.now(), why)
        uuids, mute = _made(session, done.created, found.is_demo)
        where = f"{found.name} ({found.identifier})"
        if dry_run:
            session.rollback()
    shown = _rows(plan, [] if dry_run else uuids)
    for row in shown if as_json else ():
        common.emit(row)
    if not as_json:
        common.table([{name: row[name] for name in row if name != "cause"} for row in shown[:SHOWN]], "")
        if len(shown) > SHOWN:
            click.echo(f"… and {len(shown) - SHOWN:,} more")
        click.echo(_sum(plan, dry_run, where))
    if mute:
        common.note(
            f"{mute:,} of them have nothing to be written by yet: give them a token (--token NAME), or set a "
            "platform endpoint (OPENAI_API_KEY or OPENAI_BASE_URL, and LLM_MODEL)."
        )


def _made(session, created, is_demo: bool) -> tuple[list[str], int]:
    """The UUIDs of the new twins, and how many of them nothing could write for."""
    settings = common.settings()
    box = SecretBox(settings.require("fernet_keys"))
    uuids, mute = [], 0
    for part in portions(created):
        query = select(DigitalTwin).where(DigitalTwin.id.in_(part)).order_by(DigitalTwin.id)
        for twin in session.scalars(query):
            uuids.append(str(twin.uuid))
            mute += not is_demo and isinstance(endpoint_for(twin, settings, box), NoEndpoint)
    return uuids, mute


def _rows(plan: Plan, uuids: list[str]) -> list[dict]:
    made = iter(uuids)
    return [_row(step, plan, next(made, None) if step.verb == Verb.create else None) for step in plan.steps]


def _row(step: Step, plan: Plan, uuid: str | None) -> dict:
    wanted, twin = step.wanted, step.twin
    return {
        "username": step.username,
        "display_name": wanted.display_name or (twin.display_name if twin else step.username),
        "persona": wanted.persona.words if wanted.persona else twin.persona_words,
        "token": wanted.token.name if wanted.token else twin.token if twin else None,
        "active": twin.is_active if twin else plan.options.is_active,
        "action": step.verb.value,
        "cause": step.cause,
        "id": uuid,
    }


def _sum(plan: Plan, is_dry: bool, where: str) -> str:
    """ "Set up 10 twins in Pilot (a41f9); updated 2; skipped 3, which are there and do not differ." """
    words = WOULD if is_dry else DONE
    first = f"{'Would set up' if is_dry else 'Set up'} {plan.count(Verb.create):,} twins in {where}"
    others = [f"{words[verb]} {n:,}" for verb in (Verb.update, Verb.skip) if (n := plan.count(verb))]
    return f"{'; '.join([first, *others])}."
