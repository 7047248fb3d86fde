"""What somebody has typed after `flask`, for before the application is made. Light: all begins here."""

import sys

import click

# Commands that look at an installation and must not begin one.
LOOKING = frozenset({"backup"})
# What Flask itself brings and needs the screens for.
OF_THE_WEB = frozenset({"run", "routes", "shell"})


def words() -> list[str] | None:
    """The words after `flask` and its own options; None when this process is no flask command.

    Only for the flask program itself: a command that another program runs has words of its own.
    """
    context = click.get_current_context(silent=True)
    if context is None or context.parent is not None:
        return None
    try:
        return context.command.make_parser(context).parse_args(sys.argv[1:])[1]
    except click.UsageError:
        return None


def only_help(typed: list[str] | None) -> bool:
    """Whether nothing but the list of commands is wanted: no setting, database or screen is needed for it."""
    return typed == []


def needs_screens(typed: list[str] | None) -> bool:
    """Whether the application is made with its screens: for web servers, not for our own commands."""
    return not typed or typed[0] in OF_THE_WEB


def only_looks(typed: list[str] | None) -> bool:
    """Whether the command looks at an installation and must leave none behind where there is none."""
    return bool(typed) and typed[0] in LOOKING and "--help" not in typed
