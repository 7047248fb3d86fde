"""`flask backup`, `flask restore`, `flask move`: copies of the database, and where it lives."""

import os
import shlex
import signal
from contextlib import ExitStack
from pathlib import Path

import click
import sqlalchemy as sa
from flask import current_app
from flask.cli import with_appcontext

from .. import create_app
from ..config import read_settings
from ..errors import BadInput
from ..extensions import db
from ..llm.secrets import SECRET_FILES, place_of_keys
from ..services import backups
from . import common

KEYS_SUFFIX = ".keys"
_LEDGER = {True: "The ledger adds up.", False: "The ledger does not add up, as it did not before."}


@click.command("backup")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--with-keys", is_flag=True, help=f"Also write the keys in force, to FILE{KEYS_SUFFIX}.")
@with_appcontext
def backup(file, with_keys):
    """Copy the SQLite database, consistent and checked, while everything runs.

    Exit status 2 if FILE exists or the database is PostgreSQL; then it says what to run instead.
    """
    with common.errors_as_exits():
        settings = common.settings()
        url = db.engine.url
        if url.get_backend_name() != "sqlite":
            raise BadInput(_how_with_postgresql(url, file))
        beside = _beside(file)
        backups.require_free(file)
        if with_keys:
            backups.require_free(beside)
        os.umask(0o077)
        made = backups.copy_database(Path(url.database or "").absolute(), file)
        click.echo(f"Saved {made.words}: {file}")
        click.echo("Checked: integrity, foreign keys, rows of every table.")
        if with_keys:
            backups.write_keys(settings.require("fernet_keys"), beside)
            click.echo(f"Keys: {beside}")
            common.note("Whoever has both files can read the stored API keys. Keep them apart.")
        else:
            place = place_of_keys(settings)
            click.echo(f"Not in it: {place}, without which stored API keys cannot be read.")


@click.command("restore")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--data-dir", type=click.Path(path_type=Path), help="A new or empty folder. Default: PDS_DATA_DIR."
)
@click.option(
    "--keys",
    type=click.Path(path_type=Path),
    help=f"The key file. Default: FILE{KEYS_SUFFIX}, if there is one.",
)
@with_appcontext
def restore(file, data_dir, keys):
    """Make a backup an installation of its own, in a new data dir, paused.

    Exit status 2 if the file is no backup of ours or the folder is not empty, 1 if it cannot be done.
    """
    from ..services import restore as restoring
    from ..stack.lock import StackLock, prepare_data_dir

    with common.errors_as_exits():
        target = Path(data_dir or read_settings().data_dir).expanduser().absolute()
        restoring.examine(file)
        keys = keys or (_beside(file) if os.path.isfile(_beside(file)) else None)
        if keys is not None and not os.path.isfile(keys):
            raise BadInput(f"There is no key file {keys}.", "keys")
        restoring.require_empty(target)
        os.umask(0o077)
        with StackLock(prepare_data_dir(target)):
            given = read_settings().fernet_keys
            made = restoring.restore(
                file,
                target,
                keys,
                given.get_secret_value() if given else None,
                common.settings(),
                lambda settings: create_app(settings, with_web=False),
                common.now(),
            )
        _say_restored(made, file, target)


def _say_restored(made, file: Path, target: Path) -> None:
    rows = sum(made.counts.values())
    click.echo(f"Restored {rows:,} rows in {len(made.counts)} tables from {file} into {target}.")
    if made.was_migrated:
        click.echo("Migrated to this version.")
    click.echo(_LEDGER[made.adds_up])
    if made.withdrawn:
        people = "person has" if made.withdrawn == 1 else "people have"
        were = "was" if made.withdrawn == 1 else "were"
        click.echo(f"{made.withdrawn} {people} withdrawn since that backup, and {were} erased from it again.")
    lost = made.unreadable - made.hidden
    if made.hidden:
        common.note(
            f"{made.hidden} of {made.secrets} stored API keys cannot be read as long as PDS_FERNET_KEYS is "
            f"set: it wins over {target / SECRET_FILES['fernet_keys']}, which holds their keys. Unset it, in "
            ".env too, before you start."
        )
    if lost:
        common.note(
            f"{lost} of {made.secrets} stored API keys cannot be read without the key file it was made with. "
            "Enter them again on the tokens' pages, or restore with --keys."
        )
    if made.secrets and not made.unreadable:
        click.echo(f"All {made.secrets} stored API keys can be read.")
    click.echo("It is paused: resume it on the dashboard when the other copy is off.")
    click.echo(f"Start it{_without_url()}: {_start_command(target)}")


@click.command("move")
@click.option("--to", "url", required=True, metavar="URL", help="The empty database, or a new SQLite file.")
@common.with_database
def move(url):
    """Copy every row from SQLite to an empty PostgreSQL database, or back, and pause the source.

    Put the password into PGPASSWORD, not into URL. Exit status 2 if the target cannot be used or the source
    is at work, 1 if the move failed.
    """
    from ..services import move as moving
    from ..stack.lock import StackLock, running_stack

    settings = common.settings()
    target = moving.parse(url)
    os.umask(0o077)
    for number in (signal.SIGTERM, signal.SIGHUP):  # as Ctrl-C: the source gets its pause back
        signal.signal(number, signal.default_int_handler)
    with ExitStack() as stack:
        is_running = settings.is_embedded and running_stack(settings.data_dir) is not None
        if settings.is_embedded and not is_running:
            stack.enter_context(StackLock(settings.data_dir))
        moving.require_quiet(common.now(), is_running)
        app = current_app._get_current_object()
        keys = settings.require("fernet_keys")
        made = moving.move(app, target, keys, common.now(), lambda what: common.note(f"  {what}"))
    _say_moved(made, target)


def _say_moved(made, target: sa.URL) -> None:
    click.echo(f"Moved {made.rows:,} rows in {len(made.sums)} tables to {made.target}.")
    click.echo("Checked on both sides: rows, keys and contents of every table.")
    click.echo(_LEDGER[made.adds_up])
    if made.unreadable:
        common.note(f"{made.unreadable} of {made.secrets} stored API keys cannot be read, as before.")
    elif made.secrets:
        click.echo(f"All {made.secrets} stored API keys can be read with the present keys.")
    click.echo("The source is paused from now on. Resume it only if you go back.")
    if made.is_paused:
        click.echo("The target is paused, as the source was.")
    if target.get_backend_name() == "sqlite":
        folder = Path(target.database).absolute().parent
        click.echo(f"Start it without DATABASE_URL: {_start_command(folder)}")
        click.echo(f"Put the value of PDS_FERNET_KEYS into {folder / SECRET_FILES['fernet_keys']} first.")
    else:
        click.echo("Start it with DATABASE_URL, and the present SECRET_KEY and PDS_FERNET_KEYS.")


def _beside(file: Path) -> Path:
    """Where the keys of a backup lie."""
    return Path(f"{file}{KEYS_SUFFIX}")


def _start_command(folder: Path) -> str:
    return f"PDS_DATA_DIR={shlex.quote(str(folder))} make run"


def _without_url() -> str:
    return "" if read_settings().database_url is None else " without DATABASE_URL"


def _how_with_postgresql(url: sa.URL, file: Path) -> str:
    return (
        "The database is PostgreSQL, which makes its own consistent copies while everything runs:\n"
        f"  {backups.dump_command(url, file)}\n"
        "It asks for the password, or takes it from PGPASSWORD or ~/.pgpass. Keep the value of "
        "PDS_FERNET_KEYS too. Into an empty database it goes back with pg_restore."
    )
