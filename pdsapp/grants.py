"""Whose experiments a session reads: all of them, or only those an account is granted.

Every ORM statement of somebody who is granted single experiments gets the condition added, whatever page or
service sends it: a list, a count, a look-up by id and an export all keep to it without asking for it.
A table that belongs to experiments and stands on no list here is limited by its `experiment_id`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache

import sqlalchemy as sa
from sqlalchemy.orm import ORMExecuteState, Session, with_loader_criteria

from .models import (
    Account,
    Attempt,
    AttemptContext,
    Base,
    DigitalTwin,
    Experiment,
    LostLease,
    Membership,
    ModelCall,
    Post,
    PostRevision,
    Schedule,
    ScheduleRevision,
    Slot,
    TwinTag,
)

# Rows without an experiment that everybody may see: what asks all experiments, and tests of tokens.
OPEN_WITHOUT_EXPERIMENT = frozenset({Schedule, ScheduleRevision, Slot, ModelCall})
# Tables without the column, by what they hang on.
BELONGS_TO = {
    AttemptContext: (AttemptContext.attempt_id, Attempt),
    LostLease: (LostLease.attempt_id, Attempt),
    PostRevision: (PostRevision.post_id, Post),
    TwinTag: (TwinTag.digital_twin_id, DigitalTwin),
}
# Says itself what is granted.
UNLIMITED = frozenset({Membership})

_sees_only: ContextVar[int | None] = ContextVar("sees_only", default=None)


def see_as(account: Account | None) -> None:
    """Limits what this context (a web request) reads from now on to what the account is granted.

    Without an account, for administrators and for accounts that see all experiments there is no limit.
    """
    is_limited = account is not None and not account.sees_everything
    _sees_only.set(account.id if is_limited else None)


def is_limited() -> bool:
    """Whether this context reads granted experiments only, so that sums over all are not the whole truth."""
    return _sees_only.get() is not None


@contextmanager
def everything() -> Iterator[None]:
    """Within it all experiments are read, whoever asks: to refuse what would touch those not granted."""
    token = _sees_only.set(None)
    try:
        yield
    finally:
        _sees_only.reset(token)


@lru_cache(maxsize=256)
def limits(account_id: int) -> tuple:
    """The conditions an account's statements get, one for each table that belongs to experiments."""
    granted = sa.select(Membership.experiment_id).where(Membership.account_id == account_id)
    found = [with_loader_criteria(Experiment, Experiment.id.in_(granted), include_aliases=True)]
    for mapper in Base.registry.mappers:
        model = mapper.class_
        if model in UNLIMITED or model is Experiment:
            continue
        if model in BELONGS_TO:
            column, owner = BELONGS_TO[model]
            of_granted = sa.select(owner.id).where(owner.experiment_id.in_(granted))
            condition = column.in_(of_granted)
        elif "experiment_id" in mapper.columns:
            condition = model.experiment_id.in_(granted)
            if model in OPEN_WITHOUT_EXPERIMENT:
                condition = sa.or_(condition, model.experiment_id.is_(None))
        else:
            continue
        found.append(with_loader_criteria(model, condition, include_aliases=True))
    return tuple(found)


def _limit(state: ORMExecuteState) -> None:
    account_id = _sees_only.get()
    if account_id is None or state.is_column_load or state.is_relationship_load:
        return
    if state.is_select or state.is_update or state.is_delete:
        state.statement = state.statement.options(*limits(account_id))


sa.event.listen(Session, "do_orm_execute", _limit)
