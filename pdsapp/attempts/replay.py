"""Replay: computing a stored attempt's rank, verdict, band and target again from its keys."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from ..domain.decision import TwinState, draw_for
from ..domain.jitter import delay_of
from ..domain.policy import PolicyError, PostingPolicy
from ..domain.prompt import messages_hash
from ..domain.sampling import place_of, wanted_of
from ..dt_service import DTService
from ..models import Attempt
from .decide import length_of
from .deciding import brief_of
from .erased import WAS_ERASED, was_erased
from .selection import ranks_for


@dataclass(frozen=True)
class Check:
    """One recomputed value beside the stored one. `cause` says why it could not be recomputed."""

    name: str
    stored: object
    again: object
    cause: str = ""

    @property
    def is_same(self) -> bool:
        return not self.cause and self.stored == self.again


@dataclass(frozen=True)
class Replay:
    """All checks of one attempt."""

    checks: tuple[Check, ...]

    @property
    def causes(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(check.cause for check in self.checks if check.cause))

    @property
    def verdict(self) -> str:
        """ "same", "different", or "not reproducible" when something could not be recomputed."""
        if any(not c.cause and not c.is_same for c in self.checks):
            return "different"
        return "not reproducible" if self.causes else "same"


def replay(session: Session, attempt: Attempt, service: DTService) -> Replay:
    """What the keys give today, compared with what was stored. Reads only."""
    checks = [*_rank(attempt), *_delay(attempt)]
    if attempt.decided_at is None:
        return Replay(tuple(checks))
    if attempt.service != service.name:
        cause = f"It was decided by {attempt.service}; this process has {service.name}."
        return Replay((*checks, Check("verdict", attempt.would_post, None, cause)))
    try:
        policy = PostingPolicy.from_dict(attempt.policy.body)
    except PolicyError as error:
        return Replay(
            (*checks, Check("verdict", attempt.would_post, None, f"The policy is unreadable: {error}"))
        )
    state = TwinState(attempt.decided_at, attempt.last_post_seen, attempt.own_count, attempt.window_count)
    again = service.should_twin_post(policy, state, draw_for(attempt.decision_key), attempt.is_forced)
    target = length_of(attempt, service, policy, attempt.decision_key)
    checks += [
        Check("recency probability", attempt.recency_probability, again.recency_probability),
        Check("share probability", attempt.share_probability, again.share_probability),
        Check("skip probability", attempt.skip_probability, again.skip_probability),
        Check("draw", attempt.draw, again.draw),
        Check("verdict", attempt.would_post, again.would_post),
        Check("length band", attempt.length_band, target.band),
        Check("target length", attempt.target_length, target.target),
    ]
    if attempt.messages_sha256:
        messages = messages_hash(brief_of(session, attempt, service).messages)
        cause = ""
        if messages != attempt.messages_sha256 and was_erased(session, attempt):
            messages, cause = None, f"{WAS_ERASED[0].upper()}{WAS_ERASED[1:]}."
        checks.append(Check("messages", attempt.messages_sha256, messages, cause))
    return Replay(tuple(checks))


def _rank(attempt: Attempt) -> list[Check]:
    if attempt.candidate_count is None:
        return []
    if wanted_of(attempt.selection_key) is not None:
        again = place_of(attempt.selection_key, attempt.candidate_count, attempt.ordinal)
        return [Check("drawn rank", attempt.drawn_rank, again)]
    ranks = ranks_for(attempt.selection_key, attempt.candidate_count, attempt.ordinal + 1)
    again = ranks[attempt.ordinal] if attempt.ordinal < len(ranks) else None
    return [Check("drawn rank", attempt.drawn_rank, again)]


def _delay(attempt: Attempt) -> list[Check]:
    if attempt.slot is None or attempt.delay_seconds is None:
        return []
    jitter = attempt.slot.revision.jitter_seconds
    again = delay_of(attempt.selection_key, attempt.ordinal, jitter)
    return [Check("delay in seconds", attempt.delay_seconds, again)]
