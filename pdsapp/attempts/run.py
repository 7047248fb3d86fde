"""Running one claimed attempt to its end: decide, write, publish. The only path that posts.

Four short transactions, shared with other attempts at the desk, none open while the model is asked: decide;
start and store each call; publish. Every write is fenced by the lease.
"""

import asyncio
from functools import partial

import structlog
from sqlalchemy.orm import Session

from ..database import is_outage
from ..domain.draft import CallFailed, Draft
from ..domain.reasons import AttemptState, Reason
from ..errors import LeaseLost, NotNow, Stopped
from .calls import RecordedCalls
from .claim import Lease, held_by, lost
from .deciding import Order, prepare
from .desk import Desk, Urgency
from .finish import end
from .lost import record_return
from .obstacles import stop_of
from .publishing import Written, add_model, publish
from .stopping import end_stopped
from .waiting import put_off
from .workshop import Workshop

# The calls have their own deadline; this one is for customised writing that waits for something else.
WRITING_SECONDS = 120.0
log = structlog.get_logger()


async def run_attempt(lease: Lease, shop: Workshop, desk: Desk | None = None) -> AttemptState | None:
    """The state the attempt ended in, None when it was given back to wait, or the lease was lost and somebody
    else goes on.

    Never raises for what endpoints or custom services do: those end the attempt with a reason. A
    database that does not answer raises; the attempt is given back then. Without a `desk` it has its own.
    """
    if desk is None:
        async with Desk(shop) as own:
            return await run_attempt(lease, shop, own)
    with structlog.contextvars.bound_contextvars(attempt=str(lease.attempt_uuid)):
        try:
            state = await _run(lease, shop, desk)
        except LeaseLost:
            log.warning("lease lost, result dropped")
            await desk.alone(lambda session: record_return(session, lease.token, shop.clock()))
            return None
        except NotNow as wait:
            await desk.alone(partial(put_off, lease=lease, now=shop.clock(), wait=wait))
            log.info("attempt waits", seconds=round(wait.seconds, 1), why=str(wait))
            return None
        log.info("attempt ended", state=str(state))
        return state


async def _run(lease: Lease, shop: Workshop, desk: Desk) -> AttemptState:
    try:
        order = await _prepare(lease, desk)
        if isinstance(order, AttemptState):
            return order
        calls = order.brief.policy.max_model_calls
        ask = RecordedCalls(lease, order.experiment_id, order.endpoint, order.waiter, calls, shop, desk)
        async with asyncio.timeout(WRITING_SECONDS) as ask.clock:
            draft = await shop.service.generate_original_post_content(order.brief, ask)
        return await _publish(lease, draft, ask, desk)
    except (LeaseLost, NotNow, asyncio.CancelledError, *shop.passes):
        raise
    except Stopped:
        return await desk.alone(lambda session: _stop(session, lease, shop, ask))
    except CallFailed as failure:
        return await _fail(lease, shop, desk, failure.reason, failure.detail)
    except TimeoutError:
        words = f"Writing the post took longer than {WRITING_SECONDS:.0f} s."
        return await _fail(lease, shop, desk, Reason.deadline, words)
    except Exception as error:
        if is_outage(error):
            raise
        log.exception("posting code failed")
        words = f"{type(error).__name__} in {shop.service.name}."
        return await _fail(lease, shop, desk, Reason.service_error, words)


async def _prepare(lease: Lease, desk: Desk) -> Order | AttemptState:
    return await desk.do(prepare, lease, Urgency.beginning)


async def _publish(lease: Lease, draft: Draft, ask: RecordedCalls, desk: Desk) -> AttemptState:
    return await desk.do(publish, Written(lease, draft, ask))


async def _fail(lease: Lease, shop: Workshop, desk: Desk, reason: Reason, detail: str) -> AttemptState:
    return await desk.alone(lambda session: _end_failed(session, lease, shop, reason, detail))


def _stop(session: Session, lease: Lease, shop: Workshop, ask: RecordedCalls) -> AttemptState | LeaseLost:
    """Ends an attempt that was stopped between two calls."""
    attempt = held_by(session, [lease]).get(lease.attempt_id)
    if attempt is None:
        return lost(lease)
    if ask.last_reply is not None:
        add_model(attempt, ask)
    end_stopped(session, attempt, shop.clock())
    return attempt.state


def _end_failed(
    session: Session, lease: Lease, shop: Workshop, reason: Reason, detail: str
) -> AttemptState | LeaseLost:
    attempt = held_by(session, [lease]).get(lease.attempt_id)
    if attempt is None:
        return lost(lease)
    if (stop := stop_of(session, attempt)) is not None:  # it would not have been published either
        words = f"{stop.words} Writing it had failed as well: {detail}"
        end(attempt, AttemptState.cancelled, stop.reason, shop.clock(), words)
        return attempt.state
    end(attempt, AttemptState.failed, reason, shop.clock(), detail)
    return attempt.state
