"""A worker process of a herd: publishes drafts of attempts it holds leases of, all at the same moment.

Arguments: attempt ids. It says "ready" and begins when standard input ends. A lease's token is the UUID of
its attempt. It passes by what keeps a twin's attempts apart, and goes straight to the last transaction.
"""

import sys
from threading import Event, Thread
from types import SimpleNamespace

from pdsapp import create_app
from pdsapp.attempts import publishing
from pdsapp.attempts.claim import Lease
from pdsapp.attempts.workshop import make_workshop
from pdsapp.config import read_settings
from pdsapp.database import reading, transaction
from pdsapp.domain.draft import Draft
from pdsapp.dt_service import load_service
from pdsapp.models import Attempt

TEXT = "The early train was on time for once, and nobody on the platform knew what to do with the minutes."


def main(ids: list[int]) -> None:
    """Reads its settings from the environment."""
    settings = read_settings()
    app = create_app(settings, with_web=False)
    shop = make_workshop(settings, load_service(settings))
    ask = SimpleNamespace(last_reply=None, endpoint=SimpleNamespace(model="fake-model", source="token"))
    with app.app_context(), reading() as session:
        uuids = {key: session.get_one(Attempt, key).uuid for key in ids}
    failures: list[BaseException] = []
    begins = Event()

    def publish(key: int) -> None:
        try:
            with app.app_context():
                begins.wait()
                lease = Lease(key, uuids[key], uuids[key], 0)
                with transaction() as own:
                    publishing.publish(own, shop, [publishing.Written(lease, Draft(TEXT, TEXT, ()), ask)])
        except BaseException as error:
            failures.append(error)
            raise

    threads = [Thread(target=publish, args=(key,)) for key in ids]
    for thread in threads:
        thread.start()
    print("ready", flush=True)
    sys.stdin.read()
    begins.set()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
