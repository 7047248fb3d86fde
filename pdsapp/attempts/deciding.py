"""Deciding for many attempts at once: what each is refused for, or what its post is to be written from.

Rows that many attempts share are read once: the feed of an experiment, its policy and words, the personas.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import insert
from sqlalchemy.orm import Session

from ..domain.decision import draw_for
from ..domain.draft import Brief, CallFailed
from ..domain.length import LengthTarget
from ..domain.policy import PostingPolicy
from ..domain.prompt import ContextPost, Speaker, messages_hash
from ..domain.randomness import key_of
from ..domain.reasons import AttemptStage, AttemptState
from ..dt_service import DTService
from ..errors import LeaseLost, NotNow
from ..llm.endpoint import Endpoint
from ..models import Attempt, AttemptContext
from .beside import load_beside, policy_of, templates_of
from .claim import Lease, held_by, lost
from .decide import length_of
from .endpoints import NoEndpoint, endpoint_for
from .feed import read_once, stored_contexts, twin_state
from .finish import end
from .gate import pass_gate
from .limits import limit_at_publishing, limit_on
from .obstacles import obstacle_to_going_on, state_behind
from .stopping import end_stopped
from .turns import Waiter, waiter_of
from .words import decision_sentence
from .workshop import Workshop


@dataclass(frozen=True)
class Order:
    """A decision to post, ready to be carried out."""

    brief: Brief
    endpoint: Endpoint
    experiment_id: int
    waiter: Waiter


Prepared = Order | AttemptState | LeaseLost | NotNow | CallFailed


def prepare(session: Session, shop: Workshop, leases: Sequence[Lease]) -> list[Prepared]:
    """Decides (or reads the decision stored by a worker that was lost) and makes the orders.

    For each lease its order, the state its attempt has ended in, or why there is neither: it is lost, or its
    endpoint does not work, and nothing is decided before it does. The caller commits.
    """
    now = shop.clock()
    pass_gate(session)
    attempts = held_by(session, leases)
    load_beside(session, attempts.values())
    found: dict[int, Prepared] = {}
    endpoints: dict[int, Endpoint] = {}
    shown: list[dict] = []
    with session.no_autoflush, read_once(session):
        for lease in leases:
            attempt = attempts.get(lease.attempt_id)
            if attempt is None:
                found[lease.attempt_id] = lost(lease)
                continue
            made = _prepare_one(session, shop, attempt, now, shown)
            if isinstance(made, Endpoint):
                endpoints[attempt.id] = made
            else:
                found[attempt.id] = made
        if shown:
            session.connection().execute(insert(AttemptContext.__table__), shown)
        going_on = [attempts[number] for number in endpoints]
        for attempt, brief in zip(going_on, briefs_of(session, going_on, shop.service), strict=True):
            attempt.messages_sha256 = messages_hash(brief.messages)
            endpoint = endpoints[attempt.id]
            found[attempt.id] = Order(brief, endpoint, attempt.experiment_id, waiter_of(attempt))
    return [found[lease.attempt_id] for lease in leases]


def _prepare_one(
    session: Session, shop: Workshop, attempt: Attempt, now: datetime, shown: list[dict]
) -> Endpoint | AttemptState | NotNow | CallFailed:
    """What writes the post of this attempt, the state it has ended in, or why it is not decided now."""
    attempt.stage = AttemptStage.deciding
    attempt.changed_at = now
    if attempt.stop_asked_at is not None:  # stopped under a worker that lost it or gave it back
        end_stopped(session, attempt, now)
        return attempt.state
    if (obstacle := obstacle_to_going_on(session, attempt, now)) is not None:
        end(attempt, state_behind(obstacle, attempt), obstacle.reason, now, obstacle.words)
        return attempt.state
    endpoint = endpoint_for(attempt.digital_twin, shop.settings, shop.box)
    if isinstance(endpoint, Endpoint):
        wait = shop.turns.obstacle(session, endpoint, waiter_of(attempt))
        if wait is not None:
            return wait
    if attempt.decided_at is None:
        if not _decide(session, attempt, shop.service, now, shown):
            return attempt.state
    elif not _goes_on(session, attempt, shop.service, now, shown):
        return attempt.state
    if isinstance(endpoint, NoEndpoint):
        end(attempt, AttemptState.failed, endpoint.reason, now, endpoint.detail)
        return attempt.state
    return endpoint


def _decide(session: Session, attempt: Attempt, service: DTService, now: datetime, shown: list[dict]) -> bool:
    """Stores the decision; True if the twin posts, else the attempt has ended as skipped."""
    twin, experiment = attempt.digital_twin, attempt.experiment
    policy = policy_of(experiment.policy)
    state = twin_state(session, twin, policy, now)
    key = key_of(experiment.seed, attempt.uuid)
    verdict = service.should_twin_post(policy, state, draw_for(key), attempt.is_forced)
    target = length_of(attempt, service, policy, key)
    attempt.decided_at = now
    attempt.decision_key = key
    attempt.service = service.name
    attempt.policy_id = experiment.policy_id
    attempt.prompt_version_id = experiment.prompt_version_id
    attempt.persona_version_id = twin.persona_version_id
    attempt.last_post_seen = state.last_post
    attempt.own_count = state.own_count
    attempt.window_count = state.window_count
    attempt.recency_probability = verdict.recency_probability
    attempt.share_probability = verdict.share_probability
    attempt.probability_sum = verdict.probability_sum
    attempt.skip_probability = verdict.skip_probability
    attempt.draw = verdict.draw
    attempt.would_post = verdict.would_post
    attempt.length_band = target.band
    attempt.length_minimum = target.minimum
    attempt.length_maximum = target.maximum
    attempt.target_length = target.target
    attempt.reason = verdict.reason
    attempt.detail = decision_sentence(verdict, state.own_count, state.window_count)
    # Before the rule's own answer: what limits hold back must not depend on the draw, or rates would lean.
    if (limit := limit_on(session, twin, policy, now)) is not None:
        end(attempt, AttemptState.skipped, limit.reason, now, limit.words)
        return False
    if not verdict.posts:
        end(attempt, AttemptState.skipped, verdict.reason, now, attempt.detail)
        return False
    _show(session, attempt, service, policy, shown)
    return True


def _goes_on(
    session: Session, attempt: Attempt, service: DTService, now: datetime, shown: list[dict]
) -> bool:
    """Whether an attempt that was decided before may still be written; else it has ended as cancelled.

    One that let go of its feed reads it now, so that what it writes is as old as any other's.
    """
    has_feed = bool(attempt.messages_sha256)
    if has_feed:
        limit = limit_at_publishing(session, attempt, now)
    else:
        limit = limit_on(session, attempt.digital_twin, policy_of(attempt.experiment.policy), now)
    if limit is not None:
        words = f"{limit.words} It was decided before that, and was not written any more."
        end(attempt, AttemptState.cancelled, limit.reason, now, words)
        return False
    if not has_feed:
        attempt.feed_read_at = now
        _show(session, attempt, service, policy_of(attempt.policy), shown)
    return True


def _show(
    session: Session, attempt: Attempt, service: DTService, policy: PostingPolicy, shown: list[dict]
) -> None:
    """Adds the rows of the feed as it is now to those that are `shown`."""
    context = service.get_recent_post_context(session, attempt.digital_twin, policy)
    shown += (
        {"attempt_id": attempt.id, "position": position, "post_id": post.post_id, "revision": post.revision}
        for position, post in enumerate(context, 1)
    )


def brief_of(session: Session, attempt: Attempt, service: DTService) -> Brief:
    """What a decided attempt's post is written from, rebuilt from the rows it points at."""
    return briefs_of(session, [attempt], service)[0]


def briefs_of(session: Session, attempts: Sequence[Attempt], service: DTService) -> list[Brief]:
    """The brief of each, always from stored rows, so that a second worker asks exactly what the first did."""
    shown = stored_contexts(session, {each.id: each.digital_twin.user_profile_id for each in attempts})
    return [_brief(attempt, shown[attempt.id], service) for attempt in attempts]


def _brief(attempt: Attempt, context: list[ContextPost], service: DTService) -> Brief:
    profile = attempt.digital_twin.user_profile
    speaker = Speaker(profile.username, profile.display_name, attempt.persona_version.text)
    templates = templates_of(attempt.prompt_version)
    target = LengthTarget(
        attempt.length_band, attempt.length_minimum, attempt.length_maximum, attempt.target_length
    )
    return Brief(
        speaker=speaker,
        templates=templates,
        policy=policy_of(attempt.policy),
        context=tuple(context),
        length=target,
        now=attempt.shown_at,
        messages=service.build_messages(templates, speaker, context, target, attempt.shown_at),
    )
