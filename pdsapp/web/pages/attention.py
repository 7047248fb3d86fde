"""The attention list: what keeps twins from posting, worst first, each line with its remedy."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from flask import current_app
from markupsafe import Markup

from ...attempts.words import span_words
from ...domain.reasons import OVER_STATES, ExperimentState
from ...models import Experiment
from ...services import disk, pauses
from ...services.downtimes import Sleep
from ...services.heartbeats import LifeSign
from ...services.ledger import Ledger
from ...services.reports import TwinCounts
from ...services.reports_now import Lane, Now, Troubles
from .. import access
from . import links

OVERDUE_SECONDS = 60
START_WORKER = Markup(
    "Start one with <code>flask worker</code>, or the whole stack with <code>make run</code>."
)
START_SCHEDULER = Markup(
    "Start one with <code>flask scheduler</code>, or the whole stack with <code>make run</code>."
)


@dataclass(frozen=True)
class Attention:
    """One line. `level` is bad, warn, good or info; `url` leads to the remedy and may be empty."""

    level: str
    title: str
    words: str
    url: str = ""
    remedy: str = ""


def processes(now: Now) -> list[Attention]:
    """The lines about missing workers and schedulers, and lanes nobody serves."""
    found = []
    if not now.worker.is_alive:
        words = Markup("{}Twins are not asked until one runs. {}").format(
            _last_seen(now.worker), START_WORKER
        )
        found.append(Attention("bad", "No worker is alive.", words))
    if not now.scheduler.is_alive:
        seen = _last_seen(now.scheduler)
        words = Markup("{}Schedules do not fire until one runs. {}").format(seen, START_SCHEDULER)
        found.append(Attention("bad", "No scheduler is alive.", words))
    if now.worker.is_alive:
        found.extend(_lane(lane) for lane in now.lanes if lane.due and not lane.is_served)
        found.extend(
            Attention(
                "warn",
                f"Lane “{lane.name}” is behind.",
                f"{lane.due:,} due, the oldest for {span_words(lane.oldest_seconds)}. Add workers.",
                links.to("activity.stream", state="due"),
                "See them",
            )
            for lane in now.lanes
            if lane.is_served and lane.oldest_seconds > OVERDUE_SECONDS
        )
    return found


def attention_list(
    experiment: Experiment | None,
    now: Now,
    troubles: Troubles,
    twins: TwinCounts,
    books: Ledger,
    at: datetime,
) -> list[Attention]:
    """Everything that needs a person; empty when all is well."""
    zone = ZoneInfo(experiment.zone if experiment else "UTC")
    found = [*_disk(), *processes(now)]
    found.extend(
        Attention(
            "bad",
            f"Token “{token.name}”",
            pauses.words_of(token, zone.key, "is paused"),
            links.details("apitoken", token.id),
            "See the token",
        )
        for token in troubles.tokens
    )
    found.extend(
        Attention(
            "bad",
            f"Schedule “{schedule.name}” is broken.",
            schedule.broken_reason,
            links.editing("schedule", schedule.id)
            if access.may_change(schedule)
            else links.details("schedule", schedule.id),
            "Mend it" if access.may_change(schedule) else "See it",
        )
        for schedule in troubles.schedules
    )
    if not books.adds_up:
        found.append(Attention("bad", "The ledger does not add up.", " ".join(books.problems)))
    found.extend(_slept(sleep, zone, at) for sleep in troubles.sleeps)
    found.extend(
        Attention(
            "warn",
            f"Schedule “{schedule.name}”",
            pauses.words_of(schedule, schedule.zone, "is paused"),
            links.details("schedule", schedule.id),
            "See the schedule",
        )
        for schedule in troubles.paused_schedules
    )
    # That everything or this experiment is paused stands above every page.
    if experiment and experiment.state == ExperimentState.draft:
        words = "What happens now is a rehearsal, which charts and counts leave out."
        url, remedy = links.details("experiment", experiment.id), "See the experiment"
        if access.may_write():
            url, remedy = links.to("experiment.start", id=experiment.id), "Start it"
        found.append(Attention("info", "This experiment is a draft.", words, url, remedy))
    if experiment and experiment.state in OVER_STATES:
        words = "It is only read: its twins are not asked any more."
        url = links.details("experiment", experiment.id)
        found.append(
            Attention("warn", f"This experiment is {experiment.state}.", words, url, "See the experiment")
        )
    if twins.total and not twins.active:
        url = links.to("digitaltwin.index_view")
        words = "Slots find nobody to ask. Activate a twin to let it post."
        found.append(Attention("warn", "No twin is active.", words, url, "See the twins"))
    return found


def _disk() -> list[Attention]:
    room = disk.look(current_app.extensions["settings"])
    if not room.is_low:
        return []
    title, _, words = room.sentence.partition(". ")
    return [Attention("bad", f"{title}.", words)]


def _slept(sleep: Sleep, zone: ZoneInfo, now: datetime) -> Attention:
    count = f"{sleep.missed:,} slot{'s' if sleep.missed != 1 else ''} missed"
    several = sleep.schedule_id is None
    return Attention(
        "warn",
        f"Asleep {stretch_words(sleep.from_at, sleep.until_at, zone, now)}, {count}.",
        "No scheduler lived then: the machine slept or was off. What was due is recorded as missed.",
        links.to("schedule.index_view") if several else links.details("schedule", sleep.schedule_id),
        "See the schedules" if several else "See the schedule",
    )


def stretch_words(from_at: datetime, until_at: datetime, zone: ZoneInfo, now: datetime) -> str:
    """ "23:10–07:42 EST"; with days unless it ended today and lasted less than a day."""
    start, end = from_at.astimezone(zone), until_at.astimezone(zone)
    first, last = f"{start:%H:%M}", f"{end:%H:%M}"
    is_near = end.date() == now.astimezone(zone).date() and until_at - from_at < timedelta(hours=24)
    if not is_near:
        first = f"{start:%a} {start.day} {start:%b} {first}"
        if start.date() != end.date():
            last = f"{end:%a} {end.day} {end:%b} {last}"
    dash = "–" if is_near or start.date() == end.date() else " – "
    if start.tzname() != end.tzname():  # the clocks changed meanwhile
        first, dash = f"{first} {start:%Z}", " – "
    return f"{first}{dash}{last} {end:%Z}"


def _last_seen(sign: LifeSign) -> str:
    return "" if sign.seconds is None else f"The last one was seen {span_words(sign.seconds)} ago. "


def _lane(lane: Lane) -> Attention:
    words = Markup(
        "{} attempts wait there. Start a worker with <code>flask worker --lanes {}</code>."
    ).format(f"{lane.due:,}", lane.name)
    return Attention("bad", f"No worker serves lane “{lane.name}”.", words)
