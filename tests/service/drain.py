"""A worker process for tests: drains due attempts once, then ends."""

import asyncio
import sys

from pdsapp import create_app
from pdsapp.attempts.batch import Batch
from pdsapp.attempts.workshop import make_workshop
from pdsapp.config import read_settings
from pdsapp.dt_service import load_service


def main() -> None:
    """Reads its settings from the environment; the argument is the worker's name."""
    settings = read_settings()
    with create_app(settings, with_web=False).app_context():
        batch = Batch(make_workshop(settings, load_service(settings)), sys.argv[1], None, 1000, 4)
        print("ready", flush=True)
        asyncio.run(batch.drain())


if __name__ == "__main__":
    main()
