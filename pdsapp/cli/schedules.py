"""`flask schedules …`"""

from uuid import uuid4

import click
from flask.cli import AppGroup
from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload

from ..attempts.targets import reach
from ..database import reading, transaction
from ..domain.days import day_text
from ..domain.reasons import Trigger
from ..domain.zones import zone_shown
from ..dt_service import load_service
from ..errors import BadInput, PdsError
from ..models import MissedPolicy, OverlapPolicy, Schedule
from ..scheduling import cadence, projection, queue
from ..scheduling.pauses import nobody_words
from ..services import lookup, pauses, slot_stops
from ..services import schedules as service
from ..services.schedule_wishes import wish_of
from . import common, pausing

DAY = click.DateTime(formats=["%Y-%m-%d"])
MISSED = {policy.value.replace("_", "-"): policy for policy in MissedPolicy}
OVERLAP = {policy.value: policy for policy in OverlapPolicy}

reason_option = click.option(
    "--reason",
    default="",
    help="Why, for the protocol of a study under way. Default: no reason was given.",
)
twin_option = click.option(
    "--twin",
    "twin_names",
    multiple=True,
    metavar="NAME",
    help="Ask only this twin of the experiment, and others given so. Not together with --tag.",
)
tag_option = click.option(
    "--tag", "tags", multiple=True, metavar="TAG", help="Ask only twins with this tag, or another given so."
)


class PerSlot(click.ParamType):
    """A number of twins, or "all"."""

    name = "N|all"

    def convert(self, value, param, ctx):
        return value if value == "all" else click.INT.convert(value, param, ctx)


PER_SLOT = PerSlot()
SCOPE = pausing.Scope(lookup.find_schedule, lambda found: f"“{found.name}”")

schedules = AppGroup("schedules", help="List, add, preview, switch and fire schedules.")


@schedules.command("list")
@common.json_option
@common.with_database
def list_schedules(as_json):
    """The schedules that are not archived."""
    with reading() as session:
        query = (
            select(Schedule).options(joinedload(Schedule.experiment)).where(Schedule.is_archived.is_(False))
        )
        make = _object if as_json else _row
        found = session.scalars(query.order_by(Schedule.id)).all()
        whom = service.target_words(session, found)
        rows = [make(schedule, whom) for schedule in found]
        pausing.note_of_everything(session)
    if as_json:
        for row in rows:
            common.emit(row)
    else:
        common.table(
            rows, "There is no schedule yet. Add one: flask schedules add NAME --experiment ID --cron …"
        )


@schedules.command("add")
@click.argument("name")
@click.option("--experiment", metavar="ID", help="UUID or 5-character identifier. Default: all running ones.")
@click.option("--cron", default="", help="Five fields or @hourly @daily @weekly @monthly.")
@click.option("--every", type=int, metavar="SECONDS", help="Instead of --cron: at least 60.")
@click.option("--zone", help="IANA time zone. Default: the experiment's.")
@click.option("--first-day", type=DAY, metavar="DATE", help="No slot before it, such as 2026-12-01.")
@click.option("--last-day", type=DAY, metavar="DATE", help="No slot after it, such as 2026-12-14.")
@click.option(
    "--jitter",
    type=int,
    default=0,
    metavar="SECONDS",
    help="Each attempt waits a random part of it, such as 300. Less than the time "
    "between two slots; as long as it with --overlap allow.",
)
@click.option(
    "--missed",
    type=click.Choice(list(MISSED)),
    default="skip",
    show_default=True,
    help="If slots passed while nothing ran: let them go, or fire once afterwards.",
)
@click.option(
    "--overlap",
    type=click.Choice(list(OVERLAP)),
    default="skip",
    show_default=True,
    help="If the slot before is still at work: skip this one, or fire it too.",
)
@click.option(
    "--twins",
    type=PER_SLOT,
    default="1",
    show_default=True,
    help="Twins asked per slot, or all: each of them.",
)
@twin_option
@tag_option
@click.option("--force", is_flag=True, help="Post whatever the draw says.")
@click.option("--lane", default="default", show_default=True)
@click.option("--disabled", is_flag=True, help="Add it switched off.")
@reason_option
@common.json_option
@common.with_database
def add(name, experiment, twins, twin_names, tags, force, disabled, as_json, **options):
    """Add a schedule. It never fires at once; its first slot is the next one."""
    with transaction() as session:
        found = lookup.find_experiment(session, experiment) if experiment else None
        wish = service.Wish(
            name=name,
            experiment=found,
            target=service.targets.target_of(session, found, tags, _names(twin_names)),
            cron=options["cron"],
            interval_seconds=options["every"],
            zone=options["zone"],
            first_day=options["first_day"] and options["first_day"].date(),
            last_day=options["last_day"] and options["last_day"].date(),
            jitter_seconds=options["jitter"],
            **_per_slot(twins),
            is_forced=force,
            lane=options["lane"],
            missed_policy=MISSED[options["missed"]],
            overlap_policy=OVERLAP[options["overlap"]],
            is_enabled=not disabled,
        )
        schedule = service.add_schedule(session, wish, common.now(), reason=options["reason"])
        session.flush()
        row = _object(schedule, service.target_words(session, [schedule]))
        nobody = _nobody(session, schedule)
    _project(schedule)
    if nobody:
        common.note(nobody)
    if as_json:
        common.emit(row)
        return
    click.echo(f"Added “{schedule.name}”: {row['cadence']}. Next: {_next(row)}")
    if not experiment:
        click.echo("It asks twins of all running experiments. To ask those of one, give --experiment.")


@schedules.command("change")
@click.argument("schedule", metavar="NAME|ID")
@twin_option
@tag_option
@click.option("--everybody", is_flag=True, help="Ask all active twins again.")
@click.option(
    "--twins", type=PER_SLOT, help="Twins asked per slot, or all: each of them. Default: as many as now."
)
@reason_option
@common.with_database
def change(schedule, twin_names, tags, everybody, twins, reason):
    """Change whom a schedule asks: its twins, by name or by tag, and how many of them."""
    if not (twin_names or tags or everybody or twins is not None):
        raise BadInput("Say whom it is to ask: --twin NAME, --tag TAG, --everybody, or --twins N.")
    if everybody and (twin_names or tags):
        raise BadInput("Give either --everybody, or twins and tags, not both.")
    with transaction() as session:
        found = lookup.find_schedule(session, schedule)
        changes = {} if twins is None else _per_slot(twins)
        if twin_names or tags or everybody:
            changes["target"] = service.targets.target_of(session, found.experiment, tags, _names(twin_names))
        wish = wish_of(found, **changes)
        is_changed = service.change_schedule(session, found, wish, common.now(), reason=reason)
        words = service.targets.asked_of(found, service.target_words(session, [found])[found.id])
        nobody = _nobody(session, found)
    _project(found)
    if nobody:
        common.note(nobody)
    click.echo(f"“{found.name}” asks {words}{'' if is_changed else ', as it did'}.")


@schedules.command("preview")
@click.argument("schedule", metavar="NAME|ID")
@click.option("--count", type=click.IntRange(1, 1000), default=5, show_default=True)
@common.with_database
def preview(schedule, count):
    """The next slots, in the schedule's zone and in UTC; none after its last day."""
    with reading() as session:
        found = lookup.find_schedule(session, schedule)
        zone = cadence.zone_of(found)
        whom = service.target_words(session, [found])[found.id]
        is_worth_it = found.target or found.asks_all
        asks = f", asks {service.targets.asked_of(found, whom)}" if is_worth_it else ""
        click.echo(f"{found.name}: {cadence.words_of(found)} ({found.zone}){asks}")
        if nobody := _nobody(session, found):
            common.note(nobody)
        ahead = cadence.next_slots(found, common.now(), count)
        if not ahead and found.last_day is not None:
            click.echo(f"No slot is left: its last day is {day_text(found.last_day)}.")
        for at in ahead:
            click.echo(f"{at.astimezone(zone):%a %d %b %Y, %H:%M:%S %Z}   {at:%Y-%m-%d %H:%M:%S} UTC")


@schedules.command("enable")
@click.argument("schedule", metavar="NAME|ID")
@reason_option
@common.with_database
def enable(schedule, reason):
    """Switch a schedule on. It never fires at once."""
    _change(schedule, service.enable, reason, "is enabled")


@schedules.command("disable")
@click.argument("schedule", metavar="NAME|ID")
@reason_option
@common.with_database
def disable(schedule, reason):
    """Switch a schedule off; what it has asked already goes on."""
    _change(schedule, service.disable, reason, "is disabled")


@schedules.command("pause")
@click.argument("schedule", metavar="NAME|ID")
@pausing.reason_option
@common.with_database
def pause(schedule, reason):
    """Pause a schedule: its slots pass unasked until it is resumed; what runs is finished."""
    SCOPE.hold(pauses.pause_schedule, schedule, reason)


@schedules.command("resume")
@click.argument("schedule", metavar="NAME|ID")
@common.with_database
def resume(schedule):
    """Let a paused schedule fire again with its next slot."""
    _project(SCOPE.resume(pauses.resume_schedule, schedule))


@schedules.command("stop-slot")
@click.argument("schedule", metavar="NAME|ID")
@pausing.reason_option
@common.with_database
def stop_slot(schedule, reason):
    """Stop the newest slot at work: what it has not asked yet is never asked; the next slots come."""
    with transaction() as session:
        found = lookup.find_schedule(session, schedule)
        slot = slot_stops.newest_at_work(session, found)
        if slot is None:
            click.echo(f"No slot of “{found.name}” is at work.")
            return
        done = slot_stops.stop_slot(session, slot, common.now(), reason)
        at = slot.slot_at.astimezone(cadence.zone_of(found))
    click.echo(f"The slot of {at:%a %d %b %Y, %H:%M %Z} is stopped: {done.words}")


@schedules.command("archive")
@click.argument("schedule", metavar="NAME|ID")
@reason_option
@common.with_database
def archive(schedule, reason):
    """Put a schedule away for good; its history stays."""
    _change(schedule, service.archive, reason, "is archived")


@schedules.command("fire")
@click.argument("schedule", metavar="NAME|ID")
@common.with_database
def fire(schedule):
    """Ask one round of twins now, beside the schedule's slots."""
    settings = common.settings()
    with transaction() as session:
        found = lookup.find_schedule(session, schedule)
        made = service.fire_once(
            session, found, load_service(settings), f"fire-{uuid4()}", common.now(), trigger=Trigger.cli
        )
        lane = found.lane
        noun = "twin" if len(made) == 1 else "twins"
        click.echo(f"Asked {len(made)} {noun} of “{found.name}”. See: flask attempts list")
    try:
        queue.wake(queue.connection(settings), lane, len(made))
    except PdsError as error:
        common.note(f"{error} The attempts are stored and run when the queue is back.")


@schedules.command("sync")
@common.with_database
def sync():
    """Make the queue's entries what the schedules say; the scheduler does so every minute."""
    with reading() as session:
        done = projection.reconcile(queue.connection(common.settings()), session)
    click.echo(
        f"In step: {done.kept} were right, {done.added} added, {done.moved} moved, {done.repaired} repaired, "
        f"{done.removed} removed."
    )


def _change(text: str, change, reason: str, words: str) -> None:
    with transaction() as session:
        schedule = lookup.find_schedule(session, text)
        change(session, schedule, common.now(), reason=reason)
    _project(schedule)
    click.echo(f"“{schedule.name}” {words}.")


def _project(schedule: Schedule) -> None:
    if not projection.project(common.settings(), schedule):
        common.note("The queue does not answer; the scheduler will see the change when it is back.")


def _per_slot(twins: int | str) -> dict:
    return (
        {"twins_per_slot": 1, "asks_all": True}
        if twins == "all"
        else {"twins_per_slot": twins, "asks_all": False}
    )


def _names(given: tuple[str, ...]) -> list[str]:
    return [name for text in given for name in service.targets.usernames_in(text)]


def _nobody(session: Session, schedule: Schedule) -> str:
    """A warning where nobody of those it asks can be asked now; "" for all other schedules."""
    target = service.targets.readable(schedule)
    if target.is_everybody or reach(session, schedule.experiment_id, target)[0]:
        return ""
    return f"Now it would ask nobody: {nobody_words(session, schedule)}"


def _row(schedule: Schedule, whom: dict[int, str]) -> dict:
    return {
        "name": schedule.name,
        "experiment": schedule.experiment.identifier if schedule.experiment else "all",
        "cadence": cadence.words_of(schedule) or "unreadable",
        "zone": schedule.zone,
        "twins": "all" if schedule.asks_all else schedule.twins_per_slot,
        "asks": whom[schedule.id],
        "enabled": schedule.is_enabled,
        "paused": schedule.paused_at is not None,
        "next_slot_at": schedule.next_slot_at,
        "ended": cadence.ended_on(schedule),
        "broken": schedule.broken_reason or None,
        "id": str(schedule.uuid),
    }


def _object(schedule: Schedule, whom: dict[int, str]) -> dict:
    """The row with what its words hold, one by one."""
    return _row(schedule, whom) | {
        "first_day": schedule.first_day,
        "last_day": schedule.last_day,
        "jitter_seconds": schedule.jitter_seconds,
        "missed": schedule.missed_policy.value,
        "overlap": schedule.overlap_policy.value,
    }


def _next(row: dict) -> str:
    at = row["next_slot_at"]
    return (
        f"{at.astimezone(zone_shown(row['zone'])):%a %d %b %Y, %H:%M %Z}." if at else "none, it is disabled."
    )
