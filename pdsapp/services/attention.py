"""The attention list: what keeps twins from posting or a study from being sound, worst first.

Lines are plain data, for a page, a command and a notice alike. Their `key` is the same as long as it is the
same trouble; their words hold nothing that a person or a twin wrote in a post.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.orm import Session

from ..attempts.obstacles import moment_words
from ..attempts.words import span_words
from ..config import Settings
from ..domain.reasons import OVER_STATES, REASON_WORDS, ExperimentState
from ..models import Experiment, ModelSeen, Notice, Withdrawal
from . import attention_finds, disk, endpoints_down, model_changes, pauses
from .attention_finds import Question, SilentTwins
from .downtimes import Sleep
from .endpoints_down import EndpointDown
from .heartbeats import LifeSign
from .ledger import Ledger
from .reports import TwinCounts
from .reports_now import Alive, Lane, Troubles, troubles
from .tallying import of_scope

OVERDUE_SECONDS = 60
UNDELIVERED = "notices_undelivered"
NO_TROUBLES = Troubles(tokens=(), schedules=())
START = "Start one with `flask {}`, or the whole stack with `make run`."


class Screen(StrEnum):
    """Closed set: what a line's remedy is a screen of."""

    nothing = ""
    due_attempts = "due_attempts"
    attempts = "attempts"
    token = "token"
    schedule = "schedule"
    schedules = "schedules"
    broken_schedule = "broken_schedule"
    experiment = "experiment"
    start = "start"
    twin = "twin"
    twins = "twins"
    post = "post"
    notices = "notices"
    withdrawal = "withdrawal"


@dataclass(frozen=True)
class Target:
    """Where the remedy is: a kind of screen, the row's number, and what else its address holds."""

    screen: Screen = Screen.nothing
    number: int | None = None
    experiment: str = ""
    post: UUID | None = None


NOWHERE = Target()


@dataclass(frozen=True)
class Line:
    """One line. `level` is bad, warn or info; commands in `words` stand between backquotes.

    `can_settle`: somebody may call it fine, which hides it. `pauses` is the id of the experiment it suggests
    to pause, `resumes` of the one it has paused.
    """

    key: str
    level: str
    title: str
    words: str
    target: Target = NOWHERE
    can_settle: bool = False
    pauses: int | None = None
    resumes: int | None = None
    experiment_id: int | None = None


def lines(
    session: Session,
    settings: Settings,
    experiment: Experiment | None,
    now: Alive,
    twins: TwinCounts,
    books: Ledger,
    at: datetime,
) -> tuple[Line, ...]:
    """Everything that needs a person, of an experiment or of all; empty when all is well.

    Ten queries or so, however much there is.
    """
    zone = ZoneInfo(experiment.zone if experiment else "UTC")
    found = [*_disk(settings), *processes(now), *_undelivered(session, settings)]
    signs = attention_finds.signs(session, at)
    known = troubles(session, experiment, at) if signs.of_troubles else NO_TROUBLES
    found.extend(
        Line(
            f"token_paused:{token.uuid}",
            "bad",
            f"Token “{token.name}”",
            pauses.words_of(token, zone.key, "is paused"),
            Target(Screen.token, token.id),
        )
        for token in known.tokens
    )
    found.extend(
        Line(
            f"token_failing:{failing.token.uuid}",
            "bad",
            f"Token “{failing.token.name}” fails.",
            f"Its last call, {span_words((at - failing.at).total_seconds())} ago, was not answered: "
            f"{REASON_WORDS[failing.reason]}. Test it, and mend its key or account.",
            Target(Screen.token, failing.token.id),
        )
        for failing in attention_finds.failing_tokens(session, experiment, at)
    )
    found.extend(
        Line(
            f"schedule_broken:{schedule.uuid}",
            "bad",
            f"Schedule “{schedule.name}” is broken.",
            schedule.broken_reason,
            Target(Screen.broken_schedule, schedule.id),
        )
        for schedule in known.schedules
    )
    if signs.of_endpoints_down:
        found.extend(_down(each, at) for each in endpoints_down.down(session, settings, experiment, at))
    if not books.adds_up:
        scope = str(experiment.uuid) if experiment else "all"
        words = " ".join(books.problems)
        found.append(Line(f"ledger:{scope}", "bad", "The ledger does not add up.", words))
    if signs.of_withdrawals:
        found.extend(_of_withdrawals(session, experiment, at))
    found.extend(_of_models_and_questions(session, experiment, zone, at, signs.of_other_models))
    found.extend(_slept(sleep, zone, at) for sleep in known.sleeps)
    found.extend(
        Line(
            f"schedule_paused:{schedule.uuid}",
            "warn",
            f"Schedule “{schedule.name}”",
            pauses.words_of(schedule, schedule.zone, "is paused"),
            Target(Screen.schedule, schedule.id),
        )
        for schedule in known.paused_schedules
    )
    found.extend(
        Line(
            f"schedule_silent:{schedule.uuid}",
            "warn",
            f"Schedule “{schedule.name}” only skips.",
            f"None of its last {attention_finds.LAST_SLOTS} slots brought a post.",
            Target(Screen.schedule, schedule.id),
        )
        for schedule in attention_finds.schedules_without_a_post(session, experiment)
    )
    found.extend(_silent(each) for each in attention_finds.silent_twins(session, experiment, at))
    found.extend(_of_experiment(experiment, twins))
    return tuple(found)


def _down(endpoint: EndpointDown, at: datetime) -> Line:
    target = Target(Screen.token, endpoint.token_id) if endpoint.token_id else Target(Screen.due_attempts)
    title = f"Endpoint {endpoint.breaker.place} does not work."
    return Line(f"endpoint_down:{endpoint.breaker.uuid}", "bad", title, endpoint.words(at), target)


def _of_withdrawals(session: Session, experiment: Experiment | None, at: datetime) -> list[Line]:
    """Those that are not finished after a minute: the twins of their experiments wait."""
    query = select(Withdrawal.pseudonym, Withdrawal.user_profile_id, Withdrawal.experiment_id).where(
        Withdrawal.finished_at.is_(None),
        Withdrawal.asked_at < at - timedelta(seconds=OVERDUE_SECONDS),
        *of_scope(Withdrawal.experiment_id, experiment),
    )
    return [
        Line(
            f"withdrawal:{name}",
            "warn",
            f"@{name} is being erased.",
            "The experiment’s twins are not asked until that is done.",
            Target(Screen.withdrawal, profile_id),
            experiment_id=experiment_id,
        )
        for name, profile_id, experiment_id in session.execute(query)
    ]


def processes(now: Alive) -> list[Line]:
    """The lines about missing workers and schedulers, and lanes nobody serves."""
    found = []
    if not now.worker.is_alive:
        words = f"{_last_seen(now.worker)}Twins are not asked until one runs. {START.format('worker')}"
        found.append(Line("no_worker", "bad", "No worker is alive.", words))
    if not now.scheduler.is_alive:
        words = (
            f"{_last_seen(now.scheduler)}Schedules do not fire until one runs. {START.format('scheduler')}"
        )
        found.append(Line("no_scheduler", "bad", "No scheduler is alive.", words))
    if now.worker.is_alive:
        found.extend(_unserved(lane) for lane in now.lanes if lane.is_left_alone)
        found.extend(
            Line(
                f"lane_behind:{lane.name}",
                "warn",
                f"Lane “{lane.name}” is behind.",
                f"{lane.due:,} due, the oldest for {span_words(lane.oldest_seconds)}. Add workers.",
                Target(Screen.due_attempts),
            )
            for lane in now.lanes
            if lane.is_served and lane.oldest_seconds > OVERDUE_SECONDS
        )
    return found


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


def _disk(settings: Settings) -> Iterator[Line]:
    room = disk.look(settings)
    if room.is_low:
        title, _, words = room.sentence.partition(". ")
        yield Line("disk_low", "bad", f"{title}.", words)


def _undelivered(session: Session, settings: Settings) -> Iterator[Line]:
    """That the newest notice that was settled was given up after a day."""
    if settings.notice_url is None:
        return
    newest = select(Notice).where(Notice.is_waiting.is_(False)).order_by(Notice.id.desc()).limit(1)
    notice = session.scalars(newest).first()
    if notice is not None and notice.given_up_at is not None:
        words = f"They were tried for a day. {notice.problem}"
        yield Line(UNDELIVERED, "bad", "Notices cannot be delivered.", words, Target(Screen.notices))


def _of_models_and_questions(
    session: Session, experiment: Experiment | None, zone: ZoneInfo, at: datetime, has_models: bool
) -> list[Line]:
    """What somebody may call fine, without what somebody has."""
    models = attention_finds.new_models(session, experiment, at) if has_models else ()
    found = [_other_model(seen, of, zone) for seen, of in models]
    found += [_asked(each, at) for each in attention_finds.questions(session, experiment, at)]
    fine = attention_finds.settled(session, [line.key for line in found])
    return [line for line in found if line.key not in fine][: attention_finds.MOST_SHOWN]


def _other_model(seen: ModelSeen, experiment: Experiment, zone: ZoneInfo) -> Line:
    what, before, after = model_changes.difference(seen)
    is_paused = experiment.state == ExperimentState.paused
    is_for_that = is_paused and experiment.paused_at == seen.paused_at
    then = ""
    if is_for_that:
        then = " The experiment was paused for that. Look at what it wrote; if it is fine, say so and resume."
    elif seen.paused_at is not None and not is_paused:
        then = " The experiment was paused for that, and has been resumed."
    return Line(
        f"other_model:{seen.uuid}",
        "bad",
        f"The provider answers with another {what} in “{experiment.name}”.",
        f"Asked for {seen.model_asked}: {after} instead of {before}, "
        f"since {moment_words(seen.since, zone.key)}.{then}",
        Target(Screen.attempts, experiment=experiment.identifier),
        can_settle=True,
        pauses=None if is_paused else experiment.id,
        resumes=experiment.id if is_for_that else None,
        experiment_id=experiment.id,
    )


def _asked(question: Question, at: datetime) -> Line:
    return Line(
        f"asked_if_human:{question.post}",
        "warn",
        f"@{question.author} asked a twin whether it is a human being.",
        f"{span_words((at - question.at).total_seconds())} ago. See if it was answered as the study says.",
        Target(Screen.post, experiment=question.identifier, post=question.post),
        can_settle=True,
        experiment_id=question.experiment_id,
    )


def _silent(silent: SilentTwins) -> Line:
    names = ", ".join(f"@{name}" for name in silent.usernames)
    words = f"{names}{' …' if silent.count > len(silent.usernames) else ''}: no post for more than three "
    if silent.count == 1:
        title, target = "A twin is silent for longer than usual:", Target(Screen.twin, silent.twin_id)
    else:
        title = f"{silent.count:,} twins are silent for longer than usual:"
        target = Target(Screen.twins, experiment=silent.experiment)
    words += f"times {'its' if silent.count == 1 else 'their'} mean gap of the last 30 days."
    return Line(f"silent_twins:{silent.experiment_uuid}", "warn", title, words, target)


def _slept(sleep: Sleep, zone: ZoneInfo, now: datetime) -> Line:
    count = f"{sleep.missed:,} slot{'s' if sleep.missed != 1 else ''} missed"
    several = sleep.schedule_id is None
    return Line(
        f"asleep:{sleep.from_at:%Y%m%dT%H%M%S}",
        "warn",
        f"Asleep {stretch_words(sleep.from_at, sleep.until_at, zone, now)}, {count}.",
        "No scheduler lived then: the machine slept or was off. What was due is recorded as missed.",
        Target(Screen.schedules) if several else Target(Screen.schedule, sleep.schedule_id),
    )


def _of_experiment(experiment: Experiment | None, twins: TwinCounts) -> Iterator[Line]:
    """That everything or this experiment is paused stands above every page."""
    of = experiment.uuid if experiment else "all"
    if experiment and experiment.state == ExperimentState.draft:
        words = "What happens now is a rehearsal, which charts and counts leave out."
        target = Target(Screen.start, experiment.id)
        yield Line(f"draft:{of}", "info", "This experiment is a draft.", words, target)
    if experiment and experiment.state in OVER_STATES:
        words = "It is only read: its twins are not asked any more."
        target = Target(Screen.experiment, experiment.id)
        yield Line(f"over:{of}", "warn", f"This experiment is {experiment.state}.", words, target)
    if twins.total and not twins.active:
        words = "Slots find nobody to ask. Activate a twin to let it post."
        yield Line(f"no_active_twin:{of}", "warn", "No twin is active.", words, Target(Screen.twins))


def _last_seen(sign: LifeSign) -> str:
    return "" if sign.seconds is None else f"The last one was seen {span_words(sign.seconds)} ago. "


def _unserved(lane: Lane) -> Line:
    words = f"{lane.due:,} attempts wait there. Start a worker with `flask worker --lanes {lane.name}`."
    return Line(f"lane_unserved:{lane.name}", "bad", f"No worker serves lane “{lane.name}”.", words)
