"""What has happened since the beginning, as sums a machine scrapes: from the roll-ups, never row by row."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from ..domain.reasons import AttemptState, SlotKind
from ..models import Slot
from ..models.attempts import IS_DUE, IS_RUNNING, Attempt
from ..models.tallies import DAY_SECONDS, WEEK_SECONDS
from .facets import CALL_OUTCOMES, OUTCOMES
from .tallying import Stretch, consistently, count

LATE_WITHIN = timedelta(hours=1)
MOST_SLOTS = 10_000
YEARS = 20


@dataclass
class Sums:
    """All that ever happened in experiments that are not deleted, rehearsals included."""

    attempts: Counter[tuple[str, str, str]] = field(default_factory=Counter)  # state, class, reason
    prompt_tokens: int = 0
    completion_tokens: int = 0
    posts: int = 0
    calls: Counter[tuple[str, str, str]] = field(default_factory=Counter)  # host, model, outcome
    model_ms: Counter[tuple[str, str]] = field(default_factory=Counter)  # host, model


@dataclass(frozen=True)
class Lateness:
    """How late the slots of the last hour were claimed, in seconds."""

    count: int = 0
    mean: float = 0.0
    longest: float = 0.0


def sums(session: Session, now: datetime) -> Sums:
    """The sums since the beginning and what waits now; five queries over blocks of a week."""
    weeks = YEARS * 365 * DAY_SECONDS // WEEK_SECONDS
    end = (int(now.timestamp()) // WEEK_SECONDS + 1) * WEEK_SECONDS
    stretch = Stretch(end - weeks * WEEK_SECONDS, end, is_open=True)

    def work(marks):
        outcomes = count(
            session, OUTCOMES, None, [stretch], marks,
            keys=("state", "reason_class", "reason"),
            sums=("attempt_count", "prompt_tokens", "completion_tokens", "post_count"),
        )  # fmt: skip
        calls = count(
            session, CALL_OUTCOMES, None, [stretch], marks,
            keys=("endpoint", "model", "outcome"), sums=("call_count", "latency_ms"),
        )  # fmt: skip
        return list(outcomes), list(calls)

    outcomes, calls = consistently(session, work)
    found = Sums()
    for _, state, of_class, reason, attempts, prompt, completion, posts in outcomes:
        found.attempts[state, of_class, reason] += attempts
        found.prompt_tokens += prompt
        found.completion_tokens += completion
        found.posts += posts
    for _, endpoint, model, outcome, number, milliseconds in calls:
        host = host_of(endpoint)
        found.calls[host, model, outcome] += number
        found.model_ms[host, model] += int(milliseconds or 0)
    for state, condition in ((AttemptState.due, IS_DUE), (AttemptState.running, IS_RUNNING)):
        waiting = session.scalar(select(func.count()).select_from(Attempt).where(condition))
        found.attempts[state.value, "", ""] += waiting
    return found


def lateness(session: Session, now: datetime) -> Lateness:
    """Of the newest 10,000 slots of the last hour at most; one query by the index of slots by time."""
    query = (
        select(Slot.slot_at, Slot.claimed_at)
        .where(Slot.slot_at > now - LATE_WITHIN, Slot.slot_at <= now, Slot.kind == SlotKind.fired)
        .order_by(Slot.slot_at.desc())
        .limit(MOST_SLOTS)
    )
    late = [max(0.0, (claimed - at).total_seconds()) for at, claimed in session.execute(query)]
    return Lateness(len(late), sum(late) / len(late), max(late)) if late else Lateness()


def by_state(found: Sums) -> Iterator[tuple[str, int]]:
    """The attempts of each state there is one of."""
    states: dict[str, int] = defaultdict(int)
    for (state, _, _), number in found.attempts.items():
        states[state] += number
    return ((state, number) for state, number in states.items() if number)


def host_of(endpoint: str) -> str:
    """The host and port of an address, without user, path or query; "" if it cannot be read."""
    try:
        parts = urlsplit(endpoint)
        return f"{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}"
    except ValueError:
        return ""
