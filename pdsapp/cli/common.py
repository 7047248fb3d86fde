"""What the commands share: the prepared database, exit codes, JSON lines, finding by id."""

import json
import sys
from collections.abc import Callable
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import wraps
from typing import Any

import click
from flask import current_app
from flask.cli import with_appcontext

from ..config import Settings, read_settings
from ..domain.call_limits import BOUNDS
from ..errors import BadInput, NobodyEligible, NotFound, PdsError
from ..models import utc_now
from ..services import backups, database

EXIT_FAILED, EXIT_USAGE, EXIT_SKIPPED, EXIT_NOBODY = 1, 2, 3, 4


def settings() -> Settings:
    """The settings of the current application."""
    return current_app.extensions["settings"]


def with_database(command: Callable) -> Callable:
    """Runs a command in an application context on a database at head; maps errors to exit codes.

    2: what was typed names nothing or cannot be used. 4: nobody eligible. 1: anything else that failed.
    """

    @with_appcontext
    @wraps(command)
    def run(*args, **kwargs):
        with errors_as_exits():
            prepared = database.prepare(current_app._get_current_object())
            for line in prepared.lines:
                note(line)
            return command(*args, **kwargs)

    return run


def require_what_to_look_at() -> None:
    """Returns if there is an embedded database, or another one. Raises BadInput.

    For commands that only look, before the application is made: it makes a data dir and new secrets where
    there are none, and a mistyped PDS_DATA_DIR must not leave them behind.
    """
    given = read_settings()
    if given.is_embedded:
        backups.require_database(given.data_dir.absolute() / backups.DATABASE_NAME)


@contextmanager
def errors_as_exits():
    """Turns the product's errors into one sentence on stderr and an exit code."""
    try:
        yield
    except NobodyEligible as error:
        note(str(error))
        sys.exit(EXIT_NOBODY)
    except (BadInput, NotFound) as error:
        field = getattr(error, "field", None)
        note(f"{_typed_as(field)}: {error}" if field else str(error))
        sys.exit(EXIT_USAGE)
    except PdsError as error:
        note(str(error))
        sys.exit(EXIT_FAILED)


def _typed_as(field: str) -> str:
    """What one types for a field: its option, where the command calls it otherwise."""
    return next((bound.option for bound in BOUNDS if bound.field == field), field)


def note(text: str) -> None:
    """A line of progress or an error, on stderr."""
    click.echo(text, err=True)


def emit(row: dict[str, Any]) -> None:
    """One JSON object on one line of stdout."""
    click.echo(json.dumps(row, ensure_ascii=False, default=_plain))


def table(rows: list[dict[str, Any]], empty: str) -> None:
    """Rows as aligned columns for people; the sentence when there are none."""
    if not rows:
        click.echo(empty)
        return
    texts = [{key: _cell(value) for key, value in row.items()} for row in rows]
    widths = {key: max(len(key), *(len(row[key]) for row in texts)) for key in rows[0]}
    click.echo("  ".join(key.ljust(width) for key, width in widths.items()).rstrip())
    for row in texts:
        click.echo("  ".join(row[key].ljust(width) for key, width in widths.items()).rstrip())


def parse_time(text: str | None) -> datetime | None:
    """An aware time from ISO 8601 (UTC if it has no zone). Raises BadInput."""
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise BadInput(f"“{text}” is not a time. Example: 2026-11-21T08:00:00Z", "since") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object per line, nothing else.")
now = utc_now


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _cell(value: Any) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S} UTC"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else " ".join(str(value).split())
