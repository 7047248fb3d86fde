"""Publishing for many attempts at once: the one transaction that makes posts."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import update
from sqlalchemy.orm import Session

from ..domain.draft import Draft
from ..domain.reasons import AttemptStage, AttemptState
from ..errors import LeaseLost
from ..models import Attempt, Post
from .beside import load_beside
from .calls import RecordedCalls
from .claim import Lease, held_by, lost
from .endpoints import OFFLINE_MODEL
from .finish import Usage, end, usage_of
from .gate import pass_gate
from .limits import hold_twins, limit_at_publishing
from .obstacles import NOT_PUBLISHED, obstacle_to_publishing
from .workshop import Workshop


@dataclass(frozen=True)
class Written:
    """A draft that is ready, with the lease and the calls it was written under."""

    lease: Lease
    draft: Draft
    ask: RecordedCalls


def publish(session: Session, shop: Workshop, ready: Sequence[Written]) -> list[AttemptState | LeaseLost]:
    """For each draft the state its attempt has ended in, or that its lease is lost. The caller commits.

    Behind the gate, so that none commits after a stop has.
    """
    pass_gate(session)
    attempts = held_by(session, [each.lease for each in ready])
    hold_twins(session, attempts.values())
    load_beside(session, attempts.values())
    usages = usage_of(session, attempts)
    now = shop.clock()
    found: list[AttemptState | LeaseLost] = []
    rehearsed: list[int] = []
    twins: set[int] = set()
    with session.no_autoflush:
        for each in ready:
            attempt = attempts.get(each.lease.attempt_id)
            if attempt is None:
                found.append(lost(each.lease))
                continue
            if attempt.digital_twin_id in twins:  # leases were lost: its limits have to see the first post
                session.flush()
            twins.add(attempt.digital_twin_id)
            found.append(_publish_one(session, shop, attempt, each, now, usages[attempt.id]))
            if attempt.is_rehearsal and found[-1] == AttemptState.posted:
                rehearsed.append(attempt.id)
    if rehearsed:  # here, as the seam that makes posts may be customised
        session.flush()
        session.execute(update(Post).where(Post.attempt_id.in_(rehearsed)).values(is_rehearsal=True))
    return found


def _publish_one(
    session: Session, shop: Workshop, attempt: Attempt, written: Written, now: datetime, usage: Usage
) -> AttemptState:
    draft = written.draft
    attempt.stage = AttemptStage.saving
    attempt.draft = draft.raw
    attempt.cleaning_steps = list(draft.steps)
    attempt.fit_flags = list(draft.flags)
    attempt.length = len(draft.text)
    add_model(attempt, written.ask)
    obstacle = obstacle_to_publishing(session, attempt, now) or limit_at_publishing(session, attempt, now)
    if obstacle is not None:
        words = f"{obstacle.words} {NOT_PUBLISHED}"
        end(attempt, AttemptState.cancelled, obstacle.reason, now, words, usage)
        return attempt.state
    shop.service.create_original_post(session, attempt, draft, now)
    end(attempt, AttemptState.posted, attempt.reason, now, attempt.detail, usage)
    return attempt.state


def add_model(attempt: Attempt, ask: RecordedCalls) -> None:
    """Writes down which model wrote for this attempt."""
    returned = (ask.last_reply and ask.last_reply.model_returned) or ask.endpoint.model
    attempt.model = returned[:200]
    attempt.is_stand_in = OFFLINE_MODEL in (returned, ask.endpoint.model) or ask.endpoint.source == "offline"
