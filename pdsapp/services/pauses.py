"""Pausing, stopping and resuming: an experiment, a schedule, an API token, everything; and a twin's rest.

A *pause* lets nothing begin: slots are recorded as `paused`, what waits is cancelled, what runs finishes. A
*stop* is a pause that what runs obeys too: it publishes nothing any more. *Resuming* brings nothing back.
Each takes the session, closes the gate (`pdsapp.attempts.gate`) before anything else, writes the audit trail
and leaves the commit to the caller. Doing it twice is doing it once. Each raises BadInput where it cannot be.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import and_, func, inspect, select, update
from sqlalchemy.orm import Session

from ..attempts.cancel import KEYS_AT_ONCE, cancel_waiting
from ..attempts.gate import CLOSING_SECONDS, close_gate
from ..attempts.obstacles import as_sentence, hold_of, moment_words, paused_words, stop_words
from ..database import transaction
from ..domain.reasons import (
    OVER_STATES,
    ExperimentState,
    Reason,
    TokenState,
)
from ..errors import BadInput, NotFound
from ..models import (
    BY_ID,
    IS_DUE,
    IS_RUNNING,
    Account,
    ApiToken,
    Attempt,
    DigitalTwin,
    Experiment,
    Installation,
    Schedule,
)
from ..models.base import HasStop
from ..scheduling import slots
from ..scheduling.expansion import call_off
from . import audit
from .accounts import may_administer
from .chunks import portions
from .fields import clean_line
from .pause_scopes import (
    attempts_of,
    claim_of,
    is_lent,
    is_paused,
    set_paused,
    shown,
    slots_of,
    starts_by_resuming,
    zone_of,
)
from .token_sharing import refuse_if_shared

QUEUED = "It was still waiting then and is not asked."
MOST_ROUNDS = 1_000


@dataclass(frozen=True)
class Effect:
    """What a pause or stop did. `changed` is False if it was so already.

    `cancelled` attempts were waiting; `running` ones were at work: after a pause they finish and publish,
    after a stop they publish nothing. `rest` of the cancelled are too many for one transaction: `cancel_rest`
    ends them after the commit, and whatever it does not reach ends when a worker looks at it. `unmade` are
    those that slots with very many twins had still to make.
    """

    changed: bool
    cancelled: int = 0
    running: int = 0
    is_stop: bool = False
    rest: int = 0
    unmade: int = 0

    @property
    def words(self) -> str:
        """What became of attempts, for the person who pressed the button."""
        waiting = f"{self.cancelled:,} waiting {_attempts(self.cancelled)} cancelled"
        if self.unmade:
            waiting += f", {self.unmade:,} more will not be made"
        if not self.running:
            is_any = self.cancelled or self.unmade
            return f"{waiting}; none is being written." if is_any else "nothing waits or is written."
        what = "not be published" if self.is_stop else "finish and be published"
        return f"{waiting}; {self.running:,} being written will {what}."

    @property
    def sentence(self) -> str:
        """The same, where it begins a sentence."""
        return self.words[0].upper() + self.words[1:]


def pause_experiment(
    session: Session, experiment: Experiment, now: datetime, reason: str = "", account: Account | None = None,
    actor: str | None = None,
) -> Effect:  # fmt: skip
    """Lets an experiment ask no twins until it is resumed. `actor`: what pauses it, if nobody does."""
    return _pause(session, experiment, now, reason, account, is_stop=False, actor=actor)


def stop_experiment(
    session: Session, experiment: Experiment, now: datetime, reason: str = "", account: Account | None = None
) -> Effect:
    """As `pause_experiment`; what is being written is not published either, not even after resuming."""
    return _pause(session, experiment, now, reason, account, is_stop=True)


def resume_experiment(
    session: Session, experiment: Experiment, now: datetime, account: Account | None = None
) -> bool:
    """Lets an experiment run again, from its next slots on. False if it was running."""
    return _resume(session, experiment, now, account)


def pause_everything(
    session: Session, now: datetime, reason: str = "", account: Account | None = None
) -> Effect:
    """Lets no experiment ask twins until everything is resumed. Of people, only administrators may."""
    return _pause(session, _installation(session, account), now, reason, account, is_stop=False)


def stop_everything(
    session: Session, now: datetime, reason: str = "", account: Account | None = None
) -> Effect:
    """As `pause_everything`; nothing that is being written is published either."""
    return _pause(session, _installation(session, account), now, reason, account, is_stop=True)


def resume_everything(session: Session, now: datetime, account: Account | None = None) -> bool:
    """Ends the pause of everything; what is paused by itself stays so. False if there was none."""
    return _resume(session, _installation(session, account), now, account)


def pause_schedule(
    session: Session, schedule: Schedule, now: datetime, reason: str = "", account: Account | None = None
) -> Effect:
    """Lets a schedule's slots pass unasked until it is resumed. No revision: its slots stay due."""
    return _pause(session, schedule, now, reason, account, is_stop=False)


def resume_schedule(
    session: Session, schedule: Schedule, now: datetime, account: Account | None = None
) -> bool:
    """Lets a schedule fire again with its next slot. False if it was not paused."""
    return _resume(session, schedule, now, account)


def pause_token(
    session: Session, token: ApiToken, now: datetime, reason: str = "", account: Account | None = None
) -> Effect:
    """Lets no twin be written with this token until it is resumed."""
    return _pause(session, token, now, reason, account, is_stop=False)


def resume_token(session: Session, token: ApiToken, now: datetime, account: Account | None = None) -> bool:
    """Makes a paused or archived token active again. False if it was."""
    return _resume(session, token, now, account)


def cancel_rest(scope: Any, effect: Effect, now: datetime) -> None:
    """Ends what a pause left waiting, in transactions of its own; stops where somebody has resumed.

    Call it after the commit of the pause.
    """
    kind, (key,), left = type(scope), inspect(scope).identity, effect.rest  # reads nothing: it may be expired
    while left > 0:
        with transaction() as session:
            close_gate(session)
            row = session.get_one(kind, key)
            if not is_paused(row):
                return
            where = and_(attempts_of(row), Attempt.created_at < row.paused_at)
            done = cancel_waiting(session, where, Reason.paused, _cancelled_words(row), now)
        left = left - done if done else 0


def cancel_waiting_of(session: Session, twin: DigitalTwin, now: datetime, account: Account | None) -> int:
    """Cancels what waits for a twin that is being deactivated; how many. What it is writing is finished.

    The caller has closed the gate, and commits.
    """
    words = _deactivated_words(twin.experiment.zone, now, account)
    return cancel_waiting(session, attempts_of(twin), Reason.inactive, words, now)


def cancel_waiting_of_many(
    session: Session, twin_ids: Sequence[int], zone: str, now: datetime, account: Account | None
) -> int:
    """Cancels what waits for twins that are deactivated at once; how many. As `cancel_waiting_of`."""
    words = _deactivated_words(zone, now, account)
    return sum(
        cancel_waiting(session, Attempt.digital_twin_id.in_(part), Reason.inactive, words, now)
        for part in portions(twin_ids)
    )


def _deactivated_words(zone: str, now: datetime, account: Account | None) -> str:
    when = moment_words(now, zone)
    return (
        f"The twin was deactivated on {when} by {_who(account)}. {QUEUED} Activate it to let it post again."
    )


def unfinished_of(session: Session, scope: Any) -> tuple[int, int]:
    """How many attempts of an experiment, schedule or token (None: of all) wait, and how many run."""
    where = attempts_of(scope)
    # What is counted is never null, and stands in the small index of the state alone: SQLite then takes that.
    waiting = session.scalar(select(func.count(Attempt.lane)).where(IS_DUE, where))
    running = session.scalar(select(func.count(Attempt.lease_until)).where(IS_RUNNING, where))
    return waiting, running


def everything_words(session: Session) -> str | None:
    """That everything is paused or stopped, since when, by whom and why, in UTC; None if it is not."""
    installation = session.get_one(Installation, 1)
    if not installation.is_paused:
        return None
    return words_of(installation, "UTC", claim_of(installation))


def words_of(scope: Any, zone: str, what: str = "") -> str:
    """Who paused or stopped it, since when and why, as a sentence in this zone that begins with `what`."""
    what = what or hold_of(scope).capitalize()
    return as_sentence(paused_words(what, scope, zone))


def _pause(
    session: Session, scope: Any, now: datetime, reason: str, account: Account | None, is_stop: bool,
    actor: str | None = None,
) -> Effect:  # fmt: skip
    reason = clean_line(reason, "reason", 255, required=False)
    hold(session, scope)
    _check(session, scope, account, is_pause=True)
    was_paused, was_stopped = is_paused(scope), scope.is_stopped
    # Somebody's wish outlives the pause of a move, which that ends by itself.
    is_new = not was_paused or is_lent(scope)
    before = shown(scope)
    if not is_new and (was_stopped or not is_stop):
        return Effect(False, 0, unfinished_of(session, scope)[1], is_stop or was_stopped)
    if is_new:
        set_paused(scope, True)
        scope.paused_at = now
    if is_stop:
        scope.stopped_at = now
    scope.paused_by, scope.paused_reason = actor or _who(account), reason
    session.flush()
    unmade = call_off(session, slots_of(scope), _cancelled_words(scope))
    where = attempts_of(scope)
    cancelled = cancel_waiting(session, where, Reason.paused, _cancelled_words(scope), now)
    if is_stop:
        _mark_stopped(session, scope)
    rest, running = unfinished_of(session, scope)
    after = shown(scope) | {"cancelled": cancelled + rest, "running": running}
    if unmade:
        after["not made"] = unmade
    audit.record(session, "stop" if is_stop else "pause", scope, now, account, before, after, actor)
    return Effect(True, cancelled + rest, running, is_stop, rest, unmade)


def _cancelled_words(scope: Any) -> str:
    return f"{as_sentence(paused_words(claim_of(scope), scope, zone_of(scope)))} {QUEUED}"


def _resume(session: Session, scope: Any, now: datetime, account: Account | None) -> bool:
    hold(session, scope)
    _check(session, scope, account, is_pause=False)
    if not is_paused(scope) and not starts_by_resuming(scope):
        return False
    before = shown(scope)
    _settle(session, scope, now)
    set_paused(scope, False)
    scope.paused_at, scope.paused_by, scope.paused_reason = None, "", ""
    if isinstance(scope, HasStop):
        scope.stopped_at = None
    audit.record(session, "resume", scope, now, account, before, shown(scope))
    return True


def _settle(session: Session, scope: Any, now: datetime) -> None:
    """Records the slots that came due under the pause and that no scheduler has claimed yet: they stay
    paused, none of them fires after all."""
    uuids: Sequence[UUID] | None = None
    if isinstance(scope, ApiToken) or not is_paused(scope):
        return
    if isinstance(scope, Schedule):
        uuids = [scope.uuid]
    elif isinstance(scope, Experiment):
        uuids = session.scalars(select(Schedule.uuid).where(Schedule.experiment_id == scope.id)).all()
    for first in range(0, len(uuids), slots.MOST_AT_ONCE) if uuids is not None else (0,):
        part = None if uuids is None else uuids[first : first + slots.MOST_AT_ONCE]
        for _ in range(MOST_ROUNDS):  # each takes so many at most; none draws twins, for all are paused
            if not slots.claim_due(session, None, part, now, "").slots:
                break


def hold(session: Session, scope: Any, waits_seconds: int = CLOSING_SECONDS) -> None:
    """Closes the gate, locks the scope's row and reads it as it is now; waits at most so long for each.

    Raises NotFound if it is gone.
    """
    close_gate(session, waits_seconds)
    kind = type(scope)
    found = session.scalars(
        select(kind)
        .where(kind.id == scope.id)
        .with_for_update(key_share=True, of=kind)
        .execution_options(populate_existing=True)
    )
    if found.one_or_none() is None:
        raise NotFound("This is not there any more: somebody else has deleted it. Nothing was changed.")


def _installation(session: Session, account: Account | None) -> Installation:
    if not may_administer(account):
        raise BadInput("Only administrators pause, stop and resume everything.")
    return session.get_one(Installation, 1)


def _check(session: Session, scope: Any, account: Account | None, is_pause: bool) -> None:
    if isinstance(scope, Experiment) and scope.state in OVER_STATES:
        raise BadInput(f"Experiment {scope.identifier} is {scope.state} and stays so.")
    if isinstance(scope, Experiment) and scope.state == ExperimentState.draft:
        raise BadInput(
            f"Experiment {scope.identifier} is a draft: there is no study yet to pause or resume. "
            "Start it, or switch its schedules off."
        )
    if isinstance(scope, ApiToken) and account is not None:
        refuse_if_shared(session, scope)
    if isinstance(scope, ApiToken) and is_pause and scope.state == TokenState.archived:
        raise BadInput(f"Token “{scope.name}” is archived and asks nothing. Bring it back first.")
    if isinstance(scope, Schedule):
        if scope.is_archived:
            raise BadInput("This schedule is archived. Make a new one.")
        if scope.experiment_id is None and not may_administer(account):
            raise BadInput("Only administrators pause or resume a schedule of all experiments.")


def _mark_stopped(session: Session, scope: HasStop) -> None:
    """Marks what runs, and what has come back to due meanwhile, as stopped for good.

    After `cancel_waiting`: a claim that was under way has been waited for, and is seen here.
    """
    unmarked = select(Attempt.id).where(Attempt.stop_asked_at.is_(None), attempts_of(scope))
    has_come_back = and_(IS_DUE, Attempt.claimed_at.is_not(None))
    words = stop_words(scope, zone_of(scope))
    # One by one, as no partial index serves both. What came back may be taken again between the first two;
    # it is at work in the third. What is locked stays what it is.
    for state in (IS_RUNNING, has_come_back, IS_RUNNING):
        keys = session.scalars(unmarked.where(state).order_by(BY_ID).with_for_update(of=Attempt)).all()
        for first in range(0, len(keys), KEYS_AT_ONCE):
            session.execute(
                update(Attempt)
                .where(Attempt.id.in_(keys[first : first + KEYS_AT_ONCE]))
                .values(stop_asked_at=scope.stopped_at, detail=words)
                .execution_options(synchronize_session=False)
            )


def _who(account: Account | None) -> str:
    return account.email if account else audit.COMMAND_LINE


def _attempts(count: int) -> str:
    return "attempt was" if count == 1 else "attempts were"
