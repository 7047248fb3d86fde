"""A running experiment with many twins, and as many due attempts as a bench wants.

Every attempt is forced, so that each asks the model exactly once, and each is of another twin.
"""

import asyncio
import logging
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from pathlib import Path

import sqlalchemy as sa
from flask import Flask

from pdsapp import collector
from pdsapp.attempts.batch import Batch
from pdsapp.attempts.workshop import make_workshop, warm_up
from pdsapp.config import Settings
from pdsapp.database import reading, transaction
from pdsapp.domain.draft import Ask, Brief, Draft
from pdsapp.domain.prompt import Messages
from pdsapp.domain.reasons import TERMINAL_STATES, AttemptState, Trigger
from pdsapp.dt_service import DTService, load_service
from pdsapp.llm.secrets import SecretBox
from pdsapp.models import (
    ApiToken,
    Attempt,
    DigitalTwin,
    ModelCall,
    Post,
    PostRevision,
    UserProfile,
    utc_now,
)
from pdsapp.services import experiments, personas, tokens
from pdsapp.services.ledger import ledger

from . import servers
from .filled import TEXT, insert, installation

PERSONAS, PEOPLE, KEY = 50, 20, "sk-bench-0123456789abcdef"
SAMPLE = 64
LIMIT = 1_000_000
LONGEST_SECONDS, LOOK_SECONDS = 300, 0.05


@dataclass(frozen=True)
class Town:
    """An application on a database of its own, with an experiment of many twins and a model server."""

    app: Flask
    settings: Settings
    server: str
    experiment: int

    def base_url(self, milliseconds: int) -> str:
        """The endpoint that answers after so long: 0 or 2,000."""
        return f"{self.server}/{milliseconds}/v1"

    def size(self) -> int:
        """Bytes of its database."""
        pages = "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"
        query = pages if self.settings.is_embedded else "SELECT pg_database_size(current_database())"
        with reading() as session:
            return session.scalar(sa.text(query))


@contextmanager
def town(twins: int, url: str | None = None, with_web: bool = False, **others: str) -> Iterator[Town]:
    """A town with so many active twins, on SQLite or in a new database on the server that `url` names.

    It has a queue server of its own. Its twins are written by the endpoint that answers at once. `others` are
    settings by their names.
    """
    with ExitStack() as stack:
        server = stack.enter_context(servers.model_server())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dt-")))
        others["REDIS_URL"] = stack.enter_context(servers.valkey(folder))
        own = stack.enter_context(servers.own_database(url)) if url else None
        allowed = {"PDS_LLM_ALLOWED_HOSTS": "127.0.0.0/8"}
        app = stack.enter_context(installation(own, with_web=with_web, **allowed, **others))
        collector.settle()  # as a worker does, once it has loaded everything; the floor has it too
        settings = app.extensions["settings"]
        stack.enter_context(_logged_to(settings.data_dir / "bench.log"))
        yield Town(app, settings, server, _set_up(settings, server, twins))


def _set_up(settings: Settings, server: str, twins: int) -> int:
    """The id of a running experiment with so many active twins and a short feed, by people."""
    now, box = utc_now(), SecretBox(settings.require("fernet_keys"))
    with transaction() as session:
        experiment = experiments.add_experiment(session, "Many twins", "UTC", now)
        session.flush()
        key = experiment.id
        experiment.active_twin_count = twins
        versions = [
            personas.add_persona(session, f"Persona {n}", f"You keep shop number {n} by the river.", now).id
            for n in range(PERSONAS)
        ]
        first, _ = [
            tokens.add_token(session, box, name, f"{server}/{name}/v1", KEY, "bench", now)
            for name in ("0", "2000")
        ]
        session.flush()
        token = first.id
    insert(UserProfile, ({"experiment_id": key, "username": f"twin_{n}", "username_key": f"twin_{n}",
                          "display_name": f"Twin {n}", "is_bot": n >= 0}
                         for n in range(-PEOPLE, twins)))  # fmt: skip
    with reading() as session:
        query = sa.select(UserProfile.id).where(UserProfile.experiment_id == key).order_by(UserProfile.id)
        profiles = list(session.scalars(query))
    insert(DigitalTwin, ({"experiment_id": key, "user_profile_id": profile, "active_rank": n,
                          "persona_version_id": versions[n % PERSONAS], "is_active": True,
                          "api_token_id": token}
                         for n, profile in enumerate(profiles[PEOPLE:])))  # fmt: skip
    with transaction() as session:
        for n, profile in enumerate(profiles[:PEOPLE]):
            at = now - timedelta(minutes=PEOPLE - n)
            post = Post(experiment_id=key, user_profile_id=profile, text=TEXT, created_at=at, changed_at=at)
            session.add(post)
            session.flush()
            session.add(PostRevision(post_id=post.id, number=1, text=TEXT, created_at=at))
    return key


def ask_after(milliseconds: int) -> None:
    """From now on the twins' endpoint takes so long: 0 or 2,000."""
    token = sa.select(ApiToken.id).where(ApiToken.name == str(milliseconds)).scalar_subquery()
    with transaction() as session:
        session.execute(sa.update(DigitalTwin).values(api_token_id=token))


def add(experiment: int, count: int, lane: str = "default") -> None:
    """So many due attempts in this lane, of different twins. Raises ValueError if there are fewer."""
    now = utc_now()
    with reading() as session:
        query = sa.select(DigitalTwin.id).where(DigitalTwin.experiment_id == experiment)
        twins = list(islice(session.scalars(query.order_by(DigitalTwin.id)), count))
        first = session.scalar(sa.select(sa.func.count(Attempt.id)))
    if len(twins) < count:
        raise ValueError(f"{count:,} attempts need as many twins; there are {len(twins):,}.")
    insert(Attempt, ({"experiment_id": experiment, "digital_twin_id": twin, "trigger": Trigger.cli,
                      "request_id": f"bench-{first + n}", "is_forced": True, "lane": lane,
                      "created_at": now, "changed_at": now, "not_before": now}
                     for n, twin in enumerate(twins)))  # fmt: skip


def drain(
    settings: Settings, at_once: int, lane: str = "default", service: DTService | None = None
) -> dict[AttemptState, int]:
    """Runs what is due in this process, as a worker's job does, and says how many ended in which state.

    Raises RuntimeError when that takes longer than LONGEST_SECONDS.
    """
    ended: dict[AttemptState, int] = {}
    until = time.monotonic() + LONGEST_SECONDS
    while count := left(lane):
        if time.monotonic() > until:
            raise RuntimeError(f"{count:,} attempts are still due or running after {LONGEST_SECONDS} s.")
        warm_up(settings)  # as a worker does before it takes anything
        shop = make_workshop(settings, service or load_service(settings))
        batch = Batch(shop, "bench", lane, LIMIT, at_once)
        asyncio.run(batch.drain())
        for state, count in batch.ended.items():
            ended[state] = ended.get(state, 0) + count
        if not batch.ended:
            time.sleep(LOOK_SECONDS)
    return ended


@dataclass(frozen=True)
class Run:
    """How attempts went: how many posted, how many did not, how many calls had to be made again.

    `cpu_seconds` are those of this process.
    """

    posted: int
    others: int
    repeated: int
    seconds: float
    cpu_seconds: float

    @property
    def words(self) -> str:
        """What did not go as it should, to put behind a figure; "" if all did."""
        wrong = ((self.others, "did not post"), (self.repeated, "calls made again"))
        return "".join(f", {count:,} {words}" for count, words in wrong if count)


def timed_drain(settings: Settings, at_once: int) -> Run:
    """Runs what is due. Raises RuntimeError if a text had to be rewritten."""
    before = _calls()
    began, began_cpu = time.perf_counter(), time.process_time()
    ended = drain(settings, at_once)
    seconds, cpu = time.perf_counter() - began, time.process_time() - began_cpu
    with reading() as session:
        if session.scalar(sa.select(sa.func.count(ModelCall.id)).where(ModelCall.is_rewrite)):
            raise RuntimeError("A text had to be rewritten: the model server's answers do not fit.")
    calls, attempts = (now - then for now, then in zip(_calls(), before, strict=True))
    posted = ended.get(AttemptState.posted, 0)
    return Run(posted, sum(ended.values()) - posted, calls - attempts, seconds, cpu)


def prompts(settings: Settings, experiment: int) -> list[Messages]:
    """The messages of some attempts, as they are sent; these attempts are run for it."""

    class Noting(DTService):
        """Writes down what it is asked for."""

        async def generate_original_post_content(self, brief: Brief, ask: Ask) -> Draft:
            noted.append(brief.messages)
            return await super().generate_original_post_content(brief, ask)

    noted: list[Messages] = []
    add(experiment, SAMPLE)
    drain(settings, SAMPLE, service=Noting())
    return noted


@contextmanager
def _logged_to(path: Path) -> Iterator[None]:
    """Within it, log lines are written as a worker writes them, but to this file."""
    level = logging.getLogger().level
    with path.open("a") as output, redirect_stderr(output):
        logging.getLogger().setLevel(logging.INFO)
        try:
            yield
        finally:
            logging.getLogger().setLevel(level)


def left(lane: str = "default") -> int:
    """How many attempts of a lane are due or running."""
    with reading() as session:
        query = sa.select(sa.func.count(Attempt.id))
        return session.scalar(query.where(Attempt.lane == lane, Attempt.state.not_in(TERMINAL_STATES)))


def require_sums() -> str:
    """The ledger's sentence. Raises RuntimeError if it does not add up."""
    with reading() as session:
        books = ledger(session)
    if not books.adds_up:
        raise RuntimeError(f"The ledger does not add up: {' '.join(books.problems)}")
    return books.sentence


def _calls() -> tuple[int, int]:
    """How many calls there are, and of how many attempts."""
    with reading() as session:
        query = sa.select(sa.func.count(ModelCall.id), sa.func.count(sa.distinct(ModelCall.attempt_id)))
        return session.execute(query).one()
