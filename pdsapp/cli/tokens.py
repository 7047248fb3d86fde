"""`flask tokens …`. A secret is asked for or read from stdin, never taken from the command line."""

import asyncio
import sys

import click
from flask.cli import AppGroup
from sqlalchemy import select

from ..database import reading, transaction
from ..domain.call_limits import BOUNDS
from ..errors import BadInput
from ..llm.endpoint import normalize_base_url
from ..llm.secrets import SecretBox
from ..models import ApiToken, Experiment
from ..services import edits, lookup, pauses, rotation, token_tests
from ..services import tokens as service
from . import common, pausing

SCOPE = pausing.Scope(lookup.find_token, lambda found: f"Token “{found.name}”", "is used again")

MARKS = {True: "✓", False: "✗", None: "·"}
NO_REASON = "no reason was given"


def limit_options(command):
    """Adds an option for each limit."""
    for bound in reversed(BOUNDS):
        words = f"{bound.label} over all workers, for example {bound.example}; none: no limit."
        command = click.option(bound.option, bound.field, help=words)(command)
    return command


tokens = AppGroup("tokens", help="List, add, change, test, pause, resume and rotate API tokens.")


@tokens.command("list")
@common.json_option
@common.with_database
def list_tokens(as_json):
    """The tokens. Of secrets only the last four characters show."""
    with reading() as session:
        rows = [service.shown(token) for token in session.scalars(select(ApiToken).order_by(ApiToken.name))]
    if as_json:
        for row in rows:
            common.emit(row)
    else:
        common.table(rows, "There is no token yet. Add one: flask tokens add NAME --url URL --model MODEL")


@tokens.command("add")
@click.argument("name")
@click.option("--url", required=True, help="Base URL, for example https://api.openai.com/v1")
@click.option("--model", default="", help="Default model, for example gpt-4o-mini")
@click.option("--parameters", default="", help="For example: temperature=0.8, max_tokens=300")
@click.option("--no-key", is_flag=True, help="The endpoint needs no key (Ollama, llama.cpp, vLLM).")
@limit_options
@common.with_database
def add(name, url, model, parameters, no_key, **limits):
    """Add a token. The key is asked for, or read from standard input when that is not a terminal."""
    service.require_allowed(common.settings(), url)
    secret = None if no_key else _read_secret()
    with transaction() as session:
        box = SecretBox(common.settings().require("fernet_keys"))
        token = service.add_token(session, box, name, url, secret, model, common.now(), parameters, **limits)
        click.echo(
            f"Added token “{token.name}” for {token.base_url}. Test it: flask tokens test '{token.name}'"
        )


@tokens.command("change")
@click.argument("name")
@click.option("--url", help="Another base URL; asks for the key again.")
@click.option("--model", help="Another default model.")
@click.option("--parameters", help="Others, for example: temperature=0.8, max_tokens=300")
@click.option("--no-key", is_flag=True, help="The endpoint needs no key; a stored one is removed.")
@limit_options
@click.option("--reason", default=NO_REASON, help="Kept where a study under way uses the token.")
@common.with_database
def change(name, url, model, parameters, no_key, reason, **limits):
    """Change a token's address, model, parameters or limits; each study under way that uses it keeps why the
    first three were changed."""
    with reading() as session:
        found = lookup.find_token(session, name)
    new_url = found.base_url if url is None else normalize_base_url(url)
    is_elsewhere = new_url != found.base_url
    if is_elsewhere:
        service.require_allowed(common.settings(), new_url)
    needs_key = is_elsewhere and found.secret_encrypted is not None and not no_key
    secret = _read_secret() if needs_key else ""
    with transaction() as session:
        token = lookup.find_token(session, str(found.uuid))
        changes = edits.change_token(
            session, SecretBox(common.settings().require("fernet_keys")), token, found.edit_version,
            common.now(), name=token.name, base_url=new_url, secret=secret,
            removes_secret=no_key and token.secret_encrypted is not None,
            default_model=token.default_model if model is None else model,
            parameters=token.parameters if parameters is None else parameters,
            reason=reason.strip() or NO_REASON,
            **{field: value for field, value in limits.items() if value is not None},
        )  # fmt: skip
        click.echo(f"Changed token “{token.name}”.")
        for each in changes:
            click.echo(f"A protocol change of {session.get_one(Experiment, each.experiment_id)}.")


@tokens.command("rotate")
@common.with_database
def rotate():
    """Encrypt every stored key with the first of PDS_FERNET_KEYS. May be ended at any time and run again."""
    found = rotation.rotate(SecretBox(common.settings().require("fernet_keys")), common.now)
    click.echo(f"Encrypted anew: {found.renewed}. With the newest key already: {found.kept}.")
    for each in found.unreadable:
        common.note(
            f"Token “{each}” can be read with none of PDS_FERNET_KEYS. Add its key, or enter it again."
        )
    if found.unreadable:
        raise SystemExit(common.EXIT_FAILED)


@tokens.command("test")
@click.argument("name")
@common.with_database
def test(name):
    """Test a token step by step, up to a tiny completion (✓ right, ✗ wrong, · cannot be told).

    Exit status 1 if it fails.
    """
    with reading() as session:
        token_id = lookup.find_token(session, name).id
    result = asyncio.run(token_tests.test_token(token_id, common.settings(), common.now))
    for step in result.steps:
        took = "" if step.ms is None else f" ({step.ms} ms)"
        click.echo(f"{MARKS[step.ok]} {step.name}{took}: {step.detail}")
    if not result.ok:
        raise SystemExit(common.EXIT_FAILED)


@tokens.command("pause")
@click.argument("name")
@pausing.reason_option
@common.with_database
def pause(name, reason):
    """Pause a token: its twins are not written until it is resumed; what runs is finished."""
    SCOPE.hold(pauses.pause_token, name, reason)


@tokens.command("resume")
@click.argument("name")
@common.with_database
def resume(name):
    """Use a paused token again, also one that its endpoint's answer paused."""
    SCOPE.resume(pauses.resume_token, name)


def _read_secret() -> str:
    if sys.stdin.isatty():
        return click.prompt("Key", hide_input=True, err=True)
    secret = sys.stdin.readline().strip()
    if not secret:
        raise BadInput("No key came in on standard input. Pipe it in, or say --no-key.", "secret")
    return secret
