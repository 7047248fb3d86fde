"""What is looked at before a draft is started: lines with a state, words, where to mend it. Reads only."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from urllib.parse import urlsplit

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session, joinedload

from ..attempts.endpoints import NoEndpoint, endpoint_for
from ..attempts.words import several
from ..config import Settings
from ..domain.disclosure import RULE_LABELS, DisclosureRule
from ..domain.prompt import PromptTemplates
from ..llm.endpoint import Endpoint
from ..llm.secrets import SecretBox
from ..models import ApiToken, DigitalTwin, Experiment, ProcessKind, Schedule
from . import heartbeats, pauses
from .ends import end_words

FRESH = timedelta(days=1)
MOST_ENDPOINTS = 50


class CheckState(StrEnum):
    """Closed set. `missing` blocks the start, `look` has to be accepted, `note` is only to be known."""

    ready = "ready"
    look = "look"
    missing = "missing"
    note = "note"


class Place(StrEnum):
    """Closed set: where a line is mended."""

    twins = "twins"
    token = "token"
    schedules = "schedules"
    schedule = "schedule"
    processes = "processes"
    experiment = "experiment"
    prompt = "prompt"
    nowhere = "nowhere"


@dataclass(frozen=True)
class CheckLine:
    """One line. `place` and, for a token or one schedule, `row_id` say where it is mended."""

    state: CheckState
    title: str
    words: str
    place: Place = Place.nowhere
    row_id: int | None = None


@dataclass(frozen=True)
class _Group:
    """Active twins that are written by the same endpoint; those without a model of their own apart."""

    token: ApiToken | None
    found: Endpoint | NoEndpoint
    twins: int


def checklist(
    session: Session, experiment: Experiment, settings: Settings, now: datetime, switched_on: int = 0
) -> list[CheckLine]:
    """All lines, in the order they are read. Twelve queries, however many twins there are.

    `switched_on` schedules are looked at as if they were enabled already.
    """
    groups = _groups(session, experiment, settings)
    return [
        _twins(experiment),
        *_endpoints(groups, now),
        *_others(experiment, groups),
        _schedules(session, experiment, switched_on),
        *_processes(session, now),
        *_everything(session),
        _zone(experiment),
        _disclosure(experiment),
        _end(experiment, now),
        *_hosts(groups),
    ]


def blocking(lines: list[CheckLine]) -> list[CheckLine]:
    """The lines that forbid the start."""
    return [line for line in lines if line.state == CheckState.missing]


def to_accept(lines: list[CheckLine]) -> list[CheckLine]:
    """The lines somebody has to say yes to."""
    return [line for line in lines if line.state == CheckState.look]


def _twins(experiment: Experiment) -> CheckLine:
    count = experiment.active_twin_count
    if not count:
        words = "No twin is active, so there is nobody to ask. Add one, or activate one."
        return CheckLine(CheckState.missing, "Twins", words, Place.twins)
    words = f"{several(count, 'twin')} {'is' if count == 1 else 'are'} active."
    return CheckLine(CheckState.ready, "Twins", words, Place.twins)


def _groups(session: Session, experiment: Experiment, settings: Settings) -> list[_Group]:
    box = SecretBox(settings.require("fernet_keys"))
    kinds = session.execute(
        select(func.min(DigitalTwin.id), func.count())
        .where(DigitalTwin.experiment_id == experiment.id, DigitalTwin.active_rank.is_not(None))
        .group_by(DigitalTwin.api_token_id, DigitalTwin.llm_url, DigitalTwin.llm_model == "")
        .order_by(func.count().desc())
        .limit(MOST_ENDPOINTS)
    ).all()
    counts = {key: count for key, count in kinds}
    query = select(DigitalTwin).where(DigitalTwin.id.in_(counts)).options(joinedload(DigitalTwin.api_token))
    return [
        _Group(twin.api_token, endpoint_for(twin, settings, box), counts[twin.id])
        for twin in session.scalars(query.order_by(DigitalTwin.id))
    ]


def _endpoints(groups: list[_Group], now: datetime) -> Iterator[CheckLine]:
    for token in {group.token.id: group.token for group in groups if group.token is not None}.values():
        own = [group for group in groups if group.token is token]
        yield _token(token, own, sum(group.twins for group in own), now)
    counts: Counter[tuple[CheckState, str]] = Counter()
    for group in groups:
        if group.token is None:
            counts[_without_token(group.found)] += group.twins
    for (state, words), twins in counts.items():
        yield CheckLine(state, f"Endpoint of {several(twins, 'twin')}", words, Place.twins)


def _without_token(found: Endpoint | NoEndpoint) -> tuple[CheckState, str]:
    if isinstance(found, NoEndpoint):
        return CheckState.look, found.detail
    source = {"twin": "an address of their own", "offline": "the offline writer"}
    by = source.get(found.source, "the platform's endpoint")
    return CheckState.note, f"Written by {by}, which is not tested here. Rehearse with Post now."


def _others(experiment: Experiment, groups: list[_Group]) -> Iterator[CheckLine]:
    """That more endpoints are used than are looked at, so that no host is left out unseen."""
    others = experiment.active_twin_count - sum(group.twins for group in groups)
    if len(groups) == MOST_ENDPOINTS and others > 0:
        words = (
            f"Only the {MOST_ENDPOINTS} that write for most twins are looked at here. "
            "Other hosts will receive text too: see the twins' own pages."
        )
        yield CheckLine(CheckState.look, f"Endpoints of {several(others, 'more twin')}", words, Place.twins)


def _token(token: ApiToken, groups: list[_Group], twins: int, now: datetime) -> CheckLine:
    title, state = f"API token “{token.name}”", CheckState.look
    broken = next((group.found for group in groups if isinstance(group.found, NoEndpoint)), None)
    used = f"Used by {several(twins, 'twin')}."
    if broken is not None:
        words = broken.detail
    elif token.last_test_at is None:
        words = f"Never tested. {used} Test it."
    elif not token.last_test_ok:
        words = f"Its last test failed. {used} {token.last_test_detail}"
    elif now - token.last_test_at > FRESH:
        days = (now - token.last_test_at).days
        words = f"Its last test is {several(days, 'day')} old. {used} Test it again."
    else:
        state, words = CheckState.ready, f"Tested in the last 24 hours. {used}"
    return CheckLine(state, title, words, Place.token, token.id)


def _schedules(session: Session, experiment: Experiment, switched_on: int) -> CheckLine:
    rows = session.execute(
        select(Schedule.experiment_id, func.count())
        .where(
            Schedule.is_enabled,
            Schedule.is_archived.is_(False),
            Schedule.paused_at.is_(None),
            Schedule.next_slot_at.is_not(None),
            or_(Schedule.experiment_id == experiment.id, Schedule.experiment_id.is_(None)),
        )
        .group_by(Schedule.experiment_id)
    ).all()
    counts = {key: count for key, count in rows}
    if switched_on:
        counts[experiment.id] = counts.get(experiment.id, 0) + switched_on
    if not counts:
        words = "None is enabled, or what is enabled is paused: its twins post only when somebody asks them."
        return CheckLine(CheckState.look, "Schedules", words, Place.schedules)
    parts = [f"{several(counts[experiment.id], 'schedule')} of its own"] if experiment.id in counts else []
    parts += [f"{several(counts[None], 'schedule')} of all experiments"] if None in counts else []
    words = f"{' and '.join(parts).capitalize()} will ask its twins."
    return CheckLine(CheckState.ready, "Schedules", words, Place.schedules)


def _processes(session: Session, now: datetime) -> Iterator[CheckLine]:
    lacks = {
        ProcessKind.worker: "Twins are not asked until one runs: flask worker, or make run.",
        ProcessKind.scheduler: "Schedules do not fire until one runs: flask scheduler, or make run.",
    }
    for kind, words in lacks.items():
        sign = heartbeats.life_sign(session, kind, now)
        state = CheckState.ready if sign.is_alive else CheckState.look
        told = f"{sign.alive_count} alive, {sign.words}." if sign.is_alive else f"None is alive. {words}"
        yield CheckLine(state, kind.value.capitalize(), told, Place.processes)


def _everything(session: Session) -> Iterator[CheckLine]:
    if (words := pauses.everything_words(session)) is not None:
        yield CheckLine(CheckState.look, "Pause of everything", f"{words} No twin is asked until it ends.")


def _zone(experiment: Experiment) -> CheckLine:
    if experiment.zone == "UTC":
        words = "UTC: is that meant? Days, quiet hours and the last day are counted by it."
        return CheckLine(CheckState.look, "Time zone", words, Place.experiment)
    return CheckLine(CheckState.ready, "Time zone", f"{experiment.zone}.", Place.experiment)


def _disclosure(experiment: Experiment) -> CheckLine:
    rule = PromptTemplates.from_dict(experiment.prompt_version.body).disclosure_rule
    if not rule:
        words = "No rule is chosen: what a twin says when it is taken for a human is left to its messages."
        return CheckLine(CheckState.look, "Disclosure", words, Place.prompt)
    label = RULE_LABELS[DisclosureRule(rule)]
    return CheckLine(CheckState.ready, "Disclosure", f"{label[0].upper()}{label[1:]}.", Place.prompt)


def _end(experiment: Experiment, now: datetime) -> CheckLine:
    if experiment.ends_at is None:
        words = "None: it runs until somebody ends it."
        return CheckLine(CheckState.note, "Last day", words, Place.experiment)
    words = end_words(experiment)
    if experiment.ends_at <= now:
        words = f"It would have ended {words}. Choose a later day, or none."
        return CheckLine(CheckState.missing, "Last day", words, Place.experiment)
    return CheckLine(CheckState.ready, "Last day", f"It ends {words}.", Place.experiment)


def _hosts(groups: list[_Group]) -> Iterator[CheckLine]:
    hosts: Counter[str] = Counter()
    for group in groups:
        if isinstance(group.found, Endpoint):
            hosts[urlsplit(group.found.base_url).netloc.rpartition("@")[2]] += group.twins
    for host, twins in sorted(hosts.items()):
        words = f"Will receive personas and posts, for {several(twins, 'active twin')}."
        yield CheckLine(CheckState.note, f"Host {host}", words, Place.twins)
