"""Where faults happen: loaded into workers by `PDS_DT_SERVICE=tests.faults.hooks:FaultyService`.

The product knows nothing of it. Importing this module wraps the functions an attempt passes through; at each
of the seven points an order, if there is one, is taken, noted and carried out on this very process.
"""

import asyncio
import os
import signal
import time
from contextvars import ContextVar
from datetime import timedelta
from functools import wraps
from pathlib import Path

from pdsapp.attempts import batch, claim, run
from pdsapp.attempts.calls import RecordedCalls
from pdsapp.domain.prompt import messages_hash
from pdsapp.domain.reasons import AttemptState
from pdsapp.dt_service import DTService
from pdsapp.llm.client import ModelClient

from . import orders

# Long enough for the request to have reached the model server, shorter than any answer of it.
INTO_THE_CALL_SECONDS = 0.15
_lease: ContextVar[claim.Lease | None] = ContextVar("lease", default=None)
_sent: ContextVar[str] = ContextVar("sent", default="")
_running: set = set()
_worker = ""
_is_spared = False


class FaultyService(DTService):
    """The product's own service, which may die in the middle of the final transaction."""

    def create_original_post(self, session, attempt, draft, now):
        post = super().create_original_post(session, attempt, draft, now)
        backend = None
        if session.get_bind().dialect.name == "postgresql":
            backend = session.connection().connection.dbapi_connection.info.backend_pid
        lease = next(lease for lease in _running if lease.attempt_id == attempt.id)
        _lease.set(lease)  # it may share this transaction with others, in a thread of its own
        _sent.set(attempt.messages_sha256)
        _reach("inside_final", backend=backend)
        _reach("frozen_inside", backend=backend)
        return post


def _reach(point: str, attempts: list[str] | None = None, backend: int | None = None) -> None:
    """Carries out an order for this point, if there is one."""
    global _is_spared
    folder = Path(os.environ[orders.FOLDER])
    order = None if _is_spared else orders.take(folder, point)
    if order is None:
        return
    lease = _lease.get()
    worker_pid = os.getppid()
    orders.write_note(
        folder,
        orders.Note(
            number=order.number,
            pid=os.getpid(),
            identity=orders.identity(os.getpid()),
            worker_pid=worker_pid,
            worker_identity=orders.identity(worker_pid),
            worker=_worker,
            attempts=attempts or [str(lease.attempt_uuid)],
            token=str(lease.token) if lease else "",
            messages_sha256=_sent.get(),
            backend=backend,
        ),
    )
    if order.victim in (orders.WORKER, orders.BOTH):
        os.kill(worker_pid, signal.SIGKILL)
    if order.victim in (orders.HORSE, orders.BOTH):
        os.kill(os.getpid(), signal.SIGKILL)
    if order.victim == orders.FREEZE:
        _is_spared = True  # it has to come back: no other order may hit it then
        os.kill(os.getpid(), signal.SIGSTOP)
    else:  # it stays at this point until it is gone: with its worker, or with everything
        time.sleep(60)


def _wrap(owner: object, name: str, make) -> None:
    setattr(owner, name, wraps(getattr(owner, name))(make(getattr(owner, name))))


def _claiming(original):
    def claimed(session, worker, *args, **kwargs):
        global _worker
        _worker = worker
        leases = original(session, worker, *args, **kwargs)
        if leases:  # nothing is committed yet
            _reach("before_lease", [str(lease.attempt_uuid) for lease in leases])
        return leases

    return claimed


def _running_one(original):
    async def run_attempt(lease, *others):
        folder = Path(os.environ[orders.FOLDER])
        _lease.set(lease)
        _running.add(lease)
        if any(other.strikes for other in _running):
            orders.tell(folder, "struck", str(lease.attempt_uuid))
            strikes = {other.strikes for other in _running}
            if len(strikes) > 1 or (len(_running) > 1 and max(strikes) > 1):
                orders.tell(folder, "violations", f"{lease.attempt_uuid} did not run with its like")
        try:
            return await original(lease, *others)
        finally:
            _running.discard(lease)

    return run_attempt


def _preparing(original):
    async def prepare(*args):
        _reach("after_lease")
        made = await original(*args)
        if not isinstance(made, AttemptState):
            _sent.set(messages_hash(made.brief.messages))
            _reach("after_decision")
        return made

    return prepare


def _calling(original):
    async def complete(*args, **kwargs):
        call = asyncio.create_task(original(*args, **kwargs))
        await asyncio.sleep(INTO_THE_CALL_SECONDS)
        if _lease.get() is not None and not call.done():
            _reach("during_call")
            _reach("frozen_outside")
        return await call

    return complete


def _storing(original):
    async def store(self, call_id, outcome):
        await original(self, call_id, outcome)
        _reach("after_result")

    return store


def _publishing(original):
    async def publish(*args):
        state = await original(*args)
        if state == AttemptState.posted:
            _reach("after_commit")
        return state

    return publish


def _install() -> None:
    if seconds := float(os.environ.get(orders.LEASE) or 0):  # only the small count shortens it
        claim.LEASE = timedelta(seconds=seconds)
        claim.RENEW_SECONDS = seconds / 3
    _wrap(claim, "claim", _claiming)
    _wrap(batch, "run_attempt", _running_one)
    _wrap(run, "_prepare", _preparing)
    _wrap(ModelClient, "complete", _calling)
    _wrap(RecordedCalls, "_store", _storing)
    _wrap(run, "_publish", _publishing)


if orders.FOLDER in os.environ:
    _install()
