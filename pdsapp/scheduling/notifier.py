"""Tells an address outside what needs attention, and another that all is alive, beside the scheduler.

Each in a thread of its own, which the scheduler never waits for: who is slow to take a notice, or a list
that cannot be read, does not keep the heartbeat back. What is due is read before anything is written: a
thread that finds nothing to do takes no lock.
"""

import threading
from collections.abc import Callable
from datetime import datetime

import structlog
from flask import Flask
from sqlalchemy.exc import SQLAlchemyError

from ..config import Settings
from ..database import UNREADABLE, reading, transaction
from ..errors import PdsError
from ..models import utc_now
from ..services import database, heartbeats, notice_sending, notices
from ..services.attention import Line
from . import queue

LOOK_SECONDS = 30.0
HEARTBEAT_SECONDS = 60.0
TURN_SECONDS = 1.0
LOOK, HEARTBEAT, HEARTBEAT_TAKEN = "look", "heartbeat", "heartbeat taken"
log = structlog.get_logger()


def start(app: Flask, stop: threading.Event | None = None) -> list[threading.Thread]:
    """Starts a thread for each address there is; they end with the process, or soon after `stop` is set.

    Any number of processes may have them.
    """
    settings: Settings = app.extensions["settings"]
    stop = stop or threading.Event()
    works = {"notices": (settings.notice_url, tell), "heartbeat": (settings.heartbeat_url, beat)}
    threads = [
        threading.Thread(target=_run, args=(app, name, work, stop), name=name, daemon=True)
        for name, (url, work) in works.items()
        if url is not None
    ]
    for thread in threads:
        thread.start()
    return threads


def tell(settings: Settings, clock: Callable[[], datetime] = utc_now) -> None:
    """Looks at the attention list and sends a notice, if it is time; what several would do, one does."""
    _look(settings, clock())
    _send(settings, clock)


def beat(settings: Settings, clock: Callable[[], datetime] = utc_now) -> None:
    """Sends the heartbeat, if it is time and all are alive; what several would do, one does."""
    now = clock()
    with reading() as session:
        signs = heartbeats.life_signs(session, now).values()
        if not all(sign.is_alive for sign in signs):
            return
        if not notices.is_due(session, HEARTBEAT, HEARTBEAT_SECONDS, now):
            return
    with transaction() as session:
        if not notices.is_turn(session, HEARTBEAT, HEARTBEAT_SECONDS, now):
            return
    sent = notice_sending.beat(settings)
    if sent.problem:
        log.warning("heartbeat not taken", why=sent.problem)
        return
    with transaction() as session:
        notices.is_turn(session, HEARTBEAT_TAKEN, 0, now)


def _run(app: Flask, name: str, work: Callable[[Settings], None], stop: threading.Event) -> None:
    settings: Settings = app.extensions["settings"]
    last_problem = ""
    while not stop.is_set():
        try:
            with app.app_context():
                work(settings)
            last_problem = ""
        except (SQLAlchemyError, PdsError, *UNREADABLE) as error:
            if (problem := type(error).__name__) != last_problem:
                log.warning("not told for now", what=name, why=problem)
            last_problem = problem
        stop.wait(TURN_SECONDS)


def _look(settings: Settings, now: datetime) -> None:
    with reading() as session:
        if not notices.is_due(session, LOOK, LOOK_SECONDS, now):
            return
    with transaction() as session:
        database.require_head_still(session)
        if not notices.is_turn(session, LOOK, LOOK_SECONDS, now):
            return
    with reading() as session:
        lines = notices.current_lines(session, settings, now)
    lines += _of_queue(settings)
    with transaction() as session:
        notices.note(session, lines, now)


def _send(settings: Settings, clock: Callable[[], datetime]) -> None:
    with reading() as session:
        if not notices.is_any_to_send(session, clock()):
            return
    with transaction() as session:
        notice = notices.take(session, clock())
    if notice is None:
        return
    sent = notice_sending.send(settings, notice, clock())
    with transaction() as session:
        notices.settle(session, notice.id, sent.status, sent.problem, clock())
    if sent.problem:
        log.warning("notice not delivered", notice=str(notice.uuid), why=sent.problem)


def _of_queue(settings: Settings) -> list[Line]:
    try:
        queue.ping(queue.connection(settings))
    except PdsError as error:
        return [Line("queue_down", "bad", "The queue does not answer.", str(error))]
    return []
