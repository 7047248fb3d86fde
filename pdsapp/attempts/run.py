"""Running one claimed attempt to its end: decide, write, publish. The only path that posts.

Four short transactions, none open while the model is asked: decide; start and store each call;
publish. Every write is fenced by the lease.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import structlog
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from ..config import Settings
from ..database import is_outage, transaction
from ..domain.decision import draw_for
from ..domain.draft import Brief, CallFailed, Draft
from ..domain.length import LengthTarget
from ..domain.policy import PostingPolicy
from ..domain.prompt import PromptTemplates, Speaker, messages_hash
from ..domain.randomness import key_of
from ..domain.reasons import AttemptStage, AttemptState, CallState, Reason
from ..dt_service import DTService
from ..errors import LeaseLost, Stopped
from ..llm.client import ModelClient
from ..llm.endpoint import Endpoint
from ..llm.secrets import SecretBox
from ..models import Attempt, AttemptContext, ModelCall, Post
from .calls import RecordedCalls
from .claim import Lease, held
from .decide import length_of
from .endpoints import OFFLINE_MODEL, NoEndpoint, endpoint_for
from .feed import stored_context, twin_state
from .finish import end
from .gate import pass_gate
from .limits import hold_twin, limit_at_publishing, limit_on
from .lost import record_return
from .obstacles import (
    NOT_PUBLISHED,
    obstacle_to_going_on,
    obstacle_to_publishing,
    over_of,
    state_behind,
    stop_of,
)
from .words import decision_sentence

# The calls have their own deadline; this one is for customised writing that waits for something else.
WRITING_SECONDS = 120.0
log = structlog.get_logger()


@dataclass(frozen=True)
class Workshop:
    """What running attempts needs: the seams, the client, the keys and the clock.

    `passes` are exceptions that must never be taken for an error of the service (a job's time-out).
    """

    service: DTService
    client: ModelClient
    settings: Settings
    box: SecretBox
    clock: Callable[[], datetime]
    passes: tuple[type[BaseException], ...] = ()


@dataclass(frozen=True)
class _Order:
    """A decision to post, ready to be carried out."""

    brief: Brief
    endpoint: Endpoint
    experiment_id: int


async def run_attempt(lease: Lease, shop: Workshop) -> AttemptState | None:
    """The state the attempt ended in, None when the lease was lost and somebody else goes on.

    Never raises for what endpoints or custom services do: those end the attempt with a reason. A
    database that does not answer raises; the attempt is given back then.
    """
    with structlog.contextvars.bound_contextvars(attempt=str(lease.attempt_uuid)):
        try:
            state = await _run(lease, shop)
        except LeaseLost:
            log.warning("lease lost, result dropped")
            with transaction() as session:
                record_return(session, lease.token, shop.clock())
            return None
        log.info("attempt ended", state=str(state))
        return state


async def _run(lease: Lease, shop: Workshop) -> AttemptState:
    try:
        order = _prepare(lease, shop)
        if isinstance(order, AttemptState):
            return order
        ask = RecordedCalls(
            lease,
            order.experiment_id,
            order.endpoint,
            shop.client,
            shop.clock,
            order.brief.policy.max_model_calls,
            shop.settings,
        )
        async with asyncio.timeout(WRITING_SECONDS):
            draft = await shop.service.generate_original_post_content(order.brief, ask)
        return _publish(lease, shop, draft, ask)
    except (LeaseLost, asyncio.CancelledError, *shop.passes):
        raise
    except Stopped:
        return _stop(lease, shop, ask)
    except CallFailed as failure:
        return _fail(lease, shop, failure.reason, failure.detail)
    except TimeoutError:
        return _fail(
            lease, shop, Reason.deadline, f"Writing the post took longer than {WRITING_SECONDS:.0f} s."
        )
    except Exception as error:
        if is_outage(error):
            raise
        log.exception("posting code failed")
        return _fail(lease, shop, Reason.service_error, f"{type(error).__name__} in {shop.service.name}.")


def _load(session: Session, lease: Lease) -> Attempt:
    attempt = session.scalars(held(lease)).one_or_none()
    if attempt is None:
        raise LeaseLost(f"Attempt {lease.attempt_uuid} is no longer held by this worker.")
    return attempt


def _prepare(lease: Lease, shop: Workshop) -> _Order | AttemptState:
    """Decides (or reads the decision stored by a worker that was lost) and makes the order."""
    now = shop.clock()
    with transaction() as session:
        pass_gate(session)
        attempt = _load(session, lease)
        attempt.stage = AttemptStage.deciding
        attempt.changed_at = now
        if attempt.stop_asked_at is not None:  # stopped under a worker that lost it or gave it back
            _end_stopped(session, attempt, now)
            return attempt.state
        if (obstacle := obstacle_to_going_on(session, attempt, now)) is not None:
            end(attempt, state_behind(obstacle, attempt), obstacle.reason, now, obstacle.words)
            return attempt.state
        if attempt.decided_at is None:
            if not _decide(session, attempt, shop.service, now):
                return attempt.state
        elif (limit := limit_at_publishing(session, attempt, now)) is not None:
            words = f"{limit.words} It was decided before that, and was not written any more."
            end(attempt, AttemptState.cancelled, limit.reason, now, words)
            return attempt.state
        endpoint = endpoint_for(attempt.digital_twin, shop.settings, shop.box)
        if isinstance(endpoint, NoEndpoint):
            end(attempt, AttemptState.failed, endpoint.reason, now, endpoint.detail)
            return attempt.state
        return _Order(_brief(session, attempt, shop.service), endpoint, attempt.experiment_id)


def _decide(session: Session, attempt: Attempt, service: DTService, now: datetime) -> bool:
    """Stores the decision; True if the twin posts, else the attempt has ended as skipped."""
    twin, experiment = attempt.digital_twin, attempt.experiment
    policy = PostingPolicy.from_dict(experiment.policy.body)
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
    context = service.get_recent_post_context(session, twin, policy)
    for position, post in enumerate(context, 1):
        session.add(
            AttemptContext(
                attempt_id=attempt.id, position=position, post_id=post.post_id, revision=post.revision
            )
        )
    session.flush()
    return True


def _brief(session: Session, attempt: Attempt, service: DTService) -> Brief:
    """The brief, always from stored rows, so that a second worker asks exactly what the first did."""
    brief = brief_of(session, attempt, service)
    attempt.messages_sha256 = messages_hash(brief.messages)
    return brief


def brief_of(session: Session, attempt: Attempt, service: DTService) -> Brief:
    """What a decided attempt's post is written from, rebuilt from the rows it points at."""
    profile = attempt.digital_twin.user_profile
    speaker = Speaker(profile.username, profile.display_name, attempt.persona_version.text)
    templates = PromptTemplates.from_dict(attempt.prompt_version.body)
    context = stored_context(session, attempt.id, profile.id)
    target = LengthTarget(
        attempt.length_band, attempt.length_minimum, attempt.length_maximum, attempt.target_length
    )
    return Brief(
        speaker=speaker,
        templates=templates,
        policy=PostingPolicy.from_dict(attempt.policy.body),
        context=tuple(context),
        length=target,
        now=attempt.decided_at,
        messages=service.build_messages(templates, speaker, context, target, attempt.decided_at),
    )


def _publish(lease: Lease, shop: Workshop, draft: Draft, ask: RecordedCalls) -> AttemptState:
    """The one transaction that makes a post. Behind the gate, so that none commits after a stop has."""
    with transaction() as session:
        pass_gate(session)
        attempt = _load(session, lease)
        hold_twin(session, attempt)
        now = shop.clock()
        attempt.stage = AttemptStage.saving
        attempt.draft = draft.raw
        attempt.cleaning_steps = list(draft.steps)
        attempt.fit_flags = list(draft.flags)
        attempt.length = len(draft.text)
        _add_model(attempt, ask)
        obstacle = obstacle_to_publishing(session, attempt, now)
        obstacle = obstacle or limit_at_publishing(session, attempt, now)
        if obstacle is not None:
            words = f"{obstacle.words} {NOT_PUBLISHED}"
            end(attempt, AttemptState.cancelled, obstacle.reason, now, words)
            return attempt.state
        shop.service.create_original_post(session, attempt, draft, now)
        if attempt.is_rehearsal:  # here, as the seam above may be customised
            session.flush()
            session.execute(update(Post).where(Post.attempt_id == attempt.id).values(is_rehearsal=True))
        end(attempt, AttemptState.posted, attempt.reason, now, attempt.detail)
        return attempt.state


def _stop(lease: Lease, shop: Workshop, ask: RecordedCalls) -> AttemptState:
    """Ends an attempt that was stopped between two calls."""
    with transaction() as session:
        attempt = _load(session, lease)
        if ask.last_reply is not None:
            _add_model(attempt, ask)
        _end_stopped(session, attempt, shop.clock())
        return attempt.state


def _end_stopped(session: Session, attempt: Attempt, now: datetime) -> None:
    """Ends an attempt that may not be asked any more; the last text the model gave is kept as its draft."""
    stop = stop_of(session, attempt) or over_of(attempt, now)
    reply = session.scalars(
        select(ModelCall.reply)
        .where(ModelCall.attempt_id == attempt.id, ModelCall.state == CallState.answered)
        .order_by(ModelCall.id.desc())
        .limit(1)
    ).first()
    attempt.draft = reply or attempt.draft
    words = NOT_PUBLISHED if reply else "Nothing had been written by then."
    reason = stop.reason if stop else Reason.stopped
    end(attempt, AttemptState.cancelled, reason, now, f"{stop.words} {words}" if stop else words)


def _fail(lease: Lease, shop: Workshop, reason: Reason, detail: str) -> AttemptState:
    with transaction() as session:
        attempt = _load(session, lease)
        if (stop := stop_of(session, attempt)) is not None:  # it would not have been published either
            words = f"{stop.words} Writing it had failed as well: {detail}"
            end(attempt, AttemptState.cancelled, stop.reason, shop.clock(), words)
            return attempt.state
        end(attempt, AttemptState.failed, reason, shop.clock(), detail)
        return attempt.state


def _add_model(attempt: Attempt, ask: RecordedCalls) -> None:
    returned = (ask.last_reply and ask.last_reply.model_returned) or ask.endpoint.model
    attempt.model = returned[:200]
    attempt.is_stand_in = OFFLINE_MODEL in (returned, ask.endpoint.model) or ask.endpoint.source == "offline"
