"""Setting an experiment's limits. They belong to its posting policy: other limits, another version of it."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from ..domain.limit_words import quiet_words, read_quiet, read_span, read_wall, span_words
from ..domain.limits import Limits, LimitsError
from ..domain.policy import PolicyError, PostingPolicy
from ..domain.protocol import NO_REASON
from ..errors import BadInput
from ..models import Account, Experiment
from . import protocol

NONE = "none"


@dataclass(frozen=True)
class LimitField:
    """How one limit is read from what people type. Where `reads` raises ValueError, `wrong` is the answer."""

    reads: Callable[[str], Any]
    wrong: str


def _read_count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 9):
        raise ValueError(text)
    return int(text)


_WALL = LimitField(read_wall, "Write a time of day as HH:MM, 00:00 to 23:59. For example: 22:00")
FIELDS: dict[str, LimitField] = {
    "quiet_from": _WALL,
    "quiet_until": _WALL,
    "posts_per_day": LimitField(_read_count, "Write a whole number of posts. For example: 3"),
    "min_gap_seconds": LimitField(read_span, "Write a span of time. For example: 15 min, 90 s or 2 h"),
    "max_draft_age_seconds": LimitField(read_span, "Write a span of time. For example: 10 min, 90 s or 2 h"),
}


def read_limit(name: str, text: str | None) -> Any:
    """A limit from what somebody typed; None for nothing and for "none". Raises BadInput at its field."""
    text = (text or "").strip()
    if not text or text.lower() == NONE:
        return None
    field = FIELDS[name]
    try:
        return field.reads(text)
    except ValueError:
        raise BadInput(field.wrong, name) from None


def read_quiet_hours(text: str) -> dict[str, str | None]:
    """Both ends of the quiet hours from "22:00-07:00" or "none". Raises BadInput."""
    if text.strip().lower() == NONE:
        return {"quiet_from": None, "quiet_until": None}
    try:
        start, end = read_quiet(text)
    except ValueError:
        raise BadInput("Write when they begin and end. For example: 22:00-07:00, or none", "quiet") from None
    return {"quiet_from": start, "quiet_until": end}


def make_limits(values: dict[str, Any]) -> Limits:
    """The limits of these values. Raises BadInput at the field that cannot be used."""
    try:
        return Limits(**values)
    except LimitsError as error:
        raise BadInput(str(error), error.field) from None


def policy_of(experiment: Experiment) -> PostingPolicy:
    """The experiment's present policy. Raises BadInput if what is stored is none."""
    try:
        return PostingPolicy.from_dict(experiment.policy.body)
    except PolicyError as error:
        raise BadInput(f"The stored posting policy cannot be read: {error}") from None


def change_limits(
    session: Session,
    experiment: Experiment,
    changes: dict[str, Any],
    now: datetime,
    reason: str = "",
    account: Account | None = None,
) -> Limits:
    """The experiment's limits after these changes, fields of `Limits` by name. The caller commits.

    It works at once: for the next decision, and for the next draft that is to be published. It is a change
    of the policy, with its reason.
    """
    session.execute(select(Experiment.id).where(Experiment.id == experiment.id).with_for_update())
    session.refresh(experiment)
    policy = policy_of(experiment)
    before = policy.limits
    limits = make_limits(asdict(before) | changes)
    if limits == before:
        return before
    policy, seen = replace(policy, limits=limits), experiment.edit_version
    protocol.save_policy(session, experiment, seen, policy, now, reason or NO_REASON, account)
    return limits


def limit_facts(limits: Limits, zone: str) -> list[tuple[str, str]]:
    """Each limit with what it is, in words."""
    quiet, most, gap, age = NONE, NONE, NONE, NONE
    if limits.quiet_from is not None:
        quiet = quiet_words(limits.quiet_from, limits.quiet_until, zone)
    if limits.posts_per_day is not None:
        most = f"at most {limits.posts_per_day:,} of each twin, days of {zone}"
    if limits.min_gap_seconds is not None:
        gap = f"at least {span_words(limits.min_gap_seconds)} between two posts of a twin"
    if limits.max_draft_age_seconds is not None:
        age = f"at most {span_words(limits.max_draft_age_seconds)} after the decision"
    return [("Quiet hours", quiet), ("Posts a day", most), ("Gap", gap), ("Age of a draft", age)]


def limit_texts(limits: Limits) -> dict[str, str]:
    """Each limit as it is typed, "" for none."""
    return {
        name: "" if value is None else (span_words(value) if FIELDS[name].reads is read_span else str(value))
        for name, value in asdict(limits).items()
    }
