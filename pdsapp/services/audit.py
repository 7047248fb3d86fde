"""Writing down who changed what. Secrets never get here: callers pass only what may be shown."""

from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from ..models import Account, AuditEvent

COMMAND_LINE = "command line"


def record(
    session: Session,
    action: str,
    row: Any,
    now: datetime,
    account: Account | None = None,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
    actor: str | None = None,
) -> None:
    """Adds an audit event about a row, in the caller's transaction."""
    session.flush()
    experiment_id = row.id if row.__tablename__ == "experiment" else getattr(row, "experiment_id", None)
    session.add(
        AuditEvent(
            account_id=account.id if account else None,
            actor=actor or (account.email if account else COMMAND_LINE),
            action=action,
            object_type=row.__tablename__,
            object_id=row.id,
            object_name=str(row)[:255],
            experiment_id=experiment_id,
            before=before,
            after=after,
            created_at=now,
        )
    )
