"""Beginning an edit: the row is locked, is the one the person saw, and of an experiment that is not over."""

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from .. import grants
from ..attempts.obstacles import moment_words
from ..domain.quoting import one_line
from ..domain.reasons import OVER_STATES
from ..errors import BadInput, ReadOnly
from ..models import AuditEvent, Experiment

VALUES_SHOWN, LONGEST_VALUE = 3, 60
# What the change of a persona or token tells of studies, which not everybody may see who may edit it.
OF_STUDIES = frozenset({"reason", "twins moved"})


def begin(session: Session, row: Any, seen: int | None) -> None:
    """Locks the row for this edit and counts it.

    Raises BadInput if `seen` is not its present version, ReadOnly if its experiment is over.
    """
    kind = type(row)
    present = session.scalar(select(kind.edit_version).where(kind.id == row.id).with_for_update())
    if (experiment_id := _experiment_id_of(row)) is not None:  # behind the lock: who ends it may have had it
        require_open_now(session, experiment_id)
    if seen != present:
        raise BadInput(changed_words(session, row))
    row.edit_version = present + 1


def changed_words(session: Session, row: Any) -> str:
    """That somebody else has saved a row: who, when, and what, by the newest audit event about it."""
    query = select(AuditEvent).where(
        AuditEvent.object_type == row.__tablename__, AuditEvent.object_id == row.id
    )
    with grants.everything():  # of personas and tokens, which belong to no experiment
        event = session.scalars(query.order_by(AuditEvent.id.desc()).limit(1)).first()
    found = ""
    if event is not None:
        experiment = row if isinstance(row, Experiment) else getattr(row, "experiment", None)
        when = moment_words(event.created_at, experiment.zone if experiment is not None else "UTC")
        found = f" Last was {event.actor}, {when}{_what_changed(event)}."
    return (
        f"Somebody else has saved this since you opened it.{found} Copy what you want to keep, open it again "
        "and save once more."
    )


def _what_changed(event: AuditEvent) -> str:
    before, after = event.before or {}, event.after or {}
    if grants.is_limited() and event.experiment_id is None:
        after = {name: value for name, value in after.items() if name not in OF_STUDIES}
    parts = [
        f"{name.replace('_', ' ')}: {_value(before.get(name))} → {_value(value)}"
        for name, value in list(after.items())[:VALUES_SHOWN]
    ]
    more = len(after) - len(parts)
    return f" ({'; '.join(parts)}{f'; and {more} more' if more > 0 else ''})" if parts else ""


def _value(value: Any) -> str:
    return "–" if value in (None, "", {}, []) else f"“{one_line(str(value), LONGEST_VALUE)}”"


def hold_experiment(session: Session, experiment_id: int) -> None:
    """Locks the experiment's row: first of all locks where ranks may change, so that none wait in a ring."""
    query = select(Experiment.id).where(Experiment.id == experiment_id)
    session.execute(query.with_for_update(key_share=True))


def hold_open(session: Session, experiment_id: int) -> None:
    """Locks the experiment's row, so that nobody ends it meanwhile. Raises ReadOnly if it is over by now."""
    hold_experiment(session, experiment_id)
    require_open_now(session, experiment_id)


def is_open(row: Any) -> bool:
    """Whether a row may change as far as its experiment is concerned; one of no experiment always may."""
    experiment = row if isinstance(row, Experiment) else getattr(row, "experiment", None)
    return experiment is None or experiment.state not in OVER_STATES


def require_open(experiment: Experiment) -> None:
    """Raises ReadOnly for an experiment that has ended or is archived: nothing of it changes any more."""
    if experiment.state in OVER_STATES:
        raise ReadOnly(read_only_words(experiment))


def require_open_now(session: Session, experiment_id: int) -> None:
    """As `require_open`, by the state as it is stored at this moment."""
    row = session.execute(
        select(Experiment.state, Experiment.name, Experiment.identifier).where(Experiment.id == experiment_id)
    ).one_or_none()
    if row is not None and row.state in OVER_STATES:
        raise ReadOnly(_words(f"{row.name} ({row.identifier})", row.state))


def read_only_words(row: Any) -> str:
    """Why a row of an experiment that is over cannot be changed, and what to do instead."""
    experiment = row if isinstance(row, Experiment) else row.experiment
    return _words(str(experiment), experiment.state)


def _words(name: str, state: str) -> str:
    verb = "has ended" if state == "ended" else "is archived"
    return f"{name} {verb}: it is only read now, and nothing of it changes. Copy it to go on with a new one."


def _experiment_id_of(row: Any) -> int | None:
    return row.id if isinstance(row, Experiment) else getattr(row, "experiment_id", None)
