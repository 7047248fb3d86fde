"""The flask commands, one file per group. Each is a thin door: parse, call, print, exit."""

from flask import Flask

from .accounts import create_admin
from .attempts import attempts, ledger
from .data import backup, move, restore
from .doctor import doctor
from .experiments import experiments
from .limits import limits
from .participants import participants
from .pausing import pause, resume, stop_now
from .posting import generate_dt_post
from .posts import posts
from .processes import scheduler, up, worker
from .schedules import schedules
from .tokens import tokens
from .twins import setup_digital_twins


def init_app(app: Flask) -> None:
    """Adds every command to the application."""
    for command in (
        attempts, backup, create_admin, doctor, experiments, generate_dt_post, ledger, move, participants,
        pause, posts, restore, resume, scheduler, schedules, setup_digital_twins, stop_now, tokens, up,
        worker,
    ):  # fmt: skip
        app.cli.add_command(command)
    experiments.add_command(limits)
