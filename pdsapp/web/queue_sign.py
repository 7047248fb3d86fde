"""Whether the queue answers: asked seldom and briefly, so that no page waits for it; every page shows it."""

import threading
import time
from collections.abc import Callable

import redis
from flask import Flask, current_app, g
from markupsafe import Markup

from ..config import Settings
from ..errors import NotConfigured, PdsError, QueueDown
from ..scheduling import queue
from ..stack.valkey import redis_url

# A queue server answers in a millisecond or so; one that is frozen takes connections and never answers.
ASK_SECONDS = 0.2
TELL_SECONDS = 0.5
REMEMBERED_SECONDS = 5.0
WAITING = "Slots are still claimed and attempts wait; they run when it is back. "
ON_THE_LOCAL_STACK = Markup(
    "The local stack starts it again by itself within half a minute. If this stays, look at what "
    "<code>make run</code> prints."
)
ON_A_DEPLOYMENT = Markup(
    "Start the server that <code>REDIS_URL</code> names, or see why this machine does not reach it; "
    "<code>flask doctor</code> says whether it answers."
)


class QueueSign:
    """The queue's life sign for one web process, remembered for some seconds."""

    def __init__(self, settings: Settings):
        self.words = WAITING + (ON_THE_LOCAL_STACK if _is_local(settings) else ON_A_DEPLOYMENT)
        self._settings = settings
        self._lock = threading.Lock()
        self._is_away = False
        self._until = 0.0

    @property
    def is_away(self) -> bool:
        """Whether it does not answer. One request in some seconds asks; all others take its answer."""
        with self._lock:
            if time.monotonic() < self._until:
                return self._is_away
            self._until = time.monotonic() + REMEMBERED_SECONDS
        self.note(not _answers(self._settings))
        return self._is_away

    def note(self, is_away: bool) -> None:
        """Remembers what somebody has just seen."""
        with self._lock:
            self._is_away = is_away
            self._until = time.monotonic() + REMEMBERED_SECONDS


def init_app(app: Flask) -> None:
    """Gives every template `queue_sign()`."""
    app.extensions["queue_sign"] = QueueSign(app.extensions["settings"])
    app.context_processor(lambda: {"queue_sign": current_sign})


def current_sign() -> QueueSign:
    """The sign of this process."""
    return current_app.extensions["queue_sign"]


def tell(do: Callable[[redis.Redis], object]) -> bool:
    """Whether the queue could be told something that is committed already.

    A request that has waited for it in vain does not wait for it again.
    """
    if "queue_is_away" in g:
        return False
    settings: Settings = current_app.extensions["settings"]
    try:
        do(queue.connection(settings, TELL_SECONDS, TELL_SECONDS))
    except PdsError:
        g.queue_is_away = True
        current_sign().note(is_away=True)
        return False
    return True


def _answers(settings: Settings) -> bool:
    try:
        queue.ping(queue.connection(settings, ASK_SECONDS, ASK_SECONDS))
    except (QueueDown, NotConfigured):
        return False
    return True


def _is_local(settings: Settings) -> bool:
    """Whether it is the embedded server, which the local stack looks after."""
    if settings.redis_url is None:
        return False
    return settings.redis_url.get_secret_value() == redis_url(settings.data_dir)
