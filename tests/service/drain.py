"""A worker process of a herd: drains due attempts, then ends.

Arguments: the worker's name; "all" as a second one waits for attempts of busy twins until none is left.
It says "ready" and begins when standard input ends.
"""

import asyncio
import sys
import time
from datetime import timedelta

from sqlalchemy import select

from pdsapp import create_app
from pdsapp.attempts import claim
from pdsapp.attempts.batch import Batch
from pdsapp.attempts.workshop import make_workshop
from pdsapp.config import read_settings
from pdsapp.database import reading
from pdsapp.domain.reasons import TERMINAL_STATES
from pdsapp.dt_service import load_service
from pdsapp.models import Attempt


def main(arguments: list[str]) -> None:
    """Reads its settings from the environment."""
    settings = read_settings()
    name, waits_for_all = arguments[0], arguments[1:] == ["all"]
    if waits_for_all:
        claim.BUSY_WAIT = timedelta(milliseconds=50)
    with create_app(settings, with_web=False).app_context():
        print("ready", flush=True)
        sys.stdin.read()
        while True:
            batch = Batch(make_workshop(settings, load_service(settings)), name, None, 1000, 4)
            asyncio.run(batch.drain())
            if not waits_for_all or not _is_anything_left():
                break
            time.sleep(0.02)


def _is_anything_left() -> bool:
    with reading() as session:
        query = select(Attempt.id).where(Attempt.state.not_in(TERMINAL_STATES)).limit(1)
        return session.scalar(query) is not None
