"""The pause of everything as `flask move` and `flask restore` make it, hand it on and give it back.

People's pauses (`pauses`) end what waits; these leave attempts alone: the copy shall have them as they are.
"""

from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from ..attempts.gate import close_gate
from ..models import Installation
from . import audit
from .pause_scopes import shown


@dataclass(frozen=True)
class Pause:
    """Whether everything is paused or stopped, since when, by whom and why."""

    is_paused: bool
    stopped_at: datetime | None
    paused_at: datetime | None
    paused_by: str
    paused_reason: str

    @classmethod
    def of(cls, installation: Installation) -> "Pause":
        """The pause an installation has."""
        return cls(
            installation.is_paused,
            installation.stopped_at,
            installation.paused_at,
            installation.paused_by,
            installation.paused_reason,
        )

    @classmethod
    def over(cls, installation: Installation, now: datetime, by: str, reason: str) -> "Pause":
        """A pause of everything from now on; a stop where there is one."""
        stopped_at = now if installation.is_stopped else None
        return cls(True, stopped_at, now, by, reason[:255])


def put_pause(session: Session, pause: Pause, now: datetime, actor: str) -> Pause:
    """The pause there was; from the caller's commit on there is this one, or none. In the audit trail."""
    installation = close_gate(session)
    found, before = Pause.of(installation), shown(installation)
    for name, value in asdict(pause).items():
        setattr(installation, name, value)
    action = "pause" if pause.is_paused else "resume"
    audit.record(session, action, installation, now, before=before, after=shown(installation), actor=actor)
    return found
