"""The flask commands, one file per group. Each is a thin door: parse, call, print, exit.

A command's file is imported when the command is used: `flask --help` names them all and needs none.
"""

from importlib import import_module

import click
from flask import Flask

# Command, its file, what `flask --help` says about it.
COMMANDS = (
    ("alive", "processes", "Say whether a worker or scheduler on this machine has a fresh heartbeat."),
    ("attempts", "attempts", "Look at attempts."),
    ("backup", "data", "Copy the SQLite database, consistent and checked, while everything runs."),
    ("create-admin", "accounts", "Make an administrator, or a new one-time link for one."),
    ("doctor", "doctor", "Check settings, database, queue, processes, secrets and disk."),
    ("experiments", "experiments", "List, add, start, pause, stop, resume and end experiments."),
    ("generate-dt-post", "posting", "Ask a twin whether and what to post, now."),
    ("ledger", "attempts", "The sums of slots and attempts; exit status 1 if they do not add up."),
    ("move", "data", "Copy every row from SQLite to an empty PostgreSQL database, or back."),
    ("participants", "participants", "Withdraw participants of experiments."),
    ("pause", "pausing", "Pause everything: no twin is asked until it is resumed."),
    ("posts", "posts", "People's posts."),
    ("restore", "data", "Make a backup an installation of its own, in a new data dir, paused."),
    ("resume", "pausing", "End the pause of everything."),
    ("scheduler", "processes", "Claim due slots until told to stop (SIGTERM)."),
    ("schedules", "schedules", "List, add, preview, switch and fire schedules."),
    ("setup-digital-twins", "twins", "Set up many twins at once: all of them, or none."),
    ("stop-now", "pausing", "Stop everything: as pause, and what is being written is not published either."),
    ("tokens", "tokens", "List, add, change, test, pause, resume and rotate API tokens."),
    ("up", "processes", "Start the whole local stack, like `make run`: queue, web, workers, scheduler."),
    ("worker", "processes", "Run attempts of these lanes until told to stop (SIGTERM)."),
)


class Later(click.Command):
    """A command that is imported when somebody uses it; until then only its name and a line are known."""

    def __init__(self, name: str, module: str, words: str):
        super().__init__(name, short_help=words)
        self.module = module

    @property
    def command(self) -> click.Command:
        """The real one."""
        return getattr(import_module(f"{__name__}.{self.module}"), self.name.replace("-", "_"))

    def make_context(self, *args, **kwargs) -> click.Context:
        """The context of the real command, which is the one that is then run."""
        return self.command.make_context(*args, **kwargs)


def init_app(app: Flask) -> None:
    """Adds every command to the application."""
    for name, module, words in COMMANDS:
        app.cli.add_command(Later(name, module, words))
