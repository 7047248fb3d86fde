"""`flask posts import`"""

from pathlib import Path

import click

from ..database import reading, transaction
from ..services import lookup, post_files, post_import, post_plan
from ..services.editing import require_open
from ..services.post_plan import Plan
from . import common


@click.group()
def posts():
    """People's posts."""


@posts.command("import")
@click.option("--experiment", required=True, metavar="ID", help="UUID or 5-character identifier.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--add-people", is_flag=True, help="Add authors who are not in the experiment yet.")
@click.option("--reason", default="", metavar="TEXT", help="Why, for the protocol of a study under way.")
@click.option("--dry-run", is_flag=True, help="Check everything and change nothing.")
@common.json_option
@common.with_database
def import_posts(experiment, file, add_people, reason, dry_run, as_json):
    """Import people's posts from a .csv or .jsonl file: all of them, or none and a list of what is wrong.

    Columns: author, text, time (ISO 8601; without an offset in the experiment's zone; empty: now), parent
    (the id of a row above, or the UUID of a post in the feed), id. No content is imported twice.
    """
    sheet = post_files.read_path(file)
    with reading() as session:
        found = lookup.find_experiment(session, experiment)
        require_open(found)
        plan = post_plan.make_plan(session, found, sheet, common.now())
    is_new = not plan.is_there
    if dry_run:
        if is_new:
            post_import.require_ready(plan, add_people)
    else:
        with transaction() as session:
            found = lookup.find_experiment(session, experiment)
            done = post_import.import_posts(
                session, found, plan, common.now(), add_people=add_people, reason=reason
            )
            is_new = done.is_new
    if as_json:
        common.emit(_row(plan, str(found.uuid), is_new, dry_run))
    else:
        click.echo(_words(plan, f"{found.name} ({found.identifier})", is_new, dry_run))


def _row(plan: Plan, experiment: str, is_new: bool, is_dry: bool) -> dict:
    start, end = plan.period or (None, None)
    return {
        "experiment": experiment,
        "file": plan.name,
        "action": "there already" if not is_new else "would import" if is_dry else "imported",
        "posts": len(plan.posts) - plan.reply_count,
        "replies": plan.reply_count,
        "authors": plan.author_count,
        "new_people": list(plan.new_people),
        "without_time": plan.timeless_count,
        "from": start,
        "until": end,
    }


def _words(plan: Plan, where: str, is_new: bool, is_dry: bool) -> str:
    """ "Imported 120 posts and 30 replies into Pilot (a41f9), and added @ann, @bob." """
    if not is_new:
        return f"These posts are there already in {where}. Nothing was imported twice."
    words = f"{'Would import' if is_dry else 'Imported'} {plan.counts_words} into {where}"
    people = post_import.people_words(plan)
    return f"{words}, and {'add' if is_dry else 'added'} {people}." if people else f"{words}."
