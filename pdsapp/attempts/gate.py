"""The gate between work and pauses: the installation's row, passed by workers, closed by who pauses.

Deciding, starting a call and publishing pass it: each holds the row in share from its first statement to its
commit. Pausing, stopping and resuming close it: they hold the row for themselves. So each of these short
transactions lies wholly before or wholly after a stop, and what it reads behind the gate is the last word.
docs/adr/0010-a-gate-between-work-and-stop.md goes through the races.

Lock order, for all: the gate, then an experiment, schedule or token, then attempts by id.
"""

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ..models import Installation

# PostgreSQL ends a session that is frozen inside a transaction after 20 s; a stop outlives that.
CLOSING_SECONDS = 30
_ROW = sa.select(Installation).where(Installation.id == 1).execution_options(populate_existing=True)


def pass_gate(session: Session) -> Installation:
    """The installation as it is and stays until the caller's commit; others may pass at the same time."""
    row = session.scalars(_ROW.with_for_update(read=True, of=Installation)).one()
    session.info["gate"] = row  # else the session would let it go, and every later look would be a query
    return row


def close_gate(session: Session, waits_seconds: int = CLOSING_SECONDS) -> Installation:
    """Waits for everybody who has passed, at most so long, and lets nobody pass before the caller's commit.

    On SQLite every writing transaction is alone, so there is nothing to wait for.
    """
    if session.connection().dialect.name == "postgresql":
        session.execute(sa.text(f"SET LOCAL lock_timeout = '{waits_seconds}s'"))
    # NO KEY UPDATE: rows that only point at this one may be added meanwhile.
    return session.scalars(_ROW.with_for_update(key_share=True, of=Installation)).one()
