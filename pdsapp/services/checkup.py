"""The checks behind `flask doctor`: what is in its place, what is not, and what to do."""

import os
import platform
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select

from ..attempts.obstacles import hold_of
from ..config import Settings
from ..database import reading, snapshot
from ..domain.reasons import ASKING_STATES, ExperimentState, TokenState
from ..dt_service import load_service
from ..errors import PdsError, SecretUnreadable
from ..llm.secrets import SecretBox
from ..models import ApiToken, DigitalTwin, Experiment, ProcessKind
from . import backups, clocks, database, disk, endpoints_down, heartbeats, pauses, reports_now
from .ledger import ledger

MOST_NAMED = 5
# A page waits for this check too, and another one has said already that the queue does not answer.
QUICK_SECONDS = 0.3


@dataclass(frozen=True)
class CheckResult:
    """One check: `state` is ok, warn or fail; `detail` says what is and what to do."""

    name: str
    state: str
    detail: str


def examine(settings: Settings, now: datetime, without: frozenset[str] = frozenset()) -> list[CheckResult]:
    """All checks but those named, in an application context. A failure is a result, never an exception."""
    results = []
    for name, check in _CHECKS.items():
        if name in without:
            continue
        try:
            results += [CheckResult(name, state, detail) for state, detail in check(settings, now)]
        except PdsError as error:
            results.append(CheckResult(name, "fail", str(error)))
    return results


Found = Iterator[tuple[str, str]]


def _python(settings: Settings, now: datetime) -> Found:
    yield "ok", f"{platform.python_version()} on {platform.system()}"


def _data_dir(settings: Settings, now: datetime) -> Found:
    path = settings.data_dir.resolve()
    if not path.exists():
        yield "fail", f"{path} does not exist. Make it, or set PDS_DATA_DIR to a folder you own."
        return
    if not path.is_dir() or not os.access(path, os.W_OK):
        yield "fail", f"{path} cannot be written. Set PDS_DATA_DIR to a folder you own."
        return
    room = disk.look(settings)
    if room.is_low:
        yield "fail", f"{path}: {room.sentence}"
    elif room.is_tight:
        yield "warn", f"{path}, {room.words}. Make room soon: below that no attempt is taken."
    else:
        yield "ok", f"{path}, {disk.bytes_words(room.free or 0)} free"


def _database(settings: Settings, now: datetime) -> Found:
    database.require_head()
    kind = "SQLite in the data folder" if settings.is_embedded else "by DATABASE_URL"
    yield "ok", f"{kind}, at revision {database.head_revision()}"


def _backups(settings: Settings, now: datetime) -> Found:
    if not settings.is_embedded:
        yield "ok", "the database server's own; flask backup FILE says how"
        return
    if problem := backups.daily_problem(settings.data_dir):
        yield "warn", f"the last daily backup failed. {problem}"
    if found := backups.dailies(settings.data_dir):
        noun = "backup" if len(found) == 1 else "backups"
        yield "ok", f"{len(found)} daily {noun}, the newest {found[-1].name}"
    else:
        yield "ok", "no daily backup yet; the local stack makes one a day"


def _ledger(settings: Settings, now: datetime) -> Found:
    database.require_head()
    with snapshot() as session:
        found = ledger(session, now=now)
    yield (
        ("ok", f"{found.slot_sentence}; {found.sentence}")
        if found.adds_up
        else ("fail", " ".join(found.problems))
    )


def _queue(settings: Settings, now: datetime) -> Found:
    from ..scheduling import queue

    try:
        queue.ping(queue.connection(settings))
    except PdsError as error:
        if settings.is_embedded:
            yield "warn", f"{error} Start the local stack: make run"
        else:
            yield "fail", f"{error} Start the server that REDIS_URL names, or see why it is not reached."
        return
    yield "ok", "answers"


def _clocks(settings: Settings, now: datetime) -> Found:
    from ..scheduling import queue

    found = [difference] if (difference := clocks.of_database()) is not None else []
    with suppress(PdsError):  # that it does not answer is another check
        found.append(clocks.of_queue(queue.connection(settings, QUICK_SECONDS, QUICK_SECONDS)))
    wrong = [(one.state, one.words) for one in found if one.state != "ok"]
    wrong += [("warn", one.words) for one in clocks.of_processes()]
    for state, words in wrong:
        yield state, f"{words}. Let one time service (NTP) set the clocks of all machines."
    if not wrong:
        limit = f"{clocks.WARN_SECONDS:.0f} s"
        names = " and ".join(one.name for one in found)
        yield "ok", f"{names} within {limit} of this machine’s" if found else "only this machine’s"


def _processes(settings: Settings, now: datetime) -> Found:
    database.require_head()
    with reading() as session:
        for kind in ProcessKind:
            sign = heartbeats.life_sign(session, kind, now)
            if sign.is_alive:
                yield "ok", f"{kind}: {sign.alive_count} alive, {sign.words}"
            else:
                yield "warn", f"{kind}: {sign.words}. Start one: make run, or flask {kind}"
        alive = reports_now.alive_of(session, now)
    for lane in alive.lanes:
        if lane.is_left_alone:
            many = "1 attempt waits" if lane.due == 1 else f"{lane.due:,} attempts wait"
            words = f"no worker serves lane “{lane.name}”, where {many}."
            yield "fail", f"{words} Start one: flask worker --lanes {lane.name}"


def _pauses(settings: Settings, now: datetime) -> Found:
    database.require_head()
    with reading() as session:
        if (everything := pauses.everything_words(session)) is not None:
            yield "warn", f"{everything} No twin is asked. Go on: flask resume"
        paused = select(Experiment).where(Experiment.state == ExperimentState.paused).order_by(Experiment.id)
        for row in session.scalars(paused.limit(MOST_NAMED)):
            words = pauses.words_of(row, row.zone, f"experiment {row} is {hold_of(row)}")
            yield "warn", f"{words} Go on: flask experiments resume {row.identifier}"
        count = session.scalar(select(func.count()).select_from(paused.subquery()))
    if count > MOST_NAMED:
        yield "warn", f"{count - MOST_NAMED:,} more experiments are paused. See: flask experiments list"
    if not count and everything is None:
        yield "ok", "nothing is paused"


def _secrets(settings: Settings, now: datetime) -> Found:
    box = SecretBox(settings.require("fernet_keys"))
    database.require_head()
    with reading() as session:
        tokens = session.scalars(select(ApiToken).order_by(ApiToken.name)).all()
    for token in tokens:
        if token.secret_encrypted is not None:
            try:
                box.open(token.secret_encrypted, token.base_url)
            except SecretUnreadable as error:
                yield "fail", f"token “{token.name}”: {error}"
                continue
        if token.state == TokenState.paused:
            yield "warn", pauses.words_of(token, "UTC", f"token “{token.name}” is paused")
    yield "ok", f"{len(tokens)} token{'s' if len(tokens) != 1 else ''} looked at"


def _endpoint(settings: Settings, now: datetime) -> Found:
    if settings.openai_api_key is None and settings.openai_base_url is None:
        yield "ok", "no platform endpoint; twins use their tokens, demos the offline writer"
        if mute := _mute_twins():
            noun = "active twin has" if mute == 1 else "active twins have"
            yield "warn", f"{mute:,} {noun} nothing to be written by. Give them an API token."
    elif not settings.llm_model:
        yield "warn", "a platform endpoint is set, but no model. Set LLM_MODEL."
    else:
        yield "ok", f"platform endpoint {settings.openai_base_url or 'OpenAI'}, model {settings.llm_model}"


def _certificates(settings: Settings, now: datetime) -> Found:
    if settings.llm_ca_file is None:
        yield "ok", "endpoints are checked against the usual authorities"
        return
    from ..llm.transport import certificates

    count = certificates(str(settings.llm_ca_file)).cert_store_stats()["x509_ca"]
    own = count - certificates(None).cert_store_stats()["x509_ca"]
    if own > 0:
        yield "ok", f"{own} more from {settings.llm_ca_file}"
    else:
        yield (
            "warn",
            f"{settings.llm_ca_file} has no authority that is not known anyway. Is it the right one?",
        )


def _mute_twins() -> int:
    """How many active twins of running experiments and drafts have neither token, nor URL, nor a demo."""
    database.require_head()
    with reading() as session:
        return session.scalar(
            select(func.count(DigitalTwin.id))
            .join(DigitalTwin.experiment)
            .where(
                DigitalTwin.is_active,
                DigitalTwin.api_token_id.is_(None),
                DigitalTwin.llm_url == "",
                Experiment.is_demo.is_(False),
                Experiment.state.in_(ASKING_STATES),
            )
        )


def _endpoints(settings: Settings, now: datetime) -> Found:
    database.require_head()
    with reading() as session:
        found = endpoints_down.down(session, settings, None, now)
        for each in found:
            yield "warn", f"{each.breaker.place} does not work. {each.words(now)}"
    if not found:
        yield "ok", "none is left alone"


def _service(settings: Settings, now: datetime) -> Found:
    yield "ok", load_service(settings).name


_CHECKS: dict[str, Callable[[Settings, datetime], Found]] = {
    "python": _python,
    "data folder": _data_dir,
    "database": _database,
    "backups": _backups,
    "ledger": _ledger,
    "queue": _queue,
    "clocks": _clocks,
    "processes": _processes,
    "pauses": _pauses,
    "secrets": _secrets,
    "endpoint": _endpoint,
    "endpoints asked": _endpoints,
    "certificates": _certificates,
    "service": _service,
}
