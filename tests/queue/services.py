"""Services that are slow at one place each, for processes of their own (PDS_DT_SERVICE)."""

import os
import time
from pathlib import Path

from pdsapp.dt_service import DTService

SECONDS = 1.2
FOR_EVER = 60


def mark():
    """Tells the test that the place is reached."""
    Path(os.environ["PDS_DATA_DIR"], "reached").touch()


class SlowToPublish(DTService):
    """Stays within the final transaction for more than a second."""

    def create_original_post(self, session, attempt, draft, now):
        post = super().create_original_post(session, attempt, draft, now)
        mark()
        time.sleep(SECONDS)
        return post


class Stuck(DTService):
    """Never comes back, and lets nothing else run in its work-horse either."""

    def build_messages(self, *arguments):
        mark()
        time.sleep(FOR_EVER)
