"""`flask setup-digital-twins`"""

from pathlib import Path

import click

from ..attempts.endpoints import NoEndpoint, endpoint_for
from ..database import transaction
from ..llm.secrets import SecretBox
from ..models import DigitalTwin
from ..services import bulk, bulk_files, lookup
from . import common


@click.command("setup-digital-twins")
@click.option("--experiment", required=True, metavar="ID", help="UUID or 5-character identifier.")
@click.option("--count", type=int, help="How many twins. Default: one for each persona given.")
@click.option(
    "--personas",
    type=click.Path(path_type=Path),
    metavar="FILE|DIR",
    help="A .csv or .jsonl file, or a folder of .txt and .md files. Default: the ten that come along.",
)
@click.option("--token", metavar="NAME", help="API token for twins whose row names none.")
@click.option("--inactive", is_flag=True, help="Make them inactive.")
@click.option("--dry-run", is_flag=True, help="Check everything and change nothing.")
@common.json_option
@common.with_database
def setup_digital_twins(experiment, count, personas, token, inactive, dry_run, as_json):
    """Set up many twins at once: all of them, or none and a list of what is wrong.

    Columns: username, display_name, bio, persona (text), persona_name, token, llm_url, llm_model,
    parameters, tags. Only persona or persona_name must be there.
    """
    rows = bulk_files.read_rows(personas) if personas else bulk.built_in_rows()
    with transaction() as session:
        found = lookup.find_experiment(session, experiment)
        own_token = lookup.find_token(session, token) if token else None
        made = bulk.set_up_twins(session, found, rows, count, common.now(), own_token, not inactive)
        shown = [_row(twin) for twin in made]
        where = f"{found.name} ({found.identifier})"
        settings = common.settings()
        box = SecretBox(settings.require("fernet_keys"))
        mute = sum(isinstance(endpoint_for(twin, settings, box), NoEndpoint) for twin in made)
        mute = 0 if found.is_demo else mute
        if dry_run:
            session.rollback()
    for row in shown if as_json else ():
        common.emit(row)
    if not as_json:
        common.table(shown[:20], "")
        if len(shown) > 20:
            click.echo(f"… and {len(shown) - 20:,} more")
        would = "Would set up" if dry_run else "Set up"
        click.echo(f"{would} {len(shown):,} twins in {where}.")
    if mute:
        common.note(
            f"{mute:,} of them have nothing to be written by yet: give them a token (--token NAME), or set a "
            "platform endpoint (OPENAI_API_KEY or OPENAI_BASE_URL, and LLM_MODEL)."
        )


def _row(twin: DigitalTwin) -> dict:
    return {
        "username": twin.user_profile.username,
        "display_name": twin.user_profile.display_name,
        "persona": str(twin.persona_version),
        "token": twin.api_token.name if twin.api_token else None,
        "active": twin.is_active,
        "id": str(twin.uuid),
    }
