"""Exports that hold what people said or are called: who took one, of what, when.

They are noted in the audit log, so that later somebody can say which of them are older than an erasure.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import and_, or_, select
from sqlalchemy.orm import Session

from ..database import transaction
from ..models import Account, AuditEvent, Experiment, Installation
from . import audit

ACTION = "export"
# Of a backup, which holds what everybody said (services/system.py notes it).
DOWNLOAD = "download"
MOST_SHOWN = 200


@dataclass(frozen=True)
class Export:
    """One file that was handed out: `what` in words, by whom, when."""

    what: str
    by: str
    at: datetime

    @property
    def title(self) -> str:
        """`what`, where it begins a line."""
        return self.what[:1].upper() + self.what[1:]


def note(what: str, experiment_id: int | None, now: datetime, account: Account | None = None) -> None:
    """Notes that a file with `what` of an experiment, or of all, was handed out. Commits by itself."""
    with transaction() as session:
        experiment = session.get(Experiment, experiment_id) if experiment_id is not None else None
        session.add(
            AuditEvent(
                account_id=account.id if account else None,
                actor=account.email if account else audit.COMMAND_LINE,
                action=ACTION,
                object_type=Experiment.__tablename__,
                object_id=experiment.id if experiment else None,
                object_name=str(experiment)[:255] if experiment else "all experiments",
                experiment_id=experiment.id if experiment else None,
                after={"what": what},
                created_at=now,
            )
        )


def noted(session: Session, experiment_id: int, until: datetime | None) -> list[Export]:
    """The last 200 exports, downloads of backups among them, until then if given, that held something of the
    experiment; newest first."""
    before = () if until is None else (AuditEvent.created_at <= until,)
    query = (
        select(AuditEvent)
        .where(
            or_(
                AuditEvent.action == ACTION,
                and_(
                    AuditEvent.action == DOWNLOAD,
                    AuditEvent.object_type == Installation.__tablename__,
                ),
            ),
            or_(AuditEvent.experiment_id == experiment_id, AuditEvent.experiment_id.is_(None)),
            *before,
        )
        .order_by(AuditEvent.id.desc())
        .limit(MOST_SHOWN)
    )
    return [
        Export(_what(event.after or {}), event.actor, event.created_at) for event in session.scalars(query)
    ]


def _what(after: dict[str, Any]) -> str:
    return f"backup {after['backup']}" if "backup" in after else str(after.get("what", ""))
