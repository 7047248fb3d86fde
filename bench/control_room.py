"""How long the pages people watch take with 1,000,000 attempts in 30 days, beside the same pages with 1,000.

1,000 twins in both. Server time of whole requests, signed in, on SQLite and, where `BENCH_DATABASE_URL`
names a server, on PostgreSQL, on which a database of its own is made and dropped. The floor is the same page
with 1,000 attempts in the same run. Requests that met the machine slower than one and a half times what it
can are made again: shared processors are, for seconds at a time. Each table says how often.
"""

import os
from collections.abc import Iterator
from contextlib import nullcontext

import sqlalchemy as sa

from pdsapp.database import transaction
from pdsapp.models import Attempt, DigitalTwin, Experiment, Post

from . import figures, servers
from .filled import fill, installation, page, signed_in

TWINS, DAYS, ROUNDS = 1_000, 30, 40
SMALL, LARGE = 1_000, 1_000_000
MOST_MS, MOST_RATIO = 150, 3.0
PAGES = (
    ("dashboard, 24 hours", "/admin/?period=24h"),
    ("dashboard, 7 days", "/admin/?period=7d"),
    ("dashboard, 30 days", "/admin/?period=30d"),
    ("dashboard, 30 days, all experiments", "/admin/?period=30d&experiment="),
    ("activity", "/activity"),
    ("activity, failed", "/activity?state=failed"),
    ("activity, one twin, skipped by share", "/activity?twin={twin}&reason=share"),
    ("activity, what is new", "/activity/rows?scope={experiment}&since=0.0.0"),
    ("activity, what is happening", "/activity/now"),
    ("an attempt", "/attempts/{attempt}"),
    ("attempts", "/admin/attempt/"),
    ("posts", "/admin/post/"),
    ("feed", "/experiments/{experiment}/feed"),
    ("metrics", "/metrics"),
)


def lines() -> Iterator[str]:
    """One table in Markdown for each database, with a verdict on each row."""
    server = os.environ.get("BENCH_DATABASE_URL")
    yield from _table("SQLite", None)
    if server:
        yield from _table("PostgreSQL", server)
    else:
        yield "Set BENCH_DATABASE_URL to a PostgreSQL server to measure there too."


def _table(database: str, server: str | None) -> Iterator[str]:
    machine = figures.Steadiness()
    few, many = _measured(server, SMALL, machine), _measured(server, LARGE, machine)
    speed = figures.loop_ms()
    yield f"{database}: {LARGE:,} attempts against {SMALL:,}, {TWINS:,} twins, {DAYS} days; "
    part = machine.slow_looks / machine.looks
    yield f"{ROUNDS} requests a page; a loop over a million squares takes {speed:.0f} ms here; the machine"
    yield f"was slower than {figures.MOST_SLOWER:g} times its best {part:.0%} of the time."
    yield ""
    yield "| page | 1,000: p95 ms | 1,000,000: p50 ms | p95 ms | ratio of p95 | statements |  |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | --- |"
    for name, _ in PAGES:
        (_, floor, few_sent), (middle, late, sent) = few[name], many[name]
        same = f"{sent}" if sent == few_sent else f"{few_sent} → {sent}"
        verdict = "✓" if late <= MOST_MS and late <= MOST_RATIO * floor else "✗"
        ratio = late / floor
        yield f"| {name} | {floor:.0f} | {middle:.0f} | {late:.0f} | {ratio:.1f} | {same} | {verdict} |"
    yield ""


def _measured(
    server: str | None, attempts: int, machine: figures.Steadiness
) -> dict[str, tuple[float, float, int]]:
    own = servers.own_database(server) if server else nullcontext()
    with own as url, installation(url) as app:
        fill(TWINS, attempts, DAYS, with_calls=True)
        with transaction() as session:
            given = {
                "experiment": session.scalars(sa.select(Experiment.identifier)).first(),
                "twin": session.scalars(sa.select(DigitalTwin.uuid).where(DigitalTwin.id == 7)).one(),
                "attempt": session.scalars(
                    sa.select(Attempt.uuid)
                    .join(Post, Post.attempt_id == Attempt.id)
                    .order_by(Attempt.id.desc())
                ).first(),
            }
        client = signed_in(app)
        return {name: page(client, address.format(**given), ROUNDS, machine) for name, address in PAGES}
