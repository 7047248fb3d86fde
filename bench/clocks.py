"""Changes of clocks, zone by rule by day: slots expected, fired and recorded, as a table in Markdown.

*Expected* is found by looking at every minute (`bench.every_minute`), *fired* by the enumeration that serves
preview and claims, *recorded* from the rows that claiming leaves in a database while a test clock passes over
the days. A test compares the tables with `docs/clock-changes.md`.
"""

import tempfile
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from secrets import token_urlsafe

from cryptography.fernet import Fernet
from sqlalchemy import select, update

from pdsapp import create_app
from pdsapp.config import read_settings
from pdsapp.database import reading, transaction
from pdsapp.domain.cron import Interval
from pdsapp.domain.reasons import SlotKind
from pdsapp.domain.zones import beginning_of, zone_of
from pdsapp.dt_service import DTService
from pdsapp.models import Experiment, OverlapPolicy, Schedule, Slot
from pdsapp.scheduling import slots
from pdsapp.services import database, experiments, personas, schedules, twins

from .clock_cases import AROUND, DAY, SKIPPED, Case, cases, fired, period
from .every_minute import reference

LATE = timedelta(seconds=1)
Counts = tuple[int, int]
Key = tuple[str, str]


def lines() -> Iterator[str]:
    """One table a zone."""
    with tempfile.TemporaryDirectory() as folder:
        settings = read_settings(
            PDS_DATA_DIR=folder,
            PDS_DEMO="0",
            SECRET_KEY=token_urlsafe(),
            PDS_FERNET_KEYS=Fernet.generate_key().decode(),
        )
        app = create_app(settings, with_web=False)
        database.prepare(app)
        with app.app_context():
            yield from tables(recorded())


def tables(rows: dict[tuple[Key, date], Counts]) -> Iterator[str]:
    """The tables with what was recorded in the database, beside what is expected and enumerated."""
    zone, total = None, Counter()
    for case in cases():
        if case.zone != zone:
            zone = case.zone
            yield from ("", f"### {zone}", "")
            yield "| day | | rule | expected | fired | recorded | not existing: expected | fired | recorded |"
            yield "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |"
        counts = expected(case), fired(case), rows.get(((case.zone, case.rule), case.day), (0, 0))
        total.update(rows=1, slots=counts[0][0], same=counts[0] == counts[1] == counts[2])
        cells = [f"{slots:,}" for slots, _ in counts] + [f"{missing:,}" for _, missing in counts]
        yield f"| {case.day} | {case.what} | {case.rule} | {' | '.join(cells)} |"
    yield ""
    yield (
        f"{total['rows']:,} rows, {total['slots']:,} slots expected; all three ways give the same "
        f"in {total['same']:,} rows."
    )


def expected(case: Case) -> Counts:
    """Slots of the day, and wall times of it that do not exist, found by looking at every minute."""
    found = [row for row in reference(case.cadence, *period(case)) if row[2][:10] == case.day.isoformat()]
    return sum(n for _, kind, _, n in found if kind == "slot"), sum(
        n for _, kind, _, n in found if kind == "clock_change"
    )


def recorded() -> dict[tuple[Key, date], Counts]:
    """The same from slot rows, made by claiming whatever is due while a clock passes over all the days.

    Needs an application with an empty, migrated database.
    """
    keys = _add_schedules()
    for (begin, end), zones in _stretches().items():
        _pass_over(begin, end, zones)
    found: dict[tuple[Key, date], Counter] = {}
    with reading() as session:
        for schedule_id, slot_at, kind, count in session.execute(
            select(Slot.schedule_id, Slot.slot_at, Slot.kind, Slot.slot_count)
        ):
            zone = keys[schedule_id][0]
            counts = found.setdefault((keys[schedule_id], _local_day(zone, slot_at, kind)), Counter())
            counts[kind] += count
    return {key: (counts[SlotKind.fired], counts[SlotKind.clock_change]) for key, counts in found.items()}


def _local_day(zone: str, at: datetime, kind: SlotKind) -> date:
    """The day a row belongs to; of a gap, the one on which the clocks jump away."""
    if kind != SlotKind.clock_change:
        return at.astimezone(zone_of(zone)).date()
    return ((at - LATE).astimezone(zone_of(zone)).replace(tzinfo=None) + LATE).date()


def _add_schedules() -> dict[int, Key]:
    """One schedule for each zone and rule, before all of the days; by id what it is."""
    now = datetime.combine(SKIPPED[1] - 9 * DAY, time(), UTC)
    unlike = {(case.zone, case.rule): case for case in cases()}
    with transaction() as session:
        experiment = experiments.add_experiment(session, "Clocks", "UTC", now)
        session.flush()
        twins.add_twin(
            session, experiment, "watch", personas.add_persona(session, "Watch", "Likes clocks.", now), now
        )
        made = {}
        for key, case in unlike.items():
            is_interval = isinstance(case.cadence, Interval)
            wish = schedules.Wish(
                name=" ".join(key),
                experiment=session.get_one(Experiment, experiment.id),
                cron="" if is_interval else case.cadence.expression,
                interval_seconds=case.cadence.seconds if is_interval else None,
                anchor_at=case.cadence.anchor_at if is_interval else None,
                zone=case.zone,
                overlap_policy=OverlapPolicy.allow,
                is_enabled=True,
            )
            schedule = schedules.add_schedule(session, wish, now)
            session.flush()
            made[schedule.id] = key
    return made


def _stretches() -> dict[tuple[datetime, datetime], set[str]]:
    """From the beginning of the day before each change to the end of the day after it, and in which zones."""
    middles = {(case.zone, case.day) for case in cases() if case.what not in AROUND}
    spans = sorted(
        (beginning_of(zone_of(zone), day - DAY), beginning_of(zone_of(zone), day + 2 * DAY), zone)
        for zone, day in middles
    )
    joined: dict[tuple[datetime, datetime], set[str]] = {}
    for begin, end, zone in spans:
        touching = next((span for span in joined if begin <= span[1]), None)
        zones = joined.pop(touching, set()) if touching else set()
        span = (touching[0], max(end, touching[1])) if touching else (begin, end)
        joined[span] = zones | {zone}
    return joined


def _pass_over(begin: datetime, end: datetime, zones: set[str]) -> None:
    """Claims every slot of these zones' schedules, from `begin` until `end`, a second after its instant."""
    with transaction() as session:
        # Between the stretches the schedules slept, and nobody asks what they missed.
        session.execute(update(Schedule).values(cursor_at=None, next_slot_at=None))
        just_before = begin - LATE
        session.execute(
            update(Schedule)
            .where(Schedule.zone.in_(zones))
            .values(cursor_at=just_before, next_slot_at=just_before)
        )
        while True:
            at = session.scalars(
                select(Schedule.next_slot_at)
                .order_by(Schedule.next_slot_at)
                .where(Schedule.next_slot_at.is_not(None))
                .limit(1)
            ).first()
            if at >= end:
                return
            slots.claim_due(session, DTService(), None, at + LATE, "clock-changes")
