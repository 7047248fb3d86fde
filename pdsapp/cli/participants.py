"""`flask participants …`"""

import sys

import click
from flask.cli import AppGroup

from ..attempts.words import several
from ..database import reading, transaction
from ..errors import BadInput, CopyFailed
from ..models import Withdrawal
from ..services import compacting, erasing, lookup, withdrawals
from . import common

participants = AppGroup("participants", help="Withdraw participants of experiments.")
WAIT_SECONDS = 300


@participants.command("withdraw")
@click.argument("username")
@click.option("--experiment", required=True, metavar="ID", help="UUID or 5-character identifier.")
@click.option("--also", multiple=True, metavar="NAME", help="Another name to erase; can be given again.")
@click.option("--only-mentions", is_flag=True, help="Erase names only behind an @.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@common.json_option
@common.with_database
def withdraw(username, experiment, also, only_mentions, yes, as_json):
    """Erase what a person said and is called, for good: posts, quotations, names. Rows and sums stay.

    Exit status: 1 if it could not be finished (a scheduler goes on with it), 2 for usage and unknown names.
    """
    with reading() as session:
        found = lookup.find_profile(session, username, lookup.find_experiment(session, experiment))
        outlook = withdrawals.outlook(session, found)
        label, name, number = str(found), found.username, found.id
    if not yes:
        if not sys.stdin.isatty():
            raise BadInput("This cannot be undone. Give --yes to do it without being asked.")
        posts, attempts = several(outlook.posts, "post"), several(outlook.attempts, "attempt")
        click.confirm(f"Erase {label}: {posts}, shown to {attempts}? This cannot be undone.", abort=True)
    with transaction() as session:
        profile = lookup.find_profile(session, username, lookup.find_experiment(session, experiment))
        made = withdrawals.ask(
            session, profile, name, common.now(), other_names=also, only_mentions=only_mentions
        )
        session.flush()
        key = made.id
    is_finished = erasing.finish(key, WAIT_SECONDS)
    is_left = is_finished and compacting.is_wanted() and not _compact()
    with reading() as session:
        row = session.get_one(Withdrawal, key)
        summary = {
            "profile": number, "pseudonym": row.pseudonym, "finished": is_finished, "posts": outlook.posts,
            "changed": row.counts,
        }  # fmt: skip
    if as_json:
        common.emit(summary)
    else:
        _say(summary)
    if is_left:
        common.note(
            "Freed parts of the database’s file may still hold it. Stop everything and "
            "run flask participants compact."
        )
    common.note("Backups and exports from before still hold it. The page of the profile lists those known.")
    if not is_finished:
        sys.exit(common.EXIT_FAILED)


@participants.command("compact")
@common.with_database
def compact():
    """Write the embedded database's file anew, so that no freed part of it holds what was erased."""
    if not compacting.is_embedded():
        raise BadInput("The database is a server’s. Compact it there: docs/operating.md says how.")
    before = compacting.size()
    compacting.compact()
    click.echo(f"Compacted: {before:,} bytes before, {compacting.size():,} now.")


def _compact() -> bool:
    """Whether the file was written anew: not while somebody reads it, nor where that takes too long beside
    work. What is erased stays so, and the status of the command is about that."""
    if compacting.size() > compacting.MOST_BYTES:
        return False
    try:
        compacting.compact()
    except CopyFailed as error:
        common.note(str(error))
        return False
    return True


def _say(summary: dict) -> None:
    click.echo(f"Erased {several(summary['posts'], 'post')}; the profile is @{summary['pseudonym']} now.")
    for words, count in summary["changed"].items():
        click.echo(f"{count:>8,} {words} of others changed")
    if not summary["finished"]:
        common.note(
            "Not finished: something that may have read these posts is still being written. The scheduler "
            "goes on with it."
        )
